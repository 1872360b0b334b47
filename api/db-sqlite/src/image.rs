//! Images and imports.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tepui_db::model::{Image, ImportTask};
use tepui_db::{CreateOutcome, DbError, DeleteOutcome, ImageDb, ImportOutcome, TokenUse};
use tepui_types::{Digest, ImageId, ImportTaskId, ProjectId};

use crate::row::{Columns, all, execute, exists, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{SqliteDb, project, tag};

/// The SELECT list that [`read_image`] reads.
const IMAGE: &str =
    "id, project_id, name, description, digest, size_bytes, login_user, public, state, created_at";
/// The images that a project, ?1, sees and may launch.
const LAUNCHABLE: &str = "state = 'available' AND (public OR project_id = ?1)";
/// The SELECT list that [`read_task`] reads.
const TASK: &str =
    "id, project_id, name, description, source, state, message, progress, image_id, created_at";

#[async_trait]
impl ImageDb for SqliteDb {
    async fn create_image(
        &self,
        image: &Image,
        task: Option<&ImportTask>,
    ) -> Result<CreateOutcome<ImageId>, DbError> {
        let (image, task) = (image.clone(), task.cloned());
        self.write(move |connection| create(connection, &image, task.as_ref())).await
    }

    async fn images(&self, project: ProjectId) -> Result<Vec<Image>, DbError> {
        self.read(move |connection| {
            let sql = format!("SELECT {IMAGE} FROM image WHERE {LAUNCHABLE} ORDER BY id");
            all(connection, &sql, params![S(project)], read_image)
        })
        .await
    }

    async fn deregister_image(&self, project: ProjectId, id: ImageId) -> Result<DeleteOutcome, DbError> {
        self.write(move |connection| {
            let sql = "UPDATE image SET state = 'deregistered'
                       WHERE project_id = ?1 AND id = ?2 AND state = 'available'";
            if execute(connection, sql, params![S(project), S(id)])? == 0 {
                return Ok(DeleteOutcome::NotFound);
            }
            tag::delete_all(connection, project, &id.to_string())?;
            Ok(DeleteOutcome::Deleted)
        })
        .await
    }

    async fn digests_in_use(&self) -> Result<Vec<Digest>, DbError> {
        self.read(|connection| {
            let sql = "SELECT digest FROM image WHERE state = 'available'
                       UNION
                       SELECT i.image_digest FROM placement p JOIN instance i ON i.n = p.instance_n
                       WHERE p.gone_at IS NULL
                       UNION
                       SELECT image_digest FROM volume WHERE state = 'creating' AND image_digest IS NOT NULL
                       UNION
                       SELECT image_digest FROM snapshot WHERE state = 'pending' AND image_digest IS NOT NULL
                       ORDER BY 1";
            all(connection, sql, [], |c| c.stored())
        })
        .await
    }

    async fn begin_import_task(
        &self,
        task: &ImportTask,
        token: Option<&TokenUse>,
        tags: &[(String, String)],
    ) -> Result<ImportOutcome, DbError> {
        let (task, token, tags) = (task.clone(), token.cloned(), tags.to_vec());
        self.write(move |connection| begin_task(connection, &task, token.as_ref(), &tags)).await
    }

    async fn import_of_token(
        &self,
        project: ProjectId,
        token: &str,
    ) -> Result<Option<(ImportTask, [u8; 32])>, DbError> {
        let token = token.to_owned();
        self.read(move |connection| task_of_token(connection, project, &token)).await
    }

    async fn put_import_task(&self, task: &ImportTask) -> Result<(), DbError> {
        let task = task.clone();
        self.write(move |connection| Ok(change_task(connection, &task)?)).await
    }

    async fn import_tasks(&self, project: ProjectId) -> Result<Vec<ImportTask>, DbError> {
        self.read(move |connection| {
            let sql = format!("SELECT {TASK} FROM import_task WHERE project_id = ?1 ORDER BY id");
            all(connection, &sql, params![S(project)], read_task)
        })
        .await
    }

    async fn active_imports(&self) -> Result<Vec<ImportTask>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT {TASK} FROM import_task WHERE state = 'active' ORDER BY id");
            all(connection, &sql, [], read_task)
        })
        .await
    }

    async fn fail_active_imports(
        &self,
        message: &str,
        but: &[ImportTaskId],
    ) -> Result<Vec<ImportTaskId>, DbError> {
        let (message, but) = (message.to_owned(), but.to_vec());
        self.write(move |connection| Ok(fail_active(connection, &message, &but)?)).await
    }
}

/// One image that a project may launch.
pub(crate) fn launchable(
    connection: &Connection,
    project: ProjectId,
    id: ImageId,
) -> rusqlite::Result<Option<Image>> {
    let sql = format!("SELECT {IMAGE} FROM image WHERE {LAUNCHABLE} AND id = ?2");
    first(connection, &sql, params![S(project), S(id)], read_image)
}

