//! `tepui-api backup FILE` and `tepui-api restore FILE`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tepui_db::DbError;
use tepui_db_sqlite::{BackupError, OpenError, Options, Replacement, SqliteDb};
use tepui_types::Epoch;
use tepui_types::failpoint::{self, Tripped};

use crate::admin;
use crate::config::Config;
use crate::files::{self, FileError};

/// Where a test may cut a restore off before [`tepui_db_sqlite::REPLACE_STEPS`].
pub const IS_PREPARED: &str = "server::restore::prepared";

/// Why a backup or a restore failed. What was there before is untouched, or a restore came so far that the
/// next start finishes it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The path must mean the same to a running server.
    #[error("{} must be an absolute path", path.display())]
    Relative {
        /// As given.
        path: PathBuf,
    },
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The running server could not be asked.
    #[error("cannot ask the running control plane")]
    Ask(#[source] io::Error),
    /// The running server could not make the backup.
    #[error("the running control plane says: {0}")]
    Refused(String),
    /// A database could not be opened; it is in use or damaged.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A backup that is damaged itself.
    #[error("{} cannot be put in the database's place", path.display())]
    Unfit {
        /// The backup.
        path: PathBuf,
        /// Why.
        source: DbError,
    },
    /// A database does not answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A test cut it off.
    #[error(transparent)]
    CutOff(#[from] Tripped),
}

/// Copies the database to `target`, also while a server uses it.
///
/// # Errors
/// See [`CopyError`].
pub async fn backup(config: &Config, target: &Path) -> Result<(), CopyError> {
    if !target.is_absolute() {
        return Err(CopyError::Relative { path: target.to_owned() });
    }
    let layout = config.layout();
    let asked = admin::request_backup(&layout.admin_socket(), target).await.map_err(CopyError::Ask)?;
    match asked {
        Some(answer) => answer.map_err(CopyError::Refused),
        None => {
            let path = layout.database();
            fs::metadata(&path).map_err(files::error("read", &path))?;
            let db = SqliteDb::open(&path, Options::default())?;
            db.check_pages(|| false).await?;
            Ok(db.backup(target)?)
        }
    }
}

/// Puts the backup `source` in the place of the database of a stopped server, in an epoch later than
/// both. Agents then tell what runs, and it is taken over. The database before it is kept beside it.
///
/// # Errors
/// See [`CopyError`].
pub async fn restore(config: &Config, source: &Path) -> Result<Epoch, CopyError> {
    let path = config.layout().database();
    let place = Replacement::begin(&path)?;
    let present = if path.exists() { place.epoch().unwrap_or(BEYOND) } else { Epoch::default() };
    let prepared = path.with_added_extension("restored");
    remove_old(&prepared)?;
    fs::copy(source, &prepared).map_err(files::error("copy", source))?;
    files::make_private(&prepared)?;
    let epoch = begin_epoch(source, &prepared, present).await?;
    failpoint::hit(IS_PREPARED)?;
    place.put(&prepared)?;
    Ok(epoch)
}

async fn begin_epoch(source: &Path, prepared: &Path, present: Epoch) -> Result<Epoch, CopyError> {
    // Damage is an answer here, not the end of the process.
    let options = Options { on_failure: Arc::new(|_| {}), ..Options::default() };
    let db = SqliteDb::open(prepared, options)?;
    let unfit = |error| CopyError::Unfit { path: source.to_owned(), source: error };
    db.check_pages(|| false).await.map_err(unfit)?;
    Ok(db.begin_epoch_after(present).await?)
}

/// More epochs than any database began: for one that is too damaged to tell its own.
const BEYOND: Epoch = Epoch(1 << 20);

/// What an earlier restore left behind.
fn remove_old(database: &Path) -> Result<(), FileError> {
    for extension in ["", "-wal", "-shm", ".lock"] {
        let path = with_suffix(database, extension);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(files::error("remove", &path)(source));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
