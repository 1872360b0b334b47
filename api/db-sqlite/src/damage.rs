//! Refuses a database whose files are not as they were written, before anything is built on it.

use std::path::Path;

use rusqlite::{Connection, ffi};
use tepui_db::DbError;

use crate::SqliteDb;
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

/// Steps of SQLite's between two looks at whether to stop.
const STEPS: i32 = 100;

impl SqliteDb {
    /// Looks at the structure of every page, which takes the longer the more there are, and so is no part
    /// of the opening. Damage ends the process, as wherever it is met. A flipped bit in a value is not
    /// seen: pages have no checksums.
    ///
    /// # Errors
    /// `Damaged`, and `Bug` when `is_stopped` put an end to it.
    pub async fn check_pages(
        &self,
        is_stopped: impl FnMut() -> bool + Send + 'static,
    ) -> Result<(), DbError> {
        self.read(|connection| {
            connection.progress_handler(STEPS, Some(is_stopped))?;
            let checked = quick_check(connection);
            connection.progress_handler(STEPS, None::<fn() -> bool>)?;
            checked
        })
        .await
    }
}

fn quick_check(connection: &Connection) -> rusqlite::Result<()> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(damaged(&found)) }
}

fn damaged(what: &str) -> rusqlite::Error {
    let told = format!(
        "{}; put a backup in its place with `tepui-api --config FILE restore BACKUP`",
        what.replace('\n', " ")
    );
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(told))
}
