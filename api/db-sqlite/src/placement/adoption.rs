//! What a node has, taken over into a restored database.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::Adoption;
use tepui_db::model::InstanceState;
use tepui_types::{NodeId, PlacementId};

use super::transition::{Current, current, park, release, store_reason, store_state};
use crate::generation::Touched;
use crate::row::execute;
use crate::value::S;
use crate::verb::Verb;

/// Writes those that still hold, of placements on the node which are not gone; returns these.
pub(super) fn adopt(
    connection: &Connection,
    node: NodeId,
    adoptions: &[Adoption],
    now: Timestamp,
) -> Verb<Vec<PlacementId>> {
    let mut adopted = Vec::new();
    let mut touched = Touched::default();
    for adoption in adoptions {
        let current = current(connection, node, adoption.placement_id)?;
        let Some(current) = current.filter(|current| current.state == adoption.from) else { continue };
        store(connection, &current, adoption, now, &mut touched)?;
        adopted.push(adoption.placement_id);
        touched.node(node);
        if adoption.gone {
            touched.vpc(current.vpc);
        }
    }
    touched.grow(connection)?;
    Ok(adopted)
}

fn store(
    connection: &Connection,
    current: &Current,
    adoption: &Adoption,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let sql = "UPDATE instance SET start_seq = max(start_seq, ?2), reboot_seq = max(reboot_seq, ?3)
               WHERE n = ?1";
    execute(connection, sql, params![current.n, S(adoption.start_seq), S(adoption.reboot_seq)])?;
    let sql = "UPDATE placement SET observed = ?3 WHERE instance_n = ?1 AND id = ?2";
    execute(connection, sql, params![current.n, S(adoption.placement_id), adoption.observed])?;
    store_reason(connection, current, adoption.reason.as_ref())?;
    if adoption.gone && adoption.state == InstanceState::Stopped {
        store_state(connection, current, InstanceState::Stopping, now)?;
        return park(connection, current, now, touched);
    }
    if current.state != adoption.state {
        store_state(connection, current, adoption.state, now)?;
    }
    if adoption.gone {
        release(connection, current, now, touched)?;
    }
    Ok(())
}
