//! What becomes of a storage host's volumes when it is given up.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{SnapshotState, VolumeEvent, VolumeState};
use tepui_types::{NodeId, ProjectId, SnapshotId, VolumeId};

use crate::generation::Touched;
use crate::row::{Columns, all, execute};
use crate::value::S;
use crate::{snapshot, volume, volume_move};

/// Frees what only the node's word could free: its host is off and stays off, so that nothing in its pools is served
/// or written any more. What is in them stays in the books, as lost, until its owners delete it.
pub(crate) fn give_up(
    connection: &Connection,
    node: NodeId,
    (message, now): (&str, Timestamp),
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    volume_move::give_up(connection, node, now, touched)?;
    keep_roots(connection, node, (message, now), touched)?;
    detach_all(connection, node, touched)?;
    let sql = "SELECT v.id, v.project_id, v.state FROM volume v JOIN pool p ON p.id = v.pool_id
               WHERE p.node_id = ?1";
    let volumes: Vec<(VolumeId, ProjectId, VolumeState)> =
        all(connection, sql, params![S(node)], |c| Ok((c.stored()?, c.stored()?, c.stored()?)))?;
    for (id, project, state) in volumes {
        match state.after(VolumeEvent::Lost) {
            Some(next) => {
                let sql = "UPDATE volume SET state = ?2, message = ?3 WHERE id = ?1";
                execute(connection, sql, params![S(id), S(next), message])?;
            }
            None => volume::remove(connection, id, project)?,
        }
    }
    let sql = "SELECT s.id, s.project_id, s.state FROM snapshot s JOIN pool p ON p.id = s.pool_id
               WHERE p.node_id = ?1";
    let snapshots: Vec<(SnapshotId, ProjectId, SnapshotState)> =
        all(connection, sql, params![S(node)], |c| Ok((c.stored()?, c.stored()?, c.stored()?)))?;
    for (id, project, state) in snapshots {
        match state.after(VolumeEvent::Lost) {
            Some(next) => {
                let sql = "UPDATE snapshot SET state = ?2, message = ?3 WHERE id = ?1";
                execute(connection, sql, params![S(id), S(next), message])?;
            }
            None => snapshot::remove(connection, id, project)?,
        }
    }
    touched.storage(node);
    Ok(())
}

/// What an instance boots from stays its own, so that the instance shows what it lost; it can only be terminated. One
/// that is to start would wait for it for ever: it ends, or stops if it ran before.
fn keep_roots(
    connection: &Connection,
    node: NodeId,
    (message, now): (&str, Timestamp),
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let sql = "UPDATE attachment SET state = 'attached', export_state = 'closed', source = NULL
               WHERE is_root AND state <> 'detaching' AND volume_id IN
                   (SELECT v.id FROM volume v JOIN pool p ON p.id = v.pool_id WHERE p.node_id = ?1)
               RETURNING instance_n, (SELECT l.node_id FROM placement l
                                      WHERE l.id = attachment.placement_id AND l.gone_at IS NULL)";
    let read = |c: &Columns<'_>| Ok((c.plain::<i64>()?, c.optional::<NodeId>()?));
    for (instance, compute) in all(connection, sql, params![S(node)], read)? {
        let sql =
            "UPDATE instance SET state = iif(start_seq <= 1, 'shutting-down', 'stopping'), state_since = ?2,
                       state_reason_code = 'Server.InternalError', state_reason_message = ?3,
                       state_reason_detail = NULL
                   WHERE n = ?1 AND state = 'pending'";
        execute(connection, sql, params![instance, S(now), message])?;
        compute.into_iter().for_each(|compute| touched.node(compute));
    }
    Ok(())
}

/// Takes every volume of the node's pools from its guest, which waits for it in vain, but what instances boot from.
fn detach_all(connection: &Connection, node: NodeId, touched: &mut Touched) -> rusqlite::Result<()> {
    let sql = "DELETE FROM attachment WHERE (NOT is_root OR state = 'detaching') AND volume_id IN
                   (SELECT v.id FROM volume v JOIN pool p ON p.id = v.pool_id WHERE p.node_id = ?1)
               RETURNING (SELECT l.node_id FROM placement l
                          WHERE l.id = attachment.placement_id AND l.gone_at IS NULL)";
    let guests: Vec<Option<NodeId>> = all(connection, sql, params![S(node)], |c| c.optional())?;
    guests.into_iter().flatten().for_each(|compute| touched.node(compute));
    Ok(())
}
