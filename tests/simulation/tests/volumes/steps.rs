//! What is asked of the cloud and done in its guests next, by chance.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::seq::IteratorRandom as _;
use tepui_core::{
    AttachVolume, CopySnapshot, CopyTo, CreateSnapshots, CreateVolume, DetachVolume, Error, ModifyVolume,
    Tags,
};
use tepui_types::agent::StoredId;
use tepui_types::{SnapshotId, VolumeId};

use crate::PATIENCE;
use crate::content::{BLOCK, Content};
use crate::model::Snapshot;
use crate::site::{Pool, Site, names, trash};
use crate::support::client::Opener as _;

/// Of all volumes and snapshots; more are made only where there are fewer.
const MOST_VOLUMES: usize = 7;
const MOST_SNAPSHOTS: usize = 7;
const MOST_GIB: u32 = 3;
/// Of one write.
const MOST_BLOCKS: u32 = 16;
/// Where writes meet each other.
const HOT_BLOCKS: u32 = 64;
const DAY: std::time::Duration = std::time::Duration::from_secs(25 * 3600);

impl Site {
    /// One thing, as a line for the log.
    pub(crate) async fn step(&mut self) -> String {
        loop {
            let done = match self.chance.random_range(0..40) {
                0..2 => self.create().await,
                2..7 => self.restore().await,
                7..13 => self.attach().await,
                13..19 => self.write().await,
                19..23 => self.snapshot().await,
                23..26 => self.copy().await,
                26..28 => self.grow().await,
                28..32 => self.migrate().await,
                32..35 => self.detach().await,
                35..37 => self.delete_volume().await,
                37 => self.delete_snapshot().await,
                38 => self.reclaim().await,
                _ => self.try_ended().then(|| "an old way".to_owned()),
            };
            if let Some(done) = done {
                self.is_busy = true;
                return done;
            }
        }
    }

    /// Whether it was done. Only what is under way is a reason to refuse.
    fn is_done<T>(&mut self, what: &'static str, answer: Result<T, Error>) -> Option<T> {
        match answer {
            Ok(done) => {
                self.count(what);
                Some(done)
            }
            Err(
                Error::Moving { .. }
                | Error::WrongState { .. }
                | Error::InUse { .. }
                | Error::Modifying { .. }
                | Error::PoolsFull { .. }
                // A volume on its way from the guest has its place there.
                | Error::InvalidInput { field: "device", .. },
            ) if self.is_busy => {
                self.count("refused");
                None
            }
            Err(error) => panic!("{what}: {error:?}"),
        }
    }

    fn any_pool(&mut self) -> Pool {
        self.pools.iter().choose(&mut self.chance).unwrap().clone()
    }

    /// One that nobody has.
    fn free_volume(&mut self) -> Option<VolumeId> {
        let model = &self.model;
        let free = model.volumes.iter().filter(|(_, volume)| volume.attached.is_none());
        let free = free.map(|(id, _)| *id).filter(|id| !model.leaving.contains_key(id));
        self.choose(free.collect())
    }

    /// One that a guest has and on which no write is under way, and the number of the guest's host.
    fn used_volume(&mut self) -> Option<(VolumeId, usize)> {
        let used = self.model.volumes.iter().filter_map(|(id, one)| Some((*id, one.attached.as_ref()?.0)));
        let used: Vec<_> = used.collect();
        let idle = used.into_iter().filter(|(id, host)| self.computes[*host].idle(*id).is_some());
        let idle: BTreeMap<_, _> = idle.collect();
        let chosen = self.choose(idle.keys().copied().collect())?;
        Some((chosen, idle[&chosen]))
    }

    fn any_snapshot(&mut self) -> Option<SnapshotId> {
        let all: Vec<_> = self.model.snapshots.keys().copied().collect();
        let last = self.last_snapshot.filter(|last| all.contains(last) && self.is_busy);
        let again = last.filter(|_| self.chance.random());
        let chosen = again.or_else(|| all.into_iter().choose(&mut self.chance));
        self.last_snapshot = chosen;
        chosen
    }

    /// While something is under way, often what that is about.
    fn choose(&mut self, volumes: Vec<VolumeId>) -> Option<VolumeId> {
        let last = self.last_volume.filter(|last| volumes.contains(last) && self.is_busy);
        let again = last.filter(|_| self.chance.random());
        let chosen = again.or_else(|| volumes.into_iter().choose(&mut self.chance));
        self.last_volume = chosen;
        chosen
    }

