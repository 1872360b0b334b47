//! Attachments of volumes, and their exports.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use rusqlite::{Connection, Params, params};
use tepui_db::model::{Attachment, AttachmentState, ExportState, InstanceState, VolumeState};
use tepui_db::{AttachOutcome, DetachOutcome, Detachment, NewAttachment};
use tepui_types::agent::{IoLimits, PoolBackend, ScratchDisks};
use tepui_types::{AttachmentId, ExportId, InstanceId, NodeId, PlacementId, ProjectId, VolumeId};

use crate::generation::Touched;
use crate::row::{Columns, all, execute, exists, first};
use crate::value::S;
use crate::verb::{Undo, Verb};
use crate::{node, volume, volume_move};

/// The SELECT list, with `attachment` as a and `instance` as i, that [`read`] reads.
pub(crate) const ATTACHMENT: &str =
    "a.id, a.volume_id, i.id, a.device, a.delete_on_termination, a.state, a.since,
    a.export_id, a.placement_id, a.wrapped_secret, a.export_state, a.source, a.message,
    (SELECT actual_gib FROM volume WHERE id = a.volume_id), a.guest_gib,
    (SELECT iops FROM volume WHERE id = a.volume_id), (SELECT throughput_mib FROM volume WHERE id = a.volume_id),
    a.guest_iops, a.guest_throughput_mib, a.is_root, a.read_only";
/// Where [`ATTACHMENT`] is selected from.
pub(crate) const FROM: &str = "attachment a JOIN instance i ON i.n = a.instance_n";

/// Reads an attachment's row.
pub(crate) fn read(c: &Columns<'_>) -> rusqlite::Result<Attachment> {
    Ok(Attachment {
        id: c.stored()?,
        volume_id: c.stored()?,
        instance_id: c.stored()?,
        device: c.plain()?,
        delete_on_termination: c.plain()?,
        state: c.stored()?,
        since: c.stored()?,
        export_id: c.stored()?,
        placement_id: c.stored()?,
        wrapped_secret: c.plain()?,
        export_state: c.stored()?,
        source: c.optional()?,
        message: c.plain()?,
        size_gib: c.plain()?,
        guest_gib: c.plain()?,
        limits: limits(c)?,
        guest_limits: limits(c)?,
        is_root: c.plain()?,
        read_only: c.plain()?,
    })
}

/// Reads limits: operations, then MiB a second.
pub(crate) fn limits(c: &Columns<'_>) -> rusqlite::Result<IoLimits> {
    Ok(IoLimits { iops: c.plain()?, throughput_mib: c.plain()? })
}

fn select(
    connection: &Connection,
    condition: &str,
    params: impl Params,
) -> rusqlite::Result<Vec<Attachment>> {
    let sql =
        format!("SELECT {ATTACHMENT} FROM {FROM} WHERE {condition} ORDER BY a.volume_id, a.since, a.id");
    all(connection, &sql, params, read)
}

/// A project's attachments, by volume, the oldest first.
pub(crate) fn of_project(connection: &Connection, project: ProjectId) -> rusqlite::Result<Vec<Attachment>> {
    select(connection, "a.project_id = ?1", params![S(project)])
}

/// Those that pass the condition, by instance; the root's first, the others in order of their devices.
pub(crate) fn by_instance(
    connection: &Connection,
    condition: &str,
    params: impl Params,
) -> rusqlite::Result<HashMap<InstanceId, Vec<Attachment>>> {
    let mut found: HashMap<InstanceId, Vec<Attachment>> = HashMap::new();
    for attachment in select(connection, condition, params)? {
        found.entry(attachment.instance_id).or_default().push(attachment);
    }
    for own in found.values_mut() {
        own.sort_by(|one, other| (!one.is_root, &one.device).cmp(&(!other.is_root, &other.device)));
    }
    Ok(found)
}

/// The instance that has the volume, or the one that had it first of those that do.
pub(crate) fn user(connection: &Connection, volume: VolumeId) -> rusqlite::Result<Option<InstanceId>> {
    let sql = format!("SELECT i.id FROM {FROM} WHERE a.volume_id = ?1 ORDER BY a.since, a.id");
    first(connection, &sql, params![S(volume)], |c| c.stored())
}

