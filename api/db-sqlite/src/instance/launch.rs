//! Writing a launch: every check of the scheduler's choice again, then the rows, in one transaction.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{Instance, PlacementStrategy, RootVolume};
use tepui_db::{Addresses, DbError, Launch, LaunchInstance, LaunchOutcome, TokenUse};
use tepui_types::{NodeId, ProjectId, ReservationId};

use super::address::{self, Subnet};
use super::capacity::{Amount, Exceeded, Host, Overcommit, check_quota};
use super::volumes::{self, Pools};
use crate::generation::Touched;
use crate::row::{execute, exists, first};
use crate::security_group;
use crate::tag;
use crate::value::{S, pack_groups};
use crate::verb::{Undo, Verb};

pub(super) type Step = Result<(), Undo<LaunchOutcome>>;

/// Launches all instances or none.
pub(super) fn launch(connection: &Connection, mut launch: Launch, now: Timestamp) -> Verb<LaunchOutcome> {
    // In order of ids, so that instances launched together are listed in that order.
    launch.instances.sort_by_key(|new| new.instance.id);
    let Some(reservation) = launch.instances.first().map(|first| first.instance.reservation_id) else {
        return Err(Undo::Failed(DbError::Bug("a launch without instances".into())));
    };
    if let Some(token) = &launch.token
        && let Some(outcome) = use_token(connection, launch.project_id, token, reservation, now)?
    {
        return Ok(outcome);
    }
    check_launch_quota(connection, &launch)?;
    let addresses = launch_each(connection, &launch)?;
    for (resource, key, value) in &launch.tags {
        tag::insert(connection, launch.project_id, resource, key, value)?;
    }
    Ok(LaunchOutcome::Launched(launch.into_records(addresses)))
}

fn launch_each(connection: &Connection, launch: &Launch) -> Result<Vec<Addresses>, Undo<LaunchOutcome>> {
    let (mut touched, mut pools) = (Touched::default(), Pools::default());
    let mut addresses = Vec::with_capacity(launch.instances.len());
    for run in launch.instances.chunk_by(same_parents) {
        let Some(first) = run.first() else { continue };
        let mut subnet = check_parents(connection, launch.project_id, first)?;
        for new in run {
            let (n, taken) = launch_one(connection, launch, new, &mut subnet, addresses.len())?;
            volumes::insert(connection, n, new, &mut pools, &mut touched)?;
            addresses.push(taken);
            touched.node(new.node_id);
        }
        subnet.keep(connection)?;
        touched.vpc(first.instance.vpc_id);
    }
    touched.grow(connection)?;
    Ok(addresses)
}

/// Whether what [`check_parents`] finds for one holds for the other.
fn same_parents(a: &LaunchInstance, b: &LaunchInstance) -> bool {
    let parents = |new: &LaunchInstance| {
        let i = &new.instance;
        (i.image_id, i.placement_group_id, i.vpc_id, i.subnet_id)
    };
    parents(a) == parents(b)
        && a.instance.key_name == b.instance.key_name
        && a.interface.group_ids == b.interface.group_ids
}

/// The reservation that a token made, with its parameters' digest.
pub(super) fn reservation_of_token(
    connection: &Connection,
    project: ProjectId,
    token: &str,
) -> rusqlite::Result<Option<(ReservationId, [u8; 32])>> {
    let sql = "SELECT reservation_id, parameters_sha256 FROM launch_token
               WHERE project_id = ?1 AND token = ?2";
    first(connection, sql, params![S(project), token], |c| Ok((c.stored()?, c.plain()?)))
}

/// Answers a token that was used before; keeps a new one.
fn use_token(
    connection: &Connection,
    project: ProjectId,
    token: &TokenUse,
    reservation: ReservationId,
    now: Timestamp,
) -> rusqlite::Result<Option<LaunchOutcome>> {
    if let Some((made, parameters)) = reservation_of_token(connection, project, &token.token)? {
        let same = parameters == token.parameters_sha256;
        return Ok(Some(if same { LaunchOutcome::Repeated(made) } else { LaunchOutcome::TokenMismatch }));
    }
    let sql = "INSERT INTO launch_token (project_id, token, parameters_sha256, reservation_id, used_at)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![S(project), token.token, token.parameters_sha256, S(reservation), S(now)];
    execute(connection, sql, values)?;
    Ok(None)
}

