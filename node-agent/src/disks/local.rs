//! Overlays and scratch disks in a directory of the host.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tepui_types::agent::{RootDisk, ScratchDisks, ScratchKind};
use tepui_types::{Digest, PlacementId};
use tokio::time::Instant;

use super::{DiskError, DiskPaths, Disks, backing_file, create_overlay, scratch};
use crate::durable;
use crate::images::ImageCache;
use crate::unused::Unused;

/// What an overlay's file name ends with.
pub(super) const SUFFIX: &str = ".qcow2";

/// The disks in one directory, over one image cache.
pub struct LocalDisks {
    dir: PathBuf,
    images: Arc<ImageCache>,
    half_made: Mutex<Unused>,
}

impl LocalDisks {
    /// Uses `dir`, which is made if it is missing.
    pub fn open(dir: &Path, images: Arc<ImageCache>) -> Result<Self, DiskError> {
        std::fs::create_dir_all(dir).map_err(|source| DiskError::File { path: dir.into(), source })?;
        Ok(Self { dir: dir.to_owned(), images, half_made: Mutex::default() })
    }

    fn overlay(&self, id: PlacementId) -> PathBuf {
        self.dir.join(format!("{id}{SUFFIX}"))
    }

    /// Images below an overlay that exists, whether a part names its placement or not. An overlay whose
    /// header cannot be read stops all eviction: its image might be any.
    fn images_in_use(&self) -> Result<BTreeSet<PathBuf>, DiskError> {
        let overlays = self.overlays()?.into_iter().map(|id| self.overlay(id));
        overlays
            .map(|path| backing_file(&path).map_err(|source| DiskError::File { path: path.clone(), source }))
            .collect()
    }
}

/// The placements whose overlay is in `dir`.
pub(super) fn overlays_in(dir: &Path) -> Result<BTreeSet<PlacementId>, DiskError> {
    let failed = |source| DiskError::File { path: dir.to_owned(), source };
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        found.extend(id.and_then(|id| id.parse::<PlacementId>().ok()));
    }
    Ok(found)
}

/// Removes what a creation that was cut off left and nobody took up again. An overlay that exists is
/// never touched.
fn remove_half_written(dir: &Path, half_made: &mut Unused, grace: Duration) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.as_os_str().as_encoded_bytes().ends_with(durable::HALF_WRITTEN.as_bytes()) {
            found.push(path);
        }
    }
    for path in half_made.look(found, Instant::now(), grace) {
        tracing::info!(path = %path.display(), "removing a half-made disk");
        durable::remove(&path)?;
    }
    Ok(())
}

#[async_trait]
impl Disks for LocalDisks {
    async fn ensure_image(&self, disk: &RootDisk) -> Result<(), DiskError> {
        let digest = disk.image_digest;
        let ensured = self.images.ensure(digest, disk.image_bytes).await;
        ensured.map_err(|source| DiskError::Image { digest, source })
    }

    fn image_percent(&self, digest: Digest) -> Option<u8> {
        self.images.percent(digest)
    }

    async fn ensure_overlay(
        &self,
        id: PlacementId,
        disk: &RootDisk,
        must_exist: bool,
    ) -> Result<(), DiskError> {
        let paths = self.paths(id, disk);
        if must_exist && !paths.overlay.exists() {
            return Err(DiskError::Lost(id));
        }
        let size = disk.size_bytes;
        let create = move || create_overlay(&paths.overlay, &paths.base, size);
        tokio::task::spawn_blocking(create).await.unwrap_or(Err(DiskError::GivenUp))
    }

    fn paths(&self, id: PlacementId, disk: &RootDisk) -> DiskPaths {
        DiskPaths { overlay: self.overlay(id), base: self.images.path(disk.image_digest) }
    }

    async fn remove(&self, id: PlacementId) -> Result<(), DiskError> {
        let path = self.overlay(id);
        durable::remove(&path).map_err(|source| DiskError::File { path, source })
    }

    async fn ensure_scratch(
        &self,
        id: PlacementId,
        wanted: ScratchDisks,
        anew: bool,
    ) -> Result<(), DiskError> {
        let dir = self.dir.clone();
        let ensure = move || scratch::ensure(&dir, id, (wanted, anew), scratch::make);
        tokio::task::spawn_blocking(ensure).await.unwrap_or(Err(DiskError::GivenUp))
    }

    fn scratch_path(&self, id: PlacementId, kind: ScratchKind) -> PathBuf {
        scratch::path(&self.dir, id, kind)
    }

    async fn discard_scratch(&self, id: PlacementId) -> Result<(), DiskError> {
        scratch::discard(&self.dir, id)
    }

    fn overlays(&self) -> Result<BTreeSet<PlacementId>, DiskError> {
        overlays_in(&self.dir)
    }

    fn free_bytes(&self) -> u64 {
        nix::sys::statvfs::statvfs(&self.dir)
            .map(|fs| fs.blocks_available() * fs.fragment_size())
            .unwrap_or_default()
    }

    async fn tidy(&self, wanted: &BTreeSet<Digest>) -> Result<(), DiskError> {
        let mut in_use = self.images_in_use()?;
        in_use.extend(wanted.iter().map(|digest| self.images.path(*digest)));
        let failed = |source| DiskError::File { path: self.dir.clone(), source };
        self.images.evict(in_use).map_err(failed)?;
        let mut half_made = self.half_made.lock().unwrap_or_else(PoisonError::into_inner);
        remove_half_written(&self.dir, &mut half_made, self.images.grace()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn half_made_overlays_go_after_their_time_and_whole_ones_never() {
        let dir = tempfile::tempdir().unwrap();
        let (hour, mut half_made) = (Duration::from_secs(3600), Unused::default());
        let names =
            || std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
        for name in ["p.qcow2", "q.qcow2.tmp"] {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            // As if the wall clock had jumped since.
            file.set_modified(std::time::SystemTime::now() - hour * 240).unwrap();
        }
        remove_half_written(dir.path(), &mut half_made, hour).unwrap();
        assert_eq!(names().len(), 2);
        tokio::time::advance(hour).await;
        remove_half_written(dir.path(), &mut half_made, hour).unwrap();
        assert_eq!(names(), ["p.qcow2"]);
    }
}
