//! Moves of volumes to other pools.

use std::sync::Arc;

use tepui_types::agent::{PoolBackend, StoredId};
use tepui_types::{NodeId, PoolId, SnapshotId, VolumeId};

use super::site::{Site, pool, size};
use crate::model::{
    HeldBy, MoveStage, NodeState, Quarantined, SnapshotState, StateReason, VolumeMove, VolumeState,
};
use crate::{
    AttachOutcome, CopySnapshotOutcome, Db, DeleteOutcome, MoveOutcome, NewMove, NewSnapshotsOutcome,
    NewVolumeOutcome, StorageNews, VolumeOutcome,
};

impl Site {
    /// A pool of the same class on the other node.
    async fn far(&self) -> PoolId {
        let far = pool(&self.world, self.compute, "far", PoolBackend::Nfs);
        self.world.db.create_pool(&far).await.unwrap();
        far.id
    }

    fn new_move(&self, volume_id: VolumeId, to_pool: PoolId) -> NewMove {
        let id = || SnapshotId::from_random(self.world.bits());
        NewMove { volume_id, to_pool, source_id: id(), target_id: id(), by_drain: false }
    }

    async fn begin(&self, new: &NewMove) -> MoveOutcome {
        self.world.db.begin_move(new, self.world.now()).await.unwrap()
    }

    async fn moved(&self, id: VolumeId) -> Option<VolumeMove> {
        self.world.db.moves().await.unwrap().into_iter().find(|one| one.volume_id == id)
    }

    async fn stage(&self, id: VolumeId) -> Option<MoveStage> {
        self.moved(id).await.map(|one| one.stage)
    }

    /// The snapshots of a host's pools, those of moves among them.
    async fn stored(&self, node: NodeId) -> Vec<(SnapshotId, SnapshotState)> {
        let part = self.world.db.storage_part(node).await.unwrap().unwrap();
        let mut stored: Vec<_> = part.snapshots.iter().map(|one| (one.id, one.state)).collect();
        stored.sort_by_key(|(id, _)| *id);
        stored
    }

    async fn kept(&self) -> Vec<(PoolId, StoredId, bool)> {
        let rows = self.world.db.quarantined().await.unwrap();
        rows.iter().map(|Quarantined { pool_id, id, ordered, .. }| (*pool_id, *id, *ordered)).collect()
    }

    /// Both copies are whole, so that it leaves.
    async fn copied(&self, new: &NewMove) {
        self.says(self.storage, StorageNews::SnapshotPresent(new.source_id, 1)).await;
        self.world.db.advance_moves(self.world.now()).await.unwrap();
        assert_eq!(self.stage(new.volume_id).await, Some(MoveStage::Copying), "the copy is not whole");
        self.says(self.compute, StorageNews::SnapshotPresent(new.target_id, 1)).await;
        assert_eq!(self.stage(new.volume_id).await, Some(MoveStage::Leaving));
    }

    /// A volume that leaves for the pool of the other node.
    async fn leaving(&self) -> (NewMove, PoolId) {
        let far = self.far().await;
        let new = self.new_move(self.volume(1).await, far);
        assert_eq!(self.begin(&new).await, MoveOutcome::Moving(vec![self.storage, self.compute]));
        self.copied(&new).await;
        (new, far)
    }

    async fn arriving(&self) -> (NewMove, PoolId) {
        let (new, far) = self.leaving().await;
        self.says(self.storage, StorageNews::VolumeGone(new.volume_id)).await;
        assert_eq!(self.stage(new.volume_id).await, Some(MoveStage::Arriving));
        (new, far)
    }

    async fn pool_of(&self, id: VolumeId) -> PoolId {
        self.record(id).await.unwrap().volume.pool_id
    }

    async fn give_up(&self, node: NodeId) {
        let reason = StateReason { code: "Server.Expunged".into(), message: "given up".into(), detail: None };
        let now = self.world.now();
        self.world.db.set_node_state(node, NodeState::Unreachable, now).await.unwrap();
        self.world.db.expunge_node(node, &reason, now).await.unwrap();
    }

