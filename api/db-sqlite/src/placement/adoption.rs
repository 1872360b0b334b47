//! What a node has, taken over into a restored database.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::Adoption;
use tepui_types::NodeId;

use super::transition::{Current, current, release, store_reason, store_state};
use crate::generation::Touched;
use crate::row::execute;
use crate::value::S;
use crate::verb::Verb;

/// Writes all that concern placements on the node which are not gone.
pub(super) fn adopt(
    connection: &Connection,
    node: NodeId,
    adoptions: &[Adoption],
    now: Timestamp,
) -> Verb<()> {
    let mut touched = Touched::default();
    for adoption in adoptions {
        let Some(current) = current(connection, node, adoption.placement_id)? else { continue };
        store(connection, &current, adoption, now)?;
        touched.node(node);
        touched.vpc(current.vpc);
    }
    touched.grow(connection)?;
    Ok(())
}

fn store(
    connection: &Connection,
    current: &Current,
    adoption: &Adoption,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "UPDATE instance SET start_seq = max(start_seq, ?2), reboot_seq = max(reboot_seq, ?3)
               WHERE n = ?1";
    execute(connection, sql, params![current.n, S(adoption.start_seq), S(adoption.reboot_seq)])?;
    let sql = "UPDATE placement SET observed = ?3 WHERE instance_n = ?1 AND id = ?2";
    execute(connection, sql, params![current.n, S(adoption.placement_id), adoption.observed])?;
    store_reason(connection, current, adoption.reason.as_ref())?;
    if current.state != adoption.state {
        store_state(connection, current, adoption.state, now)?;
    }
    if adoption.gone {
        release(connection, current, now)?;
    }
    Ok(())
}
