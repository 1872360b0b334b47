//! Removed volumes and snapshots. They are kept for a grace, as an order to remove may have been a mistake.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tepui_types::Timestamp;

use crate::error::file;
use crate::pool::TRASH;
use crate::shelf::point;
use crate::{Pool, PoolError, durable};

/// A thing in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// The id of a volume or snapshot.
    pub id: String,
    /// When it was removed.
    pub removed_at: Timestamp,
    /// Its folder.
    pub path: PathBuf,
}

impl Pool {
    /// Unlinks what was removed longer than `grace` ago and returns it; with `dry_run` only returns it. `now` must be
    /// of the clock that the removals were told: the control plane's, as a host's may be set.
    ///
    /// # Errors
    /// The file system refuses; what was not unlinked stays in the trash.
    pub fn sweep(&self, now: Timestamp, grace: Duration, dry_run: bool) -> Result<Vec<Discarded>, PoolError> {
        let mut due = self.trash()?;
        // What was removed in the future was told by a clock that is wrong: it stays.
        let is_due = |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= grace);
        due.retain(|found| is_due(found.removed_at));
        if !dry_run {
            for found in &due {
                unlink(&found.path)?;
            }
        }
        Ok(due)
    }

    /// Everything in the trash.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn trash(&self) -> Result<Vec<Discarded>, PoolError> {
        let trash = self.folder(TRASH);
        let mut found = Vec::new();
        for entry in fs::read_dir(&trash).map_err(file(&trash))? {
            found.extend(parse(&entry.map_err(file(&trash))?.path()));
        }
        found.sort_by(|a: &Discarded, b| (a.removed_at, &a.id).cmp(&(b.removed_at, &b.id)));
        Ok(found)
    }

    /// Moves a thing into the trash.
    pub(crate) fn discard(&self, shelf: &str, id: &dyn Display, now: Timestamp) -> Result<(), PoolError> {
        let place = self.place(shelf, id);
        if place.try_exists().map_err(file(&place))? {
            let bin = self.folder(TRASH).join(format!("{id}.{}", now.as_second()));
            durable::rename(&place, &bin)?;
            return point("remove", "moved");
        }
        // The process may have ended between the rename and its fsync.
        durable::sync(&self.folder(shelf))?;
        durable::sync(&self.folder(TRASH))
    }
}

/// The file goes first, so that a folder that is left over takes no room and goes with the next sweep.
fn unlink(folder: &Path) -> Result<(), PoolError> {
    for entry in fs::read_dir(folder).map_err(file(folder))? {
        let path = entry.map_err(file(folder))?.path();
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .map_err(file(&path))?;
    }
    point("sweep", "unlinked")?;
    fs::remove_dir(folder).map_err(file(folder))
}

fn parse(path: &Path) -> Option<Discarded> {
    let (id, seconds) = path.file_name()?.to_str()?.split_once('.')?;
    let removed_at = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    Some(Discarded { id: id.to_owned(), removed_at, path: path.to_owned() })
}