fn check_launch_quota(connection: &Connection, launch: &Launch) -> Step {
    let count = launch.instances.len() as u64;
    let vcpus = launch.instances.iter().map(|new| u64::from(new.instance.vcpus)).sum();
    let memory_mib = launch.instances.iter().map(|new| new.instance.memory_mib).sum();
    match check_quota(connection, launch.project_id, count, vcpus, memory_mib)? {
        None => volumes::check_quota(connection, launch),
        Some(Exceeded { quota, limit, used }) => {
            Err(Undo::Answer(LaunchOutcome::QuotaExceeded { quota, limit, used }))
        }
    }
}

/// Writes one instance after `launched` others, but for its volumes; its number and addresses.
fn launch_one(
    connection: &Connection,
    launch: &Launch,
    new: &LaunchInstance,
    subnet: &mut Subnet,
    launched: usize,
) -> Result<(i64, Addresses), Undo<LaunchOutcome>> {
    check_node(connection, launch, new)?;
    check_spread(connection, new)?;
    insert_instance(connection, &new.instance)?;
    let n = connection.last_insert_rowid();
    insert_placement(connection, n, new)?;
    let private_ip = address::private(connection, subnet, new.interface.private_ip, launched)?;
    let public_ip = match new.interface.public_ip {
        true => Some(address::public(connection, launch.public_pool, launched)?),
        false => None,
    };
    insert_interface(connection, n, new, (private_ip, public_ip))?;
    if let Some(root) = &new.root_volume {
        insert_root_volume(connection, n, new.instance.project_id, root)?;
    }
    Ok((n, (private_ip, public_ip)))
}

/// Whatever was there when the launch was checked may have been deleted since.
fn check_parents(
    connection: &Connection,
    project: ProjectId,
    new: &LaunchInstance,
) -> Result<Subnet, Undo<LaunchOutcome>> {
    let instance = &new.instance;
    let sql = "SELECT 1 FROM image WHERE id = ?1 AND state = 'available' AND (public OR project_id = ?2)";
    require(exists(connection, sql, params![S(instance.image_id), S(project)])?, instance.image_id)?;
    if let Some(name) = &instance.key_name {
        let sql = "SELECT 1 FROM key_pair WHERE project_id = ?1 AND name = ?2";
        require(exists(connection, sql, params![S(project), name])?, name)?;
    }
    if let Some(group) = instance.placement_group_id {
        let sql = "SELECT 1 FROM placement_group WHERE id = ?1 AND project_id = ?2";
        require(exists(connection, sql, params![S(group), S(project)])?, group)?;
    }
    for group in &new.interface.group_ids {
        require(security_group::in_vpc(connection, *group, instance.vpc_id)?, group)?;
    }
    let subnet = Subnet::read(connection, project, instance.vpc_id, instance.subnet_id)?;
    subnet.ok_or_else(|| missing(instance.subnet_id))
}

fn require(there: bool, what: impl ToString) -> Step {
    if there { Ok(()) } else { Err(missing(what)) }
}

fn missing(what: impl ToString) -> Undo<LaunchOutcome> {
    Undo::Answer(LaunchOutcome::ParentMissing(what.to_string()))
}

fn check_node(connection: &Connection, launch: &Launch, new: &LaunchInstance) -> Step {
    let more = Amount {
        vcpus: new.instance.vcpus.into(),
        memory_mib: new.instance.memory_mib,
        disk_gib: new.local_gib(),
    };
    let overcommit = Overcommit {
        vcpu: launch.vcpu_overcommit,
        memory: launch.memory_overcommit,
        disk: launch.disk_overcommit,
    };
    let host = Host::read(connection, new.node_id)?;
    let holds = host.is_some_and(|host| host.up && host.schedulable && host.fits(more, overcommit));
    if holds { Ok(()) } else { Err(Undo::Answer(LaunchOutcome::NodeLost(new.node_id))) }
}

