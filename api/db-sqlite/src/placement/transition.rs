//! Observations that change an instance's state.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{InstanceState, NodeState, StateReason};
use tepui_db::{ExpungeOutcome, Transition};
use tepui_types::{NetworkInterfaceId, NodeId, PlacementId, ProjectId, VolumeId, VpcId};

use crate::generation::Touched;
use crate::instance::record::read_reason;
use crate::row::{Columns, all, execute, exists, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{attachment, expunged_storage, tag};

const CURRENT: &str = "SELECT i.n, i.project_id, i.vpc_id, i.state, p.id, p.observed,
                              i.volume_root, i.state_reason_code, i.state_reason_message, i.state_reason_detail
                       FROM placement p JOIN instance i ON i.n = p.instance_n";

/// A placement that is not gone, with what a transition may change.
pub(super) struct Current {
    pub(super) n: i64,
    project: ProjectId,
    pub(super) vpc: VpcId,
    pub(super) state: InstanceState,
    placement: PlacementId,
    observed: Option<String>,
    volume_root: bool,
    reason: Option<StateReason>,
}

/// What a node's part says of an instance. Only a change of this grows the part.
#[derive(PartialEq, Eq)]
enum Wanted {
    On,
    Off,
    Absent,
}

fn wanted(state: InstanceState, volume_root: bool) -> Wanted {
    match state {
        InstanceState::Pending | InstanceState::Running => Wanted::On,
        // It has no place while it is off.
        InstanceState::Stopping | InstanceState::Stopped if volume_root => Wanted::Absent,
        InstanceState::Stopping | InstanceState::Stopped => Wanted::Off,
        InstanceState::ShuttingDown | InstanceState::Terminated => Wanted::Absent,
    }
}

impl Current {
    fn read(c: &Columns<'_>) -> rusqlite::Result<Self> {
        let (n, project, vpc, state) = (c.plain()?, c.stored()?, c.stored()?, c.stored()?);
        let (placement, observed, volume_root) = (c.stored()?, c.plain()?, c.plain()?);
        let reason = read_reason(c)?;
        Ok(Self { n, project, vpc, state, placement, observed, volume_root, reason })
    }

    /// Whether the transition was computed for this state and says something new.
    fn is_news(&self, t: &Transition) -> bool {
        self.state == t.from
            && (t.from != t.to
                || releases(t)
                || self.reason != t.reason
                || self.observed.as_deref() != Some(&t.observed))
    }
}

fn releases(t: &Transition) -> bool {
    t.gone && t.to == InstanceState::Terminated
}

/// Whether an instance that boots from a volume leaves its place, to start in another.
fn parks(t: &Transition, current: &Current) -> bool {
    t.gone && t.to == InstanceState::Stopped && current.volume_root
}

pub(super) fn current(
    connection: &Connection,
    node: NodeId,
    id: PlacementId,
) -> rusqlite::Result<Option<Current>> {
    let sql = format!("{CURRENT} WHERE p.id = ?1 AND p.node_id = ?2 AND p.gone_at IS NULL");
    first(connection, &sql, params![S(id), S(node)], Current::read)
}

/// Applies those transitions that still hold; returns those that changed a state or released.
pub(super) fn apply(
    connection: &Connection,
    node: NodeId,
    transitions: &[Transition],
    now: Timestamp,
) -> Verb<Vec<PlacementId>> {
    let mut touched = Touched::default();
    let mut effective = Vec::new();
    for t in transitions {
        let Some(current) = current(connection, node, t.placement_id)?.filter(|c| c.is_news(t)) else {
            continue;
        };
        store_words(connection, &current, t)?;
        if parks(t, &current) {
            park(connection, &current, now, &mut touched)?;
            touched.node(node);
            touched.vpc(current.vpc);
        } else if t.from != t.to {
            store_state(connection, &current, t.to, now)?;
        }
        if wanted(t.from, current.volume_root) != wanted(t.to, current.volume_root) {
            touched.node(node);
        }
        if releases(t) {
            release(connection, &current, now, &mut touched)?;
            touched.node(node);
            touched.vpc(current.vpc);
        }
        if t.from != t.to || releases(t) {
            effective.push(t.placement_id);
        }
    }
    touched.grow(connection)?;
    Ok(effective)
}

fn store_words(connection: &Connection, current: &Current, t: &Transition) -> rusqlite::Result<()> {
    let sql = "UPDATE placement SET observed = ?3 WHERE instance_n = ?1 AND id = ?2";
    execute(connection, sql, params![current.n, S(current.placement), t.observed])?;
    store_reason(connection, current, t.reason.as_ref())
}

pub(super) fn store_reason(
    connection: &Connection,
    current: &Current,
    reason: Option<&StateReason>,
) -> rusqlite::Result<()> {
    let sql = "UPDATE instance SET state_reason_code = ?2, state_reason_message = ?3,
                   state_reason_detail = ?4
               WHERE n = ?1";
    let (code, message) = (reason.map(|r| &r.code), reason.map(|r| &r.message));
    let detail = reason.and_then(|r| r.detail.as_ref());
    execute(connection, sql, params![current.n, code, message, detail])?;
    Ok(())
}

/// `force` stays as it is: it is in the node's part, which "stopping" and "stopped" share.
pub(super) fn store_state(
    connection: &Connection,
    current: &Current,
    state: InstanceState,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "UPDATE instance SET state = ?2, state_since = ?3 WHERE n = ?1";
    execute(connection, sql, params![current.n, S(state), S(now)])?;
    Ok(())
}

/// Nothing is left on the node of an instance that keeps its volumes and addresses. It is stopped once nobody can
/// reach its volumes any more.
pub(super) fn park(
    connection: &Connection,
    current: &Current,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    attachment::park_all(connection, current.placement, touched)?;
    leave(connection, current, now)?;
    stop_fenced(connection, now)
}

/// Those that boot from a volume, are in no place any more and wanted to stop are stopped once nobody can reach their
/// volumes: then, and not before, their next place may open them.
pub(crate) fn stop_fenced(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE instance AS i SET state = 'stopped', state_since = ?1
               WHERE state = 'stopping' AND volume_root
                 AND NOT EXISTS (SELECT 1 FROM placement WHERE instance_n = i.n AND gone_at IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM attachment WHERE instance_n = i.n AND export_state <> 'closed'
                                     AND state <> 'detaching')";
    execute(connection, sql, params![S(now)])?;
    Ok(())
}

fn leave(connection: &Connection, current: &Current, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE placement SET gone_at = ?3, vcpus = 0, memory_mib = 0, disk_gib = 0
               WHERE instance_n = ?1 AND id = ?2";
    execute(connection, sql, params![current.n, S(current.placement), S(now)])?;
    Ok(())
}

/// Nothing is left on the node: its place, interface, addresses and disk are free.
pub(super) fn release(
    connection: &Connection,
    current: &Current,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    leave(connection, current, now)?;
    free(connection, current.n, current.project, touched)
}

/// What an instance has that is in no place any more, and ends: its volumes leave it, its interface, addresses and
/// local disk are free.
pub(crate) fn free(
    connection: &Connection,
    instance_n: i64,
    project: ProjectId,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    attachment::close_all(connection, instance_n, project, touched)?;
    let sql = "DELETE FROM interface WHERE instance_n = ?1 RETURNING id";
    for id in all(connection, sql, params![instance_n], |c| c.stored::<NetworkInterfaceId>())? {
        tag::delete_all(connection, project, &id.to_string())?;
    }
    let sql = "DELETE FROM root_volume WHERE instance_n = ?1 RETURNING id";
    for id in all(connection, sql, params![instance_n], |c| c.stored::<VolumeId>())? {
        tag::delete_all(connection, project, &id.to_string())?;
    }
    Ok(())
}

/// Gives up a node with everything on it, unless it is up.
pub(super) fn expunge(
    connection: &Connection,
    node: NodeId,
    reason: &StateReason,
    now: Timestamp,
) -> Verb<ExpungeOutcome> {
    let sql = "SELECT state FROM node WHERE id = ?1";
    match first(connection, sql, params![S(node)], |c| c.stored())? {
        None => return Ok(ExpungeOutcome::NotFound),
        Some(NodeState::Up) => return Ok(ExpungeOutcome::Up),
        Some(NodeState::Unreachable) => {
            let sql = "UPDATE node SET state = 'expunged', state_since = ?2 WHERE id = ?1";
            execute(connection, sql, params![S(node), S(now)])?;
        }
        Some(NodeState::Expunged) => {}
    }
    let mut touched = Touched::default();
    let count = expunge_placements(connection, node, reason, now, &mut touched)?;
    expunged_storage::give_up(connection, node, (&reason.message, now), &mut touched)?;
    // Some waited for a fence of this host, of which nothing is served any more.
    stop_fenced(connection, now)?;
    touched.grow(connection)?;
    Ok(ExpungeOutcome::Expunged(count))
}

fn expunge_placements(
    connection: &Connection,
    node: NodeId,
    reason: &StateReason,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<u32> {
    let sql = format!("{CURRENT} WHERE p.node_id = ?1 AND p.gone_at IS NULL");
    let lost = all(connection, &sql, params![S(node)], Current::read)?;
    for current in &lost {
        touched.node(node);
        touched.vpc(current.vpc);
        if starts_elsewhere(connection, current, node)? {
            store_reason(connection, current, Some(reason))?;
            store_state(connection, current, InstanceState::Stopping, now)?;
            park(connection, current, now, touched)?;
            continue;
        }
        if current.state != InstanceState::Terminated {
            store_reason(connection, current, Some(reason))?;
            store_state(connection, current, InstanceState::Terminated, now)?;
        }
        if current.state != InstanceState::ShuttingDown {
            // Its owner did not end it, and did not mean its volumes to end with the host.
            attachment::keep_all(connection, current.placement)?;
        }
        release(connection, current, now, touched)?;
    }
    Ok(lost.len().try_into().unwrap_or(u32::MAX))
}

/// Whether nothing of the instance is lost with the node: it is not on its way to its end, and boots from a volume of
/// another node.
fn starts_elsewhere(connection: &Connection, current: &Current, node: NodeId) -> rusqlite::Result<bool> {
    let stays = match current.state {
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped => current.volume_root,
        InstanceState::ShuttingDown | InstanceState::Terminated => false,
    };
    let sql = "SELECT 1 FROM attachment a JOIN volume v ON v.id = a.volume_id JOIN pool p ON p.id = v.pool_id
               WHERE a.instance_n = ?1 AND a.is_root AND p.node_id <> ?2";
    Ok(stays && exists(connection, sql, params![current.n, S(node)])?)
}
