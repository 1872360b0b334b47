//! Snapshots, and volumes that are made of them.

use std::sync::Arc;

use tepui_types::VolumeId;

use super::volume::Site;
use crate::model::{Snapshot, SnapshotState};
use crate::{Db, DeleteOutcome, NewSnapshotsOutcome, NewVolumeOutcome, StorageNews};

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
