//! Image imports. The server moves and inspects the bytes; these verbs keep the books.

use tepui_db::model::{Image, ImageState, ImportState, ImportTask};
use tepui_db::{CreateOutcome, ImportOutcome, TokenUse};
use tepui_types::{Digest, ImageId, ImportTaskId};

use crate::failpoint::pass;
use crate::identity::taken;
use crate::limits::{self, Tags};
use crate::{Caller, Cloud, Error, Kind};

/// Characters of a source: browsers and proxies cut longer addresses off.
const SOURCE: usize = 2048;

/// An import as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRequest {
    /// The image's name; a generated one when it is not given.
    pub name: Option<String>,
    /// For people.
    pub description: String,
    /// The file's name, or the URL without credentials.
    pub source: String,
    /// Let every project launch it. Administrators only.
    pub public: bool,
    /// Tags of the task.
    pub tags: Tags,
    /// Makes a repeat harmless.
    pub token: Option<TokenUse>,
}

/// An import whose task is in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunImport {
    /// The task, as it is now.
    pub task: ImportTask,
    /// An earlier call with the same token began it, and its bytes are that call's to bring.
    pub repeated: bool,
}

/// What an import found once its bytes are in the image store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedImage {
    /// Content.
    pub digest: Digest,
    /// Virtual size in bytes.
    pub size_bytes: u64,
    /// The user to log in as.
    pub login_user: String,
    /// As in the request. Administrators only.
    pub public: bool,
}

impl Cloud {
    /// Opens an import task, or finds the one that the same token opened.
    ///
    /// # Errors
    /// `InvalidInput`, `AlreadyExists` for the name, `Forbidden` for a public one, `TokenMismatch`.
    pub async fn begin_import(&self, caller: &Caller, request: ImportRequest) -> Result<BegunImport, Error> {
        if request.public {
            caller.require_administrator()?;
        }
        if let Some(task) = self.repeated_import(caller, request.token.as_ref()).await? {
            return Ok(BegunImport { task, repeated: true });
        }
        limits::check_tags(&request.tags)?;
        limits::check_description(&request.description)?;
        limits::check_name("source", &request.source, SOURCE)?;
        let id = ImportTaskId::from_random(self.random());
        let name = request.name.unwrap_or_else(|| id.to_string());
        limits::check_name("name", &name, 128)?;
        self.check_image_name_free(caller, &name).await?;
        let task = ImportTask {
            id,
            project_id: caller.project,
            name,
            description: request.description,
            source: request.source,
            state: ImportState::Active,
            message: "pending".into(),
            progress: 0,
            image_id: None,
            created_at: self.now(),
        };
        let (token, tags) = (request.token, limits::tag_pairs(&request.tags));
        let begun = self
            .commit(caller, "ImportImage", id.to_string(), async {
                match self.db.begin_import_task(&task, token.as_ref(), &tags).await? {
                    ImportOutcome::Begun => Ok(BegunImport { task, repeated: false }),
                    ImportOutcome::Repeated(task) => Ok(BegunImport { task, repeated: true }),
                    ImportOutcome::TokenMismatch => Err(mismatch(token)),
                }
            })
            .await?;
        pass("core::import::begun")?;
        Ok(begun)
    }

    /// The import that this token began before. A rehearsal tries its parameters as if it were new.
    ///
    /// # Errors
    /// `InvalidInput`, `TokenMismatch`.
    pub async fn repeated_import(
        &self,
        caller: &Caller,
        token: Option<&TokenUse>,
    ) -> Result<Option<ImportTask>, Error> {
        let Some(used) = token else { return Ok(None) };
        limits::check_name("client_token", &used.token, limits::CLIENT_TOKEN)?;
        if caller.dry_run {
            return Ok(None);
        }
        match self.db.import_of_token(caller.project, &used.token).await? {
            None => Ok(None),
            Some((task, parameters)) if parameters == used.parameters_sha256 => Ok(Some(task)),
            Some(_) => Err(mismatch(Some(used.clone()))),
        }
    }

    async fn check_image_name_free(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        let images = self.images(caller).await?;
        match images.iter().find(|image| image.name == name && image.project_id == caller.project) {
            Some(image) => Err(taken(Kind::Image, name, image.id)),
            None => Ok(()),
        }
    }

    /// Notes how far an active import is; `percent` above 100 counts as 100.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign task; `WrongState` when it is over.
    pub async fn import_progress(
        &self,
        caller: &Caller,
        id: ImportTaskId,
        percent: u8,
        message: &str,
    ) -> Result<(), Error> {
        let mut task = self.active_import(caller, id).await?;
        task.progress = percent.min(100);
        task.message = message.to_owned();
        Ok(self.db.put_import_task(&task).await?)
    }

