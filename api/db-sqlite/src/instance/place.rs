//! A new place for an instance that boots from a volume.

use rusqlite::{Connection, params};
use tepui_db::model::PlacementStrategy;
use tepui_db::{NewPlace, PowerOutcome, StartRequest};
use tepui_types::VpcId;

use super::capacity::{Amount, Host};
use super::power::{Current, overcommit};
use crate::attachment;
use crate::generation::Touched;
use crate::row::{execute, exists, first};
use crate::value::S;
use crate::verb::Undo;

/// Takes the place that was chosen for the instance, if it can still be had, and opens its volumes to it. Its processors
/// and memory count on its node once the instance is not stopped any more.
pub(super) fn occupy(
    connection: &Connection,
    instance: &Current,
    request: &StartRequest,
    touched: &mut Touched,
) -> Result<(), Undo<PowerOutcome>> {
    let unplaced = || Undo::Answer(PowerOutcome::Unplaced(instance.id));
    let place = request.places.iter().find(|place| place.instance_id == instance.id).ok_or_else(unplaced)?;
    if !holds(connection, instance, request, place)? || is_shared(connection, instance, place)? {
        return Err(unplaced());
    }
    let sql = "INSERT INTO placement (instance_n, id, project_id, node_id, vcpus, memory_mib, disk_gib)
               VALUES (?1, ?2, ?3, ?4, 0, 0, ?5)";
    let (project, disk) = (S(request.project_id), S(instance.scratch_gib));
    execute(connection, sql, params![instance.n, S(place.placement_id), project, S(place.node_id), disk])?;
    for (volume, export, secret) in &place.exports {
        let one = (*volume, *export, secret.as_slice());
        if !attachment::reopen(connection, instance.n, place.placement_id, one, touched)? {
            return Err(unplaced());
        }
    }
    // One that was attached since the place was chosen.
    let sql =
        "SELECT 1 FROM attachment WHERE instance_n = ?1 AND export_state = 'closed' AND state <> 'detaching'";
    if exists(connection, sql, params![instance.n])? {
        return Err(unplaced());
    }
    let sql = "SELECT vpc_id FROM instance WHERE n = ?1";
    let vpc = first(connection, sql, params![instance.n], |c| c.stored::<VpcId>())?;
    vpc.into_iter().for_each(|vpc| touched.vpc(vpc));
    touched.node(place.node_id);
    Ok(())
}

fn holds(
    connection: &Connection,
    instance: &Current,
    request: &StartRequest,
    place: &NewPlace,
) -> rusqlite::Result<bool> {
    let Current { vcpus, memory_mib, scratch_gib: disk_gib, .. } = *instance;
    let more = Amount { vcpus, memory_mib, disk_gib };
    let host = Host::read(connection, place.node_id)?;
    Ok(host.is_some_and(|host| host.up && host.schedulable && host.fits(more, overcommit(request))))
}

/// Whether another member of its group, which spreads them, is on the node.
fn is_shared(connection: &Connection, instance: &Current, place: &NewPlace) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM instance i
               JOIN placement_group g ON g.id = i.placement_group_id AND g.strategy = ?3
               JOIN instance other ON other.placement_group_id = g.id AND other.n <> i.n
               JOIN placement p ON p.instance_n = other.n AND p.gone_at IS NULL
               WHERE i.n = ?1 AND p.node_id = ?2";
    exists(connection, sql, params![instance.n, S(place.node_id), S(PlacementStrategy::Spread)])
}
