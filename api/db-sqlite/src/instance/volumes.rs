//! Volumes that are made with their instance.

use rusqlite::{Connection, params};
use tepui_db::{DbError, Launch, LaunchInstance, LaunchOutcome, LaunchVolume, NewVolume, NewVolumeOutcome};
use tepui_types::NodeId;
use tepui_types::agent::PoolBackend;

use super::launch::Step;
use crate::row::first;
use crate::value::S;
use crate::verb::Undo;
use crate::{attachment, volume};

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

/// Writes the volumes of an instance, and that they are attached to it.
pub(super) fn insert(connection: &Connection, instance_n: i64, new: &LaunchInstance) -> Step {
    for one in &new.volumes {
        make(connection, one)?;
        check_reach(connection, one, new.node_id)?;
        let since = one.volume.created_at;
        attachment::insert(connection, &one.attachment, instance_n, new.placement_id, since)?;
    }
    Ok(())
}

fn make(connection: &Connection, new: &LaunchVolume) -> Step {
    let row = NewVolume { volume: new.volume.clone(), token: None, tags: Vec::new(), end: None };
    let created = match volume::create(connection, &row) {
        Ok(created) => created,
        Err(Undo::Answer(refused)) => refused,
        Err(Undo::Failed(error)) => return Err(Undo::Failed(error)),
    };
    match created {
        NewVolumeOutcome::Created(_) => Ok(()),
        NewVolumeOutcome::PoolLost(pool) => Err(Undo::Answer(LaunchOutcome::PoolLost(pool))),
        NewVolumeOutcome::SnapshotMissing(id) => Err(Undo::Answer(LaunchOutcome::SnapshotMissing(id))),
        NewVolumeOutcome::QuotaExceeded { quota, limit, used } => {
            Err(Undo::Answer(LaunchOutcome::QuotaExceeded { quota, limit, used }))
        }
        NewVolumeOutcome::ParentMissing => {
            Err(Undo::Answer(LaunchOutcome::ParentMissing(new.volume.project_id.to_string())))
        }
        // Neither has a token, and sizes of snapshots never change.
        refused @ (NewVolumeOutcome::Repeated(_)
        | NewVolumeOutcome::TokenMismatch
        | NewVolumeOutcome::SmallerThanSnapshot(_)) => {
            Err(Undo::Failed(DbError::Bug(format!("the volume of a launch was refused: {refused:?}"))))
        }
    }
}

/// Refuses a local pool of another node.
fn check_reach(connection: &Connection, new: &LaunchVolume, node: NodeId) -> Step {
    let id = new.volume.pool_id;
    let sql = "SELECT backend, node_id FROM pool WHERE id = ?1";
    let found = first(connection, sql, params![S(id)], |c| Ok((c.stored()?, c.stored::<NodeId>()?)))?;
    match found {
        Some((PoolBackend::Local, host)) if host != node => Err(Undo::Answer(LaunchOutcome::PoolLost(id))),
        Some((PoolBackend::Local | PoolBackend::Iscsi | PoolBackend::Nfs, _)) | None => Ok(()),
    }
}
