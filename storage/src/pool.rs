//! A directory of volumes and snapshots that one process owns.
//!
//! ```text
//! POOL/tepui-pool              the pool's id; locked while an agent has the pool open
//!      volumes/vol-…/disk.raw  a volume; its folder also has room for what a backend links to it
//!      snapshots/snap-…/disk.raw
//!      images/DIGEST/disk.raw  what new volumes begin with
//!      tmp/                    half-made; emptied when the pool is opened
//!      trash/vol-….SECONDS/    removed at that time, kept until it is ordered to be unlinked
//! ```
//! A thing is there under its id whole or not at all: it is made in `tmp` and renamed, what was written to it fsynced before, and
//! said to be there once all of it is on the disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tepui_types::PoolId;

use crate::error::file;
use crate::shelf::{IMAGES, SNAPSHOTS, VOLUMES};
use crate::{Level, PoolError, Usage, Watermarks, durable, reflink};

/// The file by which a pool is known. Without it an empty mount point would look like an empty pool.
pub(crate) const MARKER: &str = "tepui-pool";
/// Where half-made things are.
pub(crate) const TMP: &str = "tmp";
/// Where removed things are.
pub(crate) const TRASH: &str = "trash";

/// The fail points of each operation, as `storage::OPERATION::STEP`; each stands behind the step it names.
pub const STEPS: &[(&str, &[&str])] = &[
    ("create", &["made", "placed"]),
    ("clone", &["made", "placed"]),
    ("snapshot", &["made", "placed"]),
    ("copy", &["made", "placed"]),
    ("transfer", &["piece", "made", "synced", "placed"]),
    ("receive", &["piece", "made", "synced", "placed"]),
    ("base", &["piece", "made", "synced", "placed"]),
    ("begin", &["made", "placed"]),
    ("begin_snapshot", &["made", "placed"]),
    ("test", &["restored", "piece"]),
    ("drop_base", &["moved"]),
    ("grow", &["grown"]),
    ("remove", &["moved"]),
    ("sweep", &["unlinked"]),
];

/// An open pool. It is another process's to open once this is dropped.
#[derive(Debug)]
pub struct Pool {
    pub(crate) path: PathBuf,
    marks: Watermarks,
    /// What is in its place and may not be on the disk yet.
    pub(crate) unflushed: Mutex<BTreeSet<PathBuf>>,
    /// The file system keeps the order in which names and shared blocks came to be.
    pub(crate) keeps_order: bool,
    /// Holds the lock.
    marker: File,
}

impl Pool {
    /// Makes a pool of an empty directory and opens it; opens it if it is there already.
    ///
    /// # Errors
    /// A file system without reflink, a directory that has something else in it, and those of [`Pool::open`].
    pub fn create(path: &Path, id: PoolId, marks: Watermarks) -> Result<Self, PoolError> {
        if !path.join(MARKER).exists() {
            refuse_foreign(path)?;
            reflink::probe(path)?;
            mark(path, id)?;
        }
        Self::open(path, id, marks)
    }

    /// Opens a pool and removes what was half-made in it.
    ///
    /// # Errors
    /// No pool or another one at `path`, one that is in use, a file system without reflink.
    pub fn open(path: &Path, id: PoolId, marks: Watermarks) -> Result<Self, PoolError> {
        let marker = lock(path, id)?;
        reflink::probe(path)?;
        durable::open_way(path)?;
        for folder in [TMP, TRASH, VOLUMES, SNAPSHOTS, IMAGES] {
            durable::make_directory(&path.join(folder))?;
        }
        durable::sync(path)?;
        // Whoever had it open may have ended between giving a thing its name and flushing it.
        durable::sync_all(path)?;
        let pool = Self {
            path: path.to_owned(),
            marks,
            unflushed: Mutex::default(),
            keeps_order: reflink::keeps_order(path)?,
            marker,
        };
        pool.empty_tmp()?;
        Ok(pool)
    }

