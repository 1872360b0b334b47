//! Reading instances with all that belongs to them.
//!
//! Three statements whatever the number of instances: one over the tables that share the instance's
//! number as their key, which SQLite walks side by side, one over the tags, and one over the attached volumes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, Params, params};
use tepui_db::InstanceFilter;
use tepui_db::model::{
    Attachment, Instance, InstanceRecord, MetadataSettings, Placement, RootVolume, StateReason,
};
use tepui_types::agent::ScratchDisks;
use tepui_types::{InstanceId, PlacementId, ProjectId};

use super::listing::Listings;
use crate::attachment;
use crate::network::{INTERFACE, read_interface};
use crate::row::{Columns, all, first};
use crate::value::S;

/// The SELECT list, with `instance` as i, that [`read_instance`] reads.
const INSTANCE: &str = "i.id, i.project_id, i.reservation_id, i.launch_index, i.image_id, i.image_digest,
    i.image_bytes, i.instance_type, i.vcpus, i.memory_mib, i.key_name, i.public_key, i.vpc_id, i.subnet_id,
    i.placement_group_id, i.volume_root, i.shutdown_behavior, i.disable_api_termination, i.disable_api_stop,
    i.metadata_enabled, i.metadata_tokens_required, i.metadata_hop_limit, i.metadata_tags_enabled, i.state,
    i.state_reason_code, i.state_reason_message, i.state_reason_detail, i.state_since, i.start_seq, i.reboot_seq, i.force,
    i.launched_at, i.user_data, i.scratch_gib, i.swap_gib";

/// A project's instances that pass the filter, in order of launch.
pub(crate) fn of_project(
    connection: &Connection,
    project: ProjectId,
    filter: &InstanceFilter,
    listings: &Listings,
) -> rusqlite::Result<Vec<Arc<InstanceRecord>>> {
    if filter.ids.is_empty() && filter.reservation.is_none() {
        return listed(connection, project, listings);
    }
    let records = of_numbers(connection, &numbers(connection, project, filter)?)?;
    Ok(records.into_iter().map(Arc::new).collect())
}

/// A whole project, read only where it changed since the last time.
fn listed(
    connection: &Connection,
    project: ProjectId,
    listings: &Listings,
) -> rusqlite::Result<Vec<Arc<InstanceRecord>>> {
    let sql = "SELECT instance_changes FROM project WHERE id = ?1";
    let Some(changes) = first(connection, sql, params![S(project)], |c| c.plain())? else {
        return Ok(Vec::new());
    };
    if let Some(records) = listings.get(project, changes) {
        return Ok(records);
    }
    let records = listings.known_of(project, whole_project(connection, project)?);
    listings.put(project, changes, &records);
    Ok(records)
}

fn whole_project(connection: &Connection, project: ProjectId) -> rusqlite::Result<Vec<InstanceRecord>> {
    // The bounds hold the texts that begin with "i-".
    let sql = "SELECT resource, key, value FROM tag
               WHERE project_id = ?1 AND resource >= 'i-' AND resource < 'i.'";
    let tags = tags(connection, sql, params![S(project)])?;
    let attachments = attachment::by_instance(connection, "a.project_id = ?1", params![S(project)])?;
    records(connection, "i.project_id = ?1", params![S(project)], Beside { tags, attachments })
}

/// The numbers of the instances that pass a filter.
fn numbers(
    connection: &Connection,
    project: ProjectId,
    filter: &InstanceFilter,
) -> rusqlite::Result<Vec<i64>> {
    let reservation = filter.reservation.map(S);
    if filter.ids.is_empty() {
        // The sign keeps SQLite from the index over the project, which may have thousands.
        let sql = "SELECT n FROM instance WHERE +project_id = ?1 AND reservation_id = ?2";
        return all(connection, sql, params![S(project), reservation], |c| c.plain());
    }
    let sql = "SELECT n FROM instance
               WHERE id = ?1 AND project_id = ?2 AND (?3 IS NULL OR reservation_id = ?3)";
    let mut numbers = Vec::with_capacity(filter.ids.len());
    for id in &filter.ids {
        numbers.extend(all(connection, sql, params![S(*id), S(project), reservation], |c| c.plain::<i64>())?);
    }
    Ok(numbers)
}

/// These instances, in order of launch.
pub(crate) fn of_numbers(connection: &Connection, wanted: &[i64]) -> rusqlite::Result<Vec<InstanceRecord>> {
    let wanted = serde_json::to_string(wanted)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sql = "SELECT t.resource, t.key, t.value FROM json_each(?1) w
               JOIN instance i ON i.n = w.value
               JOIN tag t ON t.project_id = i.project_id
                   AND t.resource = 'i-' || substr(lower(hex(i.id)), 2)";
    let tags = tags(connection, sql, params![wanted])?;
    let these = "a.instance_n IN (SELECT value FROM json_each(?1))";
    let attachments = attachment::by_instance(connection, these, params![wanted])?;
    let beside = Beside { tags, attachments };
    records(connection, "i.n IN (SELECT value FROM json_each(?1))", params![wanted], beside)
}

