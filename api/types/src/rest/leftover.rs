//! What takes room in a pool beside its volumes and snapshots, for administrators.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ProjectId, Timestamp};

/// What a file is, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftoverKind {
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// An image that new volumes begin with.
    Image,
}

/// Why a file is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftoverState {
    /// It was removed, and is kept for its grace.
    Quarantined,
    /// Its grace is over, and its node is told to unlink it.
    Unlinking,
    /// It was removed, and the cloud knows its volume or snapshot again since a backup was restored. It stays.
    Referred,
    /// The cloud knows nothing of it. It stays.
    Unnamed,
    /// No new volume waits for it. Its node removes it when none made use of it for a day.
    Unused,
}

/// A file in a pool that belongs to nothing there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leftover {
    /// The id of the volume or snapshot, or the digest of the image.
    pub id: String,
    /// What it is, or was.
    pub kind: LeftoverKind,
    /// Why it is still there.
    pub state: LeftoverState,
    /// What it takes of the pool: as much is freed with it, less what it shares with volumes and snapshots that stay.
    /// Absent until its node has said so.
    pub bytes: Option<u64>,
    /// Whose it was, where that is known.
    pub project_id: Option<ProjectId>,
    /// When it was removed, or found removed.
    pub removed_at: Option<Timestamp>,
    /// When its grace ends.
    pub goes_at: Option<Timestamp>,
}
