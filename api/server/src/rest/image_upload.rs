//! Uploads of image files, in one piece or resumable.

use axum::body::{Body, HttpBody};
use tepui_core::{Error, ImportRequest, Kind};
use tepui_types::ImportTaskId;
use tepui_types::rest::{
    AppendImageUploadRequest, CompleteImageUploadRequest, CreateImageUploadRequest, Empty, ImageUpload,
    ImportTask, UploadImageRequest,
};

use super::image::shown_task;
use super::routes::Call;
use crate::failure::Failure;
use crate::imports::{DEFAULT_LOGIN_USER, Outlook, Source};
use crate::uploads::Upload;

/// Refuses at the door what the import would refuse after hours of upload.
fn check(call: &Call, image: &UploadImageRequest) -> Result<(), Failure> {
    if image.name.is_empty() {
        return Err(Failure::invalid("name", "", "has 1 to 128 printable characters"));
    }
    if image.public {
        call.caller.require_administrator()?;
    }
    if call.caller.dry_run {
        return Err(Error::DryRunOk.into());
    }
    Ok(())
}

pub(super) async fn whole(call: Call, image: UploadImageRequest, body: Body) -> Result<ImportTask, Failure> {
    check(&call, &image)?;
    let size = body.size_hint().exact().ok_or_else(|| {
        Failure::Malformed("the header Content-Length is missing: it tells the file's size".into())
    })?;
    let mut upload = call.app.uploads.create(call.caller.project, size, image).await?;
    match upload.append(0, body).await {
        Ok(()) => begin(&call, upload).await,
        Err(failure) => {
            upload.remove().await?;
            Err(failure)
        }
    }
}

pub(super) async fn create(call: Call, request: CreateImageUploadRequest) -> Result<ImageUpload, Failure> {
    check(&call, &request.image)?;
    let upload = call.app.uploads.create(call.caller.project, request.size_bytes, request.image).await?;
    upload.shown()
}

/// Also while bytes come in.
pub(super) async fn show(call: Call, _: Empty) -> Result<ImageUpload, Failure> {
    call.app.uploads.show(call.caller.project, call.target())
}

pub(super) async fn append(
    call: Call,
    request: AppendImageUploadRequest,
    body: Body,
) -> Result<ImageUpload, Failure> {
    let mut upload = call.app.uploads.take(call.caller.project, call.target())?;
    upload.append(request.offset, body).await?;
    upload.shown()
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let upload = call.app.uploads.take(call.caller.project, call.target())?;
    if call.caller.dry_run {
        return Err(Error::DryRunOk.into());
    }
    upload.remove().await?;
    Ok(Empty {})
}

/// Asked again, because its reply was lost, it answers with the same task.
pub(super) async fn complete(call: Call, request: CompleteImageUploadRequest) -> Result<ImportTask, Failure> {
    let upload = call.app.uploads.take(call.caller.project, call.target())?;
    if let Some(task) = upload.task() {
        return begun(&call, task).await;
    }
    upload.check_whole(request.sha256).await?;
    begin(&call, upload).await
}

async fn begin(call: &Call, mut upload: Upload) -> Result<ImportTask, Failure> {
    let image = upload.image().clone();
    let import = ImportRequest {
        name: Some(image.name),
        description: image.description,
        source: if image.source.is_empty() { "upload".into() } else { image.source },
        public: image.public,
    };
    let login_user = image.login_user.unwrap_or_else(|| DEFAULT_LOGIN_USER.into());
    let task = call.cloud().begin_import(&call.caller, import).await?;
    upload.begun(task.id)?;
    let outlook = Outlook { login_user, public: image.public };
    call.app.importer.start(call.caller.clone(), task.id, Source::Upload(Box::new(upload)), outlook);
    Ok(shown_task(task))
}

async fn begun(call: &Call, id: ImportTaskId) -> Result<ImportTask, Failure> {
    let tasks = call.cloud().import_tasks(&call.caller, &[id]).await?;
    let task = tasks.into_iter().next().map(shown_task);
    task.ok_or_else(|| Error::not_found(Kind::ImportTask, id).into())
}
