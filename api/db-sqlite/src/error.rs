//! Failures of the engine.

use std::path::{Path, PathBuf};

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
    /// What the files hold is not what was written to them.
    #[error(
        "{path}: the database is damaged ({what}); put a backup in its place with \
         `tepui-api --config FILE restore BACKUP`"
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found first.
        what: String,
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

impl OpenError {
    /// What SQLite said while it opened `path`.
    pub(crate) fn of_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        match db_error(&source) {
            DbError::Damaged(_) => Self::Damaged { path: path.into(), what: source.to_string() },
            DbError::Busy | DbError::Full | DbError::Unavailable(_) | DbError::Bug(_) => {
                Self::Sqlite { path: path.into(), source }
            }
        }
    }

    /// What a migration of `path` failed for.
    pub(crate) fn of_migration(path: &Path, source: refinery::Error) -> Self {
        let mut cause: Option<&dyn std::error::Error> = Some(&source);
        while let Some(error) = cause {
            let found = error.downcast_ref().map(db_error);
            if let Some(DbError::Damaged(what)) = found {
                return Self::Damaged { path: path.into(), what };
            }
            cause = error.source();
        }
        Self::Migration { path: path.into(), source: Box::new(source) }
    }
}

/// Sorts an error of SQLite into the contract's kinds.
pub(crate) fn db_error(error: &rusqlite::Error) -> DbError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DbError::Busy,
        Some(ErrorCode::DiskFull) => DbError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => DbError::Damaged(error.to_string()),
        Some(
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::OutOfMemory,
        ) => DbError::Unavailable(error.to_string()),
        Some(_) | None => DbError::Bug(error.to_string()),
    }
}
