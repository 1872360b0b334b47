//! Removed volumes and snapshots. They are kept until they are ordered to be unlinked, as an order to remove may have
//! been a mistake.

use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tepui_types::Timestamp;

use crate::error::file;
use crate::pool::TRASH;
use crate::shelf::{DISK, STAT_BLOCK, point};
use crate::{Pool, PoolError, durable};

/// A thing in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// The id of a volume or snapshot.
    pub id: String,
    /// When it was removed, by the clock of its host: for people.
    pub removed_at: Timestamp,
    /// What it takes of the pool, extents that it shares with volumes and snapshots included.
    pub allocated: u64,
    /// Its folder.
    pub path: PathBuf,
}

impl Pool {
    /// Unlinks what `is_final` says of what was removed, and returns it. No clock of this host may have a say in that:
    /// it may be set.
    ///
    /// # Errors
    /// The file system refuses to unlink something, which stays in the trash; all else is unlinked.
    pub fn sweep(&self, is_final: impl Fn(&Discarded) -> bool) -> Result<Vec<Discarded>, PoolError> {
        let mut due = self.trash()?;
        due.retain(is_final);
        let refused = due.iter().filter_map(|found| unlink(&found.path).err()).next_back();
        refused.map_or(Ok(due), Err)
    }

    /// Everything in the trash.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn trash(&self) -> Result<Vec<Discarded>, PoolError> {
        let trash = self.folder(TRASH);
        let mut found = Vec::new();
        for entry in fs::read_dir(&trash).map_err(file(&trash))? {
            found.extend(look(&entry.map_err(file(&trash))?.path())?);
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
            self.unflushed().remove(&place);
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

fn look(path: &Path) -> Result<Option<Discarded>, PoolError> {
    let Some((id, removed_at)) = parse(path) else { return Ok(None) };
    let disk = path.join(DISK);
    let allocated = match fs::metadata(&disk) {
        Ok(found) => found.blocks() * STAT_BLOCK,
        // It was unlinked, and its folder was not any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(file(&disk)(error)),
    };
    Ok(Some(Discarded { id, removed_at, allocated, path: path.to_owned() }))
}

fn parse(path: &Path) -> Option<(String, Timestamp)> {
    let (id, seconds) = path.file_name()?.to_str()?.split_once('.')?;
    let removed_at = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    Some((id.to_owned(), removed_at))
}