/// The nodes that are told to give the volume to their guests.
pub(crate) fn computes_of(connection: &Connection, volume: VolumeId) -> rusqlite::Result<Vec<NodeId>> {
    let sql = "SELECT DISTINCT l.node_id FROM attachment a
               JOIN placement l ON l.id = a.placement_id AND l.gone_at IS NULL
               WHERE a.volume_id = ?1 AND a.state <> 'detaching' AND a.source IS NOT NULL";
    all(connection, sql, params![S(volume)], |c| c.stored())
}

/// What an attachment depends on, of the volume's side.
struct Disk {
    state: VolumeState,
    read_only: bool,
    backend: PoolBackend,
    node: NodeId,
}

/// What an attachment depends on, of the instance's side.
struct Machine {
    n: i64,
    state: InstanceState,
    scratch: ScratchDisks,
    /// The incarnation, with its node while it is there.
    placement: Option<(PlacementId, Option<NodeId>)>,
}

fn disk(connection: &Connection, project: ProjectId, id: VolumeId) -> rusqlite::Result<Option<Disk>> {
    let sql =
        "SELECT v.state, v.read_only, p.backend, p.node_id FROM volume v JOIN pool p ON p.id = v.pool_id
               WHERE v.id = ?1 AND v.project_id = ?2";
    first(connection, sql, params![S(id), S(project)], |c| {
        Ok(Disk { state: c.stored()?, read_only: c.plain()?, backend: c.stored()?, node: c.stored()? })
    })
}

fn machine(connection: &Connection, project: ProjectId, id: InstanceId) -> rusqlite::Result<Option<Machine>> {
    let sql = "SELECT i.n, i.state, i.scratch_gib, i.swap_gib, p.id, iif(p.gone_at IS NULL, p.node_id, NULL)
               FROM instance i LEFT JOIN placement p ON p.instance_n = i.n
               WHERE i.id = ?1 AND i.project_id = ?2 ORDER BY p.gone_at IS NOT NULL, p.gone_at DESC";
    first(connection, sql, params![S(id), S(project)], |c| {
        let (n, state) = (c.plain()?, c.stored()?);
        let scratch = ScratchDisks { scratch_gib: c.plain()?, swap_gib: c.plain()? };
        let (placement, node) = (c.optional()?, c.optional()?);
        Ok(Machine { n, state, scratch, placement: placement.map(|placement| (placement, node)) })
    })
}

/// Attaches a volume, and asks its host for an export.
pub(crate) fn attach(connection: &Connection, new: &NewAttachment, now: Timestamp) -> Verb<AttachOutcome> {
    let Some(disk) = disk(connection, new.project_id, new.volume_id)? else {
        return Ok(AttachOutcome::VolumeMissing);
    };
    let Some(machine) = machine(connection, new.project_id, new.instance_id)? else {
        return Ok(AttachOutcome::InstanceMissing);
    };
    if let Some(refused) = refuse_another(connection, &disk, &machine, new)? {
        return Ok(refused);
    }
    let (placement, node) = match (disk.state, machine.state, machine.placement) {
        (VolumeState::Creating | VolumeState::Deleting | VolumeState::Error, _, _) => {
            return Ok(AttachOutcome::VolumeState(disk.state));
        }
        (
            VolumeState::Available,
            InstanceState::Pending | InstanceState::Running | InstanceState::Stopped,
            Some(placement),
        ) => placement,
        (VolumeState::Available, state, _) => return Ok(AttachOutcome::InstanceState(state)),
    };
    let bound = match node {
        Some(node) => Some(node),
        None => bound_to(connection, machine.n)?,
    };
    if disk.backend == PoolBackend::Local && bound.is_some_and(|node| node != disk.node) {
        return Ok(AttachOutcome::OtherNode(disk.node));
    }
    if let Some(refused) = refuse_place(connection, &machine, new)? {
        return Ok(refused);
    }
    if volume_move::is_between(connection, new.volume_id)? {
        return Ok(AttachOutcome::Moving);
    }
    let mut touched = Touched::default();
    volume_move::call_off(connection, new.volume_id, &mut touched)?;
    insert(connection, new, machine.n, placement, now)?;
    let Some(node) = node else {
        // It is in no place that could reach the volume. Its next start makes an export.
        let sql = "UPDATE attachment SET state = ?2, export_state = ?3 WHERE id = ?1";
        let (state, export) = (AttachmentState::Attached, ExportState::Closed);
        execute(connection, sql, params![S(new.id), S(state), S(export)])?;
        touched.grow(connection)?;
        return Ok(AttachOutcome::Attaching(disk.node));
    };
    touched.storage(disk.node);
    // Its next start waits for it.
    touched.node(node);
    touched.grow(connection)?;
    Ok(AttachOutcome::Attaching(disk.node))
}

