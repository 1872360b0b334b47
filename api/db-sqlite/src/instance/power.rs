//! Stop, reboot, terminate, start. From which state to which is the table of [`InstanceState::after`].

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{InstanceRequest, InstanceState};
use tepui_db::{PowerChange, PowerOutcome, StartRequest};
use tepui_types::{InstanceId, NodeId, ProjectId};

use super::capacity::{Amount, Host, Overcommit};
use super::place;
use crate::generation::Touched;
use crate::placement;
use crate::row::{execute, first};
use crate::value::S;
use crate::verb::{Undo, Verb};

/// The code and text that AWS shows for a stop or terminate that the user asked for.
const USER_INITIATED: &str = "Client.UserInitiatedShutdown";
const USER_INITIATED_MESSAGE: &str = "Client.UserInitiatedShutdown: User initiated shutdown";

/// What a change of power depends on.
pub(super) struct Current {
    pub(super) n: i64,
    pub(super) id: InstanceId,
    pub(super) state: InstanceState,
    pub(super) vcpus: u64,
    pub(super) memory_mib: u64,
    /// What its scratch disks take of its node.
    pub(super) scratch_gib: u64,
    pub(super) node_id: Option<NodeId>,
    project: ProjectId,
    volume_root: bool,
    force: bool,
    disable_api_stop: bool,
    disable_api_termination: bool,
}

/// Reads an instance of the project.
pub(super) fn current(
    connection: &Connection,
    project: ProjectId,
    id: InstanceId,
) -> Result<Current, Undo<PowerOutcome>> {
    let sql =
        "SELECT i.n, i.state, i.vcpus, i.memory_mib, i.scratch_gib + i.swap_gib, p.node_id, i.volume_root, i.force, i.disable_api_stop,
                      i.disable_api_termination
               FROM instance i LEFT JOIN placement p ON p.instance_n = i.n AND p.gone_at IS NULL
               WHERE i.id = ?1 AND i.project_id = ?2";
    let found = first(connection, sql, params![S(id), S(project)], |c| {
        Ok(Current {
            n: c.plain()?,
            id,
            state: c.stored()?,
            vcpus: c.stored()?,
            memory_mib: c.stored()?,
            scratch_gib: c.stored()?,
            node_id: c.optional()?,
            project,
            volume_root: c.plain()?,
            force: c.plain()?,
            disable_api_stop: c.plain()?,
            disable_api_termination: c.plain()?,
        })
    })?;
    found.ok_or(Undo::Answer(PowerOutcome::NotFound(id)))
}

/// The state after a change, or why there is none.
type Next = Result<InstanceState, Undo<PowerOutcome>>;

/// Stops, reboots or terminates.
pub(super) fn change(
    connection: &Connection,
    project: ProjectId,
    ids: &[InstanceId],
    change: PowerChange,
    now: Timestamp,
) -> Verb<PowerOutcome> {
    let mut touched = Touched::default();
    let mut changed = Vec::with_capacity(ids.len());
    for id in ids {
        let before = current(connection, project, *id)?;
        let after = match change {
            PowerChange::Stop { force } => stop(connection, &before, force, now, &mut touched)?,
            PowerChange::Reboot => reboot(connection, &before, &mut touched)?,
            PowerChange::Terminate => terminate(connection, &before, now, &mut touched)?,
        };
        changed.push((*id, before.state, after));
    }
    touched.grow(connection)?;
    Ok(PowerOutcome::Changed(changed))
}

/// The state after the request, by the table of states.
fn allowed(instance: &Current, request: InstanceRequest) -> Next {
    instance.state.after(request).ok_or_else(|| wrong_state(instance))
}

fn stop(c: &Connection, instance: &Current, force: bool, now: Timestamp, touched: &mut Touched) -> Next {
    let next = allowed(instance, InstanceRequest::Stop)?;
    if next != instance.state {
        if instance.disable_api_stop {
            return Err(Undo::Answer(PowerOutcome::Protected(instance.id)));
        }
        set_force(c, instance, force, touched)?;
        return leave(c, instance, next, now, touched);
    }
    if next == InstanceState::Stopping && force && !instance.force {
        set_force(c, instance, true, touched)?;
    }
    Ok(next)
}

fn reboot(c: &Connection, instance: &Current, touched: &mut Touched) -> Next {
    let next = allowed(instance, InstanceRequest::Reboot)?;
    execute(c, "UPDATE instance SET reboot_seq = reboot_seq + 1 WHERE n = ?1", params![instance.n])?;
    touch(instance, touched);
    Ok(next)
}

fn terminate(c: &Connection, instance: &Current, now: Timestamp, touched: &mut Touched) -> Next {
    let next = allowed(instance, InstanceRequest::Terminate)?;
    if next == instance.state {
        return Ok(next);
    }
    if instance.disable_api_termination {
        return Err(Undo::Answer(PowerOutcome::Protected(instance.id)));
    }
    if instance.volume_root && instance.node_id.is_none() {
        // It is in no place whose host would have to confirm its end.
        placement::free(c, instance.n, instance.project, touched)?;
        return leave(c, instance, InstanceState::Terminated, now, touched);
    }
    leave(c, instance, next, now, touched)
}

