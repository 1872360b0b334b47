//! Snapshots of root disks that are local to their instances' nodes.

use rusqlite::{Connection, params};
use tepui_db::NewSnapshotsOutcome;
use tepui_db::model::{InstanceState, Snapshot};
use tepui_types::{NodeId, PlacementId, SnapshotId};

use crate::row::first;
use crate::snapshot;
use crate::value::S;
use crate::verb::Undo;
use crate::volume;

/// A local root disk: the state of its instance, its size, and where it is.
pub(crate) struct LocalRoot {
    state: InstanceState,
    size_gib: u32,
    placement: Option<PlacementId>,
}

/// The local root disk that a snapshot is wanted of, if its volume is one.
pub(crate) fn of_volume(connection: &Connection, wanted: &Snapshot) -> rusqlite::Result<Option<LocalRoot>> {
    let sql = "SELECT i.state, v.size_gib, l.id FROM root_volume v
               JOIN instance i ON i.n = v.instance_n
               LEFT JOIN placement l ON l.instance_n = i.n AND l.gone_at IS NULL
               WHERE v.id = ?1 AND v.project_id = ?2";
    first(connection, sql, params![S(wanted.volume_id), S(wanted.project_id)], |c| {
        Ok(LocalRoot { state: c.stored()?, size_gib: c.plain()?, placement: c.optional()? })
    })
}

/// Writes a snapshot of a local root disk, into the pool of the row; the node of that pool. The caller grows its storage
/// part.
pub(crate) fn take(connection: &Connection, wanted: &Snapshot) -> Result<NodeId, Undo<NewSnapshotsOutcome>> {
    let refused = |outcome| Err(Undo::Answer(outcome));
    let volume = wanted.volume_id;
    let Some(root) = of_volume(connection, wanted)? else {
        return refused(NewSnapshotsOutcome::VolumeMissing(volume));
    };
    match root.state {
        InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {}
        InstanceState::Pending => return refused(NewSnapshotsOutcome::RootState(volume, root.state)),
        InstanceState::ShuttingDown | InstanceState::Terminated => {
            return refused(NewSnapshotsOutcome::VolumeMissing(volume));
        }
    }
    let Some(placement) = root.placement else {
        return refused(NewSnapshotsOutcome::VolumeMissing(volume));
    };
    let Some(node) = volume::open_pool(connection, wanted.pool_id)? else {
        return refused(NewSnapshotsOutcome::PoolLost(volume, wanted.pool_id));
    };
    let found = Snapshot { root_of: Some(placement), size_gib: root.size_gib, ..wanted.clone() };
    snapshot::insert(connection, &found)?;
    Ok(node)
}

/// Where the disk is that a pending snapshot is to be taken of, as long as it is to stay.
pub(crate) fn place_of(
    connection: &Connection,
    id: SnapshotId,
) -> rusqlite::Result<Option<(PlacementId, NodeId)>> {
    let sql = "SELECT l.id, l.node_id FROM snapshot s
               JOIN placement l ON l.id = s.root_of AND l.gone_at IS NULL
               JOIN instance i ON i.n = l.instance_n
               WHERE s.id = ?1 AND s.state = 'pending' AND i.state NOT IN ('shutting-down', 'terminated')";
    first(connection, sql, params![S(id)], |c| Ok((c.stored()?, c.stored()?)))
}