/// Why the volume cannot be one more instance's: it has its writer, or as many readers as it may, or this one is among
/// them, perhaps with an export that is not fenced yet.
fn refuse_another(
    connection: &Connection,
    disk: &Disk,
    machine: &Machine,
    new: &NewAttachment,
) -> rusqlite::Result<Option<AttachOutcome>> {
    if !disk.read_only {
        return Ok(user(connection, new.volume_id)?.map(AttachOutcome::InUse));
    }
    let sql = "SELECT 1 FROM attachment WHERE volume_id = ?1 AND instance_n = ?2";
    if exists(connection, sql, params![S(new.volume_id), machine.n])? {
        return Ok(Some(AttachOutcome::InUse(new.instance_id)));
    }
    let sql = "SELECT count(*) FROM attachment WHERE volume_id = ?1";
    let count = first(connection, sql, params![S(new.volume_id)], |c| c.plain::<u32>())?.unwrap_or(0);
    Ok((count >= new.most_instances).then_some(AttachOutcome::TooManyInstances))
}

/// The node where an instance that is in no place can start only, for one of its volumes.
fn bound_to(connection: &Connection, instance_n: i64) -> rusqlite::Result<Option<NodeId>> {
    let sql = "SELECT p.node_id FROM attachment a JOIN volume v ON v.id = a.volume_id JOIN pool p ON p.id = v.pool_id
               WHERE a.instance_n = ?1 AND a.state <> 'detaching' AND p.backend = ?2";
    first(connection, sql, params![instance_n, S(PoolBackend::Local)], |c| c.stored())
}

/// Why the instance has no place for one more.
fn refuse_place(
    connection: &Connection,
    machine: &Machine,
    new: &NewAttachment,
) -> rusqlite::Result<Option<AttachOutcome>> {
    let sql = "SELECT 1 FROM attachment WHERE instance_n = ?1 AND substr(device, -1) = substr(?2, -1)
               UNION ALL SELECT 1 FROM root_volume WHERE instance_n = ?1 AND device = ?2";
    let taken = machine.scratch.takes(new.device.chars().last());
    if taken || exists(connection, sql, params![machine.n, new.device])? {
        return Ok(Some(AttachOutcome::DeviceTaken));
    }
    let sql = "SELECT count(*) FROM attachment WHERE instance_n = ?1 AND NOT is_root";
    let count = first(connection, sql, params![machine.n], |c| c.plain::<u32>())?.unwrap_or(0);
    Ok((count >= new.most).then_some(AttachOutcome::TooMany))
}

pub(crate) fn insert(
    connection: &Connection,
    new: &NewAttachment,
    instance: i64,
    placement: PlacementId,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO attachment (volume_id, id, project_id, instance_n, device, delete_on_termination, state,
                                       since, export_id, placement_id, wrapped_secret, export_state, is_root, read_only)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
                       (SELECT read_only FROM volume WHERE id = ?1))";
    let values = params![
        S(new.volume_id),
        S(new.id),
        S(new.project_id),
        instance,
        new.device,
        new.delete_on_termination,
        S(AttachmentState::Attaching),
        S(now),
        S(new.export_id),
        S(placement),
        new.wrapped_secret,
        S(ExportState::Making),
        new.is_root,
    ];
    execute(connection, sql, values)?;
    Ok(())
}

/// An attachment with those whose parts name it.
struct Current {
    attachment: Attachment,
    storage: NodeId,
    compute: Option<NodeId>,
}