    async fn create(&mut self) -> Option<String> {
        if self.model.volumes.len() >= MOST_VOLUMES {
            return None;
        }
        let (gib, pool) = (self.chance.random_range(1..=2), self.any_pool().id);
        let (cloud, caller) = (self.cloud(), self.caller.clone());
        // It goes to the only one that takes it.
        let others: Vec<_> = self.pools.iter().map(|one| one.id).filter(|id| *id != pool).collect();
        for other in &others {
            cloud.set_pool_draining(&caller, *other, true).await.unwrap();
        }
        let request = CreateVolume { size_gib: Some(gib), ..CreateVolume::default() };
        let made = cloud.create_volume(&caller, request).await;
        for other in &others {
            cloud.set_pool_draining(&caller, *other, false).await.unwrap();
        }
        let told = format!("create {gib} GiB in {pool}");
        match self.is_done("create", made) {
            Some(view) => {
                self.model.create(view.id, Content::new(gib));
                Some(format!("{told}: {}", view.id))
            }
            None => Some(told + ": refused"),
        }
    }

    async fn restore(&mut self) -> Option<String> {
        let id = self.any_snapshot().filter(|_| self.model.volumes.len() < MOST_VOLUMES)?;
        // What it holds is known once it was seen.
        let content = self.model.snapshots[&id].content()?.clone();
        let more = u32::from(content.gib < MOST_GIB && self.chance.random_ratio(1, 3));
        let content = content.grown(content.gib + more);
        let (size_gib, snapshot_id) = (Some(content.gib), Some(id));
        let request = CreateVolume { size_gib, snapshot_id, ..CreateVolume::default() };
        let made = self.cloud().create_volume(&self.caller, request).await;
        let told = format!("restore {id} as {} GiB", content.gib);
        match self.is_done("restore", made) {
            Some(view) => {
                self.model.create(view.id, content);
                Some(format!("{told}: {}", view.id))
            }
            None => Some(told + ": refused"),
        }
    }

    async fn attach(&mut self) -> Option<String> {
        let volume_id = self.free_volume()?;
        let host = self.chance.random_range(0..self.computes.len());
        let places = self.model.volumes.values().filter_map(|volume| volume.attached.as_ref());
        let taken: Vec<_> = places.chain(self.model.leaving.values()).collect();
        let mut devices = ('f'..='p').map(|letter| format!("/dev/sd{letter}"));
        let device = devices.find(|device| !taken.contains(&&(host, device.clone())))?;
        let instance_id = self.computes[host].instance;
        let request = AttachVolume { volume_id, instance_id, device: device.clone() };
        let attached = self.cloud().attach_volume(&self.caller, request).await;
        let told = format!("attach {volume_id} to guest {host}");
        match self.is_done("attach", attached) {
            Some(_) => {
                self.model.volumes.get_mut(&volume_id)?.attached = Some((host, device));
                // Whoever uses it ends its move, or it has arrived.
                self.model.moved.remove(&volume_id);
                Some(told)
            }
            None => Some(told + ": refused"),
        }
    }

    async fn write(&mut self) -> Option<String> {
        let (volume, host) = self.used_volume().filter(|_| !self.is_unserved)?;
        let mut told = format!("write {volume}");
        for _ in 0..self.chance.random_range(1..5) {
            told += &self.begin_write(volume, host);
            self.end_write(volume, host);
        }
        self.count("write");
        Some(told)
    }

    /// The guest sends a write, which may never be answered.
    pub(crate) fn begin_write(&mut self, volume: VolumeId, host: usize) -> String {
        let blocks = self.model.volumes[&volume].content.blocks();
        // A disk that has just grown may not be that large yet for its guest.
        let blocks = self.model.volumes[&volume].smaller.map_or(blocks, |gib| gib << 18);
        let count = self.chance.random_range(1..=MOST_BLOCKS);
        let first = match self.chance.random_range(0..4) {
            0 => blocks - count,
            1 => self.chance.random_range(0..=blocks - count),
            _ => self.chance.random_range(0..=HOT_BLOCKS),
        };
        let mark = if self.chance.random_ratio(1, 8) { 0 } else { self.model.next_mark() };
        let (offset, length) = (u64::from(first) * BLOCK, u64::from(count) * BLOCK);
        let command = match mark {
            0 => format!("write -z {offset} {length}"),
            mark => format!("write -s {} {offset} {length}", self.pattern(mark).display()),
        };
        let disk = self.computes[host].idle(volume).unwrap();
        disk.client.send(&command);
        disk.writes = true;
        self.model.write(volume, (first, count), mark);
        format!(" {first}+{count}={mark:x}")
    }

