//! Image files on their way in: one folder an upload, with what was announced and what came.
//!
//! ```text
//!   create ──▶ open ──append…──▶ open ──complete──▶ begun (import task) ──▶ data removed
//!               └── delete, or a day without a byte ──▶ gone
//! ```
//! The length of the data file is the state: nothing else could disagree with it after a crash.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tepui_core::{Clock, Entropy, Error, Kind};
use tepui_types::rest::{ImageUpload, UploadImageRequest};
use tepui_types::{Digest, ImportTaskId, ProjectId};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use crate::disk::Disk;
use crate::failure::Failure;
use crate::files::{self, FileError, SECRET};

/// An upload is forgotten this long after its last byte.
const LIFE: Duration = Duration::from_secs(86400);
/// Uploads of one project at once.
const PER_PROJECT: usize = 16;
/// The room on the disk is looked at each time that so many bytes came.
const CHECK_EVERY: u64 = 64 << 20;
/// A client that sends nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// All uploads.
pub(crate) struct Uploads {
    folder: PathBuf,
    disk: Disk,
    max_bytes: u64,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Those that somebody writes to or completes.
    taken: Arc<Mutex<HashSet<String>>>,
}

/// What stands in an upload's folder beside its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Announced {
    project_id: ProjectId,
    size_bytes: u64,
    image: UploadImageRequest,
    task: Option<ImportTaskId>,
}

/// One upload, which nobody else may change meanwhile.
pub(crate) struct Upload {
    id: String,
    folder: PathBuf,
    announced: Announced,
    disk: Disk,
    _taken: Taken,
}