fn check_spread(connection: &Connection, new: &LaunchInstance) -> Step {
    let Some(group) = new.instance.placement_group_id else { return Ok(()) };
    let sql = "SELECT strategy FROM placement_group WHERE id = ?1";
    let strategy = first(connection, sql, params![S(group)], |c| c.stored())?;
    let shared = match strategy {
        Some(PlacementStrategy::Spread) => has_member(connection, new)?,
        Some(PlacementStrategy::Cluster) | None => false,
    };
    if shared { Err(Undo::Answer(LaunchOutcome::AntiAffinity(new.node_id))) } else { Ok(()) }
}

/// Whether a member of the same group is on the node, until nothing of it is left there.
fn has_member(connection: &Connection, new: &LaunchInstance) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM instance i JOIN placement p ON p.instance_n = i.n AND p.gone_at IS NULL
               WHERE i.placement_group_id = ?1 AND p.node_id = ?2";
    exists(connection, sql, params![new.instance.placement_group_id.map(S), S::<NodeId>(new.node_id)])
}

fn insert_instance(connection: &Connection, i: &Instance) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO instance (id, project_id, reservation_id, launch_index, image_id, image_digest,
                   image_bytes, instance_type, vcpus, memory_mib, key_name, public_key, vpc_id, subnet_id,
                   placement_group_id, shutdown_behavior, disable_api_termination, disable_api_stop,
                   metadata_enabled, metadata_tokens_required, metadata_hop_limit, metadata_tags_enabled,
                   state, state_reason_code, state_reason_message, state_reason_detail, state_since, start_seq,
                   reboot_seq, force, launched_at, user_data, volume_root, scratch_gib, swap_gib)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
                       ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)";
    let values = params![
        S(i.id),
        S(i.project_id),
        S(i.reservation_id),
        i.launch_index,
        S(i.image_id),
        S(i.image_digest),
        S(i.image_bytes),
        i.instance_type,
        i.vcpus,
        S(i.memory_mib),
        i.key_name,
        i.public_key,
        S(i.vpc_id),
        S(i.subnet_id),
        i.placement_group_id.map(S),
        S(i.shutdown_behavior),
        i.disable_api_termination,
        i.disable_api_stop,
        i.metadata.enabled,
        i.metadata.tokens_required,
        i.metadata.hop_limit,
        i.metadata.tags_enabled,
        S(i.state),
        i.state_reason.as_ref().map(|reason| &reason.code),
        i.state_reason.as_ref().map(|reason| &reason.message),
        i.state_reason.as_ref().and_then(|reason| reason.detail.as_ref()),
        S(i.state_since),
        S(i.start_seq),
        S(i.reboot_seq),
        i.force,
        S(i.launched_at),
        i.user_data,
        i.volume_root,
        i.scratch.scratch_gib,
        i.scratch.swap_gib,
    ];
    execute(connection, sql, values)
}

fn insert_placement(connection: &Connection, n: i64, new: &LaunchInstance) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO placement (instance_n, id, project_id, node_id, vcpus, memory_mib, disk_gib)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![
        n,
        S(new.placement_id),
        S(new.instance.project_id),
        S(new.node_id),
        new.instance.vcpus,
        S(new.instance.memory_mib),
        S(new.local_gib()),
    ];
    execute(connection, sql, values)
}

fn insert_interface(
    connection: &Connection,
    n: i64,
    new: &LaunchInstance,
    (private_ip, public_ip): Addresses,
) -> rusqlite::Result<usize> {
    let interface = &new.interface;
    let sql =
        "INSERT INTO interface (instance_n, id, project_id, vpc_id, subnet_id, mac, private_ip, public_ip,
                                      group_ids)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let values = params![
        n,
        S(interface.id),
        S(new.instance.project_id),
        S(new.instance.vpc_id),
        S(new.instance.subnet_id),
        S(interface.mac),
        S(private_ip),
        public_ip.map(S),
        pack_groups(&interface.group_ids),
    ];
    execute(connection, sql, values)
}

fn insert_root_volume(
    connection: &Connection,
    n: i64,
    project: ProjectId,
    volume: &RootVolume,
) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO root_volume
                   (instance_n, id, project_id, size_gib, device, delete_on_termination, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![
        n,
        S(volume.id),
        S(project),
        volume.size_gib,
        volume.device,
        volume.delete_on_termination,
        S(volume.created_at),
    ];
    execute(connection, sql, values)
}
