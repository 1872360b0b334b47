//! Pools, volumes, attachments, snapshots.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tepui_types::agent::{FreezeKind, IoLimits, PoolBackend, SnapshotSource, VolumeImage, VolumeSource};
use tepui_types::{
    AttachmentId, ExportId, FilerFolder, InstanceId, NodeId, PlacementId, PoolId, ProjectId, SnapshotId,
    VolumeId,
};

use super::{AttachmentState, ExportState, SnapshotFreeze, SnapshotState, VolumeEnd, VolumeState};

/// Storage that volumes are made in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The id.
    pub id: PoolId,
    /// Unique in the cloud.
    pub name: String,
    /// What users ask for as the volume's type; several pools may share one.
    pub class: String,
    /// How its volumes reach their instances.
    pub backend: PoolBackend,
    /// The node whose agent serves it.
    pub node_id: NodeId,
    /// Its folder on that node.
    pub path: String,
    /// The same folder on the filer that serves it over NFS; the node serves it without.
    pub filer: Option<FilerFolder>,
    /// Percent of its file system in use above which operators are warned.
    pub soft_percent: u8,
    /// Percent of its file system in use above which it takes no new volumes or snapshots.
    pub hard_percent: u8,
    /// An operator keeps new volumes off it.
    pub draining: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A disk that lives apart from instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The id.
    pub id: VolumeId,
    /// The owner.
    pub project_id: ProjectId,
    /// Where it is.
    pub pool_id: PoolId,
    /// The size that is wanted; it never shrinks.
    pub size_gib: u32,
    /// The size that its host confirmed; 0 before its first word.
    pub actual_gib: u32,
    /// What a guest may do with it.
    pub limits: IoLimits,
    /// The snapshot that it was made from.
    pub snapshot_id: Option<SnapshotId>,
    /// The image that it was made from; never with a snapshot.
    pub image: Option<VolumeImage>,
    /// Nobody writes it, so that many instances may have it at once. It changes only while none has it.
    pub read_only: bool,
    /// How far it is.
    pub state: VolumeState,
    /// Why it failed, for administrators.
    pub message: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A volume's place in an instance, and its incarnation where the instance is now.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The id.
    pub id: AttachmentId,
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The client's name of the disk, for example `/dev/sdf`; its last letter is unique in
    /// the instance.
    pub device: String,
    /// The volume goes with the instance.
    pub delete_on_termination: bool,
    /// How far it is.
    pub state: AttachmentState,
    /// When it was asked for.
    pub since: Timestamp,
    /// Names the credential and the target by which the placement reaches the volume.
    pub export_id: ExportId,
    /// Whose it is, or was last where the export is closed.
    pub placement_id: PlacementId,
    /// The password of the export's account, under the key file.
    pub wrapped_secret: Vec<u8>,
    /// How far the export is.
    pub export_state: ExportState,
    /// Where it is served; `None` before it is open.
    pub source: Option<VolumeSource>,
    /// What last failed, for administrators.
    pub message: Option<String>,
    /// The size that the volume's host confirmed.
    pub size_gib: u32,
    /// The size that the instance's host has given to the guest; 0 before its word.
    pub guest_gib: u32,
    /// What a guest may do with the volume.
    pub limits: IoLimits,
    /// What the instance's host holds the guest to.
    pub guest_limits: IoLimits,
    /// The instance boots from it.
    pub is_root: bool,
    /// The instance only reads it, as all others do that have the volume.
    pub read_only: bool,
}

/// Without the secret.
impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("id", &self.id)
            .field("volume_id", &self.volume_id)
            .field("instance_id", &self.instance_id)
            .field("device", &self.device)
            .field("state", &self.state)
            .field("export_id", &self.export_id)
            .field("placement_id", &self.placement_id)
            .field("export_state", &self.export_state)
            .field("source", &self.source)
            .field("message", &self.message)
            .field("size_gib", &self.size_gib)
            .field("guest_gib", &self.guest_gib)
            .field("limits", &self.limits)
            .field("guest_limits", &self.guest_limits)
            .field("is_root", &self.is_root)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// A change of a volume's size, limits or access, the last one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeModification {
    /// The size before.
    pub original_gib: u32,
    /// The size that was asked for.
    pub target_gib: u32,
    /// The limits before.
    pub original_limits: IoLimits,
    /// The limits that were asked for.
    pub target_limits: IoLimits,
    /// Whether nobody wrote it before.
    pub original_read_only: bool,
    /// Whether nobody is to write it.
    pub target_read_only: bool,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When the volume's host had the size, and the guest that uses it the size and the limits.
    pub ended_at: Option<Timestamp>,
}

/// A volume with what `DescribeVolumes` shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRecord {
    /// The volume.
    pub volume: Volume,
    /// The class of its pool.
    pub class: String,
    /// Where it is used: in one place at most unless it is read only, the oldest first.
    pub attachments: Vec<Attachment>,
    /// The last change of its size, limits or access.
    pub modification: Option<VolumeModification>,
    /// When it is deleted by itself.
    pub end: Option<VolumeEnd>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What a volume held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The id.
    pub id: SnapshotId,
    /// The owner.
    pub project_id: ProjectId,
    /// Where it is: the pool of its volume, or the one that it was copied to or made in. That of a local root disk is chosen.
    pub pool_id: PoolId,
    /// What it was taken of; that may be gone. [`Snapshot::NO_VOLUME`] of a copy and of one that was made from an image.
    pub volume_id: VolumeId,
    /// What it is a copy of; that may be gone.
    pub copy_of: Option<SnapshotSource>,
    /// The image that it was made from, which may be gone; never with a source.
    pub image: Option<VolumeImage>,
    /// The placement whose local root disk it is taken of; that may be gone.
    pub root_of: Option<PlacementId>,
    /// The volume's size at that moment; the image's in whole GiB.
    pub size_gib: u32,
    /// For people.
    pub description: String,
    /// How far it is.
    pub state: SnapshotState,
    /// How far the freeze of its guest is that it is taken in; `None` of one that is taken without, or of which its host
    /// said that it failed. A copy is what it is a copy of.
    pub freeze: Option<SnapshotFreeze>,
    /// What of its guest holds still in that freeze; it says nothing of a snapshot without one.
    pub freeze_kind: FreezeKind,
    /// Why it failed, for administrators.
    pub message: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Snapshot {
    /// What copies and snapshots of images have for their volume: as on AWS one that never was.
    pub const NO_VOLUME: VolumeId = VolumeId::from_random(u128::MAX);
}

/// Who may see a snapshot, beside its owner, and make volumes and copies of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotSharing {
    /// Everybody.
    pub public: bool,
    /// These projects.
    pub projects: BTreeSet<ProjectId>,
}

/// A snapshot with what `DescribeSnapshots` shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// With whom it is shared; of another project's, only whether all may see it, and the reader.
    pub sharing: SnapshotSharing,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}
