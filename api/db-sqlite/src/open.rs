//! Opening a database.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tepui_db::DbError;

use crate::SqliteDb;
use crate::error::{OpenError, db_error};
use crate::filesystem::require_local;
use crate::lock::Lock;
use crate::node_loads::{NodeLoads, NodeWatch};
use crate::readers::Readers;
use crate::writer::Writer;
use crate::{checkpoint, damage, replace};

/// More than the statements of all verbs, so that none is prepared twice.
pub(crate) const STATEMENT_CACHE: usize = 256;

/// Ids are random, so that a launch touches a page of its own in each of seven indexes. With SQLite's
/// own 2 MiB of cache most of a commit under load was reading these pages again.
const ROOM: &str = "PRAGMA cache_size = -32768;";

/// Called with the reason when the process must end.
pub(crate) type OnFailure = Arc<dyn Fn(&str) + Send + Sync>;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// How to run a database.
#[derive(Clone)]
pub struct Options {
    /// Read-only connections.
    pub readers: usize,
    /// Verbs that may wait for the writer before it answers `Busy`.
    pub queue: usize,
    /// Verbs that may share one commit.
    pub group: usize,
    /// How long to wait for another process's lock, for example a copying tool's.
    pub busy_timeout: Duration,
    /// Called when a commit failed. It must end the process: after a failed fsync the kernel may have
    /// dropped the written pages, so a second try would succeed and lose them.
    pub on_failure: OnFailure,
}

impl Default for Options {
    /// Four readers, 1,024 waiting verbs, 256 a commit, five seconds; a failure ends the process with
    /// status 70 (`EX_SOFTWARE`).
    fn default() -> Self {
        Self {
            readers: 4,
            queue: 1024,
            group: 256,
            busy_timeout: Duration::from_secs(5),
            on_failure: Arc::new(|reason| {
                tracing::error!(reason, "the database failed, the process ends");
                std::process::exit(70)
            }),
        }
    }
}

impl Options {
    /// The same, with the database's name before each reason to end.
    fn naming(self, path: &Path) -> Self {
        let (name, on_failure) = (path.display().to_string(), self.on_failure);
        Self { on_failure: Arc::new(move |reason| on_failure(&format!("{name}: {reason}"))), ..self }
    }
}

impl SqliteDb {
    /// Opens the database at `path`, creating or migrating it as needed, after a look at the log. What it
    /// takes does not grow with the database; [`SqliteDb::check_pages`] does.
    ///
    /// # Errors
    /// See [`OpenError`]. A database that is refused is left as it was.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let path = resolve(path)?;
        require_local(path.parent().unwrap_or(Path::new("/")))?;
        let lock = Lock::take(&path)?;
        let unusable = |source| OpenError::Path { path: path.clone(), source };
        replace::finish(&path).map_err(unusable)?;
        let options = options.naming(&path);
        let sqlite = |source| OpenError::of_sqlite(&path, source);
        damage::check_log(&path)?;
        let mut connection = connect(&path, &options).map_err(sqlite)?;
        migrate(&mut connection).map_err(|source| OpenError::of_migration(&path, source))?;
        if_room(connection.execute_batch("PRAGMA optimize = 0x10002")).map_err(sqlite)?;
        if_room(checkpoint::take_over(&connection)).map_err(sqlite)?;
        let readers = Readers::open(&path, &options).map_err(sqlite)?;
        sync_folder_of(&path).map_err(unusable)?;
        let loads: Arc<NodeLoads> = Arc::default();
        let watch = NodeWatch::of(&connection, Arc::clone(&loads)).map_err(sqlite)?;
        let writer = Writer::start(connection, watch, lock, &options).map_err(OpenError::Thread)?;
        Ok(Self { path, listings: Arc::default(), loads, readers, writer })
    }
}

/// The real path, so that two names of one database are one lock.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let unusable = |source| OpenError::Path { path: path.into(), source };
    if path.is_dir() {
        return Err(unusable(std::io::ErrorKind::IsADirectory.into()));
    }
    if path.exists() {
        return path.canonicalize().map_err(unusable);
    }
    let name = path.file_name().ok_or_else(|| unusable(std::io::ErrorKind::InvalidInput.into()))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(parent.canonicalize().map_err(unusable)?.join(name))
}

/// Makes sure of the log's name: SQLite ignores a failure of this.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn connect(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;",
    )?;
    connection.execute_batch(ROOM)?;
    checkpoint::watch(&connection);
    keep_plans(&connection)?;
    Ok(connection)
}

/// With statistics of columns SQLite looks at the values that a statement is given, and prepares it
/// anew when they changed: each time. Our plans are the same for all values.
pub(crate) fn keep_plans(connection: &Connection) -> rusqlite::Result<bool> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
}

/// A full disk puts off what need not be done now.
fn if_room(outcome: rusqlite::Result<()>) -> rusqlite::Result<()> {
    match outcome {
        Err(error) if matches!(db_error(&error), DbError::Full) => {
            tracing::warn!("the database's disk is full: changes are refused until there is room");
            Ok(())
        }
        other => other,
    }
}

/// Forward only: a schema that this program does not know is refused.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), refinery::Error> {
    embedded::migrations::runner().set_abort_missing(true).run(connection)?;
    Ok(())
}

#[cfg(test)]
mod tests;