/// The volume's attachments that are meant.
fn meant(connection: &Connection, what: &Detachment) -> rusqlite::Result<Vec<Current>> {
    let sql = format!(
        "SELECT {ATTACHMENT}, p.node_id, l.node_id FROM {FROM}
         JOIN volume v ON v.id = a.volume_id
         JOIN pool p ON p.id = v.pool_id
         LEFT JOIN placement l ON l.id = a.placement_id AND l.gone_at IS NULL
         WHERE a.volume_id = ?1 AND a.project_id = ?2"
    );
    let mut found = all(connection, &sql, params![S(what.volume_id), S(what.project_id)], |c| {
        Ok(Current { attachment: read(c)?, storage: c.stored()?, compute: c.optional()? })
    })?;
    found.retain(|Current { attachment, .. }| {
        what.instance_id.is_none_or(|id| id == attachment.instance_id)
            && what.device.as_ref().is_none_or(|device| *device == attachment.device)
    });
    Ok(found)
}

/// Detaches a volume: first from the guest, then from its export, which no guest's silence holds up by force.
pub(crate) fn detach(connection: &Connection, what: &Detachment) -> Verb<DetachOutcome> {
    if disk(connection, what.project_id, what.volume_id)?.is_none() {
        return Ok(DetachOutcome::VolumeMissing);
    }
    let mut meant = meant(connection, what)?;
    let Some(Current { attachment, storage, compute }) = meant.pop() else {
        return Ok(DetachOutcome::NotAttached);
    };
    if !meant.is_empty() {
        return Ok(DetachOutcome::Several(meant.len() + 1));
    }
    if attachment.is_root {
        return Ok(DetachOutcome::Root);
    }
    let mut touched = Touched::default();
    let mut nodes = BTreeSet::new();
    // Its owner took it from the instance: it does not go with that, should it end before the volume is free.
    let sql = "UPDATE attachment SET delete_on_termination = 0 WHERE id = ?1";
    execute(connection, sql, params![S(attachment.id)])?;
    if attachment.state != AttachmentState::Detaching {
        set_state(connection, attachment.id, AttachmentState::Detaching)?;
        nodes.extend(compute);
    }
    // Nobody could connect to what was never open, and nobody is asked where there is no guest.
    let at_once = what.force || attachment.export_state == ExportState::Making || compute.is_none();
    if at_once && attachment.export_state != ExportState::Closing {
        close(connection, attachment.id)?;
        touched.storage(storage);
        nodes.insert(storage);
    }
    nodes.iter().filter(|node| Some(**node) == compute).for_each(|node| touched.node(*node));
    touched.grow(connection)?;
    Ok(DetachOutcome::Detaching {
        instance_id: attachment.instance_id,
        device: attachment.device,
        since: attachment.since,
        delete_on_termination: false,
        nodes: nodes.into_iter().collect(),
    })
}

fn set_state(connection: &Connection, id: AttachmentId, state: AttachmentState) -> rusqlite::Result<()> {
    execute(connection, "UPDATE attachment SET state = ?2 WHERE id = ?1", params![S(id), S(state)])?;
    Ok(())
}

/// From now on the export's credential and connections go. The caller grows the host's storage part.
pub(crate) fn close(connection: &Connection, id: AttachmentId) -> rusqlite::Result<()> {
    let sql = "UPDATE attachment SET state = 'detaching', export_state = 'closing' WHERE id = ?1";
    execute(connection, sql, params![S(id)])?;
    Ok(())
}

/// No volume of a placement goes with its instance.
pub(crate) fn keep_all(connection: &Connection, placement: PlacementId) -> rusqlite::Result<()> {
    let sql = "UPDATE attachment SET delete_on_termination = 0 WHERE placement_id = ?1";
    execute(connection, sql, params![S(placement)])?;
    Ok(())
}