    /// Waits for the answer.
    pub(crate) fn end_write(&mut self, volume: VolumeId, host: usize) {
        let disks = self.computes[host].disks.values_mut();
        let disk = disks.into_iter().find(|disk| disk.volume == volume).unwrap();
        assert!(disk.client.is_done(PATIENCE), "a write to {volume} is not answered");
        disk.writes = false;
        self.model.wrote(volume);
    }

    /// Of any volume; the guest that has it writes meanwhile.
    async fn snapshot(&mut self) -> Option<String> {
        if self.model.snapshots.len() >= MOST_SNAPSHOTS {
            return None;
        }
        let volume = self.choose(self.model.volumes.keys().copied().collect())?;
        let used = self.model.volumes[&volume].attached.as_ref().map(|(host, _)| *host);
        let writer = used.filter(|host| !self.is_unserved && self.computes[*host].idle(volume).is_some());
        let mut told = format!("snapshot {volume}");
        if let Some(host) = writer {
            told += &self.begin_write(volume, host);
        }
        let request = CreateSnapshots { volumes: vec![volume], ..CreateSnapshots::default() };
        let made = self.cloud().create_snapshots(&self.caller, &request).await;
        let made = self.is_done("snapshot", made);
        match made {
            Some(made) => {
                let id = made[0].snapshot.id;
                self.model.snapshot(id, volume);
                self.model.moved.remove(&volume);
                told = format!("{told} is {id}");
            }
            None => told += " refused",
        }
        let Some(host) = writer else { return Some(told) };
        self.end_write(volume, host);
        for _ in 0..2 {
            told += &self.begin_write(volume, host);
            let cloud = self.cloud();
            for storage in &mut self.hosts {
                storage.poll(&cloud).await;
                storage.apply().await;
            }
            self.end_write(volume, host);
        }
        Some(told)
    }

    async fn copy(&mut self) -> Option<String> {
        let source = self.any_snapshot().filter(|_| self.model.snapshots.len() < MOST_SNAPSHOTS)?;
        let content = self.model.snapshots[&source].content()?.clone();
        let to = self.any_pool().id;
        let request =
            CopySnapshot { source, to: CopyTo::Pool(to), description: String::new(), tags: Tags::new() };
        let copied = self.cloud().copy_snapshot(&self.caller, request).await;
        let told = format!("copy {source} to {to}");
        match self.is_done("copy", copied) {
            Some(record) => {
                self.model.snapshots.insert(record.snapshot.id, Snapshot::with(content));
                Some(format!("{told}: {}", record.snapshot.id))
            }
            None => Some(told + ": refused"),
        }
    }

    async fn grow(&mut self) -> Option<String> {
        let small = self.model.volumes.iter().filter(|(_, volume)| {
            let size = volume.smaller.is_none().then_some(volume.content.gib);
            size.is_some_and(|gib| gib < MOST_GIB)
        });
        let volume_id = self.choose(small.map(|(id, _)| *id).collect())?;
        let gib = self.model.volumes[&volume_id].content.gib;
        let request = ModifyVolume {
            volume_id,
            size_gib: Some(gib + 1),
            class: None,
            iops: None,
            throughput_mib: None,
            read_only: None,
        };
        let grown = self.cloud().modify_volume(&self.caller, request).await;
        let told = format!("grow {volume_id} to {} GiB", gib + 1);
        match self.is_done("grow", grown) {
            Some(_) => {
                self.model.grow(volume_id, gib + 1);
                self.model.moved.remove(&volume_id);
                Some(told)
            }
            None => Some(told + ": refused"),
        }
    }

    /// To another pool.
    async fn migrate(&mut self) -> Option<String> {
        let (volume, pool) = (self.free_volume()?, self.any_pool().id);
        let begun = self.cloud().move_volume(&self.caller, volume, pool).await;
        let told = format!("move {volume} to {pool}");
        match self.is_done("move", begun) {
            Some(_) => {
                self.model.moved.insert(volume, pool);
                Some(told)
            }
            None => Some(told + ": refused"),
        }
    }

    async fn detach(&mut self) -> Option<String> {
        let (volume_id, host) = self.used_volume()?;
        let force = self.chance.random();
        let request = DetachVolume { volume_id, instance_id: None, device: None, force };
        // Its end takes as long as a guest is waited for, while all else goes on.
        let holds = force && self.chance.random_ratio(1, 3) && self.model.leaving.is_empty();
        let detached = self.cloud().detach_volume(&self.caller, request).await;
        self.is_done(if force { "detach by force" } else { "detach" }, detached)?;
        let place = self.model.volumes.get_mut(&volume_id)?.attached.take()?;
        if holds {
            self.computes[host].held.insert(volume_id);
            self.model.leaving.insert(volume_id, place);
        }
        let how = if holds { ", which holds on to it" } else { "" };
        Some(format!("detach {volume_id}, force {force}, from guest {host}{how}"))
    }

