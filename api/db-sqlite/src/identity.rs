//! Projects, users, access keys, audit.

use std::cmp::Reverse;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tepui_db::model::{AccessKey, Credential, DefaultNetwork, Project, Quota, User};
use tepui_db::{AuditFilter, AuditRecord, CreateOutcome, DbError, DeleteOutcome, IdentityDb};
use tepui_types::{Epoch, ProjectId, UserId};

use crate::row::{Columns, all, execute, exists, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{SqliteDb, project};

const CREDENTIAL: &str = "SELECT k.id, k.user_id, k.project_id, k.wrapped_secret, k.created_at,
                                 u.id, u.name, u.role, u.created_at
                          FROM access_key k JOIN user u ON u.id = k.user_id";

#[async_trait]
impl IdentityDb for SqliteDb {
    async fn epoch(&self) -> Result<Epoch, DbError> {
        self.read(|connection| {
            connection.query_row("SELECT epoch FROM meta", [], |row| {
                Ok(Epoch(row.get::<_, i64>(0)?.unsigned_abs()))
            })
        })
        .await
    }

    async fn create_project(
        &self,
        project: &Project,
        network: &DefaultNetwork,
    ) -> Result<CreateOutcome<ProjectId>, DbError> {
        let (project, network) = (project.clone(), network.clone());
        self.write(move |connection| project::create(connection, &project, &network)).await
    }

    async fn projects(&self) -> Result<Vec<Project>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT {} FROM project ORDER BY id", project::COLUMNS);
            all(connection, &sql, [], project::read)
        })
        .await
    }

    async fn project(&self, id: ProjectId) -> Result<Option<Project>, DbError> {
        self.read(move |connection| {
            let sql = format!("SELECT {} FROM project WHERE id = ?1", project::COLUMNS);
            first(connection, &sql, params![S(id)], project::read)
        })
        .await
    }

    async fn set_quota(&self, id: ProjectId, quota: Quota) -> Result<bool, DbError> {
        self.write(move |connection| project::set_quota(connection, id, quota)).await
    }

    async fn delete_project(&self, id: ProjectId) -> Result<DeleteOutcome, DbError> {
        self.write(move |connection| project::delete(connection, id)).await
    }

    async fn create_user(&self, user: &User) -> Result<CreateOutcome<UserId>, DbError> {
        let user = user.clone();
        self.write(move |connection| create_user(connection, &user)).await
    }

    async fn users(&self) -> Result<Vec<User>, DbError> {
        self.read(|connection| {
            all(connection, "SELECT id, name, role, created_at FROM user ORDER BY name", [], read_user)
        })
        .await
    }

    async fn delete_user(&self, id: UserId) -> Result<DeleteOutcome, DbError> {
        self.write(move |connection| delete_user(connection, id)).await
    }

    async fn create_access_key(&self, key: &AccessKey) -> Result<CreateOutcome<String>, DbError> {
        let key = key.clone();
        self.write(move |connection| create_access_key(connection, &key)).await
    }

    async fn access_keys(&self, project: ProjectId) -> Result<Vec<Credential>, DbError> {
        self.read(move |connection| {
            let sql = format!("{CREDENTIAL} WHERE k.project_id = ?1 ORDER BY k.id");
            all(connection, &sql, params![S(project)], read_credential)
        })
        .await
    }

    async fn credential(&self, key_id: &str) -> Result<Option<Credential>, DbError> {
        let key_id = key_id.to_owned();
        self.read(move |connection| {
            first(connection, &format!("{CREDENTIAL} WHERE k.id = ?1"), params![key_id], read_credential)
        })
        .await
    }

    async fn delete_access_key(&self, project: ProjectId, key_id: &str) -> Result<DeleteOutcome, DbError> {
        let key_id = key_id.to_owned();
        self.write(move |connection| {
            let sql = "DELETE FROM access_key WHERE project_id = ?1 AND id = ?2";
            let deleted = execute(connection, sql, params![S(project), key_id])?;
            Ok(if deleted > 0 { DeleteOutcome::Deleted } else { DeleteOutcome::NotFound })
        })
        .await
    }

    async fn append_audit(&self, record: &AuditRecord) -> Result<(), DbError> {
        let record = record.clone();
        // It follows the verb that it tells of, and shares the commit of the next one.
        self.writer.write_patiently(move |connection| Ok(append_audit(connection, &record)?)).await
    }

    async fn audit(
        &self,
        project: ProjectId,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, DbError> {
        let filter = filter.clone();
        self.read(move |connection| audit(connection, project, &filter, limit)).await
    }
}

