//! Importing: a file goes up in pieces that survive a broken line, a URL is fetched by the cloud.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use tepui_client::UploadProgress;
use tepui_types::endpoint::{ImportImage, ShowImage, ShowImportTask};
use tepui_types::rest::{
    Empty, ImportImageRequest, ImportState, ImportTask, UploadContent, UploadImageRequest,
};

use crate::aws::shell_line;
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

const MIB: u64 = 1 << 20;

/// What to import as what.
#[derive(Debug, Args)]
pub struct Import {
    /// A qcow2 or raw file, or an http or https URL of one
    #[arg(value_name = "FILE|URL")]
    source: String,
    /// Name of the image, unique in the project
    #[arg(long)]
    name: String,
    /// The user to log in as [default: root]
    #[arg(long)]
    login_user: Option<String>,
    /// For people
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// Let every project launch it; for administrators
    #[arg(long)]
    public: bool,
    /// Go on with an upload that broke off
    #[arg(long, value_name = "UPLOAD")]
    resume: Option<String>,
    /// Answer as soon as the cloud has the bytes or the URL
    #[arg(long)]
    no_wait: bool,
    /// How long to watch the import once the cloud has the bytes or the URL
    #[arg(long, default_value = "30m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

/// Runs it.
///
/// # Errors
/// The upload broke off, or the import was refused or is not done at the deadline.
pub(super) async fn run(import: Import, session: &mut Session) -> Result<()> {
    let is_url = ["http://", "https://"].iter().any(|scheme| import.source.starts_with(scheme));
    let task = if is_url { ask(&import, session).await? } else { upload(&import, session).await? };
    if import.no_wait {
        return session.show(&task);
    }
    let stopped = "stopped watching; the import goes on. To see it:\n  tepui image imports".into();
    let task = follow(task, Deadline::after(import.timeout), stopped, session).await?;
    let task = succeeded(task)?;
    let id = task.image_id.map(|id| id.to_string()).unwrap_or_default();
    let image = session.call::<ShowImage>(&[&id], &Empty {}).await?;
    session.note(&format!("launch it: tepui instance run {}", image.name));
    session.show(&image)
}

async fn ask(import: &Import, session: &mut Session) -> Result<ImportTask> {
    if import.resume.is_some() {
        return Err(Failure::usage("--resume goes on with an upload; a URL is not uploaded")
            .docs("tepui help image import"));
    }
    let request = ImportImageRequest {
        name: import.name.clone(),
        url: import.source.clone(),
        description: import.description.clone(),
        login_user: import.login_user.clone(),
        public: import.public,
    };
    session.call::<ImportImage>(&[], &request).await
}

async fn upload(import: &Import, session: &mut Session) -> Result<ImportTask> {
    let file = Path::new(&import.source);
    let request = UploadImageRequest {
        name: import.name.clone(),
        source: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        description: import.description.clone(),
        login_user: import.login_user.clone(),
        public: import.public,
        content: UploadContent::Bootable,
    };
    let go_on = |upload: &str| resume(import, upload);
    let sending = Sending { file, request, resume: import.resume.as_deref(), go_on: &go_on };
    send(&sending, session).await.map(|(task, _)| task)
}

/// A file on its way to the cloud.
pub(in crate::command) struct Sending<'a> {
    pub(in crate::command) file: &'a Path,
    pub(in crate::command) request: UploadImageRequest,
    /// The upload that is gone on with.
    pub(in crate::command) resume: Option<&'a str>,
    /// The command that goes on with an upload.
    pub(in crate::command) go_on: &'a (dyn Fn(&str) -> String + Sync),
}

/// Sends a file; its import, and the upload that became it.
///
/// # Errors
/// The upload broke off or was refused.
pub(in crate::command) async fn send(
    sending: &Sending<'_>,
    session: &mut Session,
) -> Result<(ImportTask, String)> {
    let client = session.client()?;
    let mut known = None;
    let mut progress = session.progress();
    progress.stage("upload", &sending.file.display().to_string());
    let tell = |at: UploadProgress<'_>| {
        if known.is_none() {
            let go_on = (sending.go_on)(at.upload_id);
            progress.go_on(format!("stopped uploading. To go on:\n  {go_on}"));
            known = Some(at.upload_id.to_owned());
        }
        progress.live(&format!("{}/{} MiB", at.sent / MIB, at.total / MIB));
    };
    let task = client
        .upload_image(sending.file, &sending.request, sending.resume, tell)
        .await
        .map_err(|error| resumable(error.into(), sending, known.as_deref()))?;
    progress.done();
    Ok((task, known.unwrap_or_default()))
}

/// A broken upload is told with the command that goes on with it.
fn resumable(failure: Failure, sending: &Sending<'_>, upload: Option<&str>) -> Failure {
    match (upload, failure.code) {
        (Some(upload), None) => failure.why("what arrived is kept for a day").try_((sending.go_on)(upload)),
        (None, _) | (_, Some(_)) => failure,
    }
}

fn resume(import: &Import, upload: &str) -> String {
    let words = ["tepui", "image", "import", &import.source, "--name", &import.name, "--resume", upload];
    shell_line(words)
}

/// Watches an import to its end, good or bad; `stopped` is said after Ctrl-C.
///
/// # Errors
/// It has not ended in time.
pub(in crate::command) async fn follow(
    mut task: ImportTask,
    deadline: Deadline,
    stopped: String,
    session: &mut Session,
) -> Result<ImportTask> {
    let id = task.id.to_string();
    let client = session.client()?;
    let mut progress = session.progress();
    progress.go_on(stopped);
    progress.stage("import", &task.source);
    loop {
        match task.state {
            ImportState::Completed | ImportState::Failed => break,
            ImportState::Active => progress.live(&format!("{} {} %", task.message, task.progress)),
        }
        deadline.pause(&format!("the import of '{}'", task.name), "tepui image imports").await?;
        task = client.call::<ShowImportTask>(&[&id], &Empty {}).await?;
    }
    progress.done();
    Ok(task)
}

/// The import, unless it ended badly.
///
/// # Errors
/// It was refused.
pub(in crate::command) fn succeeded(task: ImportTask) -> Result<ImportTask> {
    match task.state {
        ImportState::Completed | ImportState::Active => Ok(task),
        ImportState::Failed => Err(refused(&task)),
    }
}

fn refused(task: &ImportTask) -> Failure {
    Failure::failed(format!("'{}' was not imported", task.source))
        .why(task.message.clone())
        .try_("tepui image imports")
        .docs("tepui help image import")
}