    /// How full it is.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn usage(&self) -> Result<Usage, PoolError> {
        self.require_place()?;
        let found = rustix::fs::statvfs(&self.path).map_err(|error| file(&self.path)(error.into()))?;
        Ok(Usage::of(&found))
    }

    /// Refuses a folder that is not the one any more that was opened, as after its file system was unmounted: what is not
    /// found there is not gone.
    fn require_place(&self) -> Result<(), PoolError> {
        let name = self.path.join(MARKER);
        let found = match fs::metadata(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PoolError::NotAPool { path: self.path.clone() });
            }
            found => found.map_err(file(&name))?,
        };
        let held = self.marker.metadata().map_err(file(&name))?;
        if (found.dev(), found.ino()) == (held.dev(), held.ino()) {
            return Ok(());
        }
        Err(PoolError::NotAPool { path: self.path.clone() })
    }

    /// Where its usage is in its watermarks.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn level(&self) -> Result<Level, PoolError> {
        Ok(self.usage()?.level(self.marks))
    }

    /// Refuses what would take room, beyond the hard watermark.
    ///
    /// # Errors
    /// [`PoolError::Full`], or the file system gives no answer.
    pub fn require_room(&self) -> Result<(), PoolError> {
        let usage = self.usage()?;
        if usage.level(self.marks) < Level::Hard {
            return Ok(());
        }
        let (path, hard_percent) = (self.path.clone(), self.marks.hard_percent);
        Err(PoolError::Full { path, used: usage.used, capacity: usage.capacity, hard_percent })
    }

    /// Refuses to write so many bytes where that would reach the hard watermark.
    pub(crate) fn require_room_for(&self, needed: u64) -> Result<(), PoolError> {
        let usage = self.usage()?;
        if usage.with(needed).level(self.marks) < Level::Hard {
            return Ok(());
        }
        Err(PoolError::NoRoom { path: self.path.clone(), needed })
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn empty_tmp(&self) -> Result<(), PoolError> {
        let tmp = self.folder(TMP);
        for entry in fs::read_dir(&tmp).map_err(file(&tmp))? {
            let path = entry.map_err(file(&tmp))?.path();
            fs::remove_dir_all(&path).map_err(file(&path))?;
        }
        Ok(())
    }
}

/// `lost+found` comes with some file systems, and the marker's half-written form with a crash.
fn refuse_foreign(path: &Path) -> Result<(), PoolError> {
    for entry in fs::read_dir(path).map_err(file(path))? {
        let name = entry.map_err(file(path))?.file_name();
        if name != "lost+found" && name != *half_marker() {
            return Err(PoolError::NotEmpty { path: path.to_owned() });
        }
    }
    Ok(())
}

fn half_marker() -> String {
    format!("{MARKER}.tmp")
}

fn mark(path: &Path, id: PoolId) -> Result<(), PoolError> {
    let half = path.join(half_marker());
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut marker = options.write(true).create(true).truncate(true).mode(0o644).open(&half)?;
        writeln!(marker, "{id}")?;
        marker.sync_all()?;
        fs::rename(&half, path.join(MARKER))
    };
    write().map_err(file(&half))?;
    durable::sync(path)
}

fn lock(path: &Path, wanted: PoolId) -> Result<File, PoolError> {
    let name = path.join(MARKER);
    let marker = match OpenOptions::new().read(true).write(true).open(&name) {
        Ok(marker) => marker,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(PoolError::NotAPool { path: path.to_owned() });
        }
        Err(error) => return Err(file(&name)(error)),
    };
    match marker.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(PoolError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(file(&name)(error)),
    }
    let text = fs::read_to_string(&name).map_err(file(&name))?;
    let found = text.trim();
    if found == wanted.to_string() {
        return Ok(marker);
    }
    Err(PoolError::OtherPool { path: path.to_owned(), found: found.chars().take(64).collect(), wanted })
}