type Tags = HashMap<InstanceId, BTreeMap<String, String>>;

/// What belongs to instances and is not read with their rows.
struct Beside {
    tags: Tags,
    attachments: HashMap<InstanceId, Vec<Attachment>>,
}

fn tags(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Tags> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut tags = Tags::new();
    while let Some(row) = rows.next()? {
        // A resource that only looks like an instance's id has no instance to show it.
        if let Ok(id) = row.get_ref(0)?.as_str()?.parse() {
            tags.entry(id).or_default().insert(row.get(1)?, row.get(2)?);
        }
    }
    Ok(tags)
}

fn records(
    connection: &Connection,
    condition: &str,
    params: impl Params,
    beside: Beside,
) -> rusqlite::Result<Vec<InstanceRecord>> {
    let sql = format!(
        "SELECT {INSTANCE}, p.id, p.node_id, p.observed, {INTERFACE},
                v.id, v.size_gib, v.device, v.delete_on_termination, v.created_at
         FROM instance i
         LEFT JOIN placement p ON p.instance_n = i.n AND p.gone_at IS NULL
         LEFT JOIN interface f ON f.instance_n = i.n
         LEFT JOIN root_volume v ON v.instance_n = i.n
         WHERE {condition} ORDER BY i.n"
    );
    all(connection, &sql, params, |c| read_record(c, &beside))
}

fn read_record(c: &Columns<'_>, beside: &Beside) -> rusqlite::Result<InstanceRecord> {
    let instance = read_instance(c)?;
    let id = instance.id;
    Ok(InstanceRecord {
        instance,
        placement: read_placement(c, id)?,
        interface: if_present(c, 8, |c| read_interface(c, id))?,
        root_volume: if_present(c, 5, read_root_volume)?,
        attachments: beside.attachments.get(&id).cloned().unwrap_or_default(),
        tags: beside.tags.get(&id).cloned().unwrap_or_default(),
    })
}

fn read_instance(c: &Columns<'_>) -> rusqlite::Result<Instance> {
    Ok(Instance {
        id: c.stored()?,
        project_id: c.stored()?,
        reservation_id: c.stored()?,
        launch_index: c.plain()?,
        image_id: c.stored()?,
        image_digest: c.stored()?,
        image_bytes: c.stored()?,
        instance_type: c.plain()?,
        vcpus: c.plain()?,
        memory_mib: c.stored()?,
        key_name: c.plain()?,
        public_key: c.plain()?,
        vpc_id: c.stored()?,
        subnet_id: c.stored()?,
        placement_group_id: c.optional()?,
        volume_root: c.plain()?,
        shutdown_behavior: c.stored()?,
        disable_api_termination: c.plain()?,
        disable_api_stop: c.plain()?,
        metadata: read_metadata(c)?,
        state: c.stored()?,
        state_reason: read_reason(c)?,
        state_since: c.stored()?,
        start_seq: c.stored()?,
        reboot_seq: c.stored()?,
        force: c.plain()?,
        launched_at: c.stored()?,
        user_data: c.plain()?,
        scratch: ScratchDisks { scratch_gib: c.plain()?, swap_gib: c.plain()? },
    })
}

fn read_metadata(c: &Columns<'_>) -> rusqlite::Result<MetadataSettings> {
    Ok(MetadataSettings {
        enabled: c.plain()?,
        tokens_required: c.plain()?,
        hop_limit: c.plain()?,
        tags_enabled: c.plain()?,
    })
}

pub(crate) fn read_reason(c: &Columns<'_>) -> rusqlite::Result<Option<StateReason>> {
    let (code, message): (Option<String>, Option<String>) = (c.plain()?, c.plain()?);
    let detail = c.plain()?;
    Ok(code.zip(message).map(|(code, message)| StateReason { code, message, detail }))
}

fn read_placement(c: &Columns<'_>, instance_id: InstanceId) -> rusqlite::Result<Option<Placement>> {
    if_present(c, 3, |c| {
        Ok(Placement {
            id: c.stored::<PlacementId>()?,
            instance_id,
            node_id: c.stored()?,
            observed: c.plain()?,
            gone_at: None,
        })
    })
}

fn read_root_volume(c: &Columns<'_>) -> rusqlite::Result<RootVolume> {
    Ok(RootVolume {
        id: c.stored()?,
        size_gib: c.plain()?,
        device: c.plain()?,
        delete_on_termination: c.plain()?,
        created_at: c.stored()?,
    })
}

/// The `count` columns of a joined table whose first is its id, NULL where there is no row.
fn if_present<T>(
    c: &Columns<'_>,
    count: usize,
    read: impl FnOnce(&Columns<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    if c.next_is_null()? {
        c.skip(count);
        return Ok(None);
    }
    read(c).map(Some)
}
