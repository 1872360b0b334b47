//! A cloud with two storage hosts that serve real volumes, two hosts whose guests use them, and what all of it must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use tepui_core::{
    Caller, Cloud, CloudConfig, CreatePool, ModificationState, RunInstances, Severity, VolumeView,
};
use tepui_db::StorageDb as _;
use tepui_db::model::{AttachmentState, MoveStage, SnapshotState, VolumeState};
use tepui_simulation::Control;
use tepui_types::agent::{PoolBackend, StoredId};
use tepui_types::{PoolId, SnapshotId, VolumeId};

use crate::PATIENCE;
use crate::content::{BLOCK, Content, block, mark_of};
use crate::guests::{Compute, network};
use crate::host::{CAPACITY, StorageHost};
use crate::model::Model;
use crate::support::client::Opener as _;
use crate::wire::Wire;

/// A pool and its folder.
#[derive(Clone)]
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) path: PathBuf,
}

pub(crate) struct Site {
    pub(crate) control: Control,
    pub(crate) wire: Arc<Wire>,
    pub(crate) hosts: Vec<StorageHost>,
    pub(crate) computes: Vec<Compute>,
    pub(crate) pools: Vec<Pool>,
    /// The disks from which the guests boot.
    roots: BTreeSet<VolumeId>,
    pub(crate) caller: Caller,
    pub(crate) chance: StdRng,
    pub(crate) model: Model,
    /// Something was asked for since everything was done that was.
    pub(crate) is_busy: bool,
    /// Something that serves was killed since: a guest that writes waits.
    pub(crate) is_unserved: bool,
    /// What that was about: more is asked of it than of others.
    pub(crate) last_volume: Option<VolumeId>,
    pub(crate) last_snapshot: Option<SnapshotId>,
    /// How often each thing was done.
    pub(crate) counts: BTreeMap<&'static str, u32>,
    pub(crate) patterns: PathBuf,
}

impl Site {
    /// A cloud that keeps its database in `dir`, with a storage host on each of two file systems.
    pub(crate) async fn new(dir: &Path, disks: [&Path; 2], seed: u64) -> Self {
        let config = CloudConfig::new("test-1", dir.join("consoles"));
        let control = Control::start(dir.to_owned(), seed, config).unwrap();
        let administrator = control.administrator().await.unwrap();
        let tenant = control.tenant(&administrator, "tenant").await.unwrap();
        let wire = Arc::<Wire>::default();
        let cloud = control.cloud().unwrap();
        wire.lead_to(&cloud);
        let mut computes = Vec::new();
        for number in [1, 2] {
            let address = u32::from_be_bytes([0, 99, number, 2]);
            let id = control.enrol(&administrator, address, CAPACITY).await.unwrap();
            let request = RunInstances::new(tenant.image, "t3.nano");
            let made = cloud.run_instances(&tenant.caller, request).await.unwrap();
            let record = &made.instances[0].record;
            let placement = record.placement.as_ref().unwrap();
            assert_eq!(placement.node_id, id, "each host has one guest");
            computes.push(Compute::new(id, (record.instance.id, placement.id), network(number), dir));
        }
        let roots = cloud.volumes(&tenant.caller, &[]).await.unwrap();
        let mut hosts = Vec::new();
        for (number, disk) in [3, 4].into_iter().zip(disks) {
            let address = u32::from_be_bytes([0, 99, number, 2]);
            let id = control.enrol(&administrator, address, CAPACITY).await.unwrap();
            hosts.push(StorageHost::new(id, &disk.join("agent"), &wire));
        }
        let mut site = Self {
            control,
            wire,
            hosts,
            computes,
            pools: Vec::new(),
            roots: roots.iter().map(|root| root.id).collect(),
            caller: tenant.caller,
            chance: StdRng::seed_from_u64(seed),
            model: Model::default(),
            is_busy: false,
            is_unserved: false,
            last_volume: None,
            last_snapshot: None,
            counts: BTreeMap::new(),
            patterns: dir.to_owned(),
        };
        for (name, host, backend) in
            [("a", 0, PoolBackend::Iscsi), ("b", 1, PoolBackend::Nfs), ("c", 1, PoolBackend::Iscsi)]
        {
            site.create_pool(name, (host, disks[host]), backend).await;
        }
        site.converge().await;
        site
    }

