//! The cache of images by digest. A file under its digest's name is whole, verified and sealed
//! (root:root 0444); everything else in the directory is a download in progress.

mod download;
mod evict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::BoxStream;
use tepui_types::Digest;
use tokio::time::Instant;

use crate::link::LinkError;
use crate::unused::Unused;

/// Why an image did not come.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The control plane did not send it.
    #[error("the download broke off after {received} bytes")]
    Source {
        /// How much is here; the next try goes on from there.
        received: u64,
        /// Why.
        #[source]
        source: LinkError,
    },
    /// Fewer or more bytes than the desired state says.
    #[error("the image has {received} bytes instead of {wanted}")]
    Length {
        /// What came.
        received: u64,
        /// What the desired state says.
        wanted: u64,
    },
    /// Other bytes than the desired state says.
    #[error("the content has the digest {found}")]
    Digest {
        /// What the bytes that came add up to.
        found: Digest,
        /// Part of them was from an earlier try, which may have been damaged here.
        resumed: bool,
    },
    /// The file system refused.
    #[error("could not write {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The download's task ended before its work.
    #[error("the download was given up because the agent ends")]
    GivenUp,
}

impl ImageError {
    /// Whether trying again cannot help: the source holds other content than it should.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Digest { resumed, .. } => !resumed,
            Self::Length { received, wanted } => received > wanted,
            Self::Source { .. } | Self::File { .. } | Self::GivenUp => false,
        }
    }
}

/// Where images come from.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// The image's bytes from offset `from` on.
    async fn open(
        &self,
        digest: Digest,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, LinkError>>, LinkError>;
}

/// What the cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Above this many bytes, images that nothing uses are evicted, the longest unused first.
    pub max_bytes: u64,
    /// An image stays for this long after it was last used: the placement that wants it may be on its way.
    pub grace: Duration,
}

type Download = Shared<BoxFuture<'static, Result<(), Arc<ImageError>>>>;

struct Running {
    done: Download,
    received: Arc<AtomicU64>,
    total: u64,
}

/// The cache.
pub struct ImageCache {
    dir: PathBuf,
    limits: CacheLimits,
    source: Arc<dyn ImageSource>,
    running: Mutex<BTreeMap<Digest, Running>>,
    unused: Mutex<Unused>,
}

impl ImageCache {
    /// Uses `dir`, which is made if it is missing.
    pub fn open(dir: &Path, limits: CacheLimits, source: Arc<dyn ImageSource>) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), limits, source, running: Mutex::default(), unused: Mutex::default() })
    }

    /// Where the image is once it is here.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// How much of a running download is done, in percent.
    pub fn percent(&self, digest: Digest) -> Option<u8> {
        let running = self.lock();
        let download = running.get(&digest)?;
        let part = download.received.load(Ordering::Relaxed).saturating_mul(100) / download.total.max(1);
        Some(u8::try_from(part.min(100)).unwrap_or(100))
    }

    /// Brings the image here. All who want it at once wait for one download and share its outcome.
    pub async fn ensure(&self, digest: Digest, bytes: u64) -> Result<(), Arc<ImageError>> {
        if self.touch(digest).is_ok() {
            return Ok(());
        }
        let done = self.join(digest, bytes);
        let result = done.clone().await;
        self.leave(digest, &done);
        result
    }

    /// Marks the image as used now.
    fn touch(&self, digest: Digest) -> io::Result<()> {
        let path = self.path(digest);
        // First: what is here under the lock is not evicted after it.
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::File::open(&path)?.set_modified(SystemTime::now())?;
        unused.used(&path);
        Ok(())
    }

    fn join(&self, digest: Digest, bytes: u64) -> Download {
        let mut running = self.lock();
        if let Some(download) = running.get(&digest) {
            return download.done.clone();
        }
        let received = Arc::new(AtomicU64::new(0));
        let order = download::Order {
            path: self.path(digest),
            digest,
            bytes,
            source: Arc::clone(&self.source),
            received: Arc::clone(&received),
        };
        // A task of its own: a waiter that is cancelled must not end the others' download.
        let task = tokio::spawn(download::download(order));
        let done = async move { task.await.unwrap_or(Err(ImageError::GivenUp)).map_err(Arc::new) };
        let done = done.boxed().shared();
        running.insert(digest, Running { done: done.clone(), received, total: bytes });
        done
    }

    fn leave(&self, digest: Digest, done: &Download) {
        let mut running = self.lock();
        if running.get(&digest).is_some_and(|download| download.done.ptr_eq(done)) {
            running.remove(&digest);
        }
    }

    /// How long what seems unused is left alone.
    pub fn grace(&self) -> Duration {
        self.limits.grace
    }

    /// Evicts what is above the limit, and forgotten downloads; see [`CacheLimits`]. Nothing in `in_use`
    /// is touched.
    pub fn evict(&self, mut in_use: BTreeSet<PathBuf>) -> io::Result<()> {
        in_use.extend(self.lock().keys().map(|digest| download::part_of(&self.path(*digest))));
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = evict::list(&self.dir)?;
        let found = cached.iter().map(|file| file.path().to_owned()).filter(|path| !in_use.contains(path));
        let over = unused.look(found, Instant::now(), self.limits.grace);
        for path in evict::choose(&cached, &over, self.limits.max_bytes) {
            tracing::info!(path = %path.display(), "evicting what nothing uses");
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
