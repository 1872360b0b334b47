//! Volumes that move under everything that may happen meanwhile, with hosts that hold bytes: no sequence loses what was
//! written last, as long as one of the hosts is there that has it whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tepui_core::{
    AttachVolume, Cloud, CreatePool, CreateSnapshots, CreateVolume, DetachVolume, Error, ModifyVolume,
};
use tepui_db::model::{MoveStage, NodeState, Snapshot, SnapshotState, VolumeMove, VolumeState};
use tepui_db::{NodeDb, StorageDb, VolumeMoveDb};
use tepui_types::agent::{
    ExportObserved, ExportPart, ExportState, Leftover, LeftoverKind, NodeObserved, PartBody, PollRequest,
    PoolBackend, PoolObserved, PoolState, Report, SnapshotObserved, SnapshotPart, StorageObserved,
    StoragePart, StoredId, StoredState, VolumeObserved, VolumePart, VolumeSource,
};
use tepui_types::{Epoch, InstanceId, NodeId, PoolId, SnapshotId, VolumeId};

use crate::harness::{GIB, Harness, Host};
use crate::volumes::same;

const SEQUENCES: u64 = 24;
const STEPS: usize = 90;

/// Numbers that look like chance and are the same in each run (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// What a file holds: the number of the write that was the last.
type Bytes = u64;

/// A storage host with its disks, its ledger, and what it has not reported yet.
struct Storage {
    host: Host,
    ledger: Option<StoragePart>,
    files: BTreeMap<(PoolId, StoredId), Bytes>,
    trash: BTreeMap<(PoolId, StoredId), Bytes>,
    seen: Option<StorageObserved>,
    sequence: u64,
    is_lost: bool,
}

struct Moves {
    t: Harness,
    cloud: Arc<Cloud>,
    storage: Vec<Storage>,
    pools: Vec<(PoolId, usize)>,
    instance: InstanceId,
    volume: VolumeId,
    written: Bytes,
    /// Of each snapshot of its owner what it must hold, as far as that is known.
    snapshots: BTreeMap<SnapshotId, Bytes>,
    /// A host was given up that alone had the volume.
    is_lost: bool,
}

impl Storage {
    /// Does what its ledger says, as an agent does, and notes what it sees then.
    fn apply(&mut self, others: &BTreeMap<(PoolId, StoredId), Bytes>) {
        let Some(part) = self.ledger.clone() else { return };
        let present = |size_bytes| StoredState::Present { size_bytes };
        let failed = |permanent| StoredState::Failed { message: "no".into(), permanent };
        let mut seen = StorageObserved::default();
        for one in &part.snapshots {
            let at = (one.pool_id, StoredId::Snapshot(one.id));
            let state = match &one.wanted {
                SnapshotPart::Absent => {
                    self.discard(at);
                    StoredState::Gone
                }
                SnapshotPart::Present { .. } if self.files.contains_key(&at) => present(0),
                SnapshotPart::Present { taken: true, .. } => failed(false),
                SnapshotPart::Present { volume_id, copy_of, .. } => {
                    let source = match copy_of {
                        Some(source) => (source.pool_id, StoredId::Snapshot(source.snapshot_id)),
                        None => (one.pool_id, StoredId::Volume(*volume_id)),
                    };
                    match self.files.get(&source).or(others.get(&source)).copied() {
                        Some(bytes) if !self.trash.contains_key(&at) => {
                            self.files.insert(at, bytes);
                            present(0)
                        }
                        _ => failed(true),
                    }
                }
            };
            seen.snapshots.push(SnapshotObserved { id: one.id, state });
        }
        for one in &part.volumes {
            let at = (one.pool_id, StoredId::Volume(one.id));
            let state = match &one.wanted {
                VolumePart::Absent => {
                    self.discard(at);
                    StoredState::Gone
                }
                VolumePart::Present { size_bytes, .. } if self.files.contains_key(&at) => {
                    present(*size_bytes)
                }
                VolumePart::Present { made: true, .. } => failed(false),
                VolumePart::Present { size_bytes, snapshot_id, .. } => {
                    let bytes = match snapshot_id {
                        Some(id) => self.files.get(&(one.pool_id, StoredId::Snapshot(*id))).copied(),
                        None => Some(0),
                    };
                    match bytes {
                        Some(bytes) if !self.trash.contains_key(&at) => {
                            self.files.insert(at, bytes);
                            present(*size_bytes)
                        }
                        _ => failed(true),
                    }
                }
            };
            seen.volumes.push(VolumeObserved { id: one.id, state });
        }
        for one in &part.unlinks {
            self.trash.remove(&(one.pool_id, one.id));
        }
        for one in &part.exports {
            let source = VolumeSource::Local { path: "/srv/volume".into() };
            let state = match one.wanted {
                ExportPart::Open { .. } => ExportState::Open { source },
                ExportPart::Absent => ExportState::Gone,
            };
            seen.exports.push(ExportObserved { id: one.id, state });
        }
        let ready = PoolState::Ready { total_bytes: 1000 * GIB, used_bytes: GIB };
        seen.pools = part.pools.iter().map(|one| PoolObserved { id: one.id, state: ready.clone() }).collect();
        let removed = self.trash.keys().map(|(pool_id, id)| {
            let kind = LeftoverKind::Removed { id: *id };
            Leftover { pool_id: *pool_id, kind, bytes: 1 }
        });
        seen.leftovers = removed.collect();
        self.seen = Some(seen);
    }

