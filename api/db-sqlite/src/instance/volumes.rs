//! Volumes that are made with their instance. What holds for all of a launch is checked once.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use tepui_db::model::Volume;
use tepui_db::{DbError, Launch, LaunchInstance, LaunchOutcome, NewVolumeOutcome};
use tepui_types::agent::PoolBackend;
use tepui_types::{NodeId, PoolId};

use super::launch::Step;
use crate::generation::Touched;
use crate::row::first;
use crate::value::S;
use crate::verb::Undo;
use crate::{attachment, volume};

/// The pools of a launch's volumes that take new ones, with their hosts.
#[derive(Default)]
pub(super) struct Pools(BTreeMap<PoolId, (PoolBackend, NodeId)>);

impl Pools {
    /// The host of a pool that a guest on this node can reach.
    fn host(
        &mut self,
        connection: &Connection,
        id: PoolId,
        node: NodeId,
    ) -> Result<NodeId, Undo<LaunchOutcome>> {
        let lost = || Undo::Answer(LaunchOutcome::PoolLost(id));
        let (backend, host) = match self.0.get(&id) {
            Some(known) => *known,
            None => {
                let host = volume::open_pool(connection, id)?.ok_or_else(lost)?;
                let sql = "SELECT backend FROM pool WHERE id = ?1";
                let backend = first(connection, sql, params![S(id)], |c| c.stored())?.ok_or_else(lost)?;
                *self.0.entry(id).or_insert((backend, host))
            }
        };
        if backend == PoolBackend::Local && host != node { Err(lost()) } else { Ok(host) }
    }
}

/// Whether the project may have all of a launch's volumes.
pub(super) fn check_quota(connection: &Connection, launch: &Launch) -> Step {
    let volumes = || launch.instances.iter().flat_map(|new| &new.volumes);
    let count = volumes().count() as u64;
    if count == 0 {
        return Ok(());
    }
    let gib = volumes().map(|new| u64::from(new.volume.size_gib)).sum();
    match volume::exceeded(connection, launch.project_id, count, gib)? {
        None => Ok(()),
        Some((quota, limit, used)) => Err(Undo::Answer(LaunchOutcome::QuotaExceeded { quota, limit, used })),
    }
}

/// Writes the volumes of an instance, whose quota was checked, and that they are attached to it.
pub(super) fn insert(
    connection: &Connection,
    instance_n: i64,
    new: &LaunchInstance,
    pools: &mut Pools,
    touched: &mut Touched,
) -> Step {
    for one in &new.volumes {
        check_source(connection, &one.volume)?;
        touched.storage(pools.host(connection, one.volume.pool_id, new.node_id)?);
        volume::insert(connection, &one.volume, None)?;
        let since = one.volume.created_at;
        attachment::insert(connection, &one.attachment, instance_n, new.placement_id, since)?;
    }
    Ok(())
}

fn check_source(connection: &Connection, volume: &Volume) -> Step {
    match volume::refuse_source(connection, volume)? {
        None => Ok(()),
        Some(NewVolumeOutcome::SnapshotMissing(id)) => Err(Undo::Answer(LaunchOutcome::SnapshotMissing(id))),
        Some(NewVolumeOutcome::SnapshotState(id, state)) => {
            Err(Undo::Answer(LaunchOutcome::SnapshotState(id, state)))
        }
        // Sizes of snapshots never change.
        Some(refused) => {
            Err(Undo::Failed(DbError::Bug(format!("the volume of a launch was refused: {refused:?}"))))
        }
    }
}
