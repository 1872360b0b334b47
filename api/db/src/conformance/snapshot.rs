//! Snapshots, and volumes that are made of them.

use std::sync::Arc;

use tepui_types::agent::{PoolBackend, SnapshotSource};
use tepui_types::{NodeId, PoolId, ProjectId, SnapshotId, VolumeId};

use super::site::{Site, pool};
use super::world::Tenant;
use crate::model::{Snapshot, SnapshotSharing, SnapshotState};
use crate::{
    CopySnapshotOutcome, Db, DeleteOutcome, NewSnapshotsOutcome, NewVolume, NewVolumeOutcome, ShareOutcome,
    SharingChange, StorageNews,
};

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
    let early = NewVolumeOutcome::SnapshotState(id, SnapshotState::Pending);
    assert_eq!(site.create(&from(5)).await, early);
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
    let late = NewVolumeOutcome::SnapshotState(id, SnapshotState::Deleting);
    assert_eq!(site.create(&from(8)).await, late);
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

fn with(public: bool, projects: &[ProjectId]) -> SnapshotSharing {
    SnapshotSharing { public, projects: projects.iter().copied().collect() }
}

impl Site {
    async fn share(&self, by: &Tenant, id: SnapshotId, change: &SharingChange) -> ShareOutcome {
        self.world.db.share_snapshot(by.project, id, change, 2).await.unwrap()
    }

    /// The owner shares with these beside others, and not with those any more.
    async fn reshare(&self, id: SnapshotId, add: SnapshotSharing, remove: SnapshotSharing) -> ShareOutcome {
        self.share(&self.tenant, id, &SharingChange::Change { add, remove }).await
    }

    /// The snapshots of others that a project sees, and with whom they are shared as far as it sees.
    async fn seen_by(&self, tenant: &Tenant) -> Vec<(SnapshotId, SnapshotSharing)> {
        let records = self.world.db.shared_snapshots(tenant.project).await.unwrap();
        assert!(records.iter().all(|record| record.tags.is_empty()), "tags are their owner's");
        records.into_iter().map(|record| (record.snapshot.id, record.sharing)).collect()
    }

    fn volume_of(&self, tenant: &Tenant, snapshot: SnapshotId) -> NewVolume {
        let mut new = self.new_volume(5);
        (new.volume.project_id, new.volume.snapshot_id) = (tenant.project, Some(snapshot));
        new
    }

    fn copy_by(&self, tenant: &Tenant) -> Snapshot {
        Snapshot { project_id: tenant.project, ..self.new_copy(self.pool) }
    }
}

pub async fn what_is_shared_is_used_by_others_and_changed_by_its_owner_alone(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (friend, other) = (site.world.tenant("beta").await, site.world.tenant("gamma").await);
    let (id, hidden) = (site.taken().await, site.taken().await);
    let nobody = with(false, &[]);
    let missing = NewVolumeOutcome::SnapshotMissing(id);
    assert_eq!(site.create(&site.volume_of(&friend, id)).await, missing);
    assert_eq!(site.copy(id, &site.copy_by(&friend)).await, CopySnapshotOutcome::SourceMissing(id));

    assert_eq!(site.reshare(id, with(false, &[friend.project]), nobody.clone()).await, ShareOutcome::Changed);
    assert_eq!(site.seen_by(&friend).await, [(id, with(false, &[friend.project]))]);
    assert_eq!(site.seen_by(&other).await, []);
    assert_eq!(site.seen_by(&site.tenant).await, [], "its own are no others'");
    let created = NewVolumeOutcome::Created(site.storage);
    assert_eq!(site.create(&site.volume_of(&friend, id)).await, created);
    assert_eq!(site.create(&site.volume_of(&other, id)).await, missing);
    let copying = CopySnapshotOutcome::Copying(site.storage);
    assert_eq!(site.copy(id, &site.copy_by(&friend)).await, copying);
    for change in
        [SharingChange::Reset, SharingChange::Change { add: with(true, &[]), remove: nobody.clone() }]
    {
        assert_eq!(site.share(&friend, id, &change).await, ShareOutcome::NotFound);
    }
    let deleted = site.world.db.delete_snapshot(friend.project, id).await.unwrap();
    assert_eq!(deleted, (DeleteOutcome::NotFound, None));

    // All or nothing.
    let unknown = ProjectId::from_random(site.world.bits());
    let refused =
        site.reshare(id, with(true, &[other.project, unknown]), with(false, &[friend.project])).await;
    assert_eq!(refused, ShareOutcome::ProjectMissing(unknown));
    let third = site.world.tenant("delta").await.project;
    let refused = site.reshare(id, with(true, &[other.project, third]), nobody.clone()).await;
    assert_eq!(refused, ShareOutcome::TooMany);
    assert_eq!(site.seen_by(&other).await, []);
    assert_eq!(site.seen_by(&friend).await.len(), 1);

    let public = site.reshare(id, with(true, &[other.project]), with(false, &[friend.project])).await;
    assert_eq!(public, ShareOutcome::Changed);
    let own = site.world.db.snapshots(site.tenant.project).await.unwrap();
    let sharing = |id| own.iter().find(|record| record.snapshot.id == id).unwrap().sharing.clone();
    assert_eq!((sharing(id), sharing(hidden)), (with(true, &[other.project]), nobody.clone()));
    assert_eq!(site.seen_by(&friend).await, [(id, with(true, &[]))]);
    assert_eq!(site.create(&site.volume_of(&friend, id)).await, created);
    assert_eq!(site.reshare(id, nobody, with(true, &[])).await, ShareOutcome::Changed);
    assert_eq!(site.seen_by(&friend).await, []);
    assert_eq!(site.seen_by(&other).await.len(), 1);
    assert_eq!(site.share(&site.tenant, id, &SharingChange::Reset).await, ShareOutcome::Changed);
    assert_eq!(site.seen_by(&other).await, []);
    site.assert_books().await;
}

