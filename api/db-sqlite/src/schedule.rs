//! Rules by which snapshots are taken.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{ScheduledTests, Snapshot, SnapshotSchedule};
use tepui_db::{DbError, ScheduleDb};
use tepui_types::{FreezeId, NodeId, ProjectId, SnapshotId, SnapshotScheduleId, VolumeId};

use crate::generation::Touched;
use crate::row::{Columns, all, execute, first};
use crate::value::S;
use crate::{SqliteDb, freeze, snapshot, tag};

const SCHEDULE: &str = "id, project_id, tag_key, tag_value, every_seconds, keep, next_at, created_at, test_seconds, test_at, freeze, freeze_failure";

/// The tag by which a snapshot shows what made it.
const MADE_BY: &str = "tepui:schedule";

#[async_trait]
impl ScheduleDb for SqliteDb {
    async fn create_schedule(&self, schedule: &SnapshotSchedule, max: usize) -> Result<bool, DbError> {
        let new = schedule.clone();
        self.write(move |connection| Ok(create(connection, &new, max)?)).await
    }

    async fn schedules(&self, project: ProjectId) -> Result<Vec<SnapshotSchedule>, DbError> {
        self.read(move |connection| {
            let sql = format!("SELECT {SCHEDULE} FROM snapshot_schedule WHERE project_id = ?1 ORDER BY id");
            all(connection, &sql, params![S(project)], read)
        })
        .await
    }

    async fn delete_schedule(&self, project: ProjectId, id: SnapshotScheduleId) -> Result<bool, DbError> {
        self.write(move |connection| {
            let sql = "DELETE FROM snapshot_schedule WHERE id = ?1 AND project_id = ?2";
            Ok(execute(connection, sql, params![S(id), S(project)])? > 0)
        })
        .await
    }

    async fn due_schedules(&self, now: Timestamp) -> Result<Vec<(SnapshotSchedule, Vec<VolumeId>)>, DbError> {
        self.read(move |connection| {
            let sql = format!("SELECT {SCHEDULE} FROM snapshot_schedule WHERE next_at <= ?1 ORDER BY id");
            let due = all(connection, &sql, params![S(now)], read)?;
            due.into_iter()
                .map(|schedule| Ok((schedule.clone(), volumes_of(connection, &schedule)?)))
                .collect()
        })
        .await
    }

    async fn run_schedule(
        &self,
        schedule: &SnapshotSchedule,
        next: Timestamp,
        snapshots: &[Snapshot],
        freezes: &[FreezeId],
    ) -> Result<Option<Vec<NodeId>>, DbError> {
        let (schedule, snapshots, freezes) = (schedule.clone(), snapshots.to_vec(), freezes.to_vec());
        self.write(move |connection| Ok(run(connection, &schedule, next, (&snapshots, &freezes))?)).await
    }

    async fn unfrozen_schedules(&self) -> Result<u64, DbError> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM snapshot_schedule WHERE freeze_failure IS NOT NULL";
            Ok(first(connection, sql, [], |c| c.stored())?.unwrap_or(0))
        })
        .await
    }

    async fn outlived_snapshots(&self) -> Result<Vec<(ProjectId, SnapshotId)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT project_id, id FROM (
                    SELECT s.project_id, s.id, s.state, c.keep,
                           count(*) FILTER (WHERE s.state = 'completed') OVER (
                               PARTITION BY s.schedule_id, s.volume_id ORDER BY s.created_at DESC, s.id DESC
                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newer
                    FROM snapshot s JOIN snapshot_schedule c ON c.id = s.schedule_id)
                WHERE (state = 'completed' AND newer >= keep) OR (state = 'error' AND newer > 0)
                ORDER BY id";
            all(connection, sql, [], |c| Ok((c.stored()?, c.stored()?)))
        })
        .await
    }
}

fn read(c: &Columns<'_>) -> rusqlite::Result<SnapshotSchedule> {
    Ok(SnapshotSchedule {
        id: c.stored()?,
        project_id: c.stored()?,
        tag_key: c.plain()?,
        tag_value: c.plain()?,
        every_seconds: c.plain()?,
        keep: c.plain()?,
        next_at: c.stored()?,
        created_at: c.stored()?,
        tests: read_tests(c)?,
        freeze: c.plain()?,
        freeze_failure: c.plain()?,
    })
}

