//! A tenant and two nodes, of which the first has a pool: where cases of storage happen.

use std::sync::Arc;

use jiff::Timestamp;
use tepui_types::agent::{FreezeKind, IoLimits, PoolBackend, VolumeSource};
use tepui_types::{AttachmentId, ExportId, Generation, InstanceId, NodeId, PoolId, SnapshotId, VolumeId};

use super::world::{CAPACITY, Tenant, World};
use crate::model::{
    Attachment, Pool, Snapshot, SnapshotState, Volume, VolumeModification, VolumeRecord, VolumeState,
};
use crate::{
    AttachOutcome, CreateOutcome, Db, DetachOutcome, Detachment, NewAttachment, NewVolume, NewVolumeOutcome,
    StorageNews, VolumeChange, VolumeOutcome,
};

/// Two nodes, of which the first has a pool, and a tenant.
pub(super) struct Site {
    pub(super) world: World,
    pub(super) tenant: Tenant,
    pub(super) storage: NodeId,
    pub(super) compute: NodeId,
    pub(super) pool: PoolId,
}

impl Site {
    pub(super) async fn new(db: Arc<dyn Db>) -> Self {
        Self::with(db, PoolBackend::Iscsi).await
    }

    pub(super) async fn with(db: Arc<dyn Db>, backend: PoolBackend) -> Self {
        let world = World::new(db);
        let tenant = world.tenant("alpha").await;
        let (storage, compute) = (world.node(CAPACITY).await, world.node(CAPACITY).await);
        let pool = pool(&world, storage, "fast", backend);
        assert_eq!(world.db.create_pool(&pool).await.unwrap(), CreateOutcome::Created);
        Self { world, tenant, storage, compute, pool: pool.id }
    }

    pub(super) fn new_volume(&self, size_gib: u32) -> NewVolume {
        let volume = Volume {
            id: VolumeId::from_random(self.world.bits()),
            project_id: self.tenant.project,
            pool_id: self.pool,
            size_gib,
            actual_gib: 0,
            limits: IoLimits::NONE,
            snapshot_id: None,
            image: None,
            read_only: false,
            state: VolumeState::Creating,
            message: None,
            created_at: self.world.now(),
        };
        NewVolume { volume, token: None, tags: vec![("Name".into(), "data".into())], end: None }
    }

    pub(super) async fn create(&self, new: &NewVolume) -> NewVolumeOutcome {
        self.world.db.create_volume(new).await.unwrap()
    }

    /// A volume that its host has made.
    pub(super) async fn volume(&self, size_gib: u32) -> VolumeId {
        let new = self.new_volume(size_gib);
        assert_eq!(self.create(&new).await, NewVolumeOutcome::Created(self.storage));
        self.says(self.storage, StorageNews::VolumePresent(new.volume.id, size_gib)).await;
        new.volume.id
    }

    pub(super) async fn says(&self, node: NodeId, news: StorageNews) -> Vec<NodeId> {
        self.world.db.apply_storage_news(node, &[news], self.world.now()).await.unwrap()
    }

    pub(super) async fn records(&self) -> Vec<VolumeRecord> {
        self.world.db.volumes(self.tenant.project).await.unwrap()
    }

    pub(super) async fn record(&self, id: VolumeId) -> Option<VolumeRecord> {
        self.records().await.into_iter().find(|record| record.volume.id == id)
    }

    pub(super) async fn modification(&self, id: VolumeId) -> Option<VolumeModification> {
        self.record(id).await.and_then(|record| record.modification)
    }

    pub(super) async fn attachment(&self, id: VolumeId) -> Option<Attachment> {
        let mut all = self.attachments(id).await;
        assert!(all.len() < 2, "{all:?}");
        all.pop()
    }

    pub(super) async fn attachments(&self, id: VolumeId) -> Vec<Attachment> {
        self.record(id).await.map(|record| record.attachments).unwrap_or_default()
    }