    async fn every_use_waits(&self, id: VolumeId) {
        let instance = self.world.running(&self.tenant, self.compute).await;
        let attached = self.try_attach(&self.new_attachment(id, instance, "/dev/sdf")).await;
        assert_eq!(attached, AttachOutcome::Moving);
        assert_eq!(self.grow(id, 2, self.world.now()).await, VolumeOutcome::Moving);
        assert_eq!(self.delete(id).await, VolumeOutcome::Moving);
        let snapshot = self.new_snapshot(id);
        let taken = self.world.db.create_snapshots(&[snapshot], &[]).await.unwrap();
        assert_eq!(taken, NewSnapshotsOutcome::Moving(id));
    }
}

pub async fn a_volume_moves_whole_and_is_the_same(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let far = site.far().await;
    let id = site.volume(1).await;
    let before = site.record(id).await.unwrap();
    let new = site.new_move(id, far);
    let generation = site.generation().await;
    assert_eq!(site.begin(&new).await, MoveOutcome::Moving(vec![site.storage, site.compute]));
    assert!(site.generation().await > generation, "its host takes a snapshot");
    assert_eq!(site.begin(&site.new_move(id, far)).await, MoveOutcome::Unchanged, "asked twice");
    assert_eq!(site.record(id).await, Some(before.clone()), "it is as before");
    // Another host's word counts in no stage.
    for news in [StorageNews::VolumeGone(id), StorageNews::SnapshotPresent(new.source_id, 1)] {
        site.says(site.compute, news).await;
    }
    site.says(site.storage, StorageNews::VolumeGone(id)).await;
    assert_eq!(site.stored(site.compute).await, [], "there is nothing to copy yet");
    site.copied(&new).await;
    assert_eq!(site.record(id).await, Some(before.clone()), "it goes on to be available");
    site.every_use_waits(id).await;
    for news in [StorageNews::VolumeGone(id), StorageNews::VolumePresent(id, 1)] {
        site.says(site.compute, news).await;
    }
    site.says(site.storage, StorageNews::VolumePresent(id, 1)).await;
    assert_eq!((site.stage(id).await, site.pool_of(id).await), (Some(MoveStage::Leaving), site.pool));

    site.says(site.storage, StorageNews::VolumeGone(id)).await;
    assert_eq!((site.stage(id).await, site.pool_of(id).await), (Some(MoveStage::Arriving), far));
    assert_eq!(site.kept().await, [(site.pool, StoredId::Volume(id), false)], "its file has its grace");
    site.every_use_waits(id).await;
    for news in [StorageNews::VolumeGone(id), StorageNews::VolumePresent(id, 1)] {
        site.says(site.storage, news).await;
    }
    site.says(site.compute, StorageNews::VolumeFailed(id, "not yet".into())).await;
    assert_eq!(site.stage(id).await, Some(MoveStage::Arriving));

    site.says(site.compute, StorageNews::VolumePresent(id, 1)).await;
    assert_eq!(site.moved(id).await, None);
    let mut after = before;
    after.volume.pool_id = far;
    assert_eq!(site.record(id).await, Some(after));
    assert_eq!(site.stored(site.storage).await, [(new.source_id, SnapshotState::Deleting)]);
    assert_eq!(site.stored(site.compute).await, [(new.target_id, SnapshotState::Deleting)]);
    site.says(site.storage, StorageNews::SnapshotGone(new.source_id)).await;
    site.says(site.compute, StorageNews::SnapshotGone(new.target_id)).await;
    assert_eq!(site.stored(site.storage).await, []);
    assert!(site.kept().await.contains(&(far, StoredId::Snapshot(new.target_id), true)), "nobody misses it");
    site.assert_books().await;
}