    async fn create_pool(&mut self, name: &str, (host, disk): (usize, &Path), backend: PoolBackend) {
        let path = disk.join(name);
        let request = CreatePool {
            name: name.into(),
            class: "gp3".into(),
            backend,
            node_id: self.hosts[host].id,
            path: path.to_str().unwrap().into(),
            filer: None,
            soft_percent: 90,
            hard_percent: 95,
        };
        std::fs::create_dir(&path).unwrap();
        let made = self.cloud().create_pool(&self.caller, request).await.unwrap();
        self.pools.push(Pool { id: made.load.pool.id, path });
    }

    pub(crate) fn cloud(&self) -> Arc<Cloud> {
        self.control.cloud().unwrap()
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Everybody hears, acts and speaks once; whether anything was news.
    pub(crate) async fn round(&mut self) -> bool {
        let cloud = self.cloud();
        let mut news = false;
        for host in &mut self.hosts {
            news |= host.poll(&cloud).await;
            host.apply().await;
            news |= host.report(&cloud).await.unwrap();
        }
        for compute in &mut self.computes {
            news |= compute.round(&cloud).await;
            for disk in compute.disks.values_mut().filter(|disk| disk.writes) {
                disk.writes = !disk.client.is_done(std::time::Duration::ZERO);
                if !disk.writes {
                    self.model.wrote(disk.volume);
                }
            }
        }
        cloud.reconcile_once().await;
        news
    }

    /// Until everything is done that was asked for. Then all is as the model says.
    pub(crate) async fn converge(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let news = self.round().await;
            let missing = self.unsettled().await;
            if !news && missing.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "not done: {missing:#?}");
            if !news {
                for host in &self.hosts {
                    host.arrived().await;
                }
            }
        }
        (self.is_busy, self.is_unserved) = (false, false);
        self.see_off();
        self.compare().await;
        self.read_as_guests();
        let findings = self.cloud().doctor(&self.caller).await.unwrap();
        let failures: Vec<_> = findings.iter().filter(|one| one.severity == Severity::Failure).collect();
        assert!(failures.is_empty(), "{failures:#?}");
    }

    /// What is not as it was asked for yet.
    async fn unsettled(&self) -> Vec<String> {
        let cloud = self.cloud();
        let mut missing = Vec::new();
        let volumes = cloud.volumes(&self.caller, &[]).await.unwrap();
        let others = volumes.into_iter().filter(|view| !self.roots.contains(&view.id));
        let found: BTreeMap<VolumeId, VolumeView> = others.map(|view| (view.id, view)).collect();
        for (id, wanted) in &self.model.volumes {
            let Some(view) = found.get(id) else { panic!("{id} is not there") };
            assert_ne!(view.state, VolumeState::Error, "{view:?}");
            if !self.is_settled(view, wanted) {
                missing.push(format!("{view:?}"));
            }
        }
        let more = found.keys().filter(|id| !self.model.volumes.contains_key(id));
        missing.extend(more.map(|id| format!("{id} is still there")));
        let snapshots = cloud.snapshots(&self.caller, &[]).await.unwrap();
        let ids: BTreeSet<SnapshotId> = snapshots.iter().map(|record| record.snapshot.id).collect();
        for id in self.model.snapshots.keys() {
            assert!(ids.contains(id), "{id} is not there");
        }
        for record in snapshots {
            let snapshot = record.snapshot;
            assert_ne!(snapshot.state, SnapshotState::Error, "{snapshot:?}");
            let is_wanted = self.model.snapshots.contains_key(&snapshot.id);
            if !is_wanted || snapshot.state != SnapshotState::Completed {
                missing.push(format!("{snapshot:?}"));
            }
        }
        for one in cloud.moves(&self.caller).await.unwrap() {
            assert_ne!(one.stage, MoveStage::Failed, "{one:?}");
            missing.push(format!("{one:?}"));
        }
        missing.extend(self.hosts.iter().flat_map(StorageHost::troubles));
        let unlinks = self.hosts.iter().flat_map(|host| host.part().unlinks.clone());
        missing.extend(unlinks.map(|one| format!("{one:?}")));
        let writers = self.computes.iter().flat_map(|compute| compute.disks.values());
        missing.extend(writers.filter(|disk| disk.writes).map(|disk| format!("a write to {}", disk.volume)));
        missing
    }

    fn is_settled(&self, view: &VolumeView, wanted: &crate::model::Volume) -> bool {
        let is_made = view.state == VolumeState::Available && view.actual_gib == wanted.content.gib;
        let is_changed =
            view.modification.as_ref().is_none_or(|one| one.state == ModificationState::Completed);
        let has = |place: &(usize, String)| {
            view.attachments.iter().any(|one| {
                one.state == AttachmentState::Attached
                    && (one.instance_id, &one.device) == (self.computes[place.0].instance, &place.1)
            })
        };
        let is_placed = match &wanted.attached {
            Some(place) => view.attachments.len() == 1 && has(place),
            None => view.attachments.is_empty() || self.model.leaving.contains_key(&view.id),
        };
        is_made && is_changed && is_placed
    }

    /// Guests that did not let go of what was taken from them by force: once it is, they write nothing there any more.
    fn see_off(&mut self) {
        for index in 0..self.computes.len() {
            for mut disk in std::mem::take(&mut self.computes[index].kept) {
                disk.client.send("write -P 66 0 64k");
                let is_served = disk.client.is_done(std::time::Duration::from_millis(300));
                assert!(!is_served, "a guest wrote to {} when it was taken from it", disk.volume);
                self.model.leaving.remove(&disk.volume);
                self.computes[index].held.remove(&disk.volume);
                self.count("thrown out");
            }
        }
    }

    /// That the pools hold what they must, and nothing else.
    async fn compare(&mut self) {
        let mut places = BTreeMap::new();
        let db = self.control.db().unwrap();
        for host in &self.hosts {
            let part = db.storage_part(host.id).await.unwrap().unwrap();
            places.extend(part.volumes.iter().map(|one| (StoredId::Volume(one.id), one.pool_id)));
            places.extend(part.snapshots.iter().map(|one| (StoredId::Snapshot(one.id), one.pool_id)));
        }
        let mut found = BTreeMap::new();
        for pool in &self.pools {
            for shelf in ["volumes", "snapshots"] {
                for id in names(&pool.path.join(shelf)) {
                    let id: StoredId = id.parse().unwrap();
                    assert_eq!(places.get(&id), Some(&pool.id), "{id} is where it is not known to be");
                    found.insert(id, pool.path.join(shelf).join(id.to_string()).join("disk.raw"));
                }
            }
            assert_eq!(names(&pool.path.join("tmp")), [] as [String; 0]);
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), places.keys().collect::<Vec<_>>());
        for (id, volume) in &mut self.model.volumes {
            volume.smaller = None;
            let path = found.remove(&StoredId::Volume(*id)).unwrap_or_else(|| panic!("{id} is in no pool"));
            let content = Content::read(&path);
            assert!(content == volume.content, "{id}: {}", content.difference(&volume.content));
        }
        for (id, snapshot) in &mut self.model.snapshots {
            let path = found.remove(&StoredId::Snapshot(*id)).unwrap_or_else(|| panic!("{id} is in no pool"));
            snapshot.seen(*id, Content::read(&path));
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), [] as [&StoredId; 0], "these are nobody's");
        for (id, pool) in std::mem::take(&mut self.model.moved) {
            assert_eq!(places.get(&StoredId::Volume(id)), Some(&pool), "{id} did not arrive");
        }
        let kept: BTreeSet<StoredId> = self.pools.iter().flat_map(|pool| trash(&pool.path)).collect();
        let lost: Vec<_> = self.model.trash.difference(&kept).collect();
        assert!(lost.is_empty(), "unlinked before its grace was over: {lost:?}");
    }

    /// That guests read what their volumes hold.
    fn read_as_guests(&mut self) {
        for compute in &mut self.computes {
            for disk in compute.disks.values_mut() {
                let Some(volume) = self.model.volumes.get(&disk.volume) else { continue };
                let content = &volume.content;
                let last = content.blocks() - 1;
                let some = content.written().choose(&mut self.chance);
                for at in some.into_iter().chain([last]) {
                    let read = disk.client.read(u64::from(at) * BLOCK, 512);
                    assert_eq!(mark_of(&read), content.at(at), "block {at} of {}", disk.volume);
                }
            }
        }
    }

    /// That a way of an attachment that is over leads nowhere.
    pub(crate) fn try_ended(&mut self) -> bool {
        let ways = self.computes.iter().flat_map(|compute| &compute.ended);
        let Some(way) = ways.choose(&mut self.chance).cloned() else { return false };
        way.refusal();
        self.count("old way refused");
        true
    }

    /// A file with the blocks of a write.
    pub(crate) fn pattern(&self, mark: u64) -> PathBuf {
        let path = self.patterns.join(format!("pattern-{mark}"));
        std::fs::write(&path, block(mark)).unwrap();
        path
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What lies in the trash of a pool.
pub(crate) fn trash(pool: &Path) -> Vec<StoredId> {
    let id = |name: String| name.split('.').next().unwrap().parse().unwrap();
    names(&pool.join("trash")).into_iter().map(id).collect()
}
