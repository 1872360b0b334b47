//! `tepui-api backup FILE` and `tepui-api restore FILE`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tepui_db::{DbError, IdentityDb};
use tepui_db_sqlite::{BackupError, OpenError, Options, SqliteDb};
use tepui_types::Epoch;

use crate::admin;
use crate::config::Config;
use crate::files::{self, FileError};

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
/// both. Agents then tell what runs, and it is taken over.
///
/// # Errors
/// See [`CopyError`].
pub async fn restore(config: &Config, source: &Path) -> Result<Epoch, CopyError> {
    let path = config.layout().database();
    let present = epoch_of_stopped(&path).await?;
    let prepared = path.with_added_extension("restored");
    remove_old(&prepared)?;
    fs::copy(source, &prepared).map_err(files::error("copy", source))?;
    files::make_private(&prepared)?;
    let epoch = begin_epoch_after(&prepared, present).await?;
    let put_in_place = || -> io::Result<()> {
        File::open(&prepared)?.sync_all()?;
        fs::rename(&prepared, &path)?;
        File::open(config.layout().root())?.sync_all()
    };
    put_in_place().map_err(files::error("replace", &path))?;
    Ok(epoch)
}

/// The epoch of the database that is there. Opening it takes its lock, so that a running server is
/// noticed, and closing it folds its log in, which would otherwise be taken for the new file's.
async fn epoch_of_stopped(path: &Path) -> Result<Epoch, CopyError> {
    if !path.exists() {
        return Ok(Epoch::default());
    }
    Ok(SqliteDb::open(path, Options::default())?.epoch().await?)
}

async fn begin_epoch_after(path: &Path, present: Epoch) -> Result<Epoch, CopyError> {
    let db = SqliteDb::open(path, Options::default())?;
    loop {
        let epoch = db.begin_epoch().await?;
        if epoch > present {
            return Ok(epoch);
        }
    }
}

/// What a restore that was cut off left behind.
fn remove_old(prepared: &Path) -> Result<(), FileError> {
    for extension in ["", "-wal", "-shm", ".lock"] {
        let path = PathBuf::from(format!("{}{extension}", prepared.display()));
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(files::error("remove", &path)(source));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
