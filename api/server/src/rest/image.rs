//! Images and imports from URLs.

use tepui_core::{Error, ImportRequest, Kind};
use tepui_db::model;
use tepui_types::ImageId;
use tepui_types::rest::{Empty, Image, ImportImageRequest, ImportState, ImportTask, List};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;
use crate::imports::{DEFAULT_LOGIN_USER, Outlook, Source, checked_url};

/// The image that a text names. Of two with one name the project's own is meant.
pub(super) async fn find(call: &Call, text: &str) -> Result<ImageId, Failure> {
    let images = call.cloud().images(&call.caller).await?;
    let own = |image: &&model::Image| image.project_id == call.caller.project;
    if let Some(image) = images.iter().filter(own).find(|image| image.name == text) {
        return Ok(image.id);
    }
    pick(Kind::Image, text, images.into_iter().map(|image| (image.id, Some(image.name))))
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<Image>, Failure> {
    let images = call.cloud().images(&call.caller).await?;
    Ok(List { items: images.into_iter().map(shown).collect() })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<Image, Failure> {
    let id = find(&call, call.target()).await?;
    Ok(shown(call.cloud().image(&call.caller, id).await?))
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let id = find(&call, call.target()).await?;
    call.cloud().deregister_image(&call.caller, id).await?;
    Ok(Empty {})
}

pub(super) async fn import(call: Call, request: ImportImageRequest) -> Result<ImportTask, Failure> {
    let source = checked_url(&request.url)?;
    let import = ImportRequest {
        name: Some(request.name),
        description: request.description,
        source,
        public: request.public,
        tags: [].into(),
        token: None,
    };
    let outlook = Outlook {
        login_user: request.login_user.unwrap_or_else(|| DEFAULT_LOGIN_USER.into()),
        public: request.public,
    };
    let place = call.app.importer.enter(&call.caller)?;
    let task = call.cloud().begin_import(&call.caller, import).await?.task;
    call.app.importer.start(call.caller, task.id, Source::Url(request.url), outlook, place);
    Ok(shown_task(task))
}

pub(super) async fn list_tasks(call: Call, _: Empty) -> Result<List<ImportTask>, Failure> {
    let tasks = call.cloud().import_tasks(&call.caller, &[]).await?;
    Ok(List { items: tasks.into_iter().map(shown_task).collect() })
}

pub(super) async fn show_task(call: Call, _: Empty) -> Result<ImportTask, Failure> {
    let tasks = call.cloud().import_tasks(&call.caller, &[]).await?;
    let id = pick(Kind::ImportTask, call.target(), tasks.iter().map(|task| (task.id, None)))?;
    let found = tasks.into_iter().find(|task| task.id == id);
    found.map(shown_task).ok_or_else(|| Error::not_found(Kind::ImportTask, id).into())
}

fn shown(image: model::Image) -> Image {
    Image {
        id: image.id,
        project_id: image.project_id,
        name: image.name,
        description: image.description,
        digest: image.digest,
        size_bytes: image.size_bytes,
        login_user: image.login_user,
        public: image.public,
        created_at: image.created_at,
    }
}

pub(super) fn shown_task(task: model::ImportTask) -> ImportTask {
    ImportTask {
        id: task.id,
        name: task.name,
        source: task.source,
        state: match task.state {
            model::ImportState::Active => ImportState::Active,
            model::ImportState::Completed => ImportState::Completed,
            model::ImportState::Failed => ImportState::Failed,
        },
        message: task.message,
        progress: task.progress,
        image_id: task.image_id,
        created_at: task.created_at,
    }
}
