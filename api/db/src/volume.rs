//! Volumes and their attachments.

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::{AttachmentId, ExportId, InstanceId, NodeId, PoolId, ProjectId, SnapshotId, VolumeId};

use crate::model::{InstanceState, SnapshotState, Volume, VolumeEnd, VolumeRecord, VolumeState};
use crate::{DbError, TokenUse};

/// One `CreateVolume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// The row. Its state is `Creating`.
    pub volume: Volume,
    /// Makes a repeat harmless.
    pub token: Option<TokenUse>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// When it is deleted by itself.
    pub end: Option<VolumeEnd>,
}

/// What became of a creation. Everything but `Created` and `Repeated` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewVolumeOutcome {
    /// It is in the books; this node's agent makes it.
    Created(NodeId),
    /// The token made this one before, with the same parameters.
    Repeated(VolumeId),
    /// The token stands for other parameters.
    TokenMismatch,
    /// The pool was deleted or drained, or its node given up, since it was chosen: choose again.
    PoolLost(PoolId),
    /// There is no such snapshot in this pool that the project may use.
    SnapshotMissing(SnapshotId),
    /// The snapshot is in this state.
    SnapshotState(SnapshotId, SnapshotState),
    /// The snapshot has so many GiB, and the volume would have fewer.
    SmallerThanSnapshot(u32),
    /// The project may have only so many of this (`volumes`, `volume_gib`).
    QuotaExceeded {
        /// Which quota.
        quota: &'static str,
        /// Its limit.
        limit: u64,
        /// What is taken already.
        used: u64,
    },
    /// There is no such project.
    ParentMissing,
}

/// What is to be changed of a volume; `None` leaves it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VolumeChange {
    /// In GiB.
    pub size_gib: Option<u32>,
    /// Operations a second; 0 is no limit.
    pub iops: Option<u32>,
    /// MiB a second; 0 is no limit.
    pub throughput_mib: Option<u32>,
    /// Nobody is to write it.
    pub read_only: Option<bool>,
}

/// What became of a change of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeOutcome {
    /// It is in the books; the agents of these nodes carry it out.
    Changed(Vec<NodeId>),
    /// It is so already; nothing was changed.
    Unchanged,
    /// The project has no such volume.
    NotFound,
    /// Not from this state.
    WrongState(VolumeState),
    /// It is in use by this instance, perhaps among others.
    InUse(InstanceId),
    /// It has so many GiB, and a volume never shrinks.
    WouldShrink(u32),
    /// Its last modification has not ended.
    Modifying,
    /// It is between two pools: again in a moment.
    Moving,
    /// The project may have only so many GiB, and so many are taken.
    QuotaExceeded {
        /// The limit.
        limit: u64,
        /// What is taken already.
        used: u64,
    },
}

/// One `AttachVolume`.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAttachment {
    /// The id.
    pub id: AttachmentId,
    /// The owner of both.
    pub project_id: ProjectId,
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The client's name of the disk.
    pub device: String,
    /// The volume goes with the instance.
    pub delete_on_termination: bool,
    /// Names the first incarnation.
    pub export_id: ExportId,
    /// The password of its account, under the key file.
    pub wrapped_secret: Vec<u8>,
    /// So many volumes an instance may have beside its root disk.
    pub most: u32,
    /// So many instances may have a volume that is read only.
    pub most_instances: u32,
    /// The instance boots from it; only one that is made with it.
    pub is_root: bool,
}

/// Without the secret.
impl std::fmt::Debug for NewAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAttachment")
            .field("id", &self.id)
            .field("volume_id", &self.volume_id)
            .field("instance_id", &self.instance_id)
            .field("device", &self.device)
            .field("export_id", &self.export_id)
            .finish_non_exhaustive()
    }
}

/// What became of an attachment. Everything but `Attaching` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachOutcome {
    /// It is in the books; this node's agent opens the export.
    Attaching(NodeId),
    /// The project has no such volume.
    VolumeMissing,
    /// The project has no such instance.
    InstanceMissing,
    /// The volume is in this state.
    VolumeState(VolumeState),
    /// The volume is between two pools: again in a moment.
    Moving,
    /// The instance is in this state, in which nothing can be attached.
    InstanceState(InstanceState),
    /// The volume is in use by this instance, or, where it is read only, is this one's already.
    InUse(InstanceId),
    /// As many instances have the volume as may.
    TooManyInstances,
    /// The instance has this device already.
    DeviceTaken,
    /// The instance has as many volumes as it may.
    TooMany,
    /// The pool serves instances on this node only.
    OtherNode(NodeId),
}

/// What became of a detachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetachOutcome {
    /// It is in the books; wake these nodes.
    Detaching {
        /// The instance it leaves.
        instance_id: InstanceId,
        /// The device it had.
        device: String,
        /// When it was attached.
        since: Timestamp,
        /// The volume goes with the instance.
        delete_on_termination: bool,
        /// Who carries it out.
        nodes: Vec<NodeId>,
    },
    /// The project has no such volume.
    VolumeMissing,
    /// It is not attached, or not to the instance or device that was named.
    NotAttached,
    /// What was named fits so many instances that have it.
    Several(usize),
    /// Its instance boots from it.
    Root,
}

/// What to detach, as the client named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detachment {
    /// The owner.
    pub project_id: ProjectId,
    /// The volume.
    pub volume_id: VolumeId,
    /// Only if it is attached to this one.
    pub instance_id: Option<InstanceId>,
    /// Only if it has this name there.
    pub device: Option<String>,
    /// Ask the guest once more, for a while at most, and then cut it off.
    pub force: bool,
}

/// Volumes.
#[async_trait]
pub trait VolumeDb: Send + Sync {
    /// Creates a volume.
    async fn create_volume(&self, new: &NewVolume) -> Result<NewVolumeOutcome, DbError>;

    /// A project's volumes, by id.
    async fn volumes(&self, project: ProjectId) -> Result<Vec<VolumeRecord>, DbError>;

    /// Grows a volume or changes its limits, in use or not, unless its last modification has not ended. Limits of a
    /// volume that no guest has are changed at once. Whether it is read only, and the size of one that is, change only
    /// while no instance has it.
    async fn modify_volume(
        &self,
        project: ProjectId,
        id: VolumeId,
        change: VolumeChange,
        now: Timestamp,
    ) -> Result<VolumeOutcome, DbError>;

    /// Deletes a volume that is not in use.
    async fn delete_volume(&self, project: ProjectId, id: VolumeId) -> Result<VolumeOutcome, DbError>;

    /// Attaches a volume that no other instance has, or that is read only.
    async fn attach_volume(&self, new: &NewAttachment, now: Timestamp) -> Result<AttachOutcome, DbError>;

    /// Detaches a volume. Asked again, it changes nothing, but that `force` is remembered.
    async fn detach_volume(&self, what: &Detachment) -> Result<DetachOutcome, DbError>;

    /// Says of these volumes whether they go with the instance, of all or of none; the first one that is not attached
    /// to it, or leaves it.
    async fn set_delete_on_termination(
        &self,
        project: ProjectId,
        instance: InstanceId,
        disks: &[(VolumeId, bool)],
    ) -> Result<Option<VolumeId>, DbError>;
}
