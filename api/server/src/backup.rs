//! `tepui-api backup FILE` and `tepui-api restore FILE`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tepui_db::{DbError, IdentityDb};
use tepui_db_sqlite::{BackupError, OpenError, Options, SqliteDb};
use tepui_types::Epoch;
use tepui_types::failpoint::{self, Tripped};

use crate::admin;
use crate::config::Config;
use crate::files::{self, FileError};

/// The points between the durable steps of a restore, where a test may cut it off.
pub const RESTORE_STEPS: [&str; 3] =
    ["server::restore::aside", "server::restore::prepared", "server::restore::placed"];

/// Why a backup or a restore failed. What was there before is untouched.
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
            Ok(SqliteDb::open(&path, Options::default())?.backup(target)?)
        }
    }
}

/// Puts the backup `source` in the place of the database of a stopped server, in an epoch later than
/// both. Agents then tell what runs, and it is taken over. A damaged database is kept beside it.
///
/// # Errors
/// See [`CopyError`].
pub async fn restore(config: &Config, source: &Path) -> Result<Epoch, CopyError> {
    let path = config.layout().database();
    let [is_aside, is_prepared, is_placed] = RESTORE_STEPS;
    let present = present_epoch(&path).await?;
    failpoint::hit(is_aside)?;
    let prepared = path.with_added_extension("restored");
    remove_old(&prepared)?;
    fs::copy(source, &prepared).map_err(files::error("copy", source))?;
    files::make_private(&prepared)?;
    let epoch = SqliteDb::open(&prepared, Options::default())?.begin_epoch_after(present).await?;
    failpoint::hit(is_prepared)?;
    let put_in_place = || -> io::Result<()> {
        File::open(&prepared)?.sync_all()?;
        fs::rename(&prepared, &path)?;
        File::open(config.layout().root())?.sync_all()
    };
    put_in_place().map_err(files::error("replace", &path))?;
    failpoint::hit(is_placed)?;
    Ok(epoch)
}

/// More epochs than any database began: for one that is too damaged to tell its own.
const BEYOND: Epoch = Epoch(1 << 20);

/// The epoch of the database that is there. Opening it takes its lock, so that a running server is
/// noticed, and closing it folds its log in, which would otherwise be taken for the new file's.
async fn present_epoch(path: &Path) -> Result<Epoch, CopyError> {
    if !path.exists() {
        return Ok(Epoch::default());
    }
    match SqliteDb::open(path, Options::default()) {
        Ok(db) => Ok(db.epoch().await?),
        Err(OpenError::Damaged { .. }) => {
            let epoch = SqliteDb::salvaged_epoch(path).unwrap_or(BEYOND);
            put_aside(path).map_err(files::error("put aside", path))?;
            Ok(epoch)
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps a damaged database for whoever wants to look at it. Its log and index leave their place, the
/// database stays in its own until the restored one takes it.
fn put_aside(path: &Path) -> io::Result<()> {
    let kept = path.with_added_extension("damaged");
    remove_old(&kept).map_err(|error| error.source)?;
    fs::hard_link(path, &kept)?;
    for extension in ["-wal", "-shm"] {
        match fs::rename(with_suffix(path, extension), with_suffix(&kept, extension)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

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
