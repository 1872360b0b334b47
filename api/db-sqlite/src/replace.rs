//! Puts another database in the place of one that nobody has open.
//!
//! Two files cannot be exchanged in one step: the log must be gone before another database gets its
//! name, and without its log the one that is there would look sound and be older. So the new database
//! first gets the name that decides. From then on whoever opens finishes the exchange before anything
//! else.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use tepui_types::Epoch;
use tepui_types::failpoint;

use crate::backup::epoch;
use crate::error::OpenError;
use crate::lock::Lock;
use crate::open::{resolve, sync_folder_of};
use crate::wal;

/// The points between the durable steps, where a test may cut it off.
pub const REPLACE_STEPS: [&str; 3] =
    ["sqlite::replace::decided", "sqlite::replace::aside", "sqlite::replace::placed"];

/// The place of a database that is closed, and stays so as long as this is held.
pub struct Replacement {
    path: PathBuf,
    _lock: Lock,
}

impl Replacement {
    /// Takes the lock of the database at `path`, whether there is one or not.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn begin(path: &Path) -> Result<Self, OpenError> {
        let path = resolve(path)?;
        let lock = Lock::take(&path)?;
        finish(&path).map_err(|source| OpenError::Path { path: path.clone(), source })?;
        Ok(Self { path, _lock: lock })
    }

    /// The epoch of the database that is there, if it can be read, also from a damaged one. Nothing is
    /// changed by it, neither the log nor its index, which tell of damage; and no epoch is in a log, since
    /// the opening that followed its beginning folded it in.
    pub fn epoch(&self) -> Option<Epoch> {
        let escaped = self.path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let file = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags).ok()?;
        file.query_row("SELECT epoch FROM meta", [], epoch).ok()
    }

    /// Puts the closed database `prepared`, which is in the same folder, into the place. What was there
    /// is kept beside it, with its log: `.replaced`.
    ///
    /// # Errors
    /// What was there is untouched, or the exchange is decided and the next opening finishes it.
    pub fn put(self, prepared: &Path) -> Result<(), OpenError> {
        self.decide(prepared)
            .and_then(|()| finish(&self.path))
            .map_err(|source| OpenError::Path { path: self.path.clone(), source })
    }

    fn decide(&self, prepared: &Path) -> io::Result<()> {
        if fs::metadata(wal::path_of(prepared)).is_ok_and(|log| log.len() > 0) {
            return Err(io::Error::other("the new database's log is not folded in"));
        }
        File::open(prepared)?.sync_all()?;
        for suffix in FILES {
            gone(fs::remove_file(wal::beside(&kept(&self.path), suffix)))?;
        }
        fs::rename(prepared, next(&self.path))?;
        sync_folder_of(&self.path)
    }
}

/// The database, its log and the log's index.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

fn next(path: &Path) -> PathBuf {
    path.with_added_extension("next")
}

fn kept(path: &Path) -> PathBuf {
    path.with_added_extension("replaced")
}

/// Finishes an exchange that was decided. The database keeps its name until the new one takes it: a
/// start makes an empty one where there is none.
pub(crate) fn finish(path: &Path) -> io::Result<()> {
    let (next, kept) = (next(path), kept(path));
    if !next.try_exists()? {
        return Ok(());
    }
    let [is_decided, is_aside, is_placed] = REPLACE_STEPS;
    failpoint::hit(is_decided).map_err(io::Error::other)?;
    match fs::hard_link(path, &kept) {
        // One that was cut off came further.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        linked => gone(linked)?,
    }
    for suffix in ["-wal", "-shm"] {
        gone(fs::rename(wal::beside(path, suffix), wal::beside(&kept, suffix)))?;
    }
    failpoint::hit(is_aside).map_err(io::Error::other)?;
    fs::rename(&next, path)?;
    sync_folder_of(path)?;
    failpoint::hit(is_placed).map_err(io::Error::other)
}

/// Takes a file that is not there for done.
fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
