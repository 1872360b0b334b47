//! Uploads of image files, in one piece or resumable.

use axum::body::{Body, HttpBody};
use tepui_core::{Error, ImportRequest, Kind};
use tepui_types::rest::{
    AppendImageUploadRequest, CompleteImageUploadRequest, CreateImageUploadRequest, Empty, ImageUpload,
    ImportTask, UploadImageRequest,
};
use tepui_types::{Digest, ImportTaskId};

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
    rehearsed(call)
}

/// Ends a rehearsal that has come to where something would be changed.
fn rehearsed(call: &Call) -> Result<(), Failure> {
    if call.caller.dry_run { Err(Error::DryRunOk.into()) } else { Ok(()) }
}

pub(super) async fn whole(
    mut call: Call,
    image: UploadImageRequest,
    body: Body,
) -> Result<ImportTask, Failure> {
    check(&call, &image)?;
    let size = body.size_hint().exact().ok_or_else(|| {
        Failure::Malformed("the header Content-Length is missing: it tells the file's size".into())
    })?;
    let mut upload = call.app.uploads.create(call.caller.project, size, image).await?;
    call.keep_place();
    match upload.append(0, body, &call.app.stop).await {
        Ok(()) => begin(&call, upload, None).await,
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
    mut call: Call,
    request: AppendImageUploadRequest,
    body: Body,
) -> Result<ImageUpload, Failure> {
    let mut upload = call.app.uploads.take(call.caller.project, call.target())?;
    rehearsed(&call)?;
    call.keep_place();
    upload.append(request.offset, body, &call.app.stop).await?;
    upload.shown()
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let upload = call.app.uploads.take(call.caller.project, call.target())?;
    rehearsed(&call)?;
    upload.remove().await?;
    Ok(Empty {})
}

/// Asked again, because its reply was lost, it answers with the same task. The bytes are held against
/// their digest by the import: for a large file that takes longer than a client waits.
pub(super) async fn complete(call: Call, request: CompleteImageUploadRequest) -> Result<ImportTask, Failure> {
    let uploads = &call.app.uploads;
    let taken = uploads.take(call.caller.project, call.target());
    // Looked at with the upload in hand, or in the hands of its import.
    if let Some(task) = uploads.task(call.caller.project, call.target())? {
        return begun(&call, task).await;
    }
    let upload = taken?;
    upload.check_whole()?;
    rehearsed(&call)?;
    begin(&call, upload, Some(request.sha256)).await
}

async fn begin(call: &Call, mut upload: Upload, sha256: Option<Digest>) -> Result<ImportTask, Failure> {
    let image = upload.image().clone();
    let import = ImportRequest {
        name: Some(image.name),
        description: image.description,
        source: if image.source.is_empty() { "upload".into() } else { image.source },
        public: image.public,
        tags: [].into(),
        token: None,
    };
    let login_user = image.login_user.unwrap_or_else(|| DEFAULT_LOGIN_USER.into());
    let place = call.app.importer.enter(&call.caller)?;
    let task = call.cloud().begin_import(&call.caller, import).await?.task;
    upload.begun(task.id)?;
    let outlook = Outlook { login_user, public: image.public };
    let source = Source::Upload(Box::new(upload), sha256);
    call.app.importer.start(call.caller.clone(), task.id, source, outlook, place);
    Ok(shown_task(task))
}

async fn begun(call: &Call, id: ImportTaskId) -> Result<ImportTask, Failure> {
    let tasks = call.cloud().import_tasks(&call.caller, &[id]).await?;
    let task = tasks.into_iter().next().map(shown_task);
    task.ok_or_else(|| Error::not_found(Kind::ImportTask, id).into())
}
