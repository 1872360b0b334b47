//! Snapshots that are taken again and again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{SnapshotScheduleId, Timestamp};

/// Takes snapshots again and again of all volumes that have a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshotScheduleRequest {
    /// The key of the volumes' tag.
    pub tag_key: String,
    /// Its value.
    pub tag_value: String,
    /// From one time to the next: 60 seconds to 366 days.
    pub every_seconds: u32,
    /// So many completed snapshots of each volume are kept: 1 to 1000.
    pub keep: u32,
    /// From one test of the newest completed snapshot of each volume to the next: `every_seconds` to 366 days. Without it
    /// none is tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_every_seconds: Option<u32>,
    /// The guest's file systems hold still meanwhile, with the help of its guest agent; without that help the snapshots are
    /// taken all the same, and are crash-consistent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freeze: bool,
}

/// A rule by which snapshots are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotSchedule {
    /// The id.
    pub id: SnapshotScheduleId,
    /// The key of the volumes' tag.
    pub tag_key: String,
    /// Its value.
    pub tag_value: String,
    /// From one time to the next.
    pub every_seconds: u32,
    /// So many completed snapshots of each volume are kept.
    pub keep: u32,
    /// When the next ones are taken.
    pub next_at: Timestamp,
    /// From one test of the newest completed snapshot of each volume to the next.
    pub test_every_seconds: Option<u32>,
    /// When the next ones are tested.
    pub next_test_at: Option<Timestamp>,
    /// Guests hold still for its snapshots where they can.
    #[serde(default)]
    pub freeze: bool,
    /// Why one did not for those of the last time, in the words of its host for administrators only; nothing if all did.
    pub freeze_failure: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}
