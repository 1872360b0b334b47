//! Uploading a file as a snapshot: by an image, which goes again once the snapshot stands in the books.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use data_encoding::HEXLOWER;
use tepui_client::Client;
use tepui_types::endpoint::{DeleteImage, ShowImage, ShowPool, ShowSnapshot, SnapshotImage};
use tepui_types::rest::{
    Empty, ImportTask, Snapshot, SnapshotImageRequest, SnapshotState, UploadContent, UploadImageRequest,
};
use tepui_types::{ErrorCode, ImageId};

use super::image::import::{Sending, follow, send, succeeded};
use super::snapshot::failed;
use super::tag::parse_tag;
use crate::aws::shell_line;
use crate::complete::{Kind, names};
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

const DOCS: &str = "tepui help snapshot upload";

/// A file to upload.
#[derive(Debug, Args)]
pub struct Upload {
    /// A raw or qcow2 file
    file: PathBuf,
    /// The tag Name [default: the file's name]
    #[arg(long)]
    name: Option<String>,
    /// In a pool of this class
    #[arg(long)]
    class: Option<String>,
    /// In this pool: name, id or a unique beginning; for administrators
    #[arg(long, add = names(Kind::Pool), conflicts_with = "class")]
    pool: Option<String>,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Take the file's bytes as they are, whatever they look like; so is a file whose name ends with .raw
    #[arg(long)]
    raw: bool,
    /// Go on with an upload that broke off
    #[arg(long, value_name = "UPLOAD")]
    resume: Option<String>,
    /// How long to watch once the cloud has the bytes; then the exit code is 7
    #[arg(long, default_value = "30m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

impl Upload {
    /// As a download names it.
    fn is_raw(&self) -> bool {
        self.raw || self.file.extension().is_some_and(|extension| extension == "raw")
    }

    /// The command that goes on with the upload, until the snapshot stands in the books.
    fn go_on(&self, upload: &str) -> String {
        let mut words = vec!["tepui", "snapshot", "upload"];
        let file = self.file.to_string_lossy();
        words.push(&file);
        let options = [("--name", &self.name), ("--class", &self.class), ("--pool", &self.pool)];
        words.extend(options.iter().filter_map(|(word, value)| Some([*word, value.as_deref()?])).flatten());
        if !self.description.is_empty() {
            words.extend(["--description", &self.description]);
        }
        let tags: Vec<String> = self.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        words.extend(tags.iter().flat_map(|tag| ["--tag", tag]));
        words.extend(["--resume", upload]);
        shell_line(words)
    }

