//! Projects: creation with their network, quota, deletion.

use rusqlite::{Connection, params};
use tepui_db::model::{DefaultNetwork, Project, Quota};
use tepui_db::{CreateOutcome, DeleteOutcome};
use tepui_types::ProjectId;

use crate::row::{self, Columns, execute, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{network, security_group};

/// The SELECT list that [`read`] reads.
pub(crate) const COLUMNS: &str = "id, name, quota_instances, quota_vcpus, quota_memory_mib, quota_volumes,
    quota_volume_gib, created_at";

/// Reads a project's row.
pub(crate) fn read(c: &Columns<'_>) -> rusqlite::Result<Project> {
    Ok(Project {
        id: c.stored()?,
        name: c.plain()?,
        quota: Quota {
            instances: c.plain()?,
            vcpus: c.plain()?,
            memory_mib: c.stored()?,
            volumes: c.plain()?,
            volume_gib: c.stored()?,
        },
        created_at: c.stored()?,
    })
}

/// Whether there is such a project.
pub(crate) fn exists(connection: &Connection, id: ProjectId) -> rusqlite::Result<bool> {
    row::exists(connection, "SELECT 1 FROM project WHERE id = ?1", params![S(id)])
}

/// Creates a project with its default network.
pub(crate) fn create(
    connection: &Connection,
    project: &Project,
    network: &DefaultNetwork,
) -> Verb<CreateOutcome<ProjectId>> {
    let sql = "SELECT id FROM project WHERE name = ?1";
    if let Some(taken) = first(connection, sql, params![project.name], |c| c.stored())? {
        return Ok(CreateOutcome::NameTaken(taken));
    }
    let sql = "INSERT INTO project (id, name, quota_instances, quota_vcpus, quota_memory_mib, quota_volumes,
                                    quota_volume_gib, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let Quota { instances, vcpus, memory_mib, volumes, volume_gib } = project.quota;
    let values = params![
        S(project.id),
        project.name,
        instances,
        vcpus,
        S(memory_mib),
        volumes,
        S(volume_gib),
        S(project.created_at)
    ];
    execute(connection, sql, values)?;
    network::insert_vpc(connection, &network.vpc)?;
    network::insert_subnet(connection, &network.subnet)?;
    security_group::insert(connection, &network.group)?;
    Ok(CreateOutcome::Created)
}

/// Sets the quota; what is taken already stays.
pub(crate) fn set_quota(connection: &Connection, id: ProjectId, quota: Quota) -> Verb<bool> {
    let sql = "UPDATE project SET quota_instances = ?2, quota_vcpus = ?3, quota_memory_mib = ?4,
                   quota_volumes = ?5, quota_volume_gib = ?6
               WHERE id = ?1";
    let Quota { instances, vcpus, memory_mib, volumes, volume_gib } = quota;
    let values = params![S(id), instances, vcpus, S(memory_mib), volumes, S(volume_gib)];
    Ok(execute(connection, sql, values)? > 0)
}

/// Deletes a project without instances, images and access keys; foreign keys take the rest along.
pub(crate) fn delete(connection: &Connection, id: ProjectId) -> Verb<DeleteOutcome> {
    const NEEDED_BY: [(&str, &str); 5] = [
        (
            "SELECT count(*) FROM instance i WHERE i.project_id = ?1 AND (i.state <> 'terminated' OR EXISTS
                 (SELECT 1 FROM placement p WHERE p.instance_n = i.n AND p.gone_at IS NULL))",
            "instances",
        ),
        ("SELECT count(*) FROM image WHERE project_id = ?1 AND state = 'available'", "images"),
        ("SELECT count(*) FROM access_key WHERE project_id = ?1", "access keys"),
        ("SELECT count(*) FROM volume WHERE project_id = ?1", "volumes"),
        ("SELECT count(*) FROM snapshot WHERE project_id = ?1", "snapshots"),
    ];
    for (sql, what) in NEEDED_BY {
        let count = first(connection, sql, params![S(id)], |c| c.stored::<u64>())?.unwrap_or(0);
        if count > 0 {
            return Ok(DeleteOutcome::InUse(format!("{count} {what}")));
        }
    }
    let deleted = execute(connection, "DELETE FROM project WHERE id = ?1", params![S(id)])?;
    Ok(if deleted > 0 { DeleteOutcome::Deleted } else { DeleteOutcome::NotFound })
}