pub async fn whoever_uses_a_volume_ends_its_move(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let far = site.far().await;
    let instance = site.world.running(&site.tenant, site.compute).await;
    for act in 0..3 {
        let id = site.volume(1).await;
        let new = site.new_move(id, far);
        site.begin(&new).await;
        site.says(site.storage, StorageNews::SnapshotPresent(new.source_id, 1)).await;
        match act {
            0 => {
                site.attached(id, instance, "/dev/sdf").await;
                assert_eq!(site.begin(&new).await, MoveOutcome::InUse(instance));
            }
            1 => {
                site.grow(id, 2, site.world.now()).await;
                assert_eq!(site.begin(&new).await, MoveOutcome::Modifying);
            }
            _ => {
                site.delete(id).await;
                assert_eq!(site.begin(&new).await, MoveOutcome::VolumeState(VolumeState::Deleting));
            }
        }
        assert_eq!(site.moved(id).await, None);
        // What was copied until then is never used.
        site.says(site.compute, StorageNews::SnapshotPresent(new.target_id, 1)).await;
        let stored = [site.stored(site.storage).await, site.stored(site.compute).await].concat();
        let of_move: Vec<_> =
            stored.iter().filter(|(one, _)| [new.source_id, new.target_id].contains(one)).collect();
        assert!(of_move.iter().all(|(_, state)| *state == SnapshotState::Deleting), "{of_move:?}");
        assert_eq!(site.pool_of(id).await, site.pool);
    }
    site.assert_books().await;
}

pub async fn a_move_is_refused_where_it_cannot_be(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (far, id) = (site.far().await, site.volume(1).await);
    let unknown = VolumeId::from_random(site.world.bits());
    assert_eq!(site.begin(&site.new_move(unknown, far)).await, MoveOutcome::VolumeMissing);
    assert_eq!(site.begin(&site.new_move(id, site.pool)).await, MoveOutcome::Unchanged);
    let other = crate::model::Pool {
        class: "st1".into(),
        ..pool(&site.world, site.compute, "slow", PoolBackend::Nfs)
    };
    site.world.db.create_pool(&other).await.unwrap();
    let refused = site.begin(&site.new_move(id, other.id)).await;
    assert_eq!(refused, MoveOutcome::OtherClass("gp3".into()));
    site.world.db.set_pool_draining(far, true).await.unwrap();
    assert_eq!(site.begin(&site.new_move(id, far)).await, MoveOutcome::PoolLost(far));
    let being_made = site.new_volume(1);
    site.create(&being_made).await;
    let refused = site.begin(&site.new_move(being_made.volume.id, far)).await;
    assert_eq!(refused, MoveOutcome::VolumeState(VolumeState::Creating));
    assert_eq!(site.world.db.moves().await.unwrap(), []);
    assert_eq!(site.stored(site.storage).await, [], "nothing is left behind");
}

pub async fn what_a_move_copies_is_nobodys(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (db, project) = (&site.world.db, site.tenant.project);
    let new = site.new_move(site.volume(1).await, site.far().await);
    site.begin(&new).await;
    site.says(site.storage, StorageNews::SnapshotPresent(new.source_id, 1)).await;
    assert_eq!(db.snapshots(project).await.unwrap(), []);
    assert_eq!(db.snapshot_counts().await.unwrap(), []);
    assert!(db.pools().await.unwrap().iter().all(|load| load.snapshots == 0));
    let id = new.source_id;
    let (deleted, _) = db.delete_snapshot(project, id).await.unwrap();
    assert_eq!(deleted, DeleteOutcome::NotFound);
    let copied = db.copy_snapshot(id, &site.new_snapshot(VolumeId::from_random(0)), &[]).await.unwrap();
    assert_eq!(copied, CopySnapshotOutcome::SourceMissing(id));
    let mut of_it = site.new_volume(1);
    of_it.volume.snapshot_id = Some(id);
    assert_eq!(site.create(&of_it).await, NewVolumeOutcome::SnapshotMissing(id));
    let refused = db.delete_pool(new.to_pool).await.unwrap();
    assert!(matches!(refused, DeleteOutcome::InUse(_)), "{refused:?}");
}

pub async fn a_given_up_host_takes_no_volume_with_it_that_is_whole_elsewhere(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (new, far) = site.leaving().await;
    site.give_up(site.storage).await;
    let id = new.volume_id;
    assert_eq!((site.stage(id).await, site.pool_of(id).await), (Some(MoveStage::Arriving), far));
    site.says(site.compute, StorageNews::VolumePresent(id, 1)).await;
    assert_eq!(site.moved(id).await, None);
    assert_eq!(site.record(id).await.unwrap().volume.state, VolumeState::Available);
    site.assert_books().await;
}