fn read_tests(c: &Columns<'_>) -> rusqlite::Result<Option<ScheduledTests>> {
    let (every, next) = (c.plain::<Option<u32>>()?, c.optional()?);
    Ok(every.zip(next).map(|(every_seconds, next_at)| ScheduledTests { every_seconds, next_at }))
}

/// The schedules whose time to test has come, by id.
pub(crate) fn whose_tests_are_due(
    connection: &Connection,
    now: Timestamp,
) -> rusqlite::Result<Vec<SnapshotSchedule>> {
    let sql = format!("SELECT {SCHEDULE} FROM snapshot_schedule WHERE test_at <= ?1 ORDER BY id");
    all(connection, &sql, params![S(now)], read)
}

fn create(connection: &Connection, new: &SnapshotSchedule, max: usize) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM snapshot_schedule WHERE project_id = ?1";
    let count = first(connection, sql, params![S(new.project_id)], |c| c.stored::<u64>())?.unwrap_or(0);
    if count >= max as u64 {
        return Ok(false);
    }
    let sql = format!(
        "INSERT INTO snapshot_schedule ({SCHEDULE}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    );
    let values = params![
        S(new.id),
        S(new.project_id),
        new.tag_key,
        new.tag_value,
        new.every_seconds,
        new.keep,
        S(new.next_at),
        S(new.created_at),
        new.tests.map(|tests| tests.every_seconds),
        new.tests.map(|tests| S(tests.next_at)),
        new.freeze,
        new.freeze_failure,
    ];
    execute(connection, &sql, values)?;
    Ok(true)
}

/// The bounds hold the texts that begin with "vol-". Root disks are among them: of one that is local to its
/// host, which no pool holds, a schedule takes none.
fn volumes_of(connection: &Connection, schedule: &SnapshotSchedule) -> rusqlite::Result<Vec<VolumeId>> {
    let sql = "SELECT resource FROM tag WHERE project_id = ?1 AND key = ?2 AND value = ?3
               AND resource >= 'vol-' AND resource < 'vol.' ORDER BY resource";
    let values = params![S(schedule.project_id), schedule.tag_key, schedule.tag_value];
    let ids = all(connection, sql, values, |c| c.plain::<String>())?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

fn run(
    connection: &Connection,
    schedule: &SnapshotSchedule,
    next: Timestamp,
    (snapshots, freezes): (&[Snapshot], &[FreezeId]),
) -> rusqlite::Result<Option<Vec<NodeId>>> {
    let sql =
        "UPDATE snapshot_schedule SET next_at = ?3, freeze_failure = NULL WHERE id = ?1 AND next_at = ?2";
    if execute(connection, sql, params![S(schedule.id), S(schedule.next_at), S(next)])? == 0 {
        return Ok(None);
    }
    let mut touched = Touched::default();
    let mut nodes = Vec::new();
    let mut begun = BTreeMap::new();
    for (number, one) in snapshots.iter().enumerate() {
        let Some(host) = snapshot::take_if_available(connection, one)? else { continue };
        let sql = "UPDATE snapshot SET schedule_id = ?2 WHERE id = ?1";
        execute(connection, sql, params![S(one.id), S(schedule.id)])?;
        let (resource, by) = (one.id.to_string(), schedule.id.to_string());
        tag::insert(connection, schedule.project_id, &resource, MADE_BY, &by)?;
        let guest = match freezes.get(number) {
            Some(spare) => freeze::wait_for_guest(connection, one, *spare, &mut begun)?,
            None => None,
        };
        match guest {
            // Its host hears of it once the guest holds still.
            Some(guest) => touched.node(guest),
            None => touched.storage(host),
        }
        nodes.push(guest.unwrap_or(host));
    }
    touched.grow(connection)?;
    nodes.sort_unstable();
    nodes.dedup();
    Ok(Some(nodes))
}
