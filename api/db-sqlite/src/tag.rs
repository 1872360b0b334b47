//! Tags.

use std::collections::BTreeMap;
use std::str::FromStr;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tepui_db::{DbError, TagDb, TagOutcome};
use tepui_types::{
    ImageId, ImportTaskId, InstanceId, KeyPairId, NetworkInterfaceId, PlacementGroupId, ProjectId,
    SecurityGroupId, SecurityGroupRuleId, SnapshotId, SubnetId, VolumeId, VpcId,
};

use crate::SqliteDb;
use crate::generation::Touched;
use crate::row::{all, execute, exists, first};
use crate::value::{S, Stored};
use crate::verb::{Undo, Verb};

#[async_trait]
impl TagDb for SqliteDb {
    async fn put_tags(
        &self,
        project: ProjectId,
        resources: &[String],
        tags: &[(String, String)],
        max: usize,
    ) -> Result<TagOutcome, DbError> {
        let (resources, tags) = (resources.to_vec(), tags.to_vec());
        self.write(move |connection| put(connection, project, &resources, &tags, max)).await
    }

    async fn delete_tags(
        &self,
        project: ProjectId,
        resources: &[String],
        tags: &[(String, Option<String>)],
    ) -> Result<(), DbError> {
        let (resources, tags) = (resources.to_vec(), tags.to_vec());
        self.write(move |connection| {
            for resource in &resources {
                delete(connection, project, resource, &tags)?;
            }
            Ok(touch(connection, project, &resources)?)
        })
        .await
    }

    async fn tags(&self, project: ProjectId) -> Result<BTreeMap<String, BTreeMap<String, String>>, DbError> {
        self.read(move |connection| {
            let sql = "SELECT resource, key, value FROM tag WHERE project_id = ?1";
            let rows = all(connection, sql, params![S(project)], |c| {
                Ok((c.plain::<String>()?, c.plain()?, c.plain()?))
            })?;
            let mut tags: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
            for (resource, key, value) in rows {
                tags.entry(resource).or_default().insert(key, value);
            }
            Ok(tags)
        })
        .await
    }
}

fn put(
    connection: &Connection,
    project: ProjectId,
    resources: &[String],
    tags: &[(String, String)],
    max: usize,
) -> Verb<TagOutcome> {
    for resource in resources {
        if !is_there(connection, project, resource)? {
            return Err(Undo::Answer(TagOutcome::NotFound(resource.clone())));
        }
        for (key, value) in tags {
            insert(connection, project, resource, key, value)?;
        }
        let sql = "SELECT count(*) FROM tag WHERE project_id = ?1 AND resource = ?2";
        let count = first(connection, sql, params![S(project), resource], |c| c.stored::<u64>())?;
        if count.unwrap_or(0) > max as u64 {
            return Err(Undo::Answer(TagOutcome::TooMany(resource.clone())));
        }
    }
    touch(connection, project, resources)?;
    Ok(TagOutcome::Set)
}

/// Whether the project has this resource; it may have been deleted since the caller looked.
fn is_there(connection: &Connection, project: ProjectId, resource: &str) -> rusqlite::Result<bool> {
    let has = Has { connection, project, resource };
    Ok(has.row::<InstanceId>("instance")?
        || has.row::<NetworkInterfaceId>("interface")?
        || has.row::<VolumeId>("root_volume")?
        || has.row::<VolumeId>("volume")?
        || has.row::<SnapshotId>("snapshot")?
        || has.row::<ImageId>("(SELECT * FROM image WHERE state = 'available')")?
        || has.row::<ImportTaskId>("import_task")?
        || has.row::<KeyPairId>("key_pair")?
        || has.row::<VpcId>("vpc")?
        || has.row::<SubnetId>("subnet")?
        || has.row::<SecurityGroupId>("security_group")?
        || has.row::<SecurityGroupRuleId>("security_group_rule")?
        || has.row::<PlacementGroupId>("placement_group")?)
}

struct Has<'a> {
    connection: &'a Connection,
    project: ProjectId,
    resource: &'a str,
}

impl Has<'_> {
    /// Whether the resource is an id of this kind and the table has its row.
    fn row<Id: FromStr + Stored>(&self, table: &str) -> rusqlite::Result<bool> {
        let Ok(id) = self.resource.parse::<Id>() else { return Ok(false) };
        let sql = format!("SELECT 1 FROM {table} WHERE project_id = ?1 AND id = ?2");
        exists(self.connection, &sql, params![S(self.project), S(id)])
    }
}

/// Sets one tag.
pub(crate) fn insert(
    connection: &Connection,
    project: ProjectId,
    resource: &str,
    key: &str,
    value: &str,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO tag (project_id, resource, key, value) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET value = excluded.value";
    execute(connection, sql, params![S(project), resource, key, value])?;
    Ok(())
}

/// The tags of a project's resources whose ids are from `first` up to, and without, `end`; by resource.
pub(crate) fn of_kind(
    connection: &Connection,
    project: ProjectId,
    first: &str,
    end: &str,
) -> rusqlite::Result<BTreeMap<String, BTreeMap<String, String>>> {
    let sql =
        "SELECT resource, key, value FROM tag WHERE project_id = ?1 AND resource >= ?2 AND resource < ?3";
    let rows = all(connection, sql, params![S(project), first, end], |c| {
        Ok((c.plain::<String>()?, c.plain()?, c.plain()?))
    })?;
    let mut tags: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (resource, key, value) in rows {
        tags.entry(resource).or_default().insert(key, value);
    }
    Ok(tags)
}

/// Removes all tags of a resource that is gone.
pub(crate) fn delete_all(
    connection: &Connection,
    project: ProjectId,
    resource: &str,
) -> rusqlite::Result<usize> {
    execute(
        connection,
        "DELETE FROM tag WHERE project_id = ?1 AND resource = ?2",
        params![S(project), resource],
    )
}

fn delete(
    connection: &Connection,
    project: ProjectId,
    resource: &str,
    tags: &[(String, Option<String>)],
) -> rusqlite::Result<()> {
    if tags.is_empty() {
        delete_all(connection, project, resource)?;
    }
    for (key, value) in tags {
        let sql = "DELETE FROM tag WHERE project_id = ?1 AND resource = ?2 AND key = ?3
                   AND (?4 IS NULL OR value = ?4)";
        execute(connection, sql, params![S(project), resource, key, value])?;
    }
    Ok(())
}

/// The guest may read its instance's tags, so they are part of the node's part.
fn touch(connection: &Connection, project: ProjectId, resources: &[String]) -> rusqlite::Result<()> {
    let mut touched = Touched::default();
    for instance in resources.iter().filter_map(|resource| resource.parse::<InstanceId>().ok()) {
        let sql = "SELECT p.node_id FROM instance i
                   JOIN placement p ON p.instance_n = i.n AND p.gone_at IS NULL
                   WHERE i.project_id = ?1 AND i.id = ?2";
        if let Some(node) = first(connection, sql, params![S(project), S(instance)], |c| c.stored())? {
            touched.node(node);
        }
    }
    touched.grow(connection)
}
