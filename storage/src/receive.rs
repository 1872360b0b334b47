//! Snapshots that come from another host, piece by piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use tepui_types::{SnapshotId, holes};

use crate::error::file;
use crate::shelf::{Holds, Making, SNAPSHOTS, point};
use crate::snapshot::SEALED;
use crate::sparse::STRIDE;
use crate::{Copying, Pool, PoolError, Snapshot};

/// A file that pieces come into, in their order.
pub struct Incoming<'a> {
    pool: &'a Pool,
    disk: &'a File,
    path: &'a Path,
    bytes: u64,
    place: u64,
    /// Bytes that are not on the disk yet.
    waiting: u64,
    copying: &'a Copying,
}

impl Pool {
    /// Makes a snapshot of so many bytes of what `fill` hands over: all of them, in their order. One that is there is left
    /// as it is; one that was cut off begins anew.
    ///
    /// # Errors
    /// Those of `fill`, `CutOff`, a pool that is full, `Outgrown`, a snapshot that was removed, `Stopped`.
    pub fn receive_snapshot<E: From<PoolError>>(
        &self,
        id: SnapshotId,
        (bytes, copying): (u64, &Copying),
        fill: impl FnOnce(&mut Incoming<'_>) -> Result<(), E>,
    ) -> Result<Snapshot, E> {
        if self.snapshot(id)?.is_none() {
            let making = Making {
                operation: "receive",
                shelf: SNAPSHOTS,
                id: &id,
                mode: SEALED,
                holds: Holds::Written,
            };
            let mut refused = None;
            let made = self.make(&making, |disk, path| {
                let mut incoming = Incoming { pool: self, disk, path, bytes, place: 0, waiting: 0, copying };
                disk.set_len(bytes).map_err(file(path))?;
                if let Err(error) = fill(&mut incoming) {
                    refused = Some(error);
                    return Err(PoolError::Stopped);
                }
                incoming.end()
            });
            match (refused, made) {
                (Some(error), _) => return Err(error),
                (None, made) => made?,
            }
        }
        Ok(self.placed(id)?)
    }
}

impl Incoming<'_> {
    /// Takes the next piece.
    ///
    /// # Errors
    /// `CutOff` for one beyond the end, `Outgrown`, `Stopped`.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), PoolError> {
        let end = self.place + piece.len() as u64;
        if end > self.bytes {
            return Err(PoolError::CutOff { received: end, wanted: self.bytes });
        }
        for (place, block) in holes::data(piece) {
            self.disk.write_all_at(block, self.place + place).map_err(|error| self.failed(error))?;
            self.waiting += block.len() as u64;
        }
        self.place = end;
        self.copying.at(self.place)?;
        if self.waiting >= STRIDE { self.stride() } else { Ok(()) }
    }

    /// Puts on the disk what waits: see [`STRIDE`].
    fn stride(&mut self) -> Result<(), PoolError> {
        self.disk.sync_data().map_err(|error| self.failed(error))?;
        self.waiting = 0;
        self.pool.require_room().map_err(|error| match error {
            PoolError::Full { .. } => self.outgrown(),
            other => other,
        })?;
        point("receive", "piece")
    }

    /// How much will come nobody knows. To begin again would fill the pool again, and again.
    fn outgrown(&self) -> PoolError {
        PoolError::Outgrown { path: self.pool.path.clone() }
    }

    fn failed(&self, error: io::Error) -> PoolError {
        match error.kind() {
            io::ErrorKind::StorageFull => self.outgrown(),
            _ => file(self.path)(error),
        }
    }

    fn end(&mut self) -> Result<(), PoolError> {
        if self.place != self.bytes {
            return Err(PoolError::CutOff { received: self.place, wanted: self.bytes });
        }
        self.stride()
    }
}