pub async fn a_volume_turns_back_from_a_host_that_is_given_up(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (new, _) = site.leaving().await;
    let id = new.volume_id;
    site.give_up(site.compute).await;
    let moved = site.moved(id).await.unwrap();
    assert_eq!((moved.stage, moved.to_pool, moved.target_id), (MoveStage::Leaving, site.pool, new.source_id));
    site.says(site.storage, StorageNews::VolumeGone(id)).await;
    assert_eq!((site.stage(id).await, site.pool_of(id).await), (Some(MoveStage::Arriving), site.pool));
    let file = (site.pool, StoredId::Volume(id), true);
    assert_eq!(site.kept().await, [file], "it would keep it out, and its snapshot holds the same");
    site.says(site.storage, StorageNews::VolumePresent(id, 1)).await;
    assert_eq!(site.moved(id).await, None);
    // An order for the old file never reaches a newer one.
    site.delete(id).await;
    assert_eq!(site.kept().await, [(site.pool, StoredId::Volume(id), false)]);
    site.assert_books().await;
}

pub async fn a_volume_goes_back_that_had_all_but_arrived_on_a_host_that_is_given_up(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (new, _) = site.arriving().await;
    let id = new.volume_id;
    site.give_up(site.compute).await;
    assert_eq!((site.stage(id).await, site.pool_of(id).await), (Some(MoveStage::Arriving), site.pool));
    assert_eq!(site.moved(id).await.unwrap().target_id, new.source_id);
    site.says(site.storage, StorageNews::VolumePresent(id, 1)).await;
    assert_eq!(site.record(id).await.unwrap().volume.state, VolumeState::Available);
    let other = site.far_again().await;
    let again = site.new_move(id, other);
    assert!(matches!(site.begin(&again).await, MoveOutcome::Moving(_)));
    site.give_up(site.storage).await;
    assert_eq!(site.moved(id).await, None);
    assert_eq!(site.record(id).await.unwrap().volume.state, VolumeState::Error, "nobody had it whole");
    site.assert_books().await;
}

impl Site {
    async fn far_again(&self) -> PoolId {
        let node = self.world.node(super::world::CAPACITY).await;
        let again = pool(&self.world, node, "again", PoolBackend::Nfs);
        self.world.db.create_pool(&again).await.unwrap();
        again.id
    }
}

pub async fn it_leaves_only_while_both_hosts_are_heard_and_after_its_snapshots_are_taken(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (far, id) = (site.far().await, site.volume(1).await);
    let new = site.new_move(id, far);
    site.begin(&new).await;
    let asked = site.new_snapshot(id);
    site.world.db.create_snapshots(std::slice::from_ref(&asked), &[]).await.unwrap();
    site.says(site.storage, StorageNews::SnapshotPresent(new.source_id, 1)).await;
    site.says(site.compute, StorageNews::SnapshotPresent(new.target_id, 1)).await;
    assert_eq!(site.stage(id).await, Some(MoveStage::Copying), "its owner waits for a snapshot");
    let now = site.world.now();
    site.world.db.set_node_state(site.compute, NodeState::Unreachable, now).await.unwrap();
    site.says(site.storage, StorageNews::SnapshotPresent(asked.id, 1)).await;
    assert_eq!(site.stage(id).await, Some(MoveStage::Copying), "it would be away for long");
    site.world.db.set_node_state(site.compute, NodeState::Up, now).await.unwrap();
    assert_eq!(site.world.db.advance_moves(now).await.unwrap(), [site.storage]);
    assert_eq!(site.stage(id).await, Some(MoveStage::Leaving));
    assert_eq!(site.world.db.advance_moves(now).await.unwrap(), [], "run twice");
    // Its host has not let go of it yet, and gets it back.
    assert_eq!(site.begin(&site.new_move(id, site.pool)).await, MoveOutcome::Back(vec![]));
    site.says(site.storage, StorageNews::VolumeGone(id)).await;
    assert_eq!(site.begin(&site.new_move(id, far)).await, MoveOutcome::Moved);
    site.says(site.storage, StorageNews::VolumePresent(id, 1)).await;
    assert_eq!((site.moved(id).await, site.pool_of(id).await), (None, site.pool));
    site.assert_books().await;
}