struct Taken {
    id: String,
    all: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Uploads {
    /// The uploads in `folder`, each of at most `max_bytes`.
    pub(crate) fn open(
        folder: PathBuf,
        max_bytes: u64,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, FileError> {
        files::passable_folder(&folder)?;
        let disk = Disk::of(&folder);
        Ok(Self { folder, disk, max_bytes, clock, entropy, taken: Arc::default() })
    }

    pub(crate) async fn create(
        &self,
        project_id: ProjectId,
        size_bytes: u64,
        image: UploadImageRequest,
    ) -> Result<Upload, Failure> {
        if size_bytes == 0 || size_bytes > self.max_bytes {
            let rule = format!("is 1 to {} bytes", self.max_bytes);
            return Err(Failure::invalid("size_bytes", size_bytes, rule));
        }
        self.disk.check(size_bytes)?;
        let all = self.folder.clone();
        if off_thread(move || of_project(&all, project_id)).await? >= PER_PROJECT {
            let rule = format!("the project has {PER_PROJECT} uploads already: complete or delete one");
            return Err(Failure::Full(rule));
        }
        let id = format!("upload-{:032x}", self.entropy.random());
        let announced = Announced { project_id, size_bytes, image, task: None };
        let folder = self.folder.join(&id);
        let upload = Upload { _taken: self.reserve(&id)?, id, folder, announced, disk: self.disk.clone() };
        off_thread(move || upload.make().map(|()| upload)).await
    }

    /// An upload as it is now, taken or not.
    pub(crate) fn show(&self, project: ProjectId, id: &str) -> Result<ImageUpload, Failure> {
        let announced = self.find(project, id)?;
        shown(id, &self.folder.join(id), &announced)
    }

    /// The import that an upload became, also while that runs.
    pub(crate) fn task(&self, project: ProjectId, id: &str) -> Result<Option<ImportTaskId>, Failure> {
        Ok(self.find(project, id)?.task)
    }

    /// An upload to change.
    pub(crate) fn take(&self, project: ProjectId, id: &str) -> Result<Upload, Failure> {
        self.find(project, id)?;
        let taken = self.reserve(id)?;
        // Read again: it may have changed until it was ours.
        let announced = self.find(project, id)?;
        let (folder, disk) = (self.folder.join(id), self.disk.clone());
        Ok(Upload { id: id.to_owned(), folder, announced, disk, _taken: taken })
    }

    fn reserve(&self, id: &str) -> Result<Taken, Failure> {
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.insert(id.to_owned()) {
            return Err(Failure::Conflict(format!("'{id}' is being written to; wait or give it up there")));
        }
        Ok(Taken { id: id.to_owned(), all: Arc::clone(&self.taken) })
    }

    fn find(&self, project: ProjectId, id: &str) -> Result<Announced, Failure> {
        let unknown = || Error::not_found(Kind::Resource, id.chars().take(64).collect::<String>());
        if !is_id(id) {
            return Err(unknown().into());
        }
        let announced = read(&self.folder.join(id)).map_err(unusable)?;
        Ok(announced.filter(|announced| announced.project_id == project).ok_or_else(unknown)?)
    }

    /// Removes what nobody touched for a day. Called now and then; blocks.
    pub(crate) fn sweep(&self) -> Result<usize, FileError> {
        let now = self.clock.earliest();
        let mut removed = 0;
        for folder in folders(&self.folder)? {
            let Some(id) = folder.file_name().and_then(|name| name.to_str()) else { continue };
            if now > expires_at(&folder)?
                && let Ok(_taken) = self.reserve(id)
            {
                fs::remove_dir_all(&folder).map_err(files::error("remove", &folder))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Upload {
    fn make(&self) -> Result<(), FileError> {
        files::passable_folder(&self.folder)?;
        fs::File::create_new(self.data()).map_err(files::error("create", &self.folder))?;
        self.write()
    }

    fn write(&self) -> Result<(), FileError> {
        let path = self.folder.join("upload.json");
        let json = serde_json::to_vec(&self.announced).map_err(io::Error::from);
        files::write(&path, &json.map_err(files::error("write", &path))?, SECRET)
    }

    /// The bytes so far.
    pub(crate) fn data(&self) -> PathBuf {
        data(&self.folder)
    }

    /// What becomes of it.
    pub(crate) fn image(&self) -> &UploadImageRequest {
        &self.announced.image
    }

    pub(crate) fn shown(&self) -> Result<ImageUpload, Failure> {
        shown(&self.id, &self.folder, &self.announced)
    }

    /// Appends a request's body; what came before it broke off stays, and so it does at a shutdown.
    pub(crate) async fn append(
        &mut self,
        offset: u64,
        body: Body,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let path = self.data();
        let received = length(&path).map_err(unusable)?;
        if self.announced.task.is_some() {
            return Err(Failure::Conflict(format!("'{}' is complete already", self.id)));
        }
        if offset != received {
            return Err(Failure::Conflict(format!("'{}' has {received} bytes: go on from there", self.id)));
        }
        let unwritable = |source| unusable(files::error("write", &path)(source));
        let file = tokio::fs::OpenOptions::new().append(true).open(&path).await.map_err(unwritable)?;
        let mut file = tokio::io::BufWriter::with_capacity(1 << 18, file);
        let copy = stop.run_until_cancelled(self.copy(body, received, &mut file)).await;
        let outcome = copy.unwrap_or(Err(Failure::ShuttingDown));
        file.flush().await.map_err(unwritable)?;
        file.get_ref().sync_data().await.map_err(unwritable)?;
        outcome
    }

    async fn copy(
        &self,
        body: Body,
        mut received: u64,
        file: &mut (impl AsyncWriteExt + Unpin),
    ) -> Result<(), Failure> {
        let mut chunks = body.into_data_stream();
        let mut unchecked = CHECK_EVERY;
        while let Some(chunk) =
            tokio::time::timeout(SILENCE, chunks.next()).await.map_err(|_| Failure::TooSlow)?
        {
            let chunk = chunk.map_err(|error| Failure::Malformed(format!("the body broke off: {error}")))?;
            received += chunk.len() as u64;
            if received > self.announced.size_bytes {
                return Err(Failure::TooLarge { limit: self.announced.size_bytes });
            }
            unchecked += chunk.len() as u64;
            if unchecked >= CHECK_EVERY {
                self.disk.check(CHECK_EVERY.min(self.announced.size_bytes))?;
                unchecked = 0;
            }
            file.write_all(&chunk)
                .await
                .map_err(|source| unusable(files::error("write", &self.data())(source)))?;
        }
        Ok(())
    }

    /// Whether all bytes came.
    pub(crate) fn check_whole(&self) -> Result<(), Failure> {
        let path = self.data();
        let received = length(&path).map_err(unusable)?;
        if received != self.announced.size_bytes {
            let size = self.announced.size_bytes;
            return Err(Failure::Conflict(format!("'{}' has {received} of {size} bytes", self.id)));
        }
        Ok(())
    }

    /// Whether the bytes are those that were sent.
    pub(crate) async fn check_digest(&self, expected: Digest) -> Result<(), Failure> {
        let path = self.data();
        let actual = off_thread(move || sha256(&path)).await?;
        if actual == expected {
            return Ok(());
        }
        let rule = format!("is not what came, {actual}: the upload is removed; begin again");
        Err(Failure::invalid("sha256", expected, rule))
    }

    /// Notes the import that it became, so that a repeated completion finds it.
    pub(crate) fn begun(&mut self, task: ImportTaskId) -> Result<(), Failure> {
        self.announced.task = Some(task);
        self.write().map_err(unusable)
    }

    /// Removes the bytes, but not what was announced: a repeated completion is still answered.
    pub(crate) async fn drop_data(&self) -> Result<(), FileError> {
        let path = self.data();
        tokio::fs::remove_file(&path).await.map_err(files::error("remove", &path))
    }

    /// Removes everything.
    pub(crate) async fn remove(self) -> Result<(), Failure> {
        let folder = self.folder.clone();
        tokio::fs::remove_dir_all(&folder)
            .await
            .map_err(|source| unusable(files::error("remove", &folder)(source)))
    }
}

/// Runs what waits for the disk where that holds up no request.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::internal("uploads", &error))?.map_err(unusable)
}

/// The uploads of a project that are no imports yet.
fn of_project(all: &Path, project: ProjectId) -> Result<usize, FileError> {
    let mut count = 0;
    for folder in folders(all)? {
        count += usize::from(read(&folder)?.is_some_and(|a| a.project_id == project && a.task.is_none()));
    }
    Ok(count)
}

fn folders(all: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(all).map_err(files::error("list", all))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>();
    paths.map_err(files::error("list", all))
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Ids become paths: nothing else passes.
fn is_id(text: &str) -> bool {
    text.strip_prefix("upload-")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn read(folder: &Path) -> Result<Option<Announced>, FileError> {
    let path = folder.join("upload.json");
    let Some(text) = files::read(&path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(io::Error::from).map_err(files::error("read", &path))
}

/// Zero once the data was imported and removed.
fn length(path: &Path) -> Result<u64, FileError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(files::error("read", path)(source)),
    }
}

fn shown(id: &str, folder: &Path, announced: &Announced) -> Result<ImageUpload, Failure> {
    let received = match announced.task {
        Some(_) => announced.size_bytes,
        None => length(&data(folder)).map_err(unusable)?,
    };
    Ok(ImageUpload {
        id: id.to_owned(),
        size_bytes: announced.size_bytes,
        received_bytes: received,
        expires_at: expires_at(folder).map_err(unusable)?,
    })
}

fn expires_at(folder: &Path) -> Result<Timestamp, FileError> {
    let touched = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let data = data(folder);
    let newest = touched(&data).or_else(|_| touched(folder)).map_err(files::error("read", folder))?;
    let at = Timestamp::try_from(newest).and_then(|at| at.checked_add(LIFE));
    at.map_err(io::Error::other).map_err(files::error("read", folder))
}

fn sha256(path: &Path) -> Result<Digest, FileError> {
    let hash = || -> io::Result<Digest> {
        let mut file = fs::File::open(path)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
                length => hasher.update(&buffer[..length]),
            }
        }
    };
    hash().map_err(files::error("read", path))
}

/// A full disk is the operator's to know and the user's to understand.
fn unusable(error: FileError) -> Failure {
    match error.source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::Full("the disk of the cloud's uploads is full".into())
        }
        _ => Failure::internal("uploads", &error),
    }
}

#[cfg(test)]
mod tests {
    use tepui_types::rest::UploadImageRequest;

    use super::*;
    use crate::root::{SystemClock, SystemEntropy};

    fn uploads(folder: &Path) -> Uploads {
        Uploads::open(folder.join("uploads"), 1 << 40, Arc::new(SystemClock), Arc::new(SystemEntropy))
            .unwrap()
    }

    fn project() -> ProjectId {
        ProjectId::from_random(1)
    }

    #[tokio::test]
    async fn a_full_disk_refuses_uploads_and_what_is_appended_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut uploads = uploads(folder.path());
        let mut upload = uploads.create(project(), 4, UploadImageRequest::default()).await.unwrap();
        uploads.disk = Disk::full(folder.path());
        let refused = uploads.create(project(), 4, UploadImageRequest::default()).await.err().unwrap();
        assert!(matches!(refused, Failure::NoSpace { wanted: 4, spare: 0 }), "{refused}");
        upload.disk = Disk::full(folder.path());
        let refused = upload.append(0, Body::from("1234"), &CancellationToken::new()).await.unwrap_err();
        assert!(matches!(refused, Failure::NoSpace { .. }), "{refused}");
        assert_eq!(upload.shown().unwrap().received_bytes, 0);
    }

    #[tokio::test]
    async fn what_came_before_a_shutdown_stays() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = uploads(folder.path());
        let mut upload = uploads.create(project(), 1000, UploadImageRequest::default()).await.unwrap();
        let stop = CancellationToken::new();
        let begun = futures::stream::once(async { Ok::<_, io::Error>("begun") });
        // Asked for a second piece, so the first was taken; the client is silent now and the service stops.
        let stopping = stop.clone();
        let silent = futures::stream::once(async move {
            stopping.cancel();
            futures::future::pending::<io::Result<&str>>().await
        });
        let body = Body::from_stream(begun.chain(silent));
        let ended = upload.append(0, body, &stop).await.unwrap_err();
        assert!(matches!(ended, Failure::ShuttingDown), "{ended}");
        assert_eq!(fs::read(upload.data()).unwrap(), b"begun");
    }

    #[tokio::test]
    async fn an_upload_that_is_being_imported_still_names_its_import() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = uploads(folder.path());
        let mut upload = uploads.create(project(), 4, UploadImageRequest::default()).await.unwrap();
        assert_eq!(uploads.task(project(), &upload.id).unwrap(), None);
        let task = ImportTaskId::from_random(1);
        upload.begun(task).unwrap();
        assert!(uploads.take(project(), &upload.id).is_err());
        assert_eq!(uploads.task(project(), &upload.id).unwrap(), Some(task));
    }
}