    fn discard(&mut self, at: (PoolId, StoredId)) {
        if let Some(bytes) = self.files.remove(&at) {
            self.trash.insert(at, bytes);
        }
    }
}

impl Moves {
    async fn new() -> Self {
        let t = Harness::new().await;
        let compute = t.host(1).await;
        let reservation = t.run_one(&t.admin).await;
        let placement = crate::harness::placement_of(&reservation);
        let (mut storage, mut pools) = (Vec::new(), Vec::new());
        for (index, names) in [&["a1", "a2"][..], &["b"][..], &["c"][..]].iter().enumerate() {
            let host = t.host(2 + index as u128).await;
            host.report(Vec::new()).await;
            for name in *names {
                let request = CreatePool {
                    name: (*name).into(),
                    class: "gp3".into(),
                    backend: PoolBackend::Iscsi,
                    node_id: host.id,
                    path: format!("/srv/{name}"),
                    filer: None,
                    soft_percent: 80,
                    hard_percent: 90,
                };
                let pool = t.cloud.create_pool(&t.admin, request).await.unwrap();
                pools.push((pool.load.pool.id, index));
            }
            storage.push(Storage {
                host,
                ledger: None,
                files: BTreeMap::new(),
                trash: BTreeMap::new(),
                seen: None,
                sequence: 1,
                is_lost: false,
            });
        }
        compute.report(vec![(placement, crate::harness::running(1))]).await;
        let cloud = Arc::clone(&t.cloud);
        let instance = reservation.instances[0].record.instance.id;
        let volume = VolumeId::from_random(0);
        let snapshots = BTreeMap::new();
        let mut site =
            Self { t, cloud, storage, pools, instance, volume, written: 0, snapshots, is_lost: false };
        site.settle().await;
        let request = CreateVolume { size_gib: Some(1), ..CreateVolume::default() };
        site.volume = site.cloud.create_volume(&site.t.admin, request).await.unwrap().id;
        site.settle().await;
        site
    }

    async fn fetch(&mut self, index: usize) {
        let one = &mut self.storage[index];
        if one.is_lost {
            return;
        }
        let request =
            PollRequest { epoch: Epoch(1), agent_run: 1, have: Vec::new(), reported: 0, wait_ms: 0 };
        let reply = self.cloud.poll(one.host.id, request).await.unwrap().owned();
        let part = reply.parts.into_iter().find_map(|part| match part.body {
            PartBody::Storage(storage) => Some(storage),
            PartBody::Node(_) | PartBody::Vpc(_) | PartBody::Absent => None,
        });
        let part = part.unwrap();
        let named: BTreeSet<_> = part.volumes.iter().map(|one| one.id).collect();
        assert_eq!(named.len(), part.volumes.len(), "a part names a volume twice");
        one.ledger = Some(part);
    }

    fn apply(&mut self, index: usize) {
        let mut others = BTreeMap::new();
        for one in self.storage.iter().filter(|one| !one.is_lost) {
            others.extend(one.files.clone());
        }
        if !self.storage[index].is_lost {
            self.storage[index].apply(&others);
        }
    }

    async fn report(&mut self, index: usize) {
        let one = &mut self.storage[index];
        if one.is_lost || one.seen.is_none() {
            return;
        }
        one.sequence += 1;
        let observed = NodeObserved { storage: one.seen.clone(), ..one.host.observed(Vec::new()) };
        let report = Report { epoch: Epoch(1), agent_run: 1, sequence: one.sequence, observed };
        self.cloud.report(one.host.id, report).await.unwrap();
    }

    async fn round(&mut self) {
        for index in 0..self.storage.len() {
            self.fetch(index).await;
            self.apply(index);
            self.report(index).await;
        }
        self.cloud.reconcile_once().await;
    }