/// Closes every export of an instance that ends and is in no place any more.
pub(crate) fn close_all(
    connection: &Connection,
    instance_n: i64,
    project: ProjectId,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let sql = "SELECT a.id, a.volume_id, a.delete_on_termination, p.node_id FROM attachment a
               JOIN volume v ON v.id = a.volume_id JOIN pool p ON p.id = v.pool_id
               WHERE a.instance_n = ?1 AND (a.export_state <> 'closing' OR a.state <> 'detaching')";
    let read = |c: &Columns<'_>| Ok((c.stored()?, c.stored()?, c.plain::<bool>()?, c.stored()?));
    for (id, volume, delete, storage) in all(connection, sql, params![instance_n], read)? {
        // A host that was given up serves nothing, and will not say so.
        if node::is_expunged(connection, storage)? {
            execute(connection, "DELETE FROM attachment WHERE id = ?1", params![S(id)])?;
            if delete && user(connection, volume)?.is_none() {
                volume::remove(connection, volume, project)?;
            }
            continue;
        }
        close(connection, id)?;
        touched.storage(storage);
    }
    Ok(())
}

/// Closes every export of a placement of which nothing is left on its node, and whose instance keeps its volumes; of
/// those that leave it anyway nothing is new.
pub(crate) fn park_all(
    connection: &Connection,
    placement: PlacementId,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let sql = "UPDATE attachment SET export_state = 'closing'
               WHERE placement_id = ?1 AND export_state IN ('making', 'open')
               RETURNING (SELECT p.node_id FROM volume v JOIN pool p ON p.id = v.pool_id
                          WHERE v.id = attachment.volume_id)";
    let hosts: Vec<NodeId> = all(connection, sql, params![S(placement)], |c| c.stored())?;
    hosts.into_iter().for_each(|host| touched.storage(host));
    Ok(())
}

/// Opens a volume to a new place of its instance; `false` if it is not one of the instance's that nobody can reach.
pub(crate) fn reopen(
    connection: &Connection,
    instance_n: i64,
    placement: PlacementId,
    (volume, export, secret): (VolumeId, ExportId, &[u8]),
    touched: &mut Touched,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE attachment SET export_id = ?3, placement_id = ?4, wrapped_secret = ?5, export_state = 'making',
                   source = NULL, message = NULL, guest_gib = 0, guest_iops = 0, guest_throughput_mib = 0
               WHERE volume_id = ?1 AND instance_n = ?2 AND export_state = 'closed' AND state <> 'detaching'
               RETURNING (SELECT p.node_id FROM volume v JOIN pool p ON p.id = v.pool_id
                          WHERE v.id = attachment.volume_id)";
    let values = params![S(volume), instance_n, S(export), S(placement), secret];
    let host = first(connection, sql, values, |c| c.stored())?;
    host.into_iter().for_each(|host| touched.storage(host));
    Ok(host.is_some())
}

/// The nodes whose pools hold these volumes.
pub(crate) fn hosts_of(connection: &Connection, volumes: &[VolumeId]) -> rusqlite::Result<Vec<NodeId>> {
    let mut hosts = BTreeSet::new();
    for volume in volumes {
        let sql = "SELECT p.node_id FROM volume v JOIN pool p ON p.id = v.pool_id WHERE v.id = ?1";
        hosts.extend(first(connection, sql, params![S(*volume)], |c| c.stored::<NodeId>())?);
    }
    Ok(hosts.into_iter().collect())
}

/// The nodes whose volumes a node's placements use.
pub(crate) fn storage_hosts(connection: &Connection, compute: NodeId) -> rusqlite::Result<Vec<NodeId>> {
    let sql = "SELECT DISTINCT p.node_id FROM placement l
               JOIN attachment a ON a.placement_id = l.id
               JOIN volume v ON v.id = a.volume_id
               JOIN pool p ON p.id = v.pool_id
               WHERE l.node_id = ?1 AND l.gone_at IS NULL";
    all(connection, sql, params![S(compute)], |c| c.stored())
}

/// Says of these volumes whether they go with the instance, of all or of none.
pub(crate) fn set_delete_on_termination(
    connection: &Connection,
    project: ProjectId,
    instance: InstanceId,
    disks: &[(VolumeId, bool)],
) -> Verb<Option<VolumeId>> {
    for (volume, delete) in disks {
        let sql = "UPDATE attachment SET delete_on_termination = ?4
                   WHERE project_id = ?1 AND volume_id = ?3 AND instance_n = (SELECT n FROM instance WHERE id = ?2)
                       AND state <> 'detaching'";
        if execute(connection, sql, params![S(project), S(instance), S(*volume), delete])? == 0 {
            return Err(Undo::Answer(Some(*volume)));
        }
    }
    Ok(None)
}
