//! Uploads of image files that go on where they stopped.

use std::future::Future;
use std::io::{Read, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::Retryable;
use futures::TryStreamExt;
use sha2::{Digest as _, Sha256};
use tepui_types::endpoint::{AppendImageUpload, CompleteImageUpload, CreateImageUpload, ShowImageUpload};
use tepui_types::rest::{
    AppendImageUploadRequest, CompleteImageUploadRequest, CreateImageUploadRequest, Empty, ImageUpload,
    ImportTask, UploadImageRequest,
};
use tepui_types::{Digest, ErrorCode};
use tokio::io::AsyncSeekExt;
use tokio_util::io::ReaderStream;

use crate::client::{Client, read_reply};
use crate::{ClientError, retry};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
const BUFFER_BYTES: usize = 256 * 1024;

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadProgress<'a> {
    /// With this id the upload can be resumed.
    pub upload_id: &'a str,
    /// Bytes handed to the network.
    pub sent: u64,
    /// Bytes of the file.
    pub total: u64,
}

impl Client {
    /// Uploads `file` and begins its import. With `resume` it goes on with that upload. A broken
    /// connection is taken up again a few times where the server's durable bytes end.
    ///
    /// # Errors
    /// The file cannot be read, is another one than the upload to resume began with, or as in
    /// [`Client::call`].
    pub async fn upload_image(
        &self,
        file: &Path,
        image: &UploadImageRequest,
        resume: Option<&str>,
        mut on_progress: impl FnMut(UploadProgress<'_>),
    ) -> Result<ImportTask, ClientError> {
        let total = size_of(file).await?;
        let upload = self.begin_or_resume(file, total, image, resume).await?;
        let hash = tokio::task::spawn_blocking({
            let file = file.to_owned();
            move || sha256_of(&file)
        });
        let sent = Arc::new(AtomicU64::new(upload.received_bytes));
        let tell = || {
            on_progress(UploadProgress { upload_id: &upload.id, sent: sent.load(Ordering::Relaxed), total });
        };
        telling(self.send_all(file, total, &upload.id, &sent), tell).await?;
        let sha256 = hash.await.map_err(|join| file_error(file, std::io::Error::other(join)))??;
        self.call::<CompleteImageUpload>(&[&upload.id], &CompleteImageUploadRequest { sha256 }).await
    }

    async fn begin_or_resume(
        &self,
        file: &Path,
        total: u64,
        image: &UploadImageRequest,
        resume: Option<&str>,
    ) -> Result<ImageUpload, ClientError> {
        let Some(id) = resume else {
            let request = CreateImageUploadRequest { size_bytes: total, image: image.clone() };
            return self.call::<CreateImageUpload>(&[], &request).await;
        };
        let upload = self.call::<ShowImageUpload>(&[id], &Empty {}).await?;
        if upload.size_bytes == total {
            return Ok(upload);
        }
        let (upload, expected) = (upload.id, upload.size_bytes);
        Err(ClientError::OtherFile { upload, path: file.to_owned(), expected, actual: total })
    }

    async fn send_all(
        &self,
        file: &Path,
        total: u64,
        upload: &str,
        sent: &Arc<AtomicU64>,
    ) -> Result<(), ClientError> {
        let once = || self.send_rest(file, total, upload, sent);
        once.retry(retry::patient_policy()).when(may_be_resumed).await
    }

    async fn send_rest(
        &self,
        file: &Path,
        total: u64,
        upload: &str,
        sent: &Arc<AtomicU64>,
    ) -> Result<(), ClientError> {
        let offset = self.call::<ShowImageUpload>(&[upload], &Empty {}).await?.received_bytes;
        sent.store(offset, Ordering::Relaxed);
        if offset == total {
            return Ok(());
        }
        let mut prepared =
            self.prepare::<AppendImageUpload>(&[upload], &AppendImageUploadRequest { offset })?.request;
        *prepared.body_mut() = Some(body_from(file, offset, sent).await?);
        let url = prepared.url().to_string();
        let response = self
            .http
            .execute(prepared)
            .await
            .map_err(|source| ClientError::Unreachable { url: url.clone(), source: source.without_url() })?;
        read_reply::<ImageUpload>(&url, response).await.map(drop)
    }
}

/// A server that has not noticed yet that the connection before broke says that the upload is being
/// written to.
fn may_be_resumed(error: &ClientError) -> bool {
    let taken = matches!(error, ClientError::Refused { body, .. } if body.code == ErrorCode::Conflict);
    taken || error.is_passing()
}

/// Calls `tell` at once, then now and then while `work` goes on, and once when it is done.
pub(crate) async fn telling<T>(work: impl Future<Output = T>, mut tell: impl FnMut()) -> T {
    let mut work = pin!(work);
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            result = &mut work => {
                tell();
                return result;
            }
            _ = ticks.tick() => tell(),
        }
    }
}

async fn body_from(file: &Path, offset: u64, sent: &Arc<AtomicU64>) -> Result<reqwest::Body, ClientError> {
    let mut open = tokio::fs::File::open(file).await.map_err(|source| file_error(file, source))?;
    open.seek(SeekFrom::Start(offset)).await.map_err(|source| file_error(file, source))?;
    let sent = Arc::clone(sent);
    let stream = ReaderStream::with_capacity(open, BUFFER_BYTES).inspect_ok(move |chunk| {
        sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    });
    Ok(reqwest::Body::wrap_stream(stream))
}

async fn size_of(file: &Path) -> Result<u64, ClientError> {
    let metadata = tokio::fs::metadata(file).await.map_err(|source| file_error(file, source))?;
    Ok(metadata.len())
}

fn sha256_of(file: &Path) -> Result<Digest, ClientError> {
    let mut open = std::fs::File::open(file).map_err(|source| file_error(file, source))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match open.read(&mut buffer).map_err(|source| file_error(file, source))? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

fn file_error(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::File { path: PathBuf::from(path), source }
}