pub async fn a_volume_whose_copy_is_whole_goes_there_when_its_host_is_given_up(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (far, id) = (site.far().await, site.volume(1).await);
    let new = site.new_move(id, far);
    site.begin(&new).await;
    let asked = site.new_snapshot(id);
    site.world.db.create_snapshots(std::slice::from_ref(&asked), &[]).await.unwrap();
    site.says(site.storage, StorageNews::SnapshotPresent(new.source_id, 1)).await;
    site.says(site.compute, StorageNews::SnapshotPresent(new.target_id, 1)).await;
    assert_eq!(site.stage(id).await, Some(MoveStage::Copying), "its owner waits for a snapshot");
    site.give_up(site.storage).await;
    assert_eq!((site.stage(id).await, site.pool_of(id).await), (Some(MoveStage::Arriving), far));
    site.says(site.compute, StorageNews::VolumePresent(id, 1)).await;
    assert_eq!(site.moved(id).await, None);
    assert_eq!(site.record(id).await.unwrap().volume.state, VolumeState::Available);
    site.assert_books().await;
}

pub async fn a_copy_that_fails_leaves_the_volume_as_it_was(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (far, id) = (site.far().await, site.volume(1).await);
    let new = site.new_move(id, far);
    site.begin(&new).await;
    site.says(site.storage, StorageNews::SnapshotFailed(new.source_id, "no such volume".into())).await;
    let moved = site.moved(id).await.unwrap();
    assert_eq!((moved.stage, moved.message.as_deref()), (MoveStage::Failed, Some("no such volume")));
    assert_eq!(site.stored(site.storage).await, [(new.source_id, SnapshotState::Deleting)]);
    let unused = site.far_again().await;
    let failing = site.new_move(id, unused);
    site.begin(&failing).await;
    site.says(site.storage, StorageNews::SnapshotFailed(failing.source_id, "no such volume".into())).await;
    assert_eq!(site.world.db.delete_pool(unused).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(site.moved(id).await, None, "it does not keep the pool");
    let again = site.new_move(id, far);
    assert!(matches!(site.begin(&again).await, MoveOutcome::Moving(_)), "somebody asks again");
    site.world.db.set_pool_draining(far, true).await.unwrap();
    site.world.db.advance_moves(site.world.now()).await.unwrap();
    assert_eq!(site.moved(id).await, None, "the pool takes nothing new any more");
    let instance = site.world.running(&site.tenant, site.compute).await;
    site.attached(id, instance, "/dev/sdf").await;
    site.assert_books().await;
}

pub async fn a_drained_pool_tells_what_it_holds_until_it_is_opened(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let db = &site.world.db;
    let (far, free, used) = (site.far().await, site.volume(1).await, site.volume(1).await);
    let instance = site.world.running(&site.tenant, site.compute).await;
    site.attached(used, instance, "/dev/sdf").await;
    assert_eq!(db.held_volumes().await.unwrap(), []);
    assert!(!db.empty_pool(PoolId::from_random(site.world.bits())).await.unwrap());
    assert!(db.empty_pool(site.pool).await.unwrap());
    let load = async || db.pools().await.unwrap().into_iter().find(|load| load.pool.id == site.pool).unwrap();
    assert_eq!((load().await.pool.draining, load().await.moves_out), (true, true));
    let new = NewMove { by_drain: true, ..site.new_move(free, far) };
    site.begin(&new).await;
    let held = db.held_volumes().await.unwrap();
    let of =
        |id| held.iter().find(|one| one.volume_id == id).map(|one| (one.held_by, one.is_moving)).unwrap();
    assert_eq!((of(free), of(used)), ((None, true), (Some(HeldBy::Instance(instance)), false)));
    db.set_pool_draining(site.pool, false).await.unwrap();
    assert_eq!((db.held_volumes().await.unwrap(), site.moved(free).await), (vec![], None));
    assert!(!load().await.moves_out);
    let asked = site.new_move(free, far);
    site.begin(&asked).await;
    db.set_pool_draining(site.pool, false).await.unwrap();
    assert!(site.moved(free).await.is_some(), "an administrator asked for it");
    site.modify(free, size(1), site.world.now()).await;
    assert!(site.moved(free).await.is_some(), "nothing was changed");
    site.assert_books().await;
}
