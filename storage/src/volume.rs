//! Volumes: raw sparse files of exact size.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use tepui_types::{SnapshotId, Timestamp, VolumeId};

use crate::error::file;
use crate::shelf::{DISK, Found, Holds, Making, SNAPSHOTS, VOLUMES, point};
use crate::{Pool, PoolError, durable, reflink};

/// The sector size of most disks below, and the block size of the file systems a pool may be on: guests and targets
/// never see a part of a block.
const GRAIN: u64 = 4096;
/// Root's; a backend that runs as somebody else gives the file to it.
pub(crate) const MODE: u32 = 0o600;

/// A volume in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// Its raw file.
    pub path: PathBuf,
    /// Its size as a guest sees it.
    pub bytes: u64,
    /// What it takes of the pool, extents that it shares with snapshots included.
    pub allocated: u64,
}

impl Volume {
    /// Where the file of a volume is in a pool, for whoever does not hold the pool.
    pub fn file_in(pool: &Path, id: VolumeId) -> PathBuf {
        pool.join(VOLUMES).join(id.to_string()).join(DISK)
    }
}

impl Pool {
    /// Makes a volume that reads zero and takes no room until it is written. A volume that is there is left as it is.
    ///
    /// # Errors
    /// A wrong size, a full pool, a volume of another size or one that was removed.
    pub fn create_volume(&self, id: VolumeId, bytes: u64) -> Result<Volume, PoolError> {
        check_size(bytes)?;
        if self.find(VOLUMES, &id)?.is_none() {
            let making =
                Making { operation: "create", shelf: VOLUMES, id: &id, mode: MODE, holds: Holds::Shared };
            self.make(&making, |disk, path| disk.set_len(bytes).map_err(file(path)))?;
        }
        self.made(id, bytes)
    }

    /// Makes a volume with the content of a snapshot; what is beyond it reads zero. A volume that is there is left
    /// as it is. It shares all that it holds with the snapshot, so that a full pool has room for it: one that is between two
    /// pools must not stay there.
    ///
    /// # Errors
    /// A wrong size, a volume of another size or one that was removed, no such snapshot, one that is larger.
    pub fn clone_volume(&self, id: VolumeId, of: SnapshotId, bytes: u64) -> Result<Volume, PoolError> {
        check_size(bytes)?;
        if self.find(VOLUMES, &id)?.is_none() {
            let snapshot = self.find(SNAPSHOTS, &of)?.ok_or(PoolError::NoSnapshot(of))?;
            if snapshot.bytes > bytes {
                return Err(PoolError::SmallerThanSnapshot { snapshot: of, needed: snapshot.bytes, bytes });
            }
            let source = File::open(&snapshot.path).map_err(file(&snapshot.path))?;
            let making =
                Making { operation: "clone", shelf: VOLUMES, id: &id, mode: MODE, holds: Holds::Shared };
            self.make_sharing(&making, |disk, path| restore(&source, (disk, path), bytes))?;
        }
        self.made(id, bytes)
    }

    /// Gives a volume more room, which reads zero. A server that has the file open sees it when it opens it anew,
    /// which [`crate::Backend::ensure`] sees to.
    ///
    /// # Errors
    /// No such volume, a wrong size or a smaller one, a full pool.
    pub fn grow_volume(&self, id: VolumeId, bytes: u64) -> Result<Volume, PoolError> {
        check_size(bytes)?;
        let found = self.volume(id)?.ok_or(PoolError::NoVolume(id))?;
        if bytes < found.bytes {
            return Err(PoolError::Shrink { id, from: found.bytes, to: bytes });
        }
        let disk = durable::open_in_use(&found.path, OpenOptions::new().write(true))?;
        if bytes > found.bytes {
            self.require_room()?;
            disk.set_len(bytes).map_err(file(&found.path))?;
            point("grow", "grown")?;
        }
        // Also when nothing is left to do: the process may have ended before this.
        disk.sync_all().map_err(file(&found.path))?;
        Ok(Volume { bytes, ..found })
    }

    /// Moves a volume into the trash, from which [`Pool::sweep`] takes it. Nothing may serve it any more. One that is
    /// not there is removed already.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove_volume(&self, id: VolumeId, now: Timestamp) -> Result<(), PoolError> {
        self.discard(VOLUMES, &id, now)
    }

    /// Looks at a volume.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn volume(&self, id: VolumeId) -> Result<Option<Volume>, PoolError> {
        let volume = |Found { path, bytes, allocated }| Volume { id, path, bytes, allocated };
        Ok(self.find(VOLUMES, &id)?.map(volume))
    }

    /// The volumes, by their ids.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn volumes(&self) -> Result<Vec<VolumeId>, PoolError> {
        self.ids(VOLUMES)
    }

    /// A volume that was grown since it was made is the same volume; one that is smaller is not.
    pub(crate) fn made(&self, id: VolumeId, bytes: u64) -> Result<Volume, PoolError> {
        let found = self.volume(id)?.ok_or(PoolError::NoVolume(id))?;
        if found.bytes >= bytes {
            self.settle(&self.place(VOLUMES, &id))?;
            return Ok(found);
        }
        Err(PoolError::OtherSize { id, found: found.bytes, wanted: bytes })
    }
}

/// Gives a new file the content of a snapshot; what is beyond it reads zero.
pub(crate) fn restore(snapshot: &File, (disk, path): (&File, &Path), bytes: u64) -> Result<(), PoolError> {
    reflink::clone(snapshot, disk).and_then(|()| disk.set_len(bytes)).map_err(file(path))
}

pub(crate) fn check_size(bytes: u64) -> Result<(), PoolError> {
    if bytes == 0 || !bytes.is_multiple_of(GRAIN) {
        return Err(PoolError::Size { bytes });
    }
    Ok(())
}