    pub(super) fn new_attachment(
        &self,
        volume_id: VolumeId,
        instance_id: InstanceId,
        device: &str,
    ) -> NewAttachment {
        NewAttachment {
            id: AttachmentId::from_random(self.world.bits()),
            project_id: self.tenant.project,
            volume_id,
            instance_id,
            device: device.into(),
            delete_on_termination: false,
            export_id: ExportId::from_random(self.world.bits()),
            wrapped_secret: vec![7; 32],
            most: 3,
            most_instances: 3,
            is_root: false,
        }
    }

    pub(super) async fn try_attach(&self, new: &NewAttachment) -> AttachOutcome {
        self.world.db.attach_volume(new, self.world.now()).await.unwrap()
    }

    /// Attaches a volume, and both hosts say that it is done.
    pub(super) async fn attached(&self, volume: VolumeId, instance: InstanceId, device: &str) -> ExportId {
        let new = self.new_attachment(volume, instance, device);
        assert_eq!(self.try_attach(&new).await, AttachOutcome::Attaching(self.storage));
        self.says(self.storage, StorageNews::ExportOpen(new.export_id, source())).await;
        self.says(self.compute, StorageNews::DiskAttached(new.export_id)).await;
        new.export_id
    }

    pub(super) async fn detach(&self, volume_id: VolumeId, force: bool) -> DetachOutcome {
        let what =
            Detachment { project_id: self.tenant.project, volume_id, instance_id: None, device: None, force };
        self.world.db.detach_volume(&what).await.unwrap()
    }

    pub(super) async fn modify(&self, id: VolumeId, change: VolumeChange, now: Timestamp) -> VolumeOutcome {
        self.world.db.modify_volume(self.tenant.project, id, change, now).await.unwrap()
    }

    pub(super) async fn grow(&self, id: VolumeId, gib: u32, now: Timestamp) -> VolumeOutcome {
        self.modify(id, size(gib), now).await
    }

    pub(super) async fn delete(&self, id: VolumeId) -> VolumeOutcome {
        self.world.db.delete_volume(self.tenant.project, id).await.unwrap()
    }

    pub(super) async fn generation(&self) -> Generation {
        let generation = self.world.db.storage_generation(self.storage).await.unwrap().unwrap();
        let part = self.world.db.storage_part(self.storage).await.unwrap().unwrap();
        assert_eq!(part.generation, generation);
        generation
    }

    pub(super) fn new_snapshot(&self, volume_id: VolumeId) -> Snapshot {
        Snapshot {
            id: SnapshotId::from_random(self.world.bits()),
            project_id: self.tenant.project,
            pool_id: PoolId::from_random(0),
            volume_id,
            copy_of: None,
            image: None,
            root_of: None,
            size_gib: 0,
            description: "before the upgrade".into(),
            state: SnapshotState::Pending,
            freeze: None,
            freeze_kind: FreezeKind::default(),
            message: None,
            created_at: self.world.now(),
        }
    }

    pub(super) async fn snapshot(&self, id: SnapshotId) -> Option<Snapshot> {
        let all = self.world.db.snapshots(self.tenant.project).await.unwrap();
        all.into_iter().map(|record| record.snapshot).find(|snapshot| snapshot.id == id)
    }

    pub(super) async fn assert_books(&self) {
        assert_eq!(self.world.db.discrepancies().await.unwrap(), []);
    }
}

pub(super) fn pool(world: &World, node_id: NodeId, name: &str, backend: PoolBackend) -> Pool {
    Pool {
        id: PoolId::from_random(world.bits()),
        name: name.into(),
        class: "gp3".into(),
        backend,
        node_id,
        path: format!("/srv/{name}"),
        filer: None,
        soft_percent: 80,
        hard_percent: 90,
        draining: false,
        created_at: world.now(),
    }
}

pub(super) fn size(gib: u32) -> VolumeChange {
    VolumeChange { size_gib: Some(gib), ..VolumeChange::default() }
}

pub(super) fn source() -> VolumeSource {
    VolumeSource::Local { path: "/srv/fast/volume".into() }
}