fn read_user(c: &Columns<'_>) -> rusqlite::Result<User> {
    Ok(User { id: c.stored()?, name: c.plain()?, role: c.stored()?, created_at: c.stored()? })
}

fn read_credential(c: &Columns<'_>) -> rusqlite::Result<Credential> {
    let key = AccessKey {
        id: c.plain()?,
        user_id: c.stored()?,
        project_id: c.stored()?,
        wrapped_secret: c.plain()?,
        created_at: c.stored()?,
    };
    Ok(Credential { key, user: read_user(c)? })
}

/// Refused calls and others each have an index, which is read from its newest row on.
fn audit(
    connection: &Connection,
    project: ProjectId,
    filter: &AuditFilter,
    limit: u32,
) -> rusqlite::Result<Vec<AuditRecord>> {
    let outcomes: &[&str] = match filter.refused {
        Some(false) => &["outcome = 'ok'"],
        Some(true) => &["outcome <> 'ok'"],
        None => &["outcome = 'ok'", "outcome <> 'ok'"],
    };
    let resource = filter.resource.as_ref().map(|id| format!(",{id},"));
    let mut records = Vec::new();
    for outcome in outcomes {
        let sql = format!(
            "SELECT n, at, project_id, user_id, action, resources, outcome, request_id FROM audit
             WHERE project_id = ?1 AND {outcome}
               AND (?3 IS NULL OR instr(',' || resources || ',', ?3) > 0)
             ORDER BY n DESC LIMIT ?2"
        );
        records.extend(all(connection, &sql, params![S(project), limit, resource], read_audit)?);
    }
    records.sort_by_key(|(n, _)| Reverse(*n));
    records.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

/// A record with its number.
fn read_audit(c: &Columns<'_>) -> rusqlite::Result<(i64, AuditRecord)> {
    let n = c.plain()?;
    let record = AuditRecord {
        at: c.stored()?,
        project_id: c.stored()?,
        user_id: c.stored()?,
        action: c.plain()?,
        resources: c.plain()?,
        outcome: c.plain()?,
        request_id: c.plain()?,
    };
    Ok((n, record))
}

fn create_user(connection: &Connection, user: &User) -> Verb<CreateOutcome<UserId>> {
    let sql = "SELECT id FROM user WHERE name = ?1";
    if let Some(taken) = first(connection, sql, params![user.name], |c| c.stored())? {
        return Ok(CreateOutcome::NameTaken(taken));
    }
    let sql = "INSERT INTO user (id, name, role, created_at) VALUES (?1, ?2, ?3, ?4)";
    execute(connection, sql, params![S(user.id), user.name, S(user.role), S(user.created_at)])?;
    Ok(CreateOutcome::Created)
}

fn delete_user(connection: &Connection, id: UserId) -> Verb<DeleteOutcome> {
    let sql = "SELECT id FROM access_key WHERE user_id = ?1 ORDER BY id LIMIT 1";
    if let Some(key) = first(connection, sql, params![S(id)], |c| c.plain::<String>())? {
        return Ok(DeleteOutcome::InUse(format!("access key {key}")));
    }
    let deleted = execute(connection, "DELETE FROM user WHERE id = ?1", params![S(id)])?;
    Ok(if deleted > 0 { DeleteOutcome::Deleted } else { DeleteOutcome::NotFound })
}

fn create_access_key(connection: &Connection, key: &AccessKey) -> Verb<CreateOutcome<String>> {
    if exists(connection, "SELECT 1 FROM access_key WHERE id = ?1", params![key.id])? {
        return Ok(CreateOutcome::NameTaken(key.id.clone()));
    }
    let user = exists(connection, "SELECT 1 FROM user WHERE id = ?1", params![S(key.user_id)])?;
    if !user || !project::exists(connection, key.project_id)? {
        return Ok(CreateOutcome::ParentMissing);
    }
    let sql = "INSERT INTO access_key (id, user_id, project_id, wrapped_secret, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![key.id, S(key.user_id), S(key.project_id), key.wrapped_secret, S(key.created_at)];
    execute(connection, sql, values)?;
    Ok(CreateOutcome::Created)
}

fn append_audit(connection: &Connection, record: &AuditRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO audit (at, project_id, user_id, action, resources, outcome, request_id)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![
        S(record.at),
        S(record.project_id),
        S(record.user_id),
        record.action,
        record.resources,
        record.outcome,
        record.request_id,
    ];
    execute(connection, sql, values)?;
    Ok(())
}
