//! Images and imports.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tepui_db::model::{Image, ImportTask};
use tepui_db::{CreateOutcome, DbError, DeleteOutcome, ImageDb};
use tepui_types::{Digest, ImageId, ImportTaskId, ProjectId};

use crate::row::{Columns, all, execute, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{SqliteDb, project, tag};

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
            let sql = "SELECT id, project_id, name, description, digest, size_bytes, login_user, public,
                              state, created_at
                       FROM image WHERE state = 'available' AND (public OR project_id = ?1) ORDER BY id";
            all(connection, sql, params![S(project)], read_image)
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
                       ORDER BY 1";
            all(connection, sql, [], |c| c.stored())
        })
        .await
    }

    async fn put_import_task(&self, task: &ImportTask) -> Result<(), DbError> {
        let task = task.clone();
        self.write(move |connection| Ok(put_task(connection, &task)?)).await
    }

    async fn import_tasks(&self, project: ProjectId) -> Result<Vec<ImportTask>, DbError> {
        self.read(move |connection| {
            let sql = "SELECT id, project_id, name, description, source, state, message, progress, image_id,
                              created_at
                       FROM import_task WHERE project_id = ?1 ORDER BY id";
            all(connection, sql, params![S(project)], read_task)
        })
        .await
    }

    async fn fail_active_imports(&self, message: &str) -> Result<Vec<ImportTaskId>, DbError> {
        let message = message.to_owned();
        self.write(move |connection| {
            let sql = "UPDATE import_task SET state = 'failed', message = ?1 WHERE state = 'active'
                       RETURNING id";
            Ok(all(connection, sql, params![message], |c| c.stored())?)
        })
        .await
    }
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
    insert(connection, image)?;
    if let Some(task) = task {
        put_task(connection, task)?;
    }
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