    /// Makes the imported image available and completes its task in one transaction. The bytes must
    /// be durable under their digest before.
    ///
    /// # Errors
    /// `NotFound`, `WrongState`, `AlreadyExists` when the name was taken meanwhile, `Forbidden` for a
    /// public one.
    pub async fn complete_import(
        &self,
        caller: &Caller,
        id: ImportTaskId,
        imported: ImportedImage,
    ) -> Result<Image, Error> {
        if imported.public {
            caller.require_administrator()?;
        }
        let mut task = self.active_import(caller, id).await?;
        let image = self.image_of(&task, imported);
        pass("core::import::stored")?;
        task.state = ImportState::Completed;
        task.message = "completed".into();
        task.progress = 100;
        task.image_id = Some(image.id);
        self.commit(caller, "CompleteImport", image.id.to_string(), async {
            match self.db.create_image(&image, Some(&task)).await? {
                CreateOutcome::Created => Ok(()),
                CreateOutcome::NameTaken(other) => Err(taken(Kind::Image, &image.name, other)),
                // It ended meanwhile, or its project did.
                CreateOutcome::ParentMissing => {
                    self.active_import(caller, id).await?;
                    Err(Error::not_found(Kind::Project, caller.project))
                }
            }
        })
        .await?;
        pass("core::import::completed")?;
        Ok(image)
    }

    fn image_of(&self, task: &ImportTask, imported: ImportedImage) -> Image {
        Image {
            id: ImageId::from_random(self.random()),
            project_id: task.project_id,
            name: task.name.clone(),
            description: task.description.clone(),
            digest: imported.digest,
            size_bytes: imported.size_bytes,
            login_user: imported.login_user,
            public: imported.public,
            state: ImageState::Available,
            created_at: self.now(),
        }
    }

    /// Ends an active import with the reason of its failure; one that is over is left as it is.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign task.
    pub async fn fail_import(&self, caller: &Caller, id: ImportTaskId, why: &str) -> Result<(), Error> {
        let mut task = self.import_task(caller, id).await?;
        if task.state != ImportState::Active {
            return Ok(());
        }
        task.state = ImportState::Failed;
        task.message = why.to_owned();
        self.commit(caller, "FailImport", id.to_string(), async { Ok(self.db.put_import_task(&task).await?) })
            .await
    }

    /// The caller's import tasks by id: these, or all when `ids` is empty.
    ///
    /// # Errors
    /// `NotFound` for the first id that is unknown or foreign.
    pub async fn import_tasks(
        &self,
        caller: &Caller,
        ids: &[ImportTaskId],
    ) -> Result<Vec<ImportTask>, Error> {
        let mut tasks = self.db.import_tasks(caller.project).await?;
        if let Some(missing) = ids.iter().find(|id| !tasks.iter().any(|task| task.id == **id)) {
            return Err(Error::not_found(Kind::ImportTask, missing));
        }
        tasks.retain(|task| ids.is_empty() || ids.contains(&task.id));
        Ok(tasks)
    }

    /// The imports of all projects that a dead process left active. For the start.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn interrupted_imports(&self) -> Result<Vec<ImportTask>, Error> {
        Ok(self.db.active_imports().await?)
    }

    /// Fails the imports that a dead process left active, except those that go on. Called once at
    /// start; returns which.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn fail_interrupted_imports(&self, but: &[ImportTaskId]) -> Result<Vec<ImportTaskId>, Error> {
        Ok(self.db.fail_active_imports("the control plane was restarted; import again", but).await?)
    }

    async fn import_task(&self, caller: &Caller, id: ImportTaskId) -> Result<ImportTask, Error> {
        let tasks = self.import_tasks(caller, &[id]).await?;
        tasks.into_iter().next().ok_or_else(|| Error::not_found(Kind::ImportTask, id))
    }

    async fn active_import(&self, caller: &Caller, id: ImportTaskId) -> Result<ImportTask, Error> {
        let task = self.import_task(caller, id).await?;
        let state = match task.state {
            ImportState::Active => return Ok(task),
            ImportState::Completed => "completed",
            ImportState::Failed => "failed",
        };
        Err(Error::WrongState { id: id.to_string(), state: state.into(), wanted: "active" })
    }
}

fn mismatch(token: Option<TokenUse>) -> Error {
    Error::TokenMismatch { token: token.map(|used| used.token).unwrap_or_default() }
}
