//! Snapshots: sealed clones of a volume's file, or of an image's.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use tepui_types::{SnapshotId, Timestamp, VolumeId};

use crate::error::file;
use crate::shelf::{Found, Holds, Making, SNAPSHOTS, VOLUMES};
use crate::{Copying, Pool, PoolError, durable, reflink};

/// Nobody writes what is sealed.
pub(crate) const SEALED: u32 = 0o400;

/// A snapshot in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its raw file.
    pub path: PathBuf,
    /// Its size, that of its volume at the time.
    pub bytes: u64,
    /// What it takes of the pool, extents that it shares included.
    pub allocated: u64,
}

impl Pool {
    /// Takes a snapshot, which holds every write that was acknowledged before the call and of later ones what a disk
    /// holds after a power cut. Several volumes have one instant if their guests pause around
    /// the calls. A snapshot that is there is left as it is.
    ///
    /// # Errors
    /// No such volume, a full pool, a snapshot that was removed.
    pub fn take_snapshot(&self, id: SnapshotId, of: VolumeId) -> Result<Snapshot, PoolError> {
        if self.find(SNAPSHOTS, &id)?.is_none() {
            let volume = self.find(VOLUMES, &of)?.ok_or(PoolError::NoVolume(of))?;
            let source = durable::open_in_use(&volume.path, OpenOptions::new().read(true))?;
            let making = Making {
                operation: "snapshot",
                shelf: SNAPSHOTS,
                id: &id,
                mode: SEALED,
                holds: Holds::Shared,
            };
            self.make(&making, |disk, path| reflink::clone(&source, disk).map_err(file(path)))?;
        }
        self.placed(id)
    }

    /// Makes a snapshot of its own of another one in this pool, which may go afterwards. One that is there is left as
    /// it is.
    ///
    /// # Errors
    /// No such snapshot, a full pool, a snapshot that was removed.
    pub fn copy_snapshot(&self, id: SnapshotId, of: SnapshotId) -> Result<Snapshot, PoolError> {
        if self.find(SNAPSHOTS, &id)?.is_none() {
            let source = self.open_snapshot(of)?;
            let making =
                Making { operation: "copy", shelf: SNAPSHOTS, id: &id, mode: SEALED, holds: Holds::Shared };
            self.make(&making, |disk, path| reflink::clone(&source, disk).map_err(file(path)))?;
        }
        self.placed(id)
    }

    /// Copies a snapshot of another pool of this host, byte by byte where it is on another file system: as long as
    /// that takes, or until it is given up. One that is there is left as it is; one that was cut off begins anew.
    ///
    /// # Errors
    /// No such snapshot, a pool that is full or would become so, a snapshot that was removed, `Stopped`.
    pub fn transfer_snapshot(
        &self,
        id: SnapshotId,
        (from, of): (&Self, SnapshotId),
        copying: &Copying,
    ) -> Result<Snapshot, PoolError> {
        if self.find(SNAPSHOTS, &id)?.is_none() {
            let found = from.find(SNAPSHOTS, &of)?.ok_or(PoolError::NoSnapshot(of))?;
            let source = File::open(&found.path).map_err(file(&found.path))?;
            let making = Making {
                operation: "transfer",
                shelf: SNAPSHOTS,
                id: &id,
                mode: SEALED,
                holds: Holds::Written,
            };
            self.make(&making, |disk, path| {
                let from = (&source, found.path.as_path());
                self.fill("transfer", from, (disk, path), (found.bytes, copying))
            })?;
        }
        self.placed(id)
    }

    pub(crate) fn open_snapshot(&self, id: SnapshotId) -> Result<File, PoolError> {
        let found = self.find(SNAPSHOTS, &id)?.ok_or(PoolError::NoSnapshot(id))?;
        File::open(&found.path).map_err(file(&found.path))
    }

    pub(crate) fn placed(&self, id: SnapshotId) -> Result<Snapshot, PoolError> {
        let found = self.snapshot(id)?.ok_or(PoolError::NoSnapshot(id))?;
        self.settle(&self.place(SNAPSHOTS, &id))?;
        Ok(found)
    }

    /// Moves a snapshot into the trash. Volumes that were made from it keep their content. One that is not there is
    /// removed already.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove_snapshot(&self, id: SnapshotId, now: Timestamp) -> Result<(), PoolError> {
        self.discard(SNAPSHOTS, &id, now)
    }

    /// Looks at a snapshot.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>, PoolError> {
        let snapshot = |Found { path, bytes, allocated }| Snapshot { id, path, bytes, allocated };
        Ok(self.find(SNAPSHOTS, &id)?.map(snapshot))
    }

    /// The snapshots, by their ids.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn snapshots(&self) -> Result<Vec<SnapshotId>, PoolError> {
        self.ids(SNAPSHOTS)
    }
}
