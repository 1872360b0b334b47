//! Forgetting what is over: a bounded batch a transaction, so that no other verb waits long.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::{Cutoffs, DbError, RetentionDb};
use tepui_types::{ImportTaskId, InstanceId, ProjectId};

use crate::SqliteDb;
use crate::row::{all, execute};
use crate::tag;
use crate::value::S;

/// Forgets at most so many rows of one kind that are older than the time; returns how many.
type Forget = fn(&Connection, Timestamp, u32) -> rusqlite::Result<u32>;

#[async_trait]
impl RetentionDb for SqliteDb {
    async fn purge(&self, before: &Cutoffs, batch: u32) -> Result<u32, DbError> {
        let kinds: [(Forget, Timestamp); 5] = [
            (instances, before.terminated_instances),
            (client_tokens, before.client_tokens),
            (import_tasks, before.import_tasks),
            (join_tokens, before.join_tokens),
            (audit, before.audit),
        ];
        self.write(move |connection| {
            let mut left = batch;
            for (forget, before) in kinds {
                left = left.saturating_sub(forget(connection, before, left)?);
            }
            Ok(batch - left)
        })
        .await
    }
}

/// Foreign keys take the placements along.
fn instances(connection: &Connection, before: Timestamp, most: u32) -> rusqlite::Result<u32> {
    let sql = "SELECT n, project_id, id FROM instance i
               WHERE state = 'terminated' AND state_since < ?1 AND NOT EXISTS
                   (SELECT 1 FROM placement p WHERE p.instance_n = i.n AND p.gone_at IS NULL)
                   AND NOT EXISTS (SELECT 1 FROM attachment a WHERE a.instance_n = i.n)
               LIMIT ?2";
    let old = all(connection, sql, params![S(before), most], |c| {
        Ok((c.plain::<i64>()?, c.stored::<ProjectId>()?, c.stored::<InstanceId>()?))
    })?;
    for (n, project, id) in &old {
        tag::delete_all(connection, *project, &id.to_string())?;
        execute(connection, "DELETE FROM instance WHERE n = ?1", params![n])?;
    }
    Ok(count(old.len()))
}

fn client_tokens(connection: &Connection, before: Timestamp, most: u32) -> rusqlite::Result<u32> {
    let sql = "DELETE FROM launch_token WHERE (project_id, token) IN
                   (SELECT project_id, token FROM launch_token WHERE used_at < ?1 LIMIT ?2)";
    execute(connection, sql, params![S(before), most]).map(count)
}

fn import_tasks(connection: &Connection, before: Timestamp, most: u32) -> rusqlite::Result<u32> {
    let sql = "DELETE FROM import_task WHERE id IN
                   (SELECT id FROM import_task WHERE state <> 'active' AND created_at < ?1 LIMIT ?2)
               RETURNING project_id, id";
    let old = all(connection, sql, params![S(before), most], |c| {
        Ok((c.stored::<ProjectId>()?, c.stored::<ImportTaskId>()?))
    })?;
    for (project, id) in &old {
        tag::delete_all(connection, *project, &id.to_string())?;
    }
    Ok(count(old.len()))
}

fn join_tokens(connection: &Connection, before: Timestamp, most: u32) -> rusqlite::Result<u32> {
    let sql = "DELETE FROM join_token WHERE secret_sha256 IN
                   (SELECT secret_sha256 FROM join_token WHERE expires_at < ?1 LIMIT ?2)";
    execute(connection, sql, params![S(before), most]).map(count)
}

fn audit(connection: &Connection, before: Timestamp, most: u32) -> rusqlite::Result<u32> {
    let sql = "DELETE FROM audit WHERE n IN (SELECT n FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)";
    execute(connection, sql, params![S(before), most]).map(count)
}

fn count(rows: usize) -> u32 {
    rows.try_into().unwrap_or(u32::MAX)
}