    async fn settle(&mut self) {
        for _ in 0..12 {
            self.round().await;
        }
    }

    async fn pool(&self) -> PoolId {
        let records = self.cloud.pools(&self.t.admin).await.unwrap();
        let mut holding = Vec::new();
        for view in records {
            let part = tepui_db::StorageDb::storage_part(&*self.t.db, view.load.pool.node_id).await.unwrap();
            let volumes = part.unwrap().volumes;
            let own = volumes.iter().find(|one| one.id == self.volume && one.pool_id == view.load.pool.id);
            holding.extend(own.map(|one| one.pool_id));
        }
        assert_eq!(holding.len(), 1);
        holding[0]
    }

    async fn state(&self) -> VolumeState {
        self.cloud.volume(&self.t.admin, self.volume).await.unwrap().state
    }

    async fn moved(&self) -> Option<VolumeMove> {
        self.t.db.moves().await.unwrap().pop()
    }

    fn host_of(&self, pool: PoolId) -> usize {
        self.pools.iter().find(|(id, _)| *id == pool).unwrap().1
    }

    /// An instance takes the volume, which must be whole, writes to it, and lets go.
    async fn use_it(&mut self) {
        let (volume_id, instance_id) = (self.volume, self.instance);
        let request = AttachVolume { volume_id, instance_id, device: "/dev/sdf".into() };
        match self.cloud.attach_volume(&self.t.admin, request).await {
            Ok(_) => {}
            Err(Error::Moving { .. } | Error::WrongState { .. }) => return,
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(self.moved().await, None, "it is used, and moves");
        let pool = self.pool().await;
        let index = self.host_of(pool);
        self.fetch(index).await;
        self.apply(index);
        self.report(index).await;
        let at = (pool, StoredId::Volume(volume_id));
        let found = self.storage[index].files.get(&at).copied();
        assert_eq!(found, Some(self.written), "the guest does not read what was written last");
        self.written += 1;
        self.storage[index].files.insert(at, self.written);
        let request = DetachVolume { volume_id, instance_id: None, device: None, force: true };
        self.cloud.detach_volume(&self.t.admin, request).await.unwrap();
        self.fetch(index).await;
        self.apply(index);
        self.report(index).await;
    }

    async fn snapshot(&mut self) {
        let request = CreateSnapshots { volumes: vec![self.volume], ..CreateSnapshots::default() };
        match self.cloud.create_snapshots(&self.t.admin, &request).await {
            Ok(made) => {
                // Nobody writes before it is taken.
                let id = made[0].snapshot.id;
                let index = self.host_of(self.pool().await);
                self.snapshots.insert(id, self.written);
                self.fetch(index).await;
                self.apply(index);
                self.report(index).await;
            }
            Err(Error::Moving { .. } | Error::WrongState { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Gives a host up, if another one would be left.
    async fn expunge(&mut self, index: usize) {
        if self.storage[index].is_lost || self.storage.iter().filter(|one| !one.is_lost).count() == 1 {
            return;
        }
        let pool = self.pool().await;
        let whole_elsewhere = match self.moved().await {
            Some(found) if found.stage.is_between() => {
                let from = self.storage_of(found.from_pool);
                let to = self.storage_of(found.to_pool);
                (from != index && !self.storage[from].is_lost) || (to != index && !self.storage[to].is_lost)
            }
            Some(found) if self.is_copied(&found).await => true,
            Some(_) | None => self.host_of(pool) != index,
        };
        self.is_lost |= !whole_elsewhere;
        let node: NodeId = self.storage[index].host.id;
        self.t.db.set_node_state(node, NodeState::Unreachable, self.cloud.now()).await.unwrap();
        self.cloud.expunge_node(&self.t.admin, node).await.unwrap();
        self.storage[index].is_lost = true;
    }

    /// Whether its copy is whole on another host than the volume's, which is not given up.
    async fn is_copied(&self, found: &VolumeMove) -> bool {
        let (from, to) = (self.storage_of(found.from_pool), self.storage_of(found.to_pool));
        if found.stage != MoveStage::Copying || from == to || self.storage[to].is_lost {
            return false;
        }
        let part = self.t.db.storage_part(self.storage[to].host.id).await.unwrap().unwrap();
        let is_whole = |one: &Snapshot| one.id == found.target_id && one.state == SnapshotState::Completed;
        part.snapshots.iter().any(is_whole)
    }

    fn storage_of(&self, pool: PoolId) -> usize {
        self.host_of(pool)
    }

    async fn step(&mut self, chance: &mut Chance) -> String {
        let (host, pool) = (chance.below(self.storage.len()), self.pools[chance.below(self.pools.len())].0);
        let admin = self.t.admin.clone();
        match chance.below(40) {
            0..=6 => {
                self.fetch(host).await;
                format!("fetch {host}")
            }
            7..=12 => {
                self.apply(host);
                format!("apply {host}")
            }
            13..=18 => {
                self.report(host).await;
                format!("report {host}")
            }
            19..=22 => {
                let begun = self.cloud.move_volume(&admin, self.volume, pool).await;
                format!("move to {pool}: {begun:?}")
            }
            23 => {
                self.cloud.empty_pool(&admin, pool).await.unwrap();
                format!("empty {pool}")
            }
            24 | 25 => {
                self.cloud.set_pool_draining(&admin, pool, false).await.unwrap();
                format!("open {pool}")
            }
            26..=28 => {
                self.use_it().await;
                format!("use: {}", self.written)
            }
            29 => {
                self.snapshot().await;
                "snapshot".into()
            }
            30 => {
                let size = self.cloud.volume(&admin, self.volume).await.unwrap().size_gib + 1;
                let grown = ModifyVolume { size_gib: Some(size), ..same(self.volume) };
                format!("grow: {:?}", self.cloud.modify_volume(&admin, grown).await.map(drop))
            }
            31 => {
                self.storage[host].seen = None;
                format!("the agent of {host} starts anew")
            }
            32 => {
                self.cloud = self.t.restarted();
                "the control plane starts anew".into()
            }
            33 if chance.below(4) == 0 => {
                self.expunge(host).await;
                format!("expunge {host}")
            }
            34 => {
                self.t.clock.advance(86_400);
                "a day".into()
            }
            35..=37 => {
                self.round().await;
                "round".into()
            }
            _ => {
                self.cloud.reconcile_once().await;
                "reconcile".into()
            }
        }
    }

    /// What was written last is on a host that is there.
    fn assert_kept(&self, log: &[String]) {
        let files = self.storage.iter().filter(|one| !one.is_lost).flat_map(|one| one.files.iter());
        let kept = files.filter(|((_, id), bytes)| **bytes == self.written && !self.is_snapshot(*id)).count();
        assert!(self.is_lost || kept > 0, "{log:#?}");
    }

    fn is_snapshot(&self, id: StoredId) -> bool {
        matches!(id, StoredId::Snapshot(id) if self.snapshots.contains_key(&id))
    }

    async fn assert_end(&mut self, log: &[String]) {
        for (pool, _) in self.pools.clone() {
            self.cloud.set_pool_draining(&self.t.admin, pool, false).await.unwrap();
        }
        self.settle().await;
        assert_eq!(self.state().await == VolumeState::Error, self.is_lost, "{log:#?}");
        let moved = self.moved().await;
        assert!(moved.is_none_or(|one| one.stage == MoveStage::Failed), "{log:#?}");
        assert_eq!(tepui_db::BooksDb::discrepancies(&*self.t.db).await.unwrap(), []);
        if self.is_lost {
            return;
        }
        self.use_it().await;
        let internal = |one: &Storage| {
            let ids = one.files.keys().filter(|(_, id)| matches!(id, StoredId::Snapshot(_)));
            ids.filter(|(_, id)| !self.is_snapshot(*id)).count()
        };
        let left: usize = self.storage.iter().filter(|one| !one.is_lost).map(internal).sum();
        assert_eq!(left, 0, "snapshots of moves stay behind: {log:#?}");
        for record in self.cloud.snapshots(&self.t.admin, &[]).await.unwrap() {
            let snapshot = record.snapshot;
            let holds = self.snapshots[&snapshot.id];
            if snapshot.state == SnapshotState::Completed {
                let host = &self.storage[self.host_of(snapshot.pool_id)];
                assert_eq!(host.files[&(snapshot.pool_id, StoredId::Snapshot(snapshot.id))], holds);
            }
        }
    }
}

#[tokio::test]
async fn no_sequence_of_moves_and_what_comes_between_loses_what_was_written() {
    let (mut kept, mut between) = (0, 0);
    for seed in 1..=SEQUENCES {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut site = Moves::new().await;
        let mut log = vec![format!("seed {seed}")];
        for _ in 0..STEPS {
            log.push(site.step(&mut chance).await);
            site.assert_kept(&log);
            between += usize::from(site.moved().await.is_some_and(|one| one.stage.is_between()));
        }
        site.assert_end(&log).await;
        kept += usize::from(!site.is_lost);
    }
    assert!(kept > 8 && between > 50, "the sequences do not reach what they are for: {kept}, {between}");
}
