//! Tests of snapshots.

use jiff::Timestamp;
use tepui_types::{Digest, PoolId, SnapshotId, SnapshotScheduleId, SnapshotTestId};

/// A test that is ordered, and of which the snapshot's host has not said what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotTest {
    /// The id.
    pub id: SnapshotTestId,
    /// What is tested.
    pub snapshot_id: SnapshotId,
    /// Where that is.
    pub pool_id: PoolId,
}

/// What tests of a snapshot found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotTested {
    /// Since when one is ordered.
    pub ordered_at: Option<Timestamp>,
    /// When the last one ended.
    pub tested_at: Option<Timestamp>,
    /// The digest of the first one that could read it.
    pub digest: Option<Digest>,
    /// Why the last one failed, for administrators.
    pub failure: Option<String>,
}

/// A snapshot whose last test failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTest {
    /// Which.
    pub snapshot_id: SnapshotId,
    /// When it ended.
    pub tested_at: Timestamp,
    /// Why it failed, for administrators.
    pub message: String,
}

/// A schedule whose tests do not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverdueTest {
    /// Which.
    pub schedule_id: SnapshotScheduleId,
    /// The last end of a test, the order of this one, or the schedule's creation.
    pub since: Timestamp,
    /// The snapshot whose test was ordered then; `None` where none at all ended since.
    pub snapshot_id: Option<SnapshotId>,
}

/// How many snapshots there are by their tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotTestCounts {
    /// A test is ordered.
    pub ordered: u64,
    /// The last one passed.
    pub passed: u64,
    /// The last one failed.
    pub failed: u64,
}
