//! Rules by which snapshots are taken.

use jiff::Timestamp;
use tepui_types::{ProjectId, SnapshotScheduleId};

/// Takes snapshots again and again of all of a project's volumes that have a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSchedule {
    /// The id.
    pub id: SnapshotScheduleId,
    /// The owner.
    pub project_id: ProjectId,
    /// The key of the volumes' tag.
    pub tag_key: String,
    /// Its value.
    pub tag_value: String,
    /// From one time to the next, in seconds.
    pub every_seconds: u32,
    /// So many completed snapshots of each volume are kept.
    pub keep: u32,
    /// When the next ones are due.
    pub next_at: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
    /// Tests of what it made; `None` for none.
    pub tests: Option<ScheduledTests>,
    /// Guests hold still for its snapshots where they can.
    pub freeze: bool,
    /// Why a guest did not hold still for those of the last time, for administrators; `None` if all did.
    pub freeze_failure: Option<String>,
}

/// When the newest completed snapshot of each volume is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledTests {
    /// From one time to the next, in seconds; at least that from one snapshot to the next.
    pub every_seconds: u32,
    /// When the next ones are due.
    pub next_at: Timestamp,
}
