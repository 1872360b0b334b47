//! What a launch refers to, in one read: of the time of a launch, a step to another thread is more
//! than a row.

use rusqlite::{Connection, params};
use tepui_db::model::Subnet;
use tepui_db::{LaunchNames, LaunchParents};
use tepui_types::ProjectId;

use super::{group, launch};
use crate::network::{SUBNET, read_subnet};
use crate::row::first;
use crate::value::S;
use crate::{image, key_pair, security_group};

/// Reads what there is of the things a launch names.
pub(super) fn read(
    connection: &Connection,
    project: ProjectId,
    names: &LaunchNames,
) -> rusqlite::Result<LaunchParents> {
    let token = names.token.as_deref();
    let key = names.key.as_deref();
    let group = names.placement_group.as_deref();
    let group = found(group, |name| group::named(connection, project, name))?;
    Ok(LaunchParents {
        reservation: found(token, |token| launch::reservation_of_token(connection, project, token))?,
        image: image::launchable(connection, project, names.image)?,
        key: found(key, |name| key_pair::named(connection, project, name))?,
        subnet: subnet(connection, project, names)?,
        groups: security_group::names(connection, project)?,
        placement_group: match group {
            Some(group) => Some((group.clone(), group::members(connection, group.id)?)),
            None => None,
        },
    })
}

/// What is found under a name, where there is a name.
fn found<T>(
    name: Option<&str>,
    find: impl FnOnce(&str) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Option<T>> {
    name.map_or(Ok(None), find)
}

fn subnet(
    connection: &Connection,
    project: ProjectId,
    names: &LaunchNames,
) -> rusqlite::Result<Option<Subnet>> {
    match names.subnet {
        Some(id) => {
            let sql = format!("SELECT {SUBNET} FROM subnet WHERE id = ?1 AND project_id = ?2");
            first(connection, &sql, params![S(id), S(project)], read_subnet)
        }
        None => {
            let sql = format!("SELECT {SUBNET} FROM subnet WHERE project_id = ?1 AND is_default ORDER BY id");
            first(connection, &sql, params![S(project)], read_subnet)
        }
    }
}
