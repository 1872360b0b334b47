//! Downloads of what snapshots hold, which go on where they broke off.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use backon::Retryable;
use futures::StreamExt;
use tepui_types::endpoint::DownloadSnapshot;
use tepui_types::frames::{Decoder, RAW_SIZE_HEADER};
use tepui_types::rest::DownloadSnapshotRequest;
use tepui_types::{ErrorCode, SnapshotId, holes};

use crate::client::{Client, refusal};
use crate::upload::telling;
use crate::{ClientError, retry};

/// With the pauses of the patient policy more than a minute.
const DOWNLOAD_TRIES: usize = 12;

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Bytes of the disk that are in the file, holes included.
    pub received: u64,
    /// Bytes of the disk; 0 until that is known.
    pub total: u64,
}

/// The file that the content comes into.
struct Receiving<'a> {
    file: &'a File,
    path: &'a Path,
    /// Behind the last whole piece.
    place: AtomicU64,
    /// 0 until the first reply.
    total: AtomicU64,
}

impl Client {
    /// Writes what a snapshot holds to a new raw file with holes, which is there whole or not at all. A broken
    /// connection is taken up again a few times behind the last whole piece. Returns the size of the disk.
    ///
    /// # Errors
    /// The file is there already or cannot be written, the content is not what it was said to be, or as in
    /// [`Client::call`].
    pub async fn download_snapshot(
        &self,
        snapshot: SnapshotId,
        to: &Path,
        mut on_progress: impl FnMut(DownloadProgress),
    ) -> Result<u64, ClientError> {
        let failed = |source| unwritable(to, source);
        if to.try_exists().map_err(failed)? {
            return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
        }
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // It goes by itself, unless this process is killed.
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let part = tempfile::Builder::new().prefix(&format!("{name}.")).suffix(".part").tempfile_in(folder);
        let part = part.map_err(failed)?;
        let (place, total) = (AtomicU64::new(0), AtomicU64::new(0));
        let receiving = Receiving { file: part.as_file(), path: to, place, total };
        let all = self.receive_all(snapshot, &receiving);
        telling(all, || on_progress(receiving.progress())).await?;
        let total = receiving.progress().total;
        let (to, folder) = (to.to_owned(), folder.to_owned());
        let finish = tokio::task::spawn_blocking(move || {
            part.as_file().set_len(total)?;
            part.as_file().sync_all()?;
            part.persist_noclobber(&to).map_err(|error| error.error)?;
            File::open(folder)?.sync_all()
        });
        finish.await.unwrap_or_else(|join| Err(join.into())).map_err(failed)?;
        Ok(total)
    }

    /// Patience begins anew with each break that came after some progress. Of what was read before it the cloud may not know
    /// yet that it broke off, and refuses one reader more for up to a minute.
    async fn receive_all(&self, snapshot: SnapshotId, receiving: &Receiving<'_>) -> Result<(), ClientError> {
        let received = || receiving.progress().received;
        let is_passing = |error: &ClientError| {
            error.is_passing() || received() > 0 && error.is_of_code(ErrorCode::QuotaExceeded)
        };
        let policy = retry::patient_policy().with_max_times(DOWNLOAD_TRIES);
        loop {
            let before = received();
            let once = || self.receive_rest(snapshot, receiving);
            match once.retry(policy).when(is_passing).await {
                Err(error) if is_passing(&error) && received() > before => {}
                end => return end,
            }
        }
    }

    async fn receive_rest(&self, snapshot: SnapshotId, receiving: &Receiving<'_>) -> Result<(), ClientError> {
        let offset = receiving.progress().received;
        let request = DownloadSnapshotRequest { offset };
        let request = self.prepare::<DownloadSnapshot>(&[&snapshot.to_string()], &request)?.request;
        let url = request.url().to_string();
        let unreachable = |source: reqwest::Error| {
            let source = source.without_url();
            ClientError::Unreachable { url: url.clone(), source }
        };
        let response = self.http.execute(request).await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(refusal(&url, response).await);
        }
        let told = response.headers().get(RAW_SIZE_HEADER).and_then(|size| size.to_str().ok()?.parse().ok());
        receiving.told(&url, told)?;
        let mut decoder = Decoder::new().map_err(|source| unwritable(receiving.path, source))?;
        let mut portions = response.bytes_stream();
        while let Some(portion) = portions.next().await {
            decoder.read(&portion.map_err(unreachable)?, |piece| receiving.take(&url, piece))?;
        }
        receiving.ended()
    }
}

impl Receiving<'_> {
    fn progress(&self) -> DownloadProgress {
        let received = self.place.load(Ordering::Relaxed);
        DownloadProgress { received, total: self.total.load(Ordering::Relaxed) }
    }

    fn told(&self, url: &str, total: Option<u64>) -> Result<(), ClientError> {
        let wrong = |why| ClientError::WrongContent { url: url.to_owned(), why };
        let total = total.ok_or_else(|| wrong("it does not tell its size"))?;
        match self.total.swap(total, Ordering::Relaxed) {
            0 => Ok(()),
            before if before == total => Ok(()),
            _ => Err(wrong("its size is another one than before")),
        }
    }

    /// Between two portions of the network nothing else is due in this task.
    fn take(&self, url: &str, piece: &[u8]) -> Result<(), ClientError> {
        let DownloadProgress { received, total } = self.progress();
        let end = received + piece.len() as u64;
        if end > total {
            let why = "it has more bytes than it told";
            return Err(ClientError::WrongContent { url: url.to_owned(), why });
        }
        for (place, block) in holes::data(piece) {
            let written = self.file.write_all_at(block, received + place);
            written.map_err(|source| unwritable(self.path, source))?;
        }
        self.place.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Whole pieces are all that counts: one that was cut off is as if it had not begun.
    fn ended(&self) -> Result<(), ClientError> {
        let DownloadProgress { received, total } = self.progress();
        if received == total { Ok(()) } else { Err(ClientError::BrokenOff { received, total }) }
    }
}

fn unwritable(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::Unwritable { path: path.to_owned(), source }
}
