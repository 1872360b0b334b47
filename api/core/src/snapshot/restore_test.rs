//! Tests of snapshots: a host restores one as for a volume, reads it to its end, and says what it found.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tepui_db::model::{SnapshotTest, SnapshotTested};
use tepui_db::{OrderTestOutcome, StorageNews, StoragePartState};
use tepui_types::agent::{TestObserved, WantedTest};
use tepui_types::{SnapshotId, SnapshotTestId};

use super::schedule::next_time;
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, Kind};

impl Cloud {
    /// Orders a test of one of the caller's snapshots. While one is ordered there is nothing more to order.
    ///
    /// # Errors
    /// `NotFound`, `WrongState` for a snapshot that is not completed.
    pub async fn test_snapshot(&self, caller: &Caller, id: SnapshotId) -> Result<(), Error> {
        self.snapshot(caller, id).await?;
        let test = SnapshotTestId::from_random(self.random());
        let node = self
            .commit(caller, "TestSnapshot", id.to_string(), async {
                match self.db.order_snapshot_test(caller.project, test, id, self.now()).await? {
                    OrderTestOutcome::Ordered(node) => Ok(node),
                    OrderTestOutcome::NotFound => Err(Error::not_found(Kind::Snapshot, id)),
                    OrderTestOutcome::WrongState(state) => {
                        let (id, state) = (id.to_string(), state.name().into());
                        Err(Error::WrongState { id, state, wanted: "completed" })
                    }
                }
            })
            .await?;
        let passed = pass("core::snapshot::committed")?;
        self.wakes.wake(passed, [node]);
        pass("core::snapshot::woken")?;
        Ok(())
    }

    /// What tests found of the caller's snapshots; nothing of those that no test was ever ordered of.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn snapshot_tests(
        &self,
        caller: &Caller,
    ) -> Result<BTreeMap<SnapshotId, SnapshotTested>, Error> {
        Ok(self.db.snapshot_tests(caller.project).await?.into_iter().collect())
    }

    /// Orders the tests of schedules that are due, those of each schedule at once; of how many schedules.
    pub(super) async fn order_due_tests(&self, now: Timestamp) -> Result<u32, Error> {
        let mut count = 0;
        for (schedule, snapshots) in self.db.due_tests(now).await? {
            let Some(due) = schedule.tests else { continue };
            let tests: Vec<_> =
                snapshots.iter().map(|id| (SnapshotTestId::from_random(self.random()), *id)).collect();
            let next = next_time(due.next_at, due.every_seconds, now)?;
            if let Some(nodes) = self.db.run_tests(&schedule, next, &tests, self.now()).await? {
                count += 1;
                let passed = pass("core::schedule::tested")?;
                self.wakes.wake(passed, nodes);
            }
        }
        Ok(count)
    }
}

/// What a storage host is told.
pub(crate) fn wanted_test(test: &SnapshotTest) -> WantedTest {
    WantedTest { id: test.id, pool_id: test.pool_id, snapshot_id: test.snapshot_id }
}

/// What came of tests that the books still have as ordered.
pub(crate) fn test_news(state: &StoragePartState, seen: &[TestObserved]) -> Vec<StorageNews> {
    let is_ordered = |one: &&TestObserved| state.tests.iter().any(|test| test.id == one.id);
    let told = |one: &TestObserved| StorageNews::SnapshotTested(one.id, one.outcome.clone());
    seen.iter().filter(is_ordered).map(told).collect()
}
