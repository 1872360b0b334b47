//! One process a database.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::OpenError;

/// Held while the database is open. The kernel releases it when the process dies, so none is ever
/// left behind. It is a file of its own: closing a second handle of the database file would drop
/// SQLite's own locks on it.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `database` or says that another has it.
    pub(crate) fn take(database: &Path) -> Result<Self, OpenError> {
        let path = database.with_added_extension("lock");
        let unusable = |source| OpenError::Path { path: path.clone(), source };
        let file = File::options().create(true).write(true).truncate(false).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(OpenError::Path { path, source }),
        }
    }
}
