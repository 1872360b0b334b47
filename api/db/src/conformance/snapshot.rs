//! Snapshots, and volumes that are made of them.

use std::sync::Arc;

use tepui_types::agent::{PoolBackend, SnapshotSource};
use tepui_types::{NodeId, PoolId, SnapshotId, VolumeId};

use super::volume::{Site, pool};
use crate::model::{Snapshot, SnapshotState};
use crate::{CopySnapshotOutcome, Db, DeleteOutcome, NewSnapshotsOutcome, NewVolumeOutcome, StorageNews};

pub async fn snapshots_are_taken_together_and_volumes_made_of_them(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, .. } = &site;
    let (one, two) = (site.volume(3).await, site.volume(5).await);
    let taken = [site.new_snapshot(one), site.new_snapshot(two)];
    let tags = [(taken[1].id, "Name".to_owned(), "nightly".to_owned())];
    let lost = VolumeId::from_random(world.bits());
    let refused = [site.new_snapshot(one), site.new_snapshot(lost)];
    let create = async |all: &[Snapshot]| world.db.create_snapshots(all, &tags).await.unwrap();
    assert_eq!(create(&refused).await, NewSnapshotsOutcome::VolumeMissing(lost));
    assert!(world.db.snapshots(tenant.project).await.unwrap().is_empty(), "all or none");
    assert_eq!(create(&taken).await, NewSnapshotsOutcome::Taking(vec![*storage]));
    let id = taken[1].id;
    let snapshot = site.snapshot(id).await.unwrap();
    assert_eq!((snapshot.pool_id, snapshot.size_gib, snapshot.state), (site.pool, 5, SnapshotState::Pending));
    let from = |size| {
        let mut new = site.new_volume(size);
        new.volume.snapshot_id = Some(id);
        new
    };
    assert_eq!(site.create(&from(5)).await, NewVolumeOutcome::SnapshotMissing(id), "it is not taken yet");
    site.says(site.compute, StorageNews::SnapshotPresent(id, 0)).await;
    assert_eq!(site.snapshot(id).await.unwrap().state, SnapshotState::Pending, "another node's word");
    // Its volume had grown when it was taken.
    site.says(*storage, StorageNews::SnapshotPresent(id, 6)).await;
    assert_eq!(site.snapshot(id).await.unwrap().size_gib, 6);
    site.says(*storage, StorageNews::SnapshotPresent(id, 7)).await;
    assert_eq!(site.snapshot(id).await.unwrap().size_gib, 6, "what is taken stays");
    assert_eq!(site.create(&from(5)).await, NewVolumeOutcome::SmallerThanSnapshot(6));
    let new = from(8);
    assert_eq!(site.create(&new).await, NewVolumeOutcome::Created(*storage));
    let delete = async || world.db.delete_snapshot(tenant.project, id).await.unwrap();
    assert!(matches!(delete().await, (DeleteOutcome::InUse(_), None)), "a volume is being made of it");
    site.says(*storage, StorageNews::VolumePresent(new.volume.id, 8)).await;
    assert_eq!(delete().await, (DeleteOutcome::Deleted, Some(*storage)));
    assert_eq!(delete().await, (DeleteOutcome::Deleted, None), "asked twice");
    site.says(*storage, StorageNews::SnapshotGone(id)).await;
    assert_eq!(site.snapshot(id).await, None);
    assert_eq!(delete().await, (DeleteOutcome::NotFound, None));
    assert_eq!(world.db.snapshot_counts().await.unwrap(), [(SnapshotState::Pending, 1)]);
    site.says(*storage, StorageNews::SnapshotFailed(taken[0].id, "disk full".into())).await;
    let failed = site.snapshot(taken[0].id).await.unwrap();
    assert_eq!((failed.state, failed.message.as_deref()), (SnapshotState::Error, Some("disk full")));
}

impl Site {
    /// A snapshot of 5 GiB that its host has taken.
    async fn taken(&self) -> SnapshotId {
        let new = self.new_snapshot(self.volume(5).await);
        self.world.db.create_snapshots(std::slice::from_ref(&new), &[]).await.unwrap();
        self.says(self.storage, StorageNews::SnapshotPresent(new.id, 5)).await;
        new.id
    }

    fn new_copy(&self, pool_id: PoolId) -> Snapshot {
        Snapshot { pool_id, ..self.new_snapshot(Snapshot::NO_VOLUME) }
    }

