//! The files of captures, beside the disks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tepui_types::PlacementId;

use crate::disks::{DiskError, DiskPaths};
use crate::durable;

/// What the file name of a capture ends with.
const SUFFIX: &str = ".capture";
/// What the kernel counts allocated bytes in.
const STAT_BLOCK: u64 = 512;
/// After so many bytes they are put on the disk: else they would wait in memory, and hold up the writes of guests.
const STRIDE: u64 = 64 << 20;

/// The placement of whose root disk a file of this name is a capture.
pub(crate) fn placement_of(name: &str) -> Option<PlacementId> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// Where a capture is.
pub(super) fn path(dir: &Path, id: PlacementId) -> PathBuf {
    dir.join(format!("{id}{SUFFIX}"))
}

/// Copies an overlay, which nobody writes, until it is told to stop.
pub(super) fn copy(from: &Path, to: &Path, stop: &AtomicBool) -> Result<(), DiskError> {
    let overlay = File::open(from).map_err(file_error(from))?;
    let copy = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(file_error(to))?;
    copy_all(overlay, copy, stop).map_err(file_error(to))
}

/// The kernel shares the blocks where the file system can.
fn copy_all(mut from: File, mut to: File, stop: &AtomicBool) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        if io::copy(&mut from.by_ref().take(STRIDE), &mut to)? == 0 {
            return Ok(());
        }
        to.sync_data()?;
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Removes it. A missing one is a success.
pub(super) fn remove(path: &Path) -> Result<(), DiskError> {
    durable::remove(path).map_err(file_error(path))
}

/// The placements of which a capture lies in `dir`.
pub(super) fn left_in(dir: &Path) -> Result<BTreeSet<PlacementId>, DiskError> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(file_error(dir))? {
        let name = entry.map_err(file_error(dir))?.file_name();
        found.extend(name.to_str().and_then(placement_of));
    }
    Ok(found)
}

/// So many bytes are written of a disk and of the image below it: its capture takes no more.
pub(super) fn written(paths: &DiskPaths) -> Result<u64, DiskError> {
    let of = |path: &Path| path.metadata().map(|seen| seen.blocks() * STAT_BLOCK).map_err(file_error(path));
    Ok(of(&paths.overlay)?.saturating_add(of(&paths.base)?))
}

pub(super) fn file_error(path: &Path) -> impl Fn(io::Error) -> DiskError + use<> {
    let path = path.to_owned();
    move |source| DiskError::File { path: path.clone(), source }
}
