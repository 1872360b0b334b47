//! Snapshots of root disks that are local to their instances' nodes.

use std::sync::Arc;

use tepui_types::{FreezeId, InstanceId, PlacementId, PoolId, VolumeId};

use super::site::Site;
use crate::model::{InstanceState, Snapshot, SnapshotState};
use crate::{Db, FreezeOutcome, NewSnapshotsOutcome, StorageNews};

impl Site {
    /// The local root disk of an instance, and its placement.
    async fn root_of(&self, id: InstanceId) -> (VolumeId, PlacementId) {
        let record = self.world.record(&self.tenant, id).await;
        (record.root_volume.unwrap().id, record.placement.unwrap().id)
    }

    fn snapshot_in(&self, pool_id: PoolId, root: VolumeId) -> Snapshot {
        Snapshot { pool_id, ..self.new_snapshot(root) }
    }

    async fn take(&self, snapshots: &[Snapshot]) -> NewSnapshotsOutcome {
        self.world.db.create_snapshots(snapshots, &[]).await.unwrap()
    }
}

pub async fn a_local_root_goes_to_the_pool_of_its_row_and_is_asked_of_its_node(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (world, tenant) = (&site.world, &site.tenant);
    let instance = world.running(tenant, site.compute).await;
    let ((root, placement), volume) = (site.root_of(instance).await, site.volume(3).await);
    let nowhere = PoolId::from_random(0);
    let both = [site.new_snapshot(volume), site.snapshot_in(nowhere, root)];
    assert_eq!(site.take(&both).await, NewSnapshotsOutcome::PoolLost(root, nowhere));
    assert_eq!(world.db.snapshots(tenant.project).await.unwrap(), [], "all or none");

    let both = both.map(|one| Snapshot { pool_id: site.pool, ..one });
    assert_eq!(site.take(&both).await, NewSnapshotsOutcome::Taking(vec![site.storage]));
    let id = both[1].id;
    let found = site.snapshot(id).await.unwrap();
    let size = world.record(tenant, instance).await.root_volume.unwrap().size_gib;
    assert_eq!((found.pool_id, found.size_gib, found.volume_id), (site.pool, size, root));
    assert_eq!((found.root_of, found.copy_of, found.state), (Some(placement), None, SnapshotState::Pending));
    assert_eq!(site.snapshot(both[0].id).await.unwrap().root_of, None);

    let place = async |id| world.db.root_of_snapshot(id).await.unwrap();
    assert_eq!(place(id).await, Some((placement, site.compute)));
    assert_eq!(place(both[0].id).await, None, "it is taken of a volume");
    site.says(site.storage, StorageNews::SnapshotPresent(id, size)).await;
    assert_eq!(site.snapshot(id).await.unwrap().state, SnapshotState::Completed);
    assert_eq!(place(id).await, None, "it is there");
    site.assert_books().await;
}

pub async fn a_local_root_has_snapshots_as_long_as_its_instance_is_to_stay(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (world, tenant) = (&site.world, &site.tenant);
    let take = async |root| site.take(&[site.snapshot_in(site.pool, root)]).await;
    let young = world.pending(tenant, site.compute).await;
    let (root, _) = site.root_of(young).await;
    assert_eq!(take(root).await, NewSnapshotsOutcome::RootState(root, InstanceState::Pending));

    let (other, stopped) = (world.tenant("beta").await, world.stopped(tenant, site.compute).await);
    let (root, _) = site.root_of(stopped).await;
    let foreign = Snapshot { project_id: other.project, ..site.snapshot_in(site.pool, root) };
    assert_eq!(site.take(&[foreign]).await, NewSnapshotsOutcome::VolumeMissing(root));
    let wanted = site.snapshot_in(site.pool, root);
    let frozen = world.db.freeze_snapshots(
        FreezeId::from_random(world.bits()),
        std::slice::from_ref(&wanted),
        &[],
        world.now(),
    );
    assert_eq!(frozen.await.unwrap(), FreezeOutcome::LocalRoot(root));

    assert_eq!(
        site.take(std::slice::from_ref(&wanted)).await,
        NewSnapshotsOutcome::Taking(vec![site.storage])
    );
    assert!(world.db.root_of_snapshot(wanted.id).await.unwrap().is_some());
    world.terminate(tenant, stopped).await;
    assert_eq!(world.db.root_of_snapshot(wanted.id).await.unwrap(), None, "nobody reads it any more");
    assert_eq!(take(root).await, NewSnapshotsOutcome::VolumeMissing(root));
    site.says(site.storage, StorageNews::SnapshotFailed(wanted.id, "it is gone".into())).await;
    assert_eq!(site.snapshot(wanted.id).await.unwrap().state, SnapshotState::Error);
}
