//! Where things of one kind stand under their ids, and how one comes there.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{MutexGuard, PoisonError};

use tempfile::TempDir;
use tepui_types::failpoint;

use crate::error::file;
use crate::pool::{TMP, TRASH};
use crate::{Pool, PoolError, durable};

/// The folder of all volumes.
pub(crate) const VOLUMES: &str = "volumes";
/// The folder of all snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// The folder of all bases.
pub(crate) const IMAGES: &str = "images";
/// The file in the folder of one thing.
pub(crate) const DISK: &str = "disk.raw";
/// A block of a file counts as this many bytes in `st_blocks` (stat(2)).
pub(crate) const STAT_BLOCK: u64 = 512;

/// A raw file that is there whole.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) allocated: u64,
}

/// How a new file is made.
pub(crate) struct Making<'a> {
    /// The operation of its fail points.
    pub(crate) operation: &'static str,
    /// Where it goes.
    pub(crate) shelf: &'static str,
    /// Its id.
    pub(crate) id: &'a dyn Display,
    /// Its file's mode.
    pub(crate) mode: u32,
    /// What its file holds.
    pub(crate) holds: Holds,
}

/// What a new file holds, by which it is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Bytes that were written to it. They are flushed before it has its name.
    Written,
    /// Nothing, or what other files hold: no byte was written. Where the file system keeps the order of such changes the
    /// name is never there without the rest, and one flush after it is enough.
    Shared,
}

/// A file on its way. Its folder goes with this value, and after a death when the pool is opened.
pub(crate) struct HalfMade {
    pub(crate) folder: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) disk: File,
}

impl Pool {
    /// The folder of a thing.
    pub(crate) fn place(&self, shelf: &str, id: &dyn Display) -> PathBuf {
        self.folder(shelf).join(id.to_string())
    }

    /// Looks for a thing.
    pub(crate) fn find(&self, shelf: &str, id: &dyn Display) -> Result<Option<Found>, PoolError> {
        let path = self.place(shelf, id).join(DISK);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(Found { path, bytes: found.len(), allocated: found.blocks() * STAT_BLOCK })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file(&path)(error)),
        }
    }

    /// The ids of all things on a shelf.
    pub(crate) fn ids<Id: FromStr + Ord>(&self, shelf: &str) -> Result<Vec<Id>, PoolError> {
        let folder = self.folder(shelf);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&folder).map_err(file(&folder))? {
            let name = entry.map_err(file(&folder))?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse().ok()));
        }
        ids.sort();
        Ok(ids)
    }

    /// Makes a thing whose content `fill` gives to its new, empty file at a path.
    pub(crate) fn make(
        &self,
        making: &Making<'_>,
        fill: impl FnOnce(&File, &Path) -> Result<(), PoolError>,
    ) -> Result<(), PoolError> {
        self.refuse_removed(making.id)?;
        self.require_room()?;
        self.make_sharing(making, fill)
    }

    /// Makes a thing as [`Pool::make`] does, also in a full pool: it shares all its content with what is there.
    pub(crate) fn make_sharing(
        &self,
        making: &Making<'_>,
        fill: impl FnOnce(&File, &Path) -> Result<(), PoolError>,
    ) -> Result<(), PoolError> {
        self.refuse_removed(making.id)?;
        let HalfMade { folder, path, disk } = self.begin(making.mode)?;
        fill(&disk, &path)?;
        point(making.operation, "made")?;
        // Before the flush, which then covers it: what changes later needs another flush of the journal.
        durable::open_way(folder.path())?;
        if making.holds == Holds::Written || !self.keeps_order {
            disk.sync_all().map_err(file(&path))?;
            durable::sync(folder.path())?;
            point(making.operation, "synced")?;
        }
        let place = self.place(making.shelf, making.id);
        self.unflushed().insert(place.clone());
        match fs::rename(folder.path(), &place) {
            // Another call made the same meanwhile; ours goes.
            Err(error) if is_there(&error) => return self.settle(&place),
            renamed => renamed.map_err(file(&place))?,
        }
        // Its old name leads nowhere now.
        let _ = folder.keep();
        point(making.operation, "placed")?;
        self.settle(&place)
    }

    /// Flushes a thing that this process made and that may not be on the disk yet.
    pub(crate) fn settle(&self, place: &Path) -> Result<(), PoolError> {
        if !self.unflushed().contains(place) {
            return Ok(());
        }
        let disk = place.join(DISK);
        File::open(&disk).and_then(|disk| disk.sync_all()).map_err(file(&disk))?;
        durable::sync(place)?;
        durable::sync(place.parent().unwrap_or(place))?;
        durable::sync(&self.folder(TMP))?;
        self.unflushed().remove(place);
        Ok(())
    }

    /// The places of things that are not known to be on the disk with all that they hold.
    pub(crate) fn unflushed(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new, empty file in a folder of its own that nothing finds.
    pub(crate) fn begin(&self, mode: u32) -> Result<HalfMade, PoolError> {
        let tmp = self.folder(TMP);
        let folder = TempDir::new_in(&tmp).map_err(file(&tmp))?;
        let path = folder.path().join(DISK);
        let disk = new_file(&path, mode).map_err(file(&path))?;
        Ok(HalfMade { folder, path, disk })
    }

    /// An order that came late must not make empty what had data.
    fn refuse_removed(&self, id: &dyn Display) -> Result<(), PoolError> {
        let id = id.to_string();
        let trash = self.folder(TRASH);
        for entry in fs::read_dir(&trash).map_err(file(&trash))? {
            let name = entry.map_err(file(&trash))?.file_name();
            let found = name.to_str().and_then(|name| name.split_once('.'));
            if found.is_some_and(|(removed, _)| removed == id) {
                return Err(PoolError::Removed { id });
            }
        }
        Ok(())
    }
}

/// Which of the two rename(2) answers depends on the file system.
fn is_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

fn new_file(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Passes a fail point.
pub(crate) fn point(operation: &str, step: &str) -> Result<(), PoolError> {
    Ok(failpoint::hit(&format!("storage::{operation}::{step}"))?)
}