fn read_image(c: &Columns<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        id: c.stored()?,
        project_id: c.stored()?,
        name: c.plain()?,
        description: c.plain()?,
        digest: c.stored()?,
        size_bytes: c.stored()?,
        login_user: c.plain()?,
        public: c.plain()?,
        state: c.stored()?,
        created_at: c.stored()?,
    })
}

fn read_task(c: &Columns<'_>) -> rusqlite::Result<ImportTask> {
    Ok(ImportTask {
        id: c.stored()?,
        project_id: c.stored()?,
        name: c.plain()?,
        description: c.plain()?,
        source: c.plain()?,
        state: c.stored()?,
        message: c.plain()?,
        progress: c.plain()?,
        image_id: c.optional()?,
        created_at: c.stored()?,
    })
}

fn create(connection: &Connection, image: &Image, task: Option<&ImportTask>) -> Verb<CreateOutcome<ImageId>> {
    let sql = "SELECT id FROM image WHERE project_id = ?1 AND name = ?2 AND state = 'available'";
    if let Some(taken) = first(connection, sql, params![S(image.project_id), image.name], |c| c.stored())? {
        return Ok(CreateOutcome::NameTaken(taken));
    }
    if !project::exists(connection, image.project_id)? {
        return Ok(CreateOutcome::ParentMissing);
    }
    if let Some(task) = task {
        // One that is over meanwhile makes no image.
        let sql = "SELECT 1 FROM import_task WHERE id = ?1 AND state = 'active'";
        if !exists(connection, sql, params![S(task.id)])? {
            return Ok(CreateOutcome::ParentMissing);
        }
        put_task(connection, task)?;
    }
    insert(connection, image)?;
    Ok(CreateOutcome::Created)
}

fn insert(connection: &Connection, image: &Image) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO image (id, project_id, name, description, digest, size_bytes, login_user, public,
                                  state, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let values = params![
        S(image.id),
        S(image.project_id),
        image.name,
        image.description,
        S(image.digest),
        S(image.size_bytes),
        image.login_user,
        image.public,
        S(image.state),
        S(image.created_at),
    ];
    execute(connection, sql, values)
}

fn task_of_token(
    connection: &Connection,
    project: ProjectId,
    token: &str,
) -> rusqlite::Result<Option<(ImportTask, [u8; 32])>> {
    let sql =
        format!("SELECT {TASK}, parameters_sha256 FROM import_task WHERE project_id = ?1 AND token = ?2");
    first(connection, &sql, params![S(project), token], |c| Ok((read_task(c)?, c.plain()?)))
}

fn begin_task(
    connection: &Connection,
    task: &ImportTask,
    token: Option<&TokenUse>,
    tags: &[(String, String)],
) -> Verb<ImportOutcome> {
    if let Some(used) = token
        && let Some((begun, parameters)) = task_of_token(connection, task.project_id, &used.token)?
    {
        let same = parameters == used.parameters_sha256;
        return Ok(if same { ImportOutcome::Repeated(begun) } else { ImportOutcome::TokenMismatch });
    }
    put_task(connection, task)?;
    if let Some(TokenUse { token, parameters_sha256 }) = token {
        let sql = "UPDATE import_task SET token = ?2, parameters_sha256 = ?3 WHERE id = ?1";
        execute(connection, sql, params![S(task.id), token, parameters_sha256])?;
    }
    for (key, value) in tags {
        tag::insert(connection, task.project_id, &task.id.to_string(), key, value)?;
    }
    Ok(ImportOutcome::Begun)
}

fn fail_active(
    connection: &Connection,
    message: &str,
    but: &[ImportTaskId],
) -> rusqlite::Result<Vec<ImportTaskId>> {
    let sql = "SELECT id FROM import_task WHERE state = 'active' ORDER BY id";
    let mut ids = all(connection, sql, [], |c| c.stored())?;
    ids.retain(|id| !but.contains(id));
    for id in &ids {
        let sql = "UPDATE import_task SET state = 'failed', message = ?2 WHERE id = ?1";
        execute(connection, sql, params![S(*id), message])?;
    }
    Ok(ids)
}

/// One that is over stays as it is: what comes late was decided on what is no longer so.
fn change_task(connection: &Connection, task: &ImportTask) -> rusqlite::Result<()> {
    let sql = "SELECT 1 FROM import_task WHERE id = ?1 AND state <> 'active'";
    match first(connection, sql, params![S(task.id)], |c| c.plain::<i64>())? {
        Some(_) => Ok(()),
        None => put_task(connection, task),
    }
}

fn put_task(connection: &Connection, task: &ImportTask) -> rusqlite::Result<()> {
    let sql = "INSERT INTO import_task (id, project_id, name, description, source, state, message, progress,
                                        image_id, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               ON CONFLICT DO UPDATE SET state = excluded.state, message = excluded.message,
                   progress = excluded.progress, image_id = excluded.image_id";
    let values = params![
        S(task.id),
        S(task.project_id),
        task.name,
        task.description,
        task.source,
        S(task.state),
        task.message,
        task.progress,
        task.image_id.map(S),
        S(task.created_at),
    ];
    execute(connection, sql, values)?;
    Ok(())
}
