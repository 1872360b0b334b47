//! Tests of snapshots.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{
    FailedTest, OverdueTest, SnapshotSchedule, SnapshotState, SnapshotTest, SnapshotTestCounts,
    SnapshotTested,
};
use tepui_db::{DbError, OrderTestOutcome, SnapshotTestDb};
use tepui_types::agent::TestOutcome;
use tepui_types::{Digest, NodeId, ProjectId, SnapshotId, SnapshotTestId};

use crate::generation::Touched;
use crate::row::{all, execute, first};
use crate::value::S;
use crate::{SqliteDb, schedule};

/// Nanoseconds of a second: a stored time counts those.
const SECOND: u32 = 1_000_000_000;

#[async_trait]
impl SnapshotTestDb for SqliteDb {
    async fn order_snapshot_test(
        &self,
        project: ProjectId,
        id: SnapshotTestId,
        snapshot: SnapshotId,
        now: Timestamp,
    ) -> Result<OrderTestOutcome, DbError> {
        self.write(move |connection| Ok(order_one(connection, project, (id, snapshot), now)?)).await
    }

    async fn snapshot_tests(&self, project: ProjectId) -> Result<Vec<(SnapshotId, SnapshotTested)>, DbError> {
        self.read(move |connection| {
            let sql = "SELECT s.id, o.ordered_at, t.tested_at, t.digest, t.failure FROM snapshot s
                       LEFT JOIN snapshot_test o ON o.snapshot_id = s.id AND s.state = 'completed'
                       LEFT JOIN snapshot_tested t ON t.snapshot_id = s.id
                       WHERE s.project_id = ?1 AND (o.id IS NOT NULL OR t.tested_at IS NOT NULL) ORDER BY s.id";
            all(connection, sql, params![S(project)], |c| {
                let id = c.stored()?;
                let (ordered_at, tested_at) = (c.optional()?, c.optional()?);
                let (digest, failure) = (c.optional()?, c.plain()?);
                Ok((id, SnapshotTested { ordered_at, tested_at, digest, failure }))
            })
        })
        .await
    }

    async fn due_tests(&self, now: Timestamp) -> Result<Vec<(SnapshotSchedule, Vec<SnapshotId>)>, DbError> {
        self.read(move |connection| {
            let due = schedule::whose_tests_are_due(connection, now)?;
            due.into_iter()
                .map(|schedule| Ok((schedule.clone(), newest_of(connection, &schedule)?)))
                .collect()
        })
        .await
    }

    async fn run_tests(
        &self,
        schedule: &SnapshotSchedule,
        next: Timestamp,
        tests: &[(SnapshotTestId, SnapshotId)],
        now: Timestamp,
    ) -> Result<Option<Vec<NodeId>>, DbError> {
        let (schedule, tests) = (schedule.clone(), tests.to_vec());
        self.write(move |connection| Ok(run(connection, &schedule, next, (&tests, now))?)).await
    }

    async fn failed_tests(&self) -> Result<Vec<FailedTest>, DbError> {
        self.read(|connection| {
            let sql = "SELECT t.snapshot_id, t.tested_at, t.failure FROM snapshot_tested t
                       JOIN snapshot s ON s.id = t.snapshot_id AND s.state = 'completed'
                       WHERE t.failure IS NOT NULL ORDER BY t.snapshot_id";
            all(connection, sql, [], |c| {
                Ok(FailedTest { snapshot_id: c.stored()?, tested_at: c.stored()?, message: c.plain()? })
            })
        })
        .await
    }

    async fn overdue_tests(&self, now: Timestamp) -> Result<Vec<OverdueTest>, DbError> {
        self.read(move |connection| {
            let sql = "SELECT c.id, coalesce(c.tested_at, c.created_at), NULL FROM snapshot_schedule c
                       WHERE coalesce(c.tested_at, c.created_at) + 2 * c.test_seconds * ?2 < ?1
                           AND EXISTS (SELECT 1 FROM snapshot s
                                       WHERE s.schedule_id = c.id AND s.state = 'completed')
                       UNION ALL
                       SELECT c.id, o.ordered_at, s.id FROM snapshot_test o
                       JOIN snapshot s ON s.id = o.snapshot_id AND s.state = 'completed'
                       JOIN snapshot_schedule c ON c.id = s.schedule_id
                       WHERE o.ordered_at + c.test_seconds * ?2 < ?1
                       ORDER BY 1, 2, 3";
            all(connection, sql, params![S(now), SECOND], |c| {
                Ok(OverdueTest { schedule_id: c.stored()?, since: c.stored()?, snapshot_id: c.optional()? })
            })
        })
        .await
    }

    async fn snapshot_test_counts(&self) -> Result<SnapshotTestCounts, DbError> {
        self.read(|connection| {
            let sql =
                "SELECT count(o.id), count(t.tested_at) FILTER (WHERE t.failure IS NULL), count(t.failure)
                       FROM snapshot s
                       LEFT JOIN snapshot_test o ON o.snapshot_id = s.id
                       LEFT JOIN snapshot_tested t ON t.snapshot_id = s.id
                       WHERE s.state = 'completed'";
            let counts = first(connection, sql, [], |c| {
                Ok(SnapshotTestCounts { ordered: c.stored()?, passed: c.stored()?, failed: c.stored()? })
            })?;
            Ok(counts.unwrap_or_default())
        })
        .await
    }
}

