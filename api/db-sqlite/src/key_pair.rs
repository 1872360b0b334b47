//! SSH key pairs.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tepui_db::model::KeyPair;
use tepui_db::{CreateOutcome, DbError, KeyPairDb};
use tepui_types::{KeyPairId, ProjectId};

use crate::row::{Columns, all, execute, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{SqliteDb, project, tag};

const COLUMNS: &str = "id, project_id, name, kind, fingerprint, public_key, created_at";

#[async_trait]
impl KeyPairDb for SqliteDb {
    async fn create_key_pair(
        &self,
        key: &KeyPair,
        tags: &[(String, String)],
    ) -> Result<CreateOutcome<KeyPairId>, DbError> {
        let (key, tags) = (key.clone(), tags.to_vec());
        self.write(move |connection| create(connection, &key, &tags)).await
    }

    async fn key_pairs(&self, project: ProjectId) -> Result<Vec<KeyPair>, DbError> {
        self.read(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM key_pair WHERE project_id = ?1 ORDER BY name");
            all(connection, &sql, params![S(project)], read)
        })
        .await
    }

    async fn delete_key_pair(&self, project: ProjectId, id: KeyPairId) -> Result<Option<KeyPair>, DbError> {
        self.write(move |connection| {
            let sql = format!("DELETE FROM key_pair WHERE project_id = ?1 AND id = ?2 RETURNING {COLUMNS}");
            let key = first(connection, &sql, params![S(project), S(id)], read)?;
            tag::delete_all(connection, project, &id.to_string())?;
            Ok(key)
        })
        .await
    }
}

/// A project's key pair of this name.
pub(crate) fn named(
    connection: &Connection,
    project: ProjectId,
    name: &str,
) -> rusqlite::Result<Option<KeyPair>> {
    let sql = format!("SELECT {COLUMNS} FROM key_pair WHERE project_id = ?1 AND name = ?2");
    first(connection, &sql, params![S(project), name], read)
}

fn read(c: &Columns<'_>) -> rusqlite::Result<KeyPair> {
    Ok(KeyPair {
        id: c.stored()?,
        project_id: c.stored()?,
        name: c.plain()?,
        kind: c.stored()?,
        fingerprint: c.plain()?,
        public_key: c.plain()?,
        created_at: c.stored()?,
    })
}

fn create(
    connection: &Connection,
    key: &KeyPair,
    tags: &[(String, String)],
) -> Verb<CreateOutcome<KeyPairId>> {
    let sql = "SELECT id FROM key_pair WHERE project_id = ?1 AND name = ?2";
    if let Some(taken) = first(connection, sql, params![S(key.project_id), key.name], |c| c.stored())? {
        return Ok(CreateOutcome::NameTaken(taken));
    }
    if !project::exists(connection, key.project_id)? {
        return Ok(CreateOutcome::ParentMissing);
    }
    let sql = "INSERT INTO key_pair (id, project_id, name, kind, fingerprint, public_key, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![
        S(key.id),
        S(key.project_id),
        key.name,
        S(key.kind),
        key.fingerprint,
        key.public_key,
        S(key.created_at)
    ];
    execute(connection, sql, values)?;
    for (name, value) in tags {
        tag::insert(connection, key.project_id, &key.id.to_string(), name, value)?;
    }
    Ok(CreateOutcome::Created)
}
