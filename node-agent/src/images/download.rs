//! One download: verified while it is written, and given its name only when it is whole.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use ring::digest::{Context, SHA256};
use tepui_types::{Digest, holes};
use tokio::sync::mpsc;

use super::{ImageError, ImageSource};
use crate::durable;

/// So much of a part is read at once.
const BLOCK: usize = 64 << 10;

/// What to download.
pub(super) struct Order {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) source: Arc<dyn ImageSource>,
    pub(super) received: Arc<AtomicU64>,
}

/// Where an image is while it comes.
pub(super) fn part_of(image: &Path) -> PathBuf {
    image.with_added_extension("part")
}

/// Goes on where an earlier try ended.
pub(super) async fn download(order: Order) -> Result<(), ImageError> {
    let part = part_of(&order.path);
    let file_error = |source| ImageError::File { path: part.clone(), source };
    let writer = blocking({
        let part = part.clone();
        move || PartFile::resume(&part)
    });
    let mut writer = writer.await?.map_err(file_error)?;
    let resumed = writer.length;
    order.received.store(resumed, Ordering::Relaxed);
    let broken = match fetch(&order, &mut writer, resumed).await {
        Ok(()) => None,
        Err(Fetch::Source(source)) => Some(source),
        Err(Fetch::File(source)) => return Err(unwritable(&part, source)),
        Err(Fetch::Ended) => return Err(ImageError::GivenUp),
    };
    if let Some(source) = broken {
        let received = writer.length;
        blocking(move || writer.pause()).await?.map_err(file_error)?;
        return Err(ImageError::Source { received, source });
    }
    finish(order, writer, &part, resumed > 0).await
}

/// What came is kept for the next try, except on a full disk: there it would keep others from writing, and
/// guests run on the same disk.
fn unwritable(part: &Path, source: io::Error) -> ImageError {
    if source.kind() == io::ErrorKind::StorageFull
        && let Err(error) = durable::remove(part)
    {
        tracing::warn!(path = %part.display(), %error, "cannot remove a download from a full disk");
    }
    ImageError::File { path: part.to_owned(), source }
}

enum Fetch {
    Source(crate::link::LinkError),
    File(io::Error),
    Ended,
}

/// Network and disk work at the same time: a thread writes what the stream brings. The channel bounds
/// what waits between them.
async fn fetch(order: &Order, writer: &mut PartFile, from: u64) -> Result<(), Fetch> {
    if from >= order.bytes {
        return Ok(());
    }
    let mut stream = order.source.open(order.digest, from).await.map_err(Fetch::Source)?;
    let (sender, receiver) = mpsc::channel::<Bytes>(8);
    let taken = std::mem::replace(writer, PartFile::nowhere().map_err(Fetch::File)?);
    let limit = order.bytes;
    let thread = tokio::task::spawn_blocking(move || write_all(taken, receiver, limit));
    let mut broken = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                order.received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    drop(sender);
    *writer = thread.await.map_err(|_| Fetch::Ended)?.map_err(Fetch::File)?;
    broken.map_or(Ok(()), |error| Err(Fetch::Source(error)))
}

/// Stops at once when more comes than the image may have: a source that never ends must not fill the
/// disk.
fn write_all(mut file: PartFile, mut chunks: mpsc::Receiver<Bytes>, limit: u64) -> io::Result<PartFile> {
    while let Some(chunk) = chunks.blocking_recv() {
        file.append(&chunk)?;
        if file.length > limit {
            break;
        }
    }
    Ok(file)
}

async fn finish(order: Order, file: PartFile, part: &Path, resumed: bool) -> Result<(), ImageError> {
    let received = file.length;
    if received < order.bytes {
        let path = part.to_owned();
        blocking(move || file.pause()).await?.map_err(|source| ImageError::File { path, source })?;
        return Err(ImageError::Length { received, wanted: order.bytes });
    }
    let (part, path) = (part.to_owned(), order.path);
    let (digest, wanted) = (order.digest, order.bytes);
    blocking(move || seal(file, &part, &path, digest, wanted, resumed)).await?
}

fn seal(
    file: PartFile,
    part: &Path,
    path: &Path,
    digest: Digest,
    wanted: u64,
    resumed: bool,
) -> Result<(), ImageError> {
    let file_error = |source| ImageError::File { path: part.to_owned(), source };
    let received = file.length;
    let found = file.close().map_err(file_error)?;
    if received != wanted {
        durable::remove(part).map_err(file_error)?;
        return Err(ImageError::Length { received, wanted });
    }
    if found != digest {
        durable::remove(part).map_err(file_error)?;
        return Err(ImageError::Digest { found, resumed });
    }
    std::fs::rename(part, path).and_then(|()| durable::sync_parent(path)).map_err(file_error)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ImageError::GivenUp)
}

/// A partly written image and the digest of what it holds so far.
struct PartFile {
    file: File,
    digest: Context,
    length: u64,
}

impl PartFile {
    /// Opens a part file, or makes an empty one that only its owner can read. What an earlier run of
    /// the agent wrote is read again: its digest was in memory.
    fn resume(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut digest = Context::new(&SHA256);
        let mut buffer = vec![0; BLOCK];
        let mut length = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(Self { file, digest, length });
            }
            digest.update(buffer.get(..read).unwrap_or_default());
            length += read as u64;
        }
    }

    /// Stands in while the real one is with its thread.
    fn nowhere() -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open("/dev/null")?;
        Ok(Self { file, digest: Context::new(&SHA256), length: 0 })
    }

    fn append(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.digest.update(chunk);
        for (place, block) in holes::data(chunk) {
            self.file.write_all_at(block, self.length + place)?;
        }
        self.length += chunk.len() as u64;
        Ok(())
    }

    /// Keeps what is here for the next try; a hole at the end counts too.
    fn pause(self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }

    /// Makes the content durable and takes the right to write away from everybody.
    fn close(self) -> io::Result<Digest> {
        self.file.set_len(self.length)?;
        self.file.set_permissions(Permissions::from_mode(0o444))?;
        self.file.sync_all()?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.digest.finish().as_ref());
        Ok(Digest::from_bytes(bytes))
    }
}
