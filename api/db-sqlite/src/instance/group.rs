//! Placement groups.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use tepui_db::model::PlacementGroup;
use tepui_db::{CreateOutcome, DeleteOutcome};
use tepui_types::{InstanceId, NodeId, PlacementGroupId, ProjectId};

use crate::project;
use crate::row::{Columns, all, execute, first};
use crate::tag;
use crate::value::S;
use crate::verb::Verb;

/// A project's groups, by name.
pub(crate) fn of_project(
    connection: &Connection,
    project: ProjectId,
) -> rusqlite::Result<Vec<PlacementGroup>> {
    let sql = "SELECT id, project_id, name, strategy, created_at FROM placement_group
               WHERE project_id = ?1 ORDER BY name";
    all(connection, sql, params![S(project)], read)
}

/// A project's group of this name.
pub(super) fn named(
    connection: &Connection,
    project: ProjectId,
    name: &str,
) -> rusqlite::Result<Option<PlacementGroup>> {
    let sql = "SELECT id, project_id, name, strategy, created_at FROM placement_group
               WHERE project_id = ?1 AND name = ?2";
    first(connection, sql, params![S(project), name], read)
}

/// How many members of a group each node has, until nothing of them is left there.
pub(super) fn members(
    connection: &Connection,
    group: PlacementGroupId,
) -> rusqlite::Result<BTreeMap<NodeId, u32>> {
    let sql = "SELECT p.node_id, count(*) FROM instance i
               JOIN placement p ON p.instance_n = i.n AND p.gone_at IS NULL
               WHERE i.placement_group_id = ?1 GROUP BY p.node_id";
    let counts = all(connection, sql, params![S(group)], |c| Ok((c.stored()?, c.plain()?)))?;
    Ok(counts.into_iter().collect())
}

fn read(c: &Columns<'_>) -> rusqlite::Result<PlacementGroup> {
    Ok(PlacementGroup {
        id: c.stored()?,
        project_id: c.stored()?,
        name: c.plain()?,
        strategy: c.stored()?,
        created_at: c.stored()?,
    })
}

/// Creates a group.
pub(crate) fn create(
    connection: &Connection,
    group: &PlacementGroup,
) -> Verb<CreateOutcome<PlacementGroupId>> {
    let sql = "SELECT id FROM placement_group WHERE project_id = ?1 AND name = ?2";
    if let Some(taken) = first(connection, sql, params![S(group.project_id), group.name], |c| c.stored())? {
        return Ok(CreateOutcome::NameTaken(taken));
    }
    if !project::exists(connection, group.project_id)? {
        return Ok(CreateOutcome::ParentMissing);
    }
    let sql = "INSERT INTO placement_group (id, project_id, name, strategy, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let values =
        params![S(group.id), S(group.project_id), group.name, S(group.strategy), S(group.created_at)];
    execute(connection, sql, values)?;
    Ok(CreateOutcome::Created)
}

/// Deletes a group without members; terminated instances leave it.
pub(crate) fn delete(
    connection: &Connection,
    project: ProjectId,
    id: PlacementGroupId,
) -> Verb<DeleteOutcome> {
    let sql = "SELECT id FROM instance
               WHERE placement_group_id = ?1 AND project_id = ?2 AND state <> 'terminated' LIMIT 1";
    if let Some(member) = first(connection, sql, params![S(id), S(project)], |c| c.stored::<InstanceId>())? {
        return Ok(DeleteOutcome::InUse(format!("instance {member}")));
    }
    let sql =
        "UPDATE instance SET placement_group_id = NULL WHERE placement_group_id = ?1 AND project_id = ?2";
    execute(connection, sql, params![S(id), S(project)])?;
    let sql = "DELETE FROM placement_group WHERE id = ?1 AND project_id = ?2";
    if execute(connection, sql, params![S(id), S(project)])? == 0 {
        return Ok(DeleteOutcome::NotFound);
    }
    tag::delete_all(connection, project, &id.to_string())?;
    Ok(DeleteOutcome::Deleted)
}
