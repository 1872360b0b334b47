//! Tests of snapshots.

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::{NodeId, ProjectId, SnapshotId, SnapshotTestId};

use crate::DbError;
use crate::model::{
    FailedTest, OverdueTest, SnapshotSchedule, SnapshotState, SnapshotTestCounts, SnapshotTested,
};

/// What became of ordering a test. Everything but `Ordered` left nothing behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderTestOutcome {
    /// It is in the books, or another one of the snapshot is; this node's agent carries it out.
    Ordered(NodeId),
    /// The project has no such snapshot.
    NotFound,
    /// The snapshot is in this state.
    WrongState(SnapshotState),
}

/// Tests of snapshots. What came of one is told by [`StorageNews::SnapshotTested`].
///
/// [`StorageNews::SnapshotTested`]: crate::StorageNews::SnapshotTested
#[async_trait]
pub trait SnapshotTestDb: Send + Sync {
    /// Orders a test of one of the project's snapshots. One that is ordered already is not ordered a second time.
    async fn order_snapshot_test(
        &self,
        project: ProjectId,
        id: SnapshotTestId,
        snapshot: SnapshotId,
        now: Timestamp,
    ) -> Result<OrderTestOutcome, DbError>;

    /// What tests found of a project's snapshots, by their ids; nothing of those that no test was ever ordered of.
    async fn snapshot_tests(&self, project: ProjectId) -> Result<Vec<(SnapshotId, SnapshotTested)>, DbError>;

    /// The schedules whose time to test has come, by id, with the newest completed snapshot that each made of each volume.
    async fn due_tests(&self, now: Timestamp) -> Result<Vec<(SnapshotSchedule, Vec<SnapshotId>)>, DbError>;

    /// Orders the tests of one time of a schedule, that which it names, and sets the `next` one. Of a snapshot that is not
    /// completed any more none is ordered. The nodes that carry them out; `None`, with nothing changed, where the
    /// schedule is gone or that time was served before.
    async fn run_tests(
        &self,
        schedule: &SnapshotSchedule,
        next: Timestamp,
        tests: &[(SnapshotTestId, SnapshotId)],
        now: Timestamp,
    ) -> Result<Option<Vec<NodeId>>, DbError>;

    /// The snapshots whose last test failed, by id.
    async fn failed_tests(&self) -> Result<Vec<FailedTest>, DbError>;

    /// The schedules of which a test is overdue by more than the time from one to the next, by id; none of one that has
    /// nothing to test.
    async fn overdue_tests(&self, now: Timestamp) -> Result<Vec<OverdueTest>, DbError>;

    /// How many snapshots of the cloud there are by their tests.
    async fn snapshot_test_counts(&self) -> Result<SnapshotTestCounts, DbError>;
}
