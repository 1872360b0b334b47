//! Keeps uploads and imports from filling a disk: the database is on it, too.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::failure::Failure;
use crate::files::{self, FileError};

/// Bytes that are left free in any case, for the database and its log.
const LEAST: u64 = 1 << 30;
/// And this part of a disk, one in so many: file systems that are nearly full become slow.
const PART: u64 = 20;

/// The disk that holds a folder.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    folder: PathBuf,
    least: u64,
}

impl Disk {
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), least: LEAST }
    }

    /// One that counts as full.
    #[cfg(test)]
    pub(crate) fn full(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), least: u64::MAX }
    }

    /// Bytes that may still be written.
    pub(crate) fn spare(&self) -> Result<u64, FileError> {
        let disk = statvfs(&self.folder).map_err(io::Error::from);
        let disk = disk.map_err(files::error("measure the disk of", &self.folder))?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
        Ok(bytes(disk.blocks_available()).saturating_sub(reserve(bytes(disk.blocks()), self.least)))
    }

    /// Refuses what there is no room for.
    pub(crate) fn check(&self, wanted: u64) -> Result<(), Failure> {
        let spare = self.spare().map_err(|error| Failure::internal("disk", &error))?;
        if wanted <= spare { Ok(()) } else { Err(Failure::NoSpace { wanted, spare }) }
    }
}

fn reserve(size: u64, least: u64) -> u64 {
    least.max(size / PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_disk_stays_free() {
        const GIB: u64 = 1 << 30;
        assert_eq!(reserve(10 * GIB, LEAST), GIB);
        assert_eq!(reserve(100 * GIB, LEAST), 5 * GIB);
        let disk = Disk::of(Path::new("/"));
        assert!(disk.check(0).is_ok());
        assert!(matches!(disk.check(u64::MAX), Err(Failure::NoSpace { wanted: u64::MAX, .. })));
        assert!(matches!(Disk::full(Path::new("/")).check(1), Err(Failure::NoSpace { wanted: 1, spare: 0 })));
    }
}
