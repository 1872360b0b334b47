//! Disks of simulated guests: an empty file for each, as none is ever read.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tepui_types::agent::{RootDisk, ScratchDisks, ScratchKind};
use tepui_types::{Digest, PlacementId};

use super::local::{SUFFIX, overlays_in};
use super::{DiskError, DiskPaths, Disks, scratch};
use crate::durable;

/// Empty files in one directory.
#[derive(Debug)]
pub struct SimulatedDisks {
    dir: PathBuf,
    free_bytes: AtomicU64,
}

impl SimulatedDisks {
    /// Disks in `dir`, which is made if it is missing, of a host that shows `free_bytes` as free.
    pub fn open(dir: &Path, free_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), free_bytes: free_bytes.into() })
    }

    /// Shows so much as free from now on.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::Relaxed);
    }

    fn overlay(&self, id: PlacementId) -> PathBuf {
        self.dir.join(format!("{id}{SUFFIX}"))
    }
}

#[async_trait]
impl Disks for SimulatedDisks {
    async fn ensure_image(&self, _: &RootDisk) -> Result<(), DiskError> {
        Ok(())
    }

    fn image_percent(&self, _: Digest) -> Option<u8> {
        None
    }

    async fn ensure_overlay(&self, id: PlacementId, _: &RootDisk, must_exist: bool) -> Result<(), DiskError> {
        let path = self.overlay(id);
        if must_exist && !path.exists() {
            return Err(DiskError::Lost(id));
        }
        std::fs::write(&path, b"").map_err(|source| DiskError::File { path, source })
    }

    fn paths(&self, id: PlacementId, disk: &RootDisk) -> DiskPaths {
        DiskPaths { overlay: self.overlay(id), base: self.dir.join(disk.image_digest.to_string()) }
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
        let make = |path: &Path, _, _| {
            std::fs::write(path, b"").map_err(|source| DiskError::File { path: path.to_owned(), source })
        };
        scratch::ensure(&self.dir, id, (wanted, anew), make)
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
        self.free_bytes.load(Ordering::Relaxed)
    }

    async fn tidy(&self, _: &BTreeSet<Digest>) -> Result<(), DiskError> {
        Ok(())
    }
}