    fn request(&self) -> SnapshotImageRequest {
        let tags: std::collections::BTreeMap<_, _> = self.tags.iter().cloned().collect();
        let name = match &self.name {
            None if !tags.contains_key("Name") => Some(file_name(&self.file)),
            name => name.clone(),
        };
        let (class, pool, description) = (self.class.clone(), self.pool.clone(), self.description.clone());
        SnapshotImageRequest { class, pool, description, name, tags }
    }
}

/// Runs it.
///
/// # Errors
/// What the command met; each says what is left, and the command that goes on or removes it.
pub(super) async fn run(mut upload: Upload, session: &mut Session) -> Result<()> {
    if let Some(pool) = &upload.pool {
        // Refused now, and not once hours of bytes have come.
        upload.pool = Some(session.call::<ShowPool>(&[pool], &Empty {}).await?.id.to_string());
    }
    let (task, id) = sent(&upload, session).await?;
    let deadline = Deadline::after(upload.timeout);
    let go_on = upload.go_on(&id);
    let image = imported(task, &go_on, deadline, session).await?;
    let snapshot = made(&upload, image, &go_on, session).await?;
    let snapshot = completed(snapshot, deadline, session).await?;
    session.show(&snapshot)
}

/// The file's import, and the upload that became it.
async fn sent(upload: &Upload, session: &mut Session) -> Result<(ImportTask, String)> {
    let random = HEXLOWER.encode(&(session.world.random)()[..6]);
    let request = UploadImageRequest {
        name: format!("snapshot-upload-{random}"),
        source: file_name(&upload.file),
        description: "on its way to be a snapshot".into(),
        content: if upload.is_raw() { UploadContent::Raw } else { UploadContent::Data },
        ..UploadImageRequest::default()
    };
    let go_on = |id: &str| upload.go_on(id);
    let (file, resume) = (upload.file.as_path(), upload.resume.as_deref());
    let sending = Sending { file, request, resume, go_on: &go_on };
    send(&sending, session).await.map_err(|failure| failure.docs(DOCS))
}

/// The image that the file became.
async fn imported(
    task: ImportTask,
    go_on: &str,
    deadline: Deadline,
    session: &mut Session,
) -> Result<ImageId> {
    let name = task.name.clone();
    let removal = format!("tepui image delete {name} --yes");
    let stopped = format!(
        "stopped watching; the import goes on, to the image {name}. To go on, within a day:\n  {go_on}\n\
         To remove the image once it is there:\n  {removal}"
    );
    let task = follow(task, deadline, stopped, session).await;
    let task = task.map_err(|failure| {
        failure.why(format!("the import becomes the image {name}, which stays")).try_(go_on).try_(removal)
    });
    let task = task.map_err(|failure| failure.docs(DOCS))?;
    // Of one that was refused nothing is left but its line among the imports.
    let task = succeeded(task).map_err(|failure| failure.docs(DOCS))?;
    task.image_id.ok_or_else(|| Failure::failed(format!("the import of {name} left no image")).docs(DOCS))
}

/// The snapshot's beginning; the image is not needed after it, and goes. Where the cloud refuses the snapshot, the image stays:
/// its bytes need not come again for a class that was written wrong.
async fn made(upload: &Upload, image: ImageId, go_on: &str, session: &mut Session) -> Result<Snapshot> {
    let client = session.client()?;
    let (image, removal) = (image.to_string(), format!("tepui image delete {image} --yes"));
    let mut progress = session.progress();
    progress.go_on(format!(
        "stopped. The image {image} is left. To go on, within a day:\n  {go_on}\nTo remove it:\n  {removal}"
    ));
    progress.stage("snapshot", &file_name(&upload.file));
    let made = client.call::<SnapshotImage>(&[&image], &upload.request()).await.map_err(Failure::from);
    if let Err(failure) = &made
        && failure.code.is_some()
    {
        let seen = client.call::<ShowImage>(&[&image], &Empty {}).await.map_err(Failure::from);
        progress.done();
        return Err(refused(failure.clone(), seen.err(), [go_on, &removal]));
    }
    let left = gone(client.call::<DeleteImage>(&[&image], &Empty {}).await.map_err(Failure::from));
    progress.done();
    match (made, left) {
        (Ok(snapshot), Ok(())) => Ok(snapshot),
        (Ok(snapshot), Err(left)) => {
            let fact =
                format!("the snapshot {} is made all the same; its image {image} is left", snapshot.id);
            Err(left.why(fact).try_(removal).try_(format!("tepui snapshot show {}", snapshot.id)).docs(DOCS))
        }
        (Err(failure), Ok(())) => {
            let fact = "the snapshot may have been begun before the line broke; its image is removed";
            Err(failure.why(fact).try_("tepui snapshot list").docs(DOCS))
        }
        (Err(failure), Err(_)) => {
            Err(failure.why(format!("the image {image} is left")).try_(removal).docs(DOCS))
        }
    }
}

/// Why no snapshot is made of an image, and the commands that go on with it and remove it, unless it is not there either.
fn refused(failure: Failure, unseen: Option<Failure>, ways: [&str; 2]) -> Failure {
    if unseen.is_some_and(|unseen| unseen.code == Some(ErrorCode::NotFound)) {
        return failure.why("nothing of the upload is left in the cloud").docs(DOCS);
    }
    let fact = "what was uploaded is kept as an image; the command goes on with it for a day, also with other options";
    ways.into_iter().fold(failure.why(fact), Failure::try_).docs(DOCS)
}

/// One that is not there is removed, by an earlier run perhaps.
fn gone(removed: Result<Empty>) -> Result<()> {
    match removed {
        Err(failure) if failure.code != Some(ErrorCode::NotFound) => Err(failure),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Watches it until it is there.
async fn completed(mut snapshot: Snapshot, deadline: Deadline, session: &mut Session) -> Result<Snapshot> {
    let client: Client = session.client()?;
    let (id, size) = (snapshot.id.to_string(), format!("{} GiB", snapshot.size_gib));
    let again = format!("tepui snapshot show {id}");
    let mut progress = session.progress();
    progress.go_on(format!("stopped watching; the snapshot is made all the same. To see it:\n  {again}"));
    progress.stage("making", &format!("{id}, {size}"));
    loop {
        match snapshot.state {
            SnapshotState::Pending => {}
            SnapshotState::Completed => break,
            SnapshotState::Error | SnapshotState::Deleting => {
                let removal = format!("tepui snapshot delete {id} --yes");
                return Err(failed(&snapshot).try_(removal).docs(DOCS));
            }
        }
        let what = format!("snapshot {id} to be completed");
        deadline.pause(&what, &again).await.map_err(|failure| failure.docs(DOCS))?;
        snapshot = client.call::<ShowSnapshot>(&[&id], &Empty {}).await?;
    }
    progress.done();
    Ok(snapshot)
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(file: &str) -> Upload {
        Upload {
            file: file.into(),
            name: None,
            class: None,
            pool: None,
            description: String::new(),
            tags: Vec::new(),
            raw: false,
            resume: None,
            timeout: Duration::ZERO,
        }
    }

    #[test]
    fn a_command_that_goes_on_says_all_that_the_first_one_said() {
        assert_eq!(upload("a b.raw").go_on("upload-1"), "tepui snapshot upload 'a b.raw' --resume upload-1");
        let full = Upload {
            name: Some("data".into()),
            class: Some("st1".into()),
            description: "from home".into(),
            tags: vec![("a".into(), "b c".into())],
            ..upload("d")
        };
        let line = "tepui snapshot upload d --name data --class st1 --description 'from home' --tag 'a=b c' --resume u";
        assert_eq!(full.go_on("u"), line);
    }

    #[test]
    fn a_file_named_as_a_download_is_taken_as_it_is() {
        assert!(upload("data.raw").is_raw() && Upload { raw: true, ..upload("data.qcow2") }.is_raw());
        assert!(!upload("data.qcow2").is_raw() && !upload("data.img").is_raw());
    }

    #[test]
    fn a_snapshot_is_called_as_its_file_unless_it_is_named() {
        let name = |upload: Upload| upload.request().name;
        assert_eq!(name(upload("/mnt/data.raw")).as_deref(), Some("data.raw"));
        assert_eq!(name(Upload { name: Some("x".into()), ..upload("d") }).as_deref(), Some("x"));
        assert_eq!(name(Upload { tags: vec![("Name".into(), "y".into())], ..upload("d") }), None);
    }
}
