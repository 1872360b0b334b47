//! Snapshots of volumes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, ProjectId, SnapshotId, Timestamp, VolumeId};

/// The state EC2 shows, in EC2's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Its host takes it.
    Pending,
    /// It is there.
    Completed,
    /// Its host removes it.
    Deleting,
    /// It can never be taken, or is lost.
    Error,
}

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotConsistency {
    /// What a disk holds after a power failure: what the guest had flushed.
    #[default]
    Crash,
    /// All that the guest had written to its file systems, which held still meanwhile.
    FileSystem,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// The id.
    pub id: SnapshotId,
    /// The tag `Name`.
    pub name: Option<String>,
    /// What it was taken of; nothing of a copy, and of one that was made from an image.
    pub volume_id: Option<VolumeId>,
    /// What it is a copy of.
    pub copy_of: Option<SnapshotId>,
    /// The image that it was made from; that may be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// The size of that volume, in GiB; of an image the next whole one.
    pub size_gib: u32,
    /// For people.
    pub description: String,
    /// How far it is.
    pub state: SnapshotState,
    /// What it holds, or will once it is completed.
    #[serde(default)]
    pub consistency: SnapshotConsistency,
    /// Why it failed; in the words of its host for administrators only.
    pub trouble: Option<String>,
    /// What tests of it found; nothing where none was ever ordered.
    pub test: Option<SnapshotTest>,
    /// Every project may make volumes and copies of it.
    #[serde(default)]
    pub public: bool,
    /// These projects may.
    #[serde(default)]
    pub shared_with: Vec<ProjectId>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// What tests of a snapshot found: restored as for a volume and read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotTest {
    /// Since when one is ordered.
    pub ordered_at: Option<Timestamp>,
    /// When the last one ended.
    pub tested_at: Option<Timestamp>,
    /// The digest of its size and content that the first one found, and that every later one must find.
    pub digest: Option<Digest>,
    /// Why the last one failed; in the words of its host for administrators only.
    pub failure: Option<String>,
}

/// Copies a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopySnapshotRequest {
    /// To a pool of this class, on the same host if it has one; to the snapshot's own pool when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// To this pool: its id, name or prefix. For administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The tag `Name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Other tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Makes a snapshot that holds an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotImageRequest {
    /// In a pool of this class; of the usual one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// In this pool: its id, name or prefix. For administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The tag `Name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Other tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Takes a snapshot of each disk of an instance. Those of the volumes that it writes are of one moment, for which it is paused
/// while it runs; that of a root disk that is local to its host is of another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotInstanceRequest {
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The guest's file systems hold still meanwhile, with the help of its guest agent; without that help the snapshot fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freeze: bool,
    /// Not of the disk that it boots from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclude_root: bool,
    /// Tags of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Takes a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshotRequest {
    /// Of this volume: its id, name or prefix; a root disk that is local to its host: its id.
    pub volume: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The guest's file systems hold still meanwhile, with the help of its guest agent; without that help the snapshot fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freeze: bool,
    /// The tag `Name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Other tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
