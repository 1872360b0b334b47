//! Root disks, which are overlays on cached images, and scratch disks; or a simulation of them.

mod flat;
mod local;
mod overlay;
mod qcow2;
pub(crate) mod scratch;
mod simulated;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tepui_types::agent::{RootDisk, ScratchDisks, ScratchKind};
use tepui_types::{Digest, PlacementId};

use crate::images::ImageError;

pub(crate) use flat::FlatDisk;
pub use local::LocalDisks;
pub use overlay::create_overlay;
pub use qcow2::backing_file;
pub use simulated::SimulatedDisks;

/// Why a disk is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The image did not come.
    #[error("image {digest} is not here")]
    Image {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: Arc<ImageError>,
    },
    /// The file system refused.
    #[error("could not read or write {path}")]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A new scratch disk did not get what its guest looks for on it.
    #[error("{program} could not prepare a scratch disk: {why}")]
    Format {
        /// The system's program.
        program: String,
        /// What it or the system said.
        why: String,
    },
    /// The task that makes it ended before its work.
    #[error("the disk was given up because the agent ends")]
    GivenUp,
    /// An instance that ran before is never started with a fresh disk.
    #[error("the root disk of {0} is gone; it held the data of an instance that ran before")]
    Lost(PlacementId),
}

impl DiskError {
    /// Whether trying again cannot help.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Image { source, .. } => source.is_permanent(),
            Self::Lost(_) => true,
            Self::File { .. } | Self::Format { .. } | Self::GivenUp => false,
        }
    }
}

/// Where the hypervisor finds a root disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPaths {
    /// The overlay.
    pub overlay: PathBuf,
    /// The image below it.
    pub base: PathBuf,
}

/// Makes and removes disks. Every verb may be repeated.
#[async_trait]
pub trait Disks: Send + Sync {
    /// Brings the image to this host. 50 placements that want it at once share one download.
    async fn ensure_image(&self, disk: &RootDisk) -> Result<(), DiskError>;
    /// How much of a download is done, in percent.
    fn image_percent(&self, digest: Digest) -> Option<u8>;
    /// Makes the overlay. With `must_exist` a missing one is [`DiskError::Lost`].
    async fn ensure_overlay(
        &self,
        id: PlacementId,
        disk: &RootDisk,
        must_exist: bool,
    ) -> Result<(), DiskError>;
    /// Where the disk is.
    fn paths(&self, id: PlacementId, disk: &RootDisk) -> DiskPaths;
    /// Deletes the overlay of a placement that was ordered absent.
    async fn remove(&self, id: PlacementId) -> Result<(), DiskError>;
    /// Makes the scratch disks that are missing; with `anew` all of them, and what was on them is gone.
    async fn ensure_scratch(
        &self,
        id: PlacementId,
        wanted: ScratchDisks,
        anew: bool,
    ) -> Result<(), DiskError>;
    /// Where a scratch disk is.
    fn scratch_path(&self, id: PlacementId, kind: ScratchKind) -> PathBuf;
    /// Deletes the scratch disks of a placement that was ordered absent.
    async fn discard_scratch(&self, id: PlacementId) -> Result<(), DiskError>;
    /// The placements whose overlay is here.
    fn overlays(&self) -> Result<BTreeSet<PlacementId>, DiskError>;
    /// Free bytes for overlays.
    fn free_bytes(&self) -> u64;
    /// Evicts images that nothing uses. `wanted` are those the desired state names.
    async fn tidy(&self, wanted: &BTreeSet<Digest>) -> Result<(), DiskError>;
}
