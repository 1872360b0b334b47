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
/// must not lie behind this process's commits. Where another process reads from the log, it is waited
/// for as long as for any lock, and what it left stays.
pub(crate) fn take_over(connection: &Connection) -> rusqlite::Result<()> {
    if is_busy(connection)? {
        tracing::warn!("another process reads the database: its log is not begun anew");
    }
    Ok(())
}

fn is_busy(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_in_the_way_of_a_new_log_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Connection::open(folder.path().join("db")).unwrap();
        let (writer, reader) = (open(), open());
        writer.busy_timeout(std::time::Duration::ZERO).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n);").unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t;").unwrap();
        writer.execute_batch("INSERT INTO t VALUES (1);").unwrap();
        assert!(is_busy(&writer).unwrap());
        take_over(&writer).unwrap();
        reader.execute_batch("COMMIT;").unwrap();
        assert!(!is_busy(&writer).unwrap());
    }
}
