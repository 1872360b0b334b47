//! Images and imports.

use async_trait::async_trait;
use tepui_types::{Digest, ImageId, ImportTaskId, ProjectId};

use crate::model::{Image, ImportTask};
use crate::{CreateOutcome, DbError, DeleteOutcome, TokenUse};

/// What became of a call that begins an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// The task is in the books.
    Begun,
    /// The token began this one before, with the same parameters; here it is as it is now.
    Repeated(ImportTask),
    /// The token was used with other parameters.
    TokenMismatch,
}

/// Images and imports.
#[async_trait]
pub trait ImageDb: Send + Sync {
    /// Makes an image available and, when `task` is given, completes it in the same transaction: `ParentMissing`
    /// when that is over already.
    async fn create_image(
        &self,
        image: &Image,
        task: Option<&ImportTask>,
    ) -> Result<CreateOutcome<ImageId>, DbError>;

    /// The images that a project may launch: its own and the public ones, by id.
    async fn images(&self, project: ProjectId) -> Result<Vec<Image>, DbError>;

    /// Withdraws an image of the project.
    async fn deregister_image(&self, project: ProjectId, id: ImageId) -> Result<DeleteOutcome, DbError>;

    /// Digests that an available image or a live placement needs; every other file of the image
    /// store is garbage.
    async fn digests_in_use(&self) -> Result<Vec<Digest>, DbError>;

    /// Writes a new import task with its tags, unless its token began one before. The token is
    /// forgotten with its task.
    async fn begin_import_task(
        &self,
        task: &ImportTask,
        token: Option<&TokenUse>,
        tags: &[(String, String)],
    ) -> Result<ImportOutcome, DbError>;

    /// The import task that a token began, with its parameters' digest.
    async fn import_of_token(
        &self,
        project: ProjectId,
        token: &str,
    ) -> Result<Option<(ImportTask, [u8; 32])>, DbError>;

    /// Writes an import task, new or changed. One that is over stays as it is.
    async fn put_import_task(&self, task: &ImportTask) -> Result<(), DbError>;

    /// A project's import tasks, by id.
    async fn import_tasks(&self, project: ProjectId) -> Result<Vec<ImportTask>, DbError>;

    /// All active import tasks, by id.
    async fn active_imports(&self) -> Result<Vec<ImportTask>, DbError>;

    /// Fails every active task but these with this message; returns which. Called at start: their
    /// process is gone.
    async fn fail_active_imports(
        &self,
        message: &str,
        but: &[ImportTaskId],
    ) -> Result<Vec<ImportTaskId>, DbError>;
}