/// The tests that a node is to carry out, the oldest first.
pub(crate) fn of_node(connection: &Connection, node: NodeId) -> rusqlite::Result<Vec<SnapshotTest>> {
    let sql = "SELECT o.id, o.snapshot_id, s.pool_id FROM snapshot_test o
               JOIN snapshot s ON s.id = o.snapshot_id AND s.state = 'completed'
               JOIN pool p ON p.id = s.pool_id
               WHERE p.node_id = ?1 ORDER BY o.ordered_at, o.id";
    all(connection, sql, params![S(node)], |c| {
        Ok(SnapshotTest { id: c.stored()?, snapshot_id: c.stored()?, pool_id: c.stored()? })
    })
}

fn order_one(
    connection: &Connection,
    project: ProjectId,
    test: (SnapshotTestId, SnapshotId),
    now: Timestamp,
) -> rusqlite::Result<OrderTestOutcome> {
    let sql = "SELECT state FROM snapshot WHERE id = ?1 AND project_id = ?2";
    let state = first(connection, sql, params![S(test.1), S(project)], |c| c.stored())?;
    let Some(state) = state else { return Ok(OrderTestOutcome::NotFound) };
    let mut touched = Touched::default();
    let Some(node) = order(connection, test, now, &mut touched)? else {
        return Ok(OrderTestOutcome::WrongState(state));
    };
    touched.grow(connection)?;
    Ok(OrderTestOutcome::Ordered(node))
}

/// Orders a test of a completed snapshot, unless one is ordered; the node that carries it out.
fn order(
    connection: &Connection,
    (id, snapshot): (SnapshotTestId, SnapshotId),
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<Option<NodeId>> {
    let sql =
        "SELECT p.node_id FROM snapshot s JOIN pool p ON p.id = s.pool_id WHERE s.id = ?1 AND s.state = ?2";
    let completed = params![S(snapshot), S(SnapshotState::Completed)];
    let Some(node) = first(connection, sql, completed, |c| c.stored())? else { return Ok(None) };
    let sql = "INSERT INTO snapshot_test (id, snapshot_id, ordered_at) VALUES (?1, ?2, ?3)
               ON CONFLICT (snapshot_id) DO NOTHING";
    if execute(connection, sql, params![S(id), S(snapshot), S(now)])? > 0 {
        touched.storage(node);
    }
    Ok(Some(node))
}

fn newest_of(connection: &Connection, schedule: &SnapshotSchedule) -> rusqlite::Result<Vec<SnapshotId>> {
    let sql = "SELECT id FROM (
                   SELECT id, row_number() OVER (PARTITION BY volume_id ORDER BY created_at DESC, id DESC) AS age
                   FROM snapshot WHERE schedule_id = ?1 AND state = 'completed')
               WHERE age = 1 ORDER BY id";
    all(connection, sql, params![S(schedule.id)], |c| c.stored())
}

fn run(
    connection: &Connection,
    schedule: &SnapshotSchedule,
    next: Timestamp,
    (tests, now): (&[(SnapshotTestId, SnapshotId)], Timestamp),
) -> rusqlite::Result<Option<Vec<NodeId>>> {
    let due = schedule.tests.map(|tests| S(tests.next_at));
    let sql = "UPDATE snapshot_schedule SET test_at = ?3 WHERE id = ?1 AND test_at = ?2";
    if execute(connection, sql, params![S(schedule.id), due, S(next)])? == 0 {
        return Ok(None);
    }
    // A time with nothing to test counts as the end of a test; else the first snapshot after it would be overdue at once.
    if tests.is_empty() {
        let sql = "UPDATE snapshot_schedule SET tested_at = ?2 WHERE id = ?1";
        execute(connection, sql, params![S(schedule.id), S(now)])?;
    }
    let (mut touched, mut nodes) = (Touched::default(), Vec::new());
    for test in tests {
        nodes.extend(order(connection, *test, now, &mut touched)?);
    }
    touched.grow(connection)?;
    nodes.sort_unstable();
    nodes.dedup();
    Ok(Some(nodes))
}

/// What came of a test of a snapshot in one of the node's pools. A test that is not ordered, or not any more, counts for
/// nothing.
pub(crate) fn tested(
    connection: &Connection,
    (node, id): (NodeId, SnapshotTestId),
    outcome: &TestOutcome,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let known = of_node(connection, node)?.into_iter().find(|test| test.id == id);
    let Some(SnapshotTest { snapshot_id, .. }) = known else { return Ok(()) };
    execute(connection, "DELETE FROM snapshot_test WHERE id = ?1", params![S(id)])?;
    touched.storage(node);
    let sql = "SELECT digest FROM snapshot_tested WHERE snapshot_id = ?1";
    let before = first(connection, sql, params![S(snapshot_id)], |c| c.optional::<Digest>())?.flatten();
    let (digest, failure) = found(before, outcome);
    let sql = "INSERT INTO snapshot_tested (snapshot_id, tested_at, digest, failure) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (snapshot_id) DO UPDATE SET tested_at = ?2, digest = ?3, failure = ?4";
    execute(connection, sql, params![S(snapshot_id), S(now), digest.map(S), failure])?;
    let sql = "UPDATE snapshot_schedule SET tested_at = ?2
               WHERE id = (SELECT schedule_id FROM snapshot WHERE id = ?1)";
    execute(connection, sql, params![S(snapshot_id), S(now)]).map(drop)
}

/// The digest that every test must find, and why this one failed. A snapshot is sealed: what it holds never changes.
fn found(before: Option<Digest>, outcome: &TestOutcome) -> (Option<Digest>, Option<String>) {
    match (before, outcome) {
        (before, TestOutcome::Failed { message }) => (before, Some(message.clone())),
        (Some(before), TestOutcome::Read { digest }) if before != *digest => {
            let why = format!("its content has changed: its digest is {digest}, and was {before} at first");
            (Some(before), Some(why))
        }
        (_, TestOutcome::Read { digest }) => (Some(*digest), None),
    }
}
