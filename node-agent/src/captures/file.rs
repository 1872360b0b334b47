//! The files of captures, beside the disks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tepui_types::{PlacementId, holes};

use crate::disks::{DiskError, DiskPaths};
use crate::durable;

/// What the file name of a capture ends with.
const SUFFIX: &str = ".capture";
/// What the kernel counts allocated bytes in.
const STAT_BLOCK: u64 = 512;
/// After so many bytes they are put on the disk: else they would wait in memory, and hold up the writes of guests.
const STRIDE: u64 = 64 << 20;
/// So much is read at once.
const PIECE: usize = 1 << 20;

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
    copy_all(&overlay, &copy, stop).map_err(file_error(to))
}

/// Holes stay holes: the kernel's own copy fills them where the file system cannot share blocks.
fn copy_all(from: &File, to: &File, stop: &AtomicBool) -> io::Result<()> {
    let bytes = from.metadata()?.len();
    to.set_len(bytes)?;
    let mut piece = vec![0; PIECE];
    let (mut place, mut waiting) = (0, 0);
    while place < bytes {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let left = usize::try_from(bytes - place).unwrap_or(PIECE);
        piece.truncate(left);
        from.read_exact_at(&mut piece, place)?;
        for (at, block) in holes::data(&piece) {
            to.write_all_at(block, place + at)?;
            waiting += block.len() as u64;
        }
        place += piece.len() as u64;
        if waiting >= STRIDE {
            to.sync_data()?;
            waiting = 0;
        }
    }
    to.sync_data()
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

/// So many bytes are written of a disk and of the image below it: its capture takes hardly more.
pub(super) fn written(paths: &DiskPaths) -> Result<u64, DiskError> {
    let of = |path: &Path| path.metadata().map(|seen| seen.blocks() * STAT_BLOCK).map_err(file_error(path));
    Ok(of(&paths.overlay)?.saturating_add(of(&paths.base)?))
}

pub(super) fn file_error(path: &Path) -> impl Fn(io::Error) -> DiskError + use<> {
    let path = path.to_owned();
    move |source| DiskError::File { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_the_same_and_has_holes_where_the_overlay_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("overlay"), dir.path().join("copy"));
        let overlay = File::create_new(&from).unwrap();
        overlay.set_len((16 << 20) + 5).unwrap();
        overlay.write_all_at(&[7; 4096], 3 << 20).unwrap();
        overlay.write_all_at(&[9], (16 << 20) + 4).unwrap();
        copy(&from, &to, &AtomicBool::new(false)).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let taken = to.metadata().unwrap().blocks() * STAT_BLOCK;
        assert!(taken < 1 << 20, "{taken} bytes are allocated");
    }

    #[test]
    fn a_copy_that_is_told_to_stop_is_no_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("overlay"), dir.path().join("copy"));
        std::fs::write(&from, [1; 4096]).unwrap();
        assert!(copy(&from, &to, &AtomicBool::new(true)).is_err());
    }
}
