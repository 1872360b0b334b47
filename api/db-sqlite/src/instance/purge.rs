//! Forgetting terminated instances.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_types::{InstanceId, ProjectId};

use crate::row::{all, execute};
use crate::tag;
use crate::value::S;
use crate::verb::Verb;

/// Deletes instances terminated before `before` of which nothing is left on a node; foreign keys
/// take their placements along.
pub(crate) fn purge_terminated(connection: &Connection, before: Timestamp) -> Verb<u32> {
    let sql = "SELECT n, project_id, id FROM instance i
               WHERE state = 'terminated' AND state_since < ?1 AND NOT EXISTS
                   (SELECT 1 FROM placement p WHERE p.instance_n = i.n AND p.gone_at IS NULL)";
    let old = all(connection, sql, params![S(before)], |c| {
        Ok((c.plain::<i64>()?, c.stored::<ProjectId>()?, c.stored::<InstanceId>()?))
    })?;
    for (n, project, id) in &old {
        tag::delete_all(connection, *project, &id.to_string())?;
        execute(connection, "DELETE FROM instance WHERE n = ?1", params![n])?;
    }
    Ok(old.len().try_into().unwrap_or(u32::MAX))
}
