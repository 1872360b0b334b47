//! The pool of read-only connections.
//!
//! Forty lines instead of a pool crate, because those open every connection for writing and close
//! them on a background task, so that a closed database may still be in use for a moment.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tepui_db::DbError;
use tokio::sync::Semaphore;

use crate::error::db_error;
use crate::open::{OnFailure, Options, STATEMENT_CACHE, keep_plans};

/// Holds the instances of a large project. SQLite's own 2 MiB do not, so that each listing would read
/// them from the file again; and every commit empties a reader's cache, after which the mapping
/// spares it the copies. Each reader's mapping counts as resident memory: 256 MiB for each made the
/// process 114 MiB larger with 100,000 instances, and no reading faster.
const CACHE: &str = "PRAGMA cache_size = -16384; PRAGMA mmap_size = 67108864;";

/// Read-only connections to one database.
pub(crate) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    on_failure: OnFailure,
}

impl Readers {
    /// Opens them all, so that no read fails later for want of a file handle.
    pub(crate) fn open(path: &Path, options: &Options) -> rusqlite::Result<Self> {
        let connections: Vec<_> =
            (0..options.readers.max(1)).map(|_| connect(path, options)).collect::<Result<_, _>>()?;
        let permits = Arc::new(Semaphore::new(connections.len()));
        let on_failure = Arc::clone(&options.on_failure);
        Ok(Self { idle: Arc::new(Mutex::new(connections)), permits, on_failure })
    }

    /// Runs `verb` on one snapshot of the database, off the async threads.
    pub(crate) async fn read<T, F>(&self, verb: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| closed())?;
        let idle = Arc::clone(&self.idle);
        let answer = tokio::task::spawn_blocking(move || {
            let connection = lock(&idle).pop().ok_or_else(closed)?;
            let answer = on_snapshot(&connection, verb);
            lock(&idle).push(connection);
            drop(permit);
            answer.map_err(|error| db_error(&error))
        });
        let answer = answer.await.unwrap_or_else(|error| Err(DbError::Bug(error.to_string())));
        if let Err(error @ DbError::Damaged(_)) = &answer {
            (self.on_failure)(&error.to_string());
        }
        answer
    }
}

fn connect(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.execute_batch(CACHE)?;
    keep_plans(&connection)?;
    Ok(connection)
}

fn on_snapshot<T>(
    connection: &Connection,
    verb: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let answer = verb(&transaction)?;
    transaction.finish()?;
    Ok(answer)
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> DbError {
    DbError::Unavailable("the database is closed".into())
}
