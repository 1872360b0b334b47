//! Backup while the database is in use, and the new epoch after a restore.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};
use tepui_db::DbError;
use tepui_types::Epoch;

use crate::{SqliteDb, volume_move};

/// Pages copied between two looks at the source; SQLite restarts the copy when another process
/// wrote, but follows writes of its own.
const PAGES_PER_STEP: i32 = 1024;

/// Why a backup could not be made. The file that was there before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// SQLite could not copy.
    #[error("{path}: cannot copy the database")]
    Sqlite {
        /// The temporary file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The copy could not be made durable.
    #[error("{path}: cannot store the copy")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl SqliteDb {
    /// Copies the database to `target` while it is in use: to a temporary file beside it, which is
    /// fsynced and renamed. Blocks: run it off the async threads.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn backup(&self, target: &Path) -> Result<(), BackupError> {
        let partial = target.with_added_extension("partial");
        let _ = fs::remove_file(&partial);
        copy(&self.path, &partial).map_err(|source| BackupError::Sqlite { path: partial.clone(), source })?;
        store(&partial, target).map_err(|source| BackupError::Io { path: target.into(), source })
    }

    /// Begins an epoch later than this database's and than `present`, and returns it. To be called once
    /// on a restored backup, before any agent is answered: its generations are older than those the
    /// agents have seen. Warnings of ends of volumes begin anew: since the backup their owners may have put them off.
    /// No volume leaves its pool until that is asked for again: since the backup a guest may have got it.
    ///
    /// # Errors
    /// As every writing verb.
    pub async fn begin_epoch_after(&self, present: Epoch) -> Result<Epoch, DbError> {
        let present = i64::try_from(present.0).unwrap_or(i64::MAX - 1);
        self.write(move |connection| {
            connection.execute("UPDATE volume_end SET warned_seconds = NULL", [])?;
            volume_move::stop_all(connection)?;
            let sql = "UPDATE meta SET epoch = max(epoch, ?1) + 1 RETURNING epoch";
            Ok(connection.query_row(sql, [present], epoch)?)
        })
        .await
    }
}

pub(crate) fn epoch(row: &rusqlite::Row<'_>) -> rusqlite::Result<Epoch> {
    Ok(Epoch(row.get::<_, i64>(0)?.unsigned_abs()))
}

fn copy(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // One snapshot for the whole copy: writers go on, and the copy never has to begin again.
    let snapshot = source.unchecked_transaction()?;
    snapshot.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    let mut target = Connection::open(to)?;
    Backup::new(&snapshot, &mut target)?.run_to_completion(PAGES_PER_STEP, Duration::ZERO, None)
}

fn store(partial: &Path, target: &Path) -> std::io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, target)?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
