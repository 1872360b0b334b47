//! Volumes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, SnapshotId, Timestamp, VolumeId};

/// The state EC2 shows, in EC2's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeState {
    /// Its host makes it.
    Creating,
    /// Nobody uses it.
    Available,
    /// An instance has it, or is on its way to or from it.
    InUse,
    /// Its host removes it.
    Deleting,
    /// It can never be made, or is lost.
    Error,
}

/// How far an attachment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentState {
    /// On its way to the guest.
    Attaching,
    /// The guest has it.
    Attached,
    /// On its way from the guest; nobody else gets it before it is fenced.
    Detaching,
}

/// A volume's place in an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeAttachment {
    /// The instance.
    pub instance_id: InstanceId,
    /// The disk's name, for example `/dev/sdf`.
    pub device: String,
    /// How far it is.
    pub state: AttachmentState,
    /// The volume goes with the instance.
    pub delete_on_termination: bool,
    /// When it was asked for.
    pub since: Timestamp,
}

/// How far a change of a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModificationState {
    /// The volume's host has not grown it.
    Modifying,
    /// The guest does not see the new size, or is not held to the new limits.
    Optimizing,
    /// Everybody has the new size and limits.
    Completed,
    /// The volume is lost.
    Failed,
}

/// The last change of a volume. A limit that is absent is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeModification {
    /// How far it is.
    pub state: ModificationState,
    /// GiB before.
    pub original_gib: u32,
    /// GiB that were asked for.
    pub target_gib: u32,
    /// Operations a second before.
    pub original_iops: Option<u32>,
    /// Operations a second that were asked for.
    pub target_iops: Option<u32>,
    /// MiB a second before.
    pub original_throughput_mib: Option<u32>,
    /// MiB a second that were asked for.
    pub target_throughput_mib: Option<u32>,
    /// Whether nobody wrote it before.
    pub original_read_only: bool,
    /// Whether nobody is to write it.
    pub target_read_only: bool,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it was completed.
    pub ended_at: Option<Timestamp>,
}

/// What a guest did with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeIo {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
}

/// How near the end of a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeEndState {
    /// Nobody is warned yet.
    Later,
    /// This is the warning.
    Soon,
    /// Its time has come. It goes once nobody uses it and its warning was long enough.
    Overdue,
}

/// When a volume is deleted by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeEnd {
    /// The time that was set.
    pub at: Timestamp,
    /// How near it is.
    pub state: VolumeEndState,
    /// The warning begins then.
    pub warns_at: Timestamp,
    /// It is not deleted before; later than its time where the warning began late.
    pub not_before: Timestamp,
}

/// A volume: of a pool, or an instance's root disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Volume {
    /// The id.
    pub id: VolumeId,
    /// The tag `Name`.
    pub name: Option<String>,
    /// Its size in GiB.
    pub size_gib: u32,
    /// Operations a second that a guest may do, reads and writes together; absent where there is no limit.
    pub iops: Option<u32>,
    /// MiB a second that a guest may read and write; absent where there is no limit.
    pub throughput_mib: Option<u32>,
    /// The class of its pool.
    pub class: String,
    /// How far it is.
    pub state: VolumeState,
    /// What it was made from.
    pub snapshot_id: Option<SnapshotId>,
    /// Nobody writes it, so that many instances may have it at once.
    pub read_only: bool,
    /// Where it is used: in one place at most unless it is read-only, the oldest first.
    pub attachments: Vec<VolumeAttachment>,
    /// The last change of its size, limits or access.
    pub modification: Option<VolumeModification>,
    /// When it is deleted by itself; absent where it stays until somebody deletes it.
    pub end: Option<VolumeEnd>,
    /// What its guests did with it since they started or were given it; absent until a guest's host has said it.
    pub io: Option<VolumeIo>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVolumeRequest {
    /// In GiB; the snapshot's size when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<u32>,
    /// The class of the pool; the usual one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Operations a second that a guest may do, reads and writes together: 100 to 80000. 3000 is no limit, as when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// MiB a second that a guest may read and write: 1 to 2000. 125 is no limit, as when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_mib: Option<u32>,
    /// What it holds when it is new: a snapshot's id, name or prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// It is deleted so long after its creation, after a warning: 3600 to 315360000. Never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
    /// Nobody writes it, so that up to 16 instances may have it at once; only with a snapshot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// The tag `Name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Other tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Makes a repeat harmless: 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// Changes a volume; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModifyVolumeRequest {
    /// In GiB; never fewer than it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<u32>,
    /// Operations a second that a guest may do, reads and writes together: 100 to 80000. 3000 takes the limit away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// MiB a second that a guest may read and write: 1 to 2000. 125 takes the limit away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_mib: Option<u32>,
    /// Nobody is to write it, so that up to 16 instances may have it at once. It changes only while none has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// Sets when a volume is deleted by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetVolumeTtlRequest {
    /// So long from now, after a warning: 3600 to 315360000. Never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
}

/// Attaches a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachVolumeRequest {
    /// The instance: its id, name or prefix.
    pub instance: String,
    /// The disk's name, for example `/dev/sdf`; the first free one from there on when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Detaches a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetachVolumeRequest {
    /// The instance: its id, name or prefix; needed where several have the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Cut the guest off at the pool's host if it does not let go at once: over iSCSI it is asked for up to twelve
    /// seconds, over NFS it is not.
    #[serde(default)]
    pub force: bool,
}