    async fn copy(&self, of: SnapshotId, copy: &Snapshot) -> CopySnapshotOutcome {
        let tags = [("Name".to_owned(), "copy".to_owned())];
        self.world.db.copy_snapshot(of, copy, &tags).await.unwrap()
    }

    async fn delete_snapshot(&self, id: SnapshotId) -> (DeleteOutcome, Option<NodeId>) {
        self.world.db.delete_snapshot(self.tenant.project, id).await.unwrap()
    }
}

pub async fn a_copy_of_a_snapshot_has_a_life_of_its_own(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let pending = site.new_snapshot(site.volume(1).await);
    site.world.db.create_snapshots(std::slice::from_ref(&pending), &[]).await.unwrap();
    let refused = CopySnapshotOutcome::SourceState(pending.id, SnapshotState::Pending);
    assert_eq!(site.copy(pending.id, &site.new_copy(site.pool)).await, refused);
    let unknown = SnapshotId::from_random(site.world.bits());
    let missing = CopySnapshotOutcome::SourceMissing(unknown);
    assert_eq!(site.copy(unknown, &site.new_copy(site.pool)).await, missing);

    let of = site.taken().await;
    let copy = site.new_copy(site.pool);
    let before = site.generation().await;
    assert_eq!(site.copy(of, &copy).await, CopySnapshotOutcome::Copying(site.storage));
    assert!(site.generation().await > before, "its host is told");
    let copy_of = Some(SnapshotSource { snapshot_id: of, pool_id: site.pool });
    let row = Snapshot { copy_of, size_gib: 5, ..copy.clone() };
    assert_eq!(site.snapshot(copy.id).await, Some(row));
    let all = site.world.db.snapshots(site.tenant.project).await.unwrap();
    let record = all.iter().find(|record| record.snapshot.id == copy.id).unwrap();
    assert_eq!(record.tags["Name"], "copy");

    assert!(matches!(site.delete_snapshot(of).await, (DeleteOutcome::InUse(_), None)), "the copy needs it");
    site.says(site.storage, StorageNews::SnapshotPresent(copy.id, 5)).await;
    assert_eq!(site.delete_snapshot(of).await, (DeleteOutcome::Deleted, Some(site.storage)));
    site.says(site.storage, StorageNews::SnapshotGone(of)).await;
    let gone = CopySnapshotOutcome::SourceMissing(of);
    assert_eq!(site.copy(of, &site.new_copy(site.pool)).await, gone);
    assert_eq!(site.snapshot(copy.id).await.unwrap().state, SnapshotState::Completed);
    let mut new = site.new_volume(5);
    new.volume.snapshot_id = Some(copy.id);
    assert_eq!(site.create(&new).await, NewVolumeOutcome::Created(site.storage));

    // A copy that is given up frees its source.
    let last = site.taken().await;
    let given_up = site.new_copy(site.pool);
    site.copy(last, &given_up).await;
    assert_eq!(site.delete_snapshot(given_up.id).await, (DeleteOutcome::Deleted, Some(site.storage)));
    assert_eq!(site.delete_snapshot(last).await, (DeleteOutcome::Deleted, Some(site.storage)));
    site.assert_books().await;
}

pub async fn a_copy_goes_to_an_open_pool_of_its_host(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let here = pool(&site.world, site.storage, "slow", PoolBackend::Nfs);
    let elsewhere = pool(&site.world, site.compute, "far", PoolBackend::Iscsi);
    for one in [&here, &elsewhere] {
        site.world.db.create_pool(one).await.unwrap();
    }
    let of = site.taken().await;
    let to = async |pool| site.copy(of, &site.new_copy(pool)).await;
    assert_eq!(to(elsewhere.id).await, CopySnapshotOutcome::OtherHost(elsewhere.id));
    let unknown = PoolId::from_random(site.world.bits());
    assert_eq!(to(unknown).await, CopySnapshotOutcome::PoolLost(unknown));
    for pool in [here.id, site.pool] {
        site.world.db.set_pool_draining(pool, true).await.unwrap();
    }
    assert_eq!(to(here.id).await, CopySnapshotOutcome::PoolLost(here.id));
    assert_eq!(site.world.db.snapshots(site.tenant.project).await.unwrap().len(), 1, "nothing is left");
    let copying = CopySnapshotOutcome::Copying(site.storage);
    assert_eq!(to(site.pool).await, copying, "its own pool takes it as it takes snapshots");
    site.world.db.set_pool_draining(here.id, false).await.unwrap();
    assert_eq!(to(here.id).await, copying);
}
