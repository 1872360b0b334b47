//! Refuses a database whose files are not as they were written, before anything is built on it.

use std::path::Path;

use rusqlite::Connection;

use crate::error::OpenError;
use crate::wal;

/// Refuses a log from which acknowledged commits are missing. SQLite would go on without them.
pub(crate) fn check_log(path: &Path) -> Result<(), OpenError> {
    let unreadable = |source| OpenError::Path { path: wal::path_of(path), source };
    match wal::lost(path).map_err(unreadable)? {
        None => Ok(()),
        Some(what) => Err(OpenError::Damaged { path: path.into(), what }),
    }
}

/// Looks at the structure of every page. A flipped bit in a value is not seen: pages have no checksums.
pub(crate) fn check_pages(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found.map_err(|source| OpenError::of_sqlite(path, source))? {
        fine if fine == "ok" => Ok(()),
        what => Err(OpenError::Damaged { path: path.into(), what: what.replace('\n', " ") }),
    }
}
