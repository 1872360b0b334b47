//! What becomes of moves when one of their hosts is given up: the volume is made from what is left of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{MoveStage, SnapshotState, VolumeMove};
use tepui_types::{NodeId, PoolId};

use super::{arrive, end, of_node, snapshot_of, turn_back};
use crate::generation::Touched;
use crate::node;
use crate::row::first;
use crate::value::S;

/// Before the node's volumes are: one that is whole elsewhere is not lost with it.
pub(crate) fn give_up(
    connection: &Connection,
    node: NodeId,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    for found in of_node(connection, node)? {
        go_where_it_is_whole(connection, &found, now, touched)?;
    }
    Ok(())
}

fn go_where_it_is_whole(
    connection: &Connection,
    found: &VolumeMove,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let from_lost = is_lost(connection, found.from_pool)?;
    let to_lost = is_lost(connection, found.to_pool)?;
    // Polls find out by themselves.
    let mut wake = BTreeSet::new();
    match (found.stage, from_lost, to_lost) {
        // It waited for its hosts, or for a snapshot: whoever had used the volume since would have ended its move.
        (MoveStage::Copying, true, false) if is_whole_there(connection, found)? => {
            arrive(connection, found, now, touched, &mut wake)
        }
        // The volume is where it was, or lost with its host.
        (MoveStage::Copying | MoveStage::Failed, ..)
        | (MoveStage::Leaving | MoveStage::Arriving, true, true) => end(connection, found, touched),
        (MoveStage::Leaving, true, false) => arrive(connection, found, now, touched, &mut wake),
        (MoveStage::Leaving, false, true) => turn_back(connection, found, now, touched),
        (MoveStage::Arriving, false, true) => {
            turn_back(connection, found, now, touched)?;
            let back = VolumeMove { to_pool: found.from_pool, ..found.clone() };
            arrive(connection, &back, now, touched, &mut wake)
        }
        (MoveStage::Leaving | MoveStage::Arriving, _, false) => Ok(()),
    }
}

fn is_whole_there(connection: &Connection, found: &VolumeMove) -> rusqlite::Result<bool> {
    let copy = snapshot_of(connection, found.target_id)?;
    Ok(copy.is_some_and(|copy| copy.state == SnapshotState::Completed))
}

fn is_lost(connection: &Connection, pool: PoolId) -> rusqlite::Result<bool> {
    let host = first(connection, "SELECT node_id FROM pool WHERE id = ?1", params![S(pool)], |c| c.stored())?;
    host.map_or(Ok(true), |host| node::is_expunged(connection, host))
}
