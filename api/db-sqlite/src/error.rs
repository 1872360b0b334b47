//! Failures of the engine.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use tepui_db::DbError;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path names no file in an existing directory.
    #[error("{path}: not a usable path for a database")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite's locks and its shared memory do not work between machines.
    #[error("{path}: the database must be on a local disk, this is {file_system}")]
    NetworkFileSystem {
        /// The directory.
        path: PathBuf,
        /// The kind of file system.
        file_system: &'static str,
    },
    /// Another process, or another opening in this one, has the database open.
    #[error("{path}: another tepui-api has this database open")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// SQLite refused the file.
    #[error("{path}: cannot open the database")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The schema could not be brought up to date; it may be newer than this program.
    #[error("{path}: cannot bring the database's schema up to date")]
    Migration {
        /// The database.
        path: PathBuf,
        /// Why.
        source: Box<refinery::Error>,
    },
    /// The writer's thread could not be started.
    #[error("cannot start the database's writer thread")]
    Thread(#[source] std::io::Error),
}

/// Sorts an error of SQLite into the contract's three.
pub(crate) fn db_error(error: &rusqlite::Error) -> DbError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DbError::Busy,
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory,
        ) => DbError::Unavailable(error.to_string()),
        Some(_) | None => DbError::Bug(error.to_string()),
    }
}
