//! A download that is not finished: its bytes, and beside them what a later try must know to go on.
//!
//! ```text
//!   file        the bytes; beyond the durable ones a crash may have left anything
//!   file.part   which version of the source they are of, and how many are durable
//! ```

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::FetchError;

/// So many bytes are made durable at once; a crash costs no more.
const DURABLE_EVERY: u64 = 64 << 20;

/// What is known of a source's version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    /// The value of `If-Range`: a strong entity tag or a date. `None` where the server names neither:
    /// then the bytes can only be fetched from the beginning.
    pub(super) validator: Option<String>,
    /// The length of the whole.
    pub(super) total: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    version: Version,
    durable: u64,
}

/// A file that is being downloaded.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    note: Note,
    received: u64,
}

impl Partial {
    /// Opens what an earlier try left, or begins.
    pub(super) async fn open(path: &Path) -> Result<Self, FetchError> {
        let failed = failed(path);
        let note = tokio::fs::read(note_path(path)).await.ok();
        let note: Note = note.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let file = File::options().create(true).truncate(false).write(true).open(path).await;
        let file = file.map_err(&failed)?;
        let length = file.metadata().await.map_err(&failed)?.len();
        let mut partial = Self { path: path.to_owned(), file, received: 0, note };
        partial.cut(partial.note.durable.min(length)).await.map_err(&failed)?;
        Ok(partial)
    }

    /// Bytes that are there.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The version of the source that they are of.
    pub(super) fn version(&self) -> &Version {
        &self.note.version
    }

    /// Whether everything is there.
    pub(super) fn is_whole(&self) -> bool {
        self.received > 0 && self.note.version.total == Some(self.received)
    }

    /// Throws away what is there and begins with another version of the source.
    pub(super) async fn restart(&mut self, version: Version) -> Result<(), FetchError> {
        self.note = Note { version, durable: 0 };
        let begun = async {
            // In this order: a note never promises bytes that are of another version.
            self.write_note().await?;
            self.cut(0).await
        };
        begun.await.map_err(failed(&self.path))
    }

    pub(super) async fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).await.map_err(failed(&self.path))?;
        self.received += bytes.len() as u64;
        if self.received - self.note.durable >= DURABLE_EVERY {
            self.keep().await?;
        }
        Ok(())
    }

    /// Makes what came durable.
    pub(super) async fn keep(&mut self) -> Result<(), FetchError> {
        let kept = async {
            self.file.sync_all().await?;
            self.note.durable = self.received;
            self.write_note().await
        };
        kept.await.map_err(failed(&self.path))
    }

    async fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length).await?;
        self.file.seek(SeekFrom::Start(length)).await?;
        self.received = length;
        Ok(())
    }

    async fn write_note(&self) -> io::Result<()> {
        let (path, temporary) = (note_path(&self.path), self.path.with_extension("part.new"));
        let mut file = File::create(&temporary).await?;
        file.write_all(&serde_json::to_vec(&self.note)?).await?;
        file.sync_all().await?;
        tokio::fs::rename(temporary, &path).await?;
        // The new name too: an old note that came back would promise bytes of another version.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).await?.sync_all().await
    }
}

fn note_path(path: &Path) -> PathBuf {
    path.with_extension("part")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Write { path: path.clone(), source }
}
