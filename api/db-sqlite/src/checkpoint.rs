//! Folds the log into the database. SQLite does it by itself after a commit, but says nothing of a
//! device that failed it: the next fsync would then be a second try. Here it fails the commit that it
//! follows, and the process ends.

use std::ffi::c_int;

use rusqlite::hooks::{CheckpointMode, Wal};
use rusqlite::{Connection, ErrorCode};

/// Pages of the log from which on it is folded in. With SQLite's own 1,000, which are 4 MiB, most of a
/// commit under load was copying pages into the file. A log of 32 MiB is read in a fraction of a second
/// when a killed process starts again.
const PAGES: c_int = 8192;

/// Has this connection's commits followed by checkpoints.
pub(crate) fn watch(connection: &Connection) {
    connection.wal_hook(Some(after_commit));
}

/// Folds in whatever the last process left, and begins the log anew: what a power cut tore off its end
/// must not lie behind this process's commits.
pub(crate) fn take_over(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn after_commit(wal: &Wal, pages: c_int) -> rusqlite::Result<()> {
    if pages < PAGES {
        return Ok(());
    }
    // Passive: it waits for nobody, and leaves what a reader still needs. Where a lock or a full disk
    // is in its way, the log holds everything until the next one.
    match wal.checkpoint_v2(CheckpointMode::PASSIVE) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