fn leave(
    connection: &Connection,
    instance: &Current,
    state: InstanceState,
    now: Timestamp,
    touched: &mut Touched,
) -> Next {
    let sql = "UPDATE instance SET state = ?2, state_since = ?3, state_reason_code = ?4,
                   state_reason_message = ?5, state_reason_detail = NULL
               WHERE n = ?1";
    let values = params![instance.n, S(state), S(now), USER_INITIATED, USER_INITIATED_MESSAGE];
    execute(connection, sql, values)?;
    touch(instance, touched);
    Ok(state)
}

fn set_force(
    connection: &Connection,
    instance: &Current,
    force: bool,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    execute(connection, "UPDATE instance SET force = ?2 WHERE n = ?1", params![instance.n, force])?;
    touch(instance, touched);
    Ok(())
}

fn touch(instance: &Current, touched: &mut Touched) {
    if let Some(node) = instance.node_id {
        touched.node(node);
    }
}

/// The verb is refused in this state.
pub(super) fn wrong_state(instance: &Current) -> Undo<PowerOutcome> {
    Undo::Answer(PowerOutcome::WrongState(instance.id, instance.state))
}

/// Starts stopped instances where their root disks are, or in the places that were chosen for them.
pub(super) fn start(connection: &Connection, request: &StartRequest, now: Timestamp) -> Verb<PowerOutcome> {
    let overcommit = overcommit(request);
    let mut touched = Touched::default();
    let mut changed = Vec::with_capacity(request.ids.len());
    for id in &request.ids {
        let before = current(connection, request.project_id, *id)?;
        let after = allowed(&before, InstanceRequest::Start)?;
        if after != before.state {
            check_volumes(connection, &before)?;
            if before.volume_root {
                place::occupy(connection, &before, request, &mut touched)?;
            } else {
                check_room(connection, &before, overcommit)?;
            }
            order_start(connection, &before, after, now, &mut touched)?;
        } else if after == InstanceState::Running {
            start_again(connection, &before, &mut touched)?;
        }
        changed.push((*id, before.state, after));
    }
    touched.grow(connection)?;
    Ok(PowerOutcome::Changed(changed))
}

/// As the request says.
pub(super) fn overcommit(request: &StartRequest) -> Overcommit {
    Overcommit {
        vcpu: request.vcpu_overcommit,
        memory: request.memory_overcommit,
        disk: request.disk_overcommit,
    }
}

/// The guest may have gone off and its host not have said so yet: the order must reach the host, which does
/// nothing about it where the guest runs.
fn start_again(
    connection: &Connection,
    instance: &Current,
    touched: &mut Touched,
) -> Result<(), Undo<PowerOutcome>> {
    execute(connection, "UPDATE instance SET start_seq = start_seq + 1 WHERE n = ?1", params![instance.n])?;
    touch(instance, touched);
    Ok(())
}

/// A drained node takes its own instances back: they cannot start anywhere else. Their disks are
/// counted already.
fn check_room(
    connection: &Connection,
    instance: &Current,
    overcommit: Overcommit,
) -> Result<(), Undo<PowerOutcome>> {
    let more = Amount { vcpus: instance.vcpus, memory_mib: instance.memory_mib, disk_gib: 0 };
    let host = match instance.node_id {
        Some(node) => Host::read(connection, node)?,
        None => None,
    };
    if !host.is_some_and(|host| host.up && host.fits(more, overcommit)) {
        return Err(Undo::Answer(PowerOutcome::NoCapacity(instance.id)));
    }
    Ok(())
}

/// It would wait for ever for a volume that is lost.
fn check_volumes(connection: &Connection, instance: &Current) -> Result<(), Undo<PowerOutcome>> {
    let sql = "SELECT v.id, v.state FROM attachment a JOIN volume v ON v.id = a.volume_id
               WHERE a.instance_n = ?1 AND v.state = 'error' AND a.state <> 'detaching'";
    match first(connection, sql, params![instance.n], |c| Ok((c.stored()?, c.stored()?)))? {
        Some((volume, state)) => Err(Undo::Answer(PowerOutcome::VolumeState(volume, state))),
        None => Ok(()),
    }
}

fn order_start(
    connection: &Connection,
    instance: &Current,
    next: InstanceState,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let sql = "UPDATE instance SET state = ?2, state_since = ?3, launched_at = ?3, force = 0,
                   start_seq = start_seq + 1, state_reason_code = NULL, state_reason_message = NULL,
                   state_reason_detail = NULL
               WHERE n = ?1";
    execute(connection, sql, params![instance.n, S(next), S(now)])?;
    touch(instance, touched);
    Ok(())
}