    async fn delete_volume(&mut self) -> Option<String> {
        let volume = self.free_volume()?;
        let deleted = self.cloud().delete_volume(&self.caller, volume).await;
        let told = format!("delete {volume}");
        match self.is_done("delete volume", deleted) {
            Some(()) => {
                self.model.volumes.remove(&volume);
                self.model.moved.remove(&volume);
                self.note_trash("volumes", StoredId::Volume(volume));
                Some(told)
            }
            None => Some(told + ": refused"),
        }
    }

    /// What was made before it is deleted is kept for a while.
    fn note_trash(&mut self, shelf: &str, id: StoredId) {
        let name = id.to_string();
        if self.pools.iter().any(|pool| pool.path.join(shelf).join(&name).exists()) {
            self.model.trash.insert(id);
        }
    }

    async fn delete_snapshot(&mut self) -> Option<String> {
        let snapshot = self.any_snapshot()?;
        let deleted = self.cloud().delete_snapshot(&self.caller, snapshot).await;
        let told = format!("delete {snapshot}");
        match self.is_done("delete snapshot", deleted) {
            Some(()) => {
                self.model.snapshots.remove(&snapshot);
                self.note_trash("snapshots", StoredId::Snapshot(snapshot));
                Some(told)
            }
            None => Some(told + ": refused"),
        }
    }

    /// An operator ends the grace of what lies in a pool, or it is over everywhere.
    async fn reclaim(&mut self) -> Option<String> {
        if self.is_busy || self.pools.iter().all(|pool| trash(&pool.path).is_empty()) {
            return None;
        }
        let is_over = self.chance.random();
        let due = match is_over {
            true => self.pools.clone(),
            false => vec![self.any_pool()],
        };
        let gone: Vec<_> = due.iter().flat_map(|pool| trash(&pool.path)).collect();
        self.model.trash.retain(|id| !gone.contains(id));
        if is_over {
            self.control.clock.advance(DAY);
            // Hosts that were silent for a day are asked nothing.
            self.round().await;
            self.count("a day");
        } else {
            self.cloud().reclaim_pool(&self.caller, due[0].id).await.unwrap();
            self.count("reclaim");
        }
        self.converge().await;
        for pool in due {
            let left = trash(&pool.path);
            assert!(left.is_empty(), "still in the trash: {left:?}");
        }
        Some(format!("end the grace of {gone:?}"))
    }

    /// Nothing is left: no volume, no snapshot, no file.
    pub(crate) async fn end(&mut self) {
        let used: Vec<_> = self.model.volumes.iter().filter(|(_, one)| one.attached.is_some()).collect();
        let used: Vec<_> = used.into_iter().map(|(id, _)| *id).collect();
        for volume_id in used {
            let request = DetachVolume { volume_id, instance_id: None, device: None, force: false };
            self.cloud().detach_volume(&self.caller, request).await.unwrap();
            self.model.volumes.get_mut(&volume_id).unwrap().attached = None;
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        self.converge().await;
        while !self.model.leaving.is_empty() {
            assert!(std::time::Instant::now() < deadline, "{:?} do not leave", self.model.leaving);
            self.hosts[0].arrived().await;
            self.converge().await;
        }
        while self.delete_volume().await.is_some() || self.delete_snapshot().await.is_some() {}
        self.converge().await;
        self.is_busy = false;
        for pool in self.pools.clone() {
            self.cloud().reclaim_pool(&self.caller, pool.id).await.unwrap();
        }
        self.model.trash.clear();
        self.converge().await;
        for pool in self.pools.clone() {
            for folder in ["volumes", "snapshots", "trash", "tmp"] {
                assert_eq!(names(&pool.path.join(folder)), [] as [String; 0]);
            }
            assert_eq!(self.cloud().leftovers(&self.caller, pool.id).await.unwrap(), []);
        }
        assert_eq!(self.cloud().doctor(&self.caller).await.unwrap(), []);
        for pool in self.pools.clone() {
            self.cloud().delete_pool(&self.caller, pool.id).await.unwrap();
        }
        for way in self.computes.iter().flat_map(|compute| &compute.ended).take(4) {
            way.refusal();
        }
    }
}