pub async fn a_snapshot_is_not_held_by_what_others_make_of_it(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let friend = site.world.tenant("beta").await;
    let id = site.taken().await;
    site.reshare(id, with(true, &[friend.project]), with(false, &[])).await;
    site.create(&site.volume_of(&friend, id)).await;
    let cold = pool(&site.world, site.storage, "cold", PoolBackend::Nfs);
    site.world.db.create_pool(&cold).await.unwrap();
    let copy = Snapshot { pool_id: cold.id, ..site.copy_by(&friend) };
    assert_eq!(site.copy(id, &copy).await, CopySnapshotOutcome::Copying(site.storage));
    assert_eq!(site.delete_snapshot(id).await, (DeleteOutcome::Deleted, Some(site.storage)));
    assert_eq!(site.seen_by(&friend).await, [], "what goes is not offered");
    site.says(site.storage, StorageNews::SnapshotGone(id)).await;
    assert_eq!(site.snapshot(id).await, None);
    site.says(site.storage, StorageNews::SnapshotFailed(copy.id, "the pool has no such snapshot".into()))
        .await;
    let copies = site.world.db.snapshots(friend.project).await.unwrap();
    assert_eq!(copies[0].snapshot.state, SnapshotState::Error);
    site.assert_books().await;
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

pub async fn a_copy_goes_to_an_open_pool_of_any_host(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let here = pool(&site.world, site.storage, "slow", PoolBackend::Nfs);
    let elsewhere = pool(&site.world, site.compute, "far", PoolBackend::Iscsi);
    for one in [&here, &elsewhere] {
        site.world.db.create_pool(one).await.unwrap();
    }
    let of = site.taken().await;
    let to = async |pool| site.copy(of, &site.new_copy(pool)).await;
    let unknown = PoolId::from_random(site.world.bits());
    assert_eq!(to(unknown).await, CopySnapshotOutcome::PoolLost(unknown));
    for pool in [here.id, site.pool, elsewhere.id] {
        site.world.db.set_pool_draining(pool, true).await.unwrap();
    }
    for pool in [here.id, elsewhere.id] {
        assert_eq!(to(pool).await, CopySnapshotOutcome::PoolLost(pool));
    }
    assert_eq!(site.world.db.snapshots(site.tenant.project).await.unwrap().len(), 1, "nothing is left");
    let copying = CopySnapshotOutcome::Copying(site.storage);
    assert_eq!(to(site.pool).await, copying, "its own pool takes it as it takes snapshots");
    site.world.db.set_pool_draining(here.id, false).await.unwrap();
    assert_eq!(to(here.id).await, copying);
    site.world.db.set_pool_draining(elsewhere.id, false).await.unwrap();
    assert_eq!(
        to(elsewhere.id).await,
        CopySnapshotOutcome::Copying(site.compute),
        "the host of the copy makes it"
    );
}
