//! The file that makes a directory a dev cloud's, and whose lock says who works on it.
//!
//! `dev down` removes folders as root, so it must never take somebody's own directory for a cloud:
//! `dev up` takes only an empty directory or one of its own, and `dev down` only one of `up`'s.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::PathBuf;

use super::names::Names;
use crate::failure::{Failure, Result};

const NAME: &str = "tepui-dev.lock";

/// Makes an empty directory a cloud's, or finds that it is one, and locks it.
///
/// # Errors
/// When something else is in the directory, or another `tepui dev` works on it.
pub(super) fn ensure(names: &Names) -> Result<File> {
    if !path(names).exists() {
        refuse_foreign(names)?;
    }
    let opened = File::options().create(true).truncate(false).write(true).open(path(names));
    lock(names, opened.map_err(|e| Failure::io(path(names).display(), &e))?)
}

/// Locks the directory of a cloud.
///
/// # Errors
/// When the directory is not a cloud's, or another `tepui dev` works on it.
pub(super) fn existing(names: &Names) -> Result<File> {
    match File::options().write(true).open(path(names)) {
        Ok(file) => lock(names, file),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let dir = names.dir().display();
            Err(Failure::failed(format!("{dir} is not a dev cloud's directory; nothing was removed"))
                .why(format!("it has no file {NAME}, which 'tepui dev up' makes first")))
        }
        Err(e) => Err(Failure::io(path(names).display(), &e)),
    }
}

/// Gives the directory back.
pub(super) fn remove(names: &Names) -> Result<()> {
    fs::remove_file(path(names)).map_err(|e| Failure::io(path(names).display(), &e))
}

fn path(names: &Names) -> PathBuf {
    names.dir().join(NAME)
}

fn refuse_foreign(names: &Names) -> Result<()> {
    let dir = names.dir();
    let mut entries = fs::read_dir(dir).map_err(|e| Failure::io(dir.display(), &e))?;
    let Some(entry) = entries.next() else { return Ok(()) };
    let name = entry.map_err(|e| Failure::io(dir.display(), &e))?.file_name();
    Err(Failure::usage(format!("--dir {}: the directory is not empty and not a dev cloud's", dir.display()))
        .why(format!("it holds {}", name.display()))
        .try_("tepui dev up --dir /var/tmp/cloud"))
}

fn lock(names: &Names, file: File) -> Result<File> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::failed(format!("another 'tepui dev' works on {}", names.dir().display())))
        }
        Err(TryLockError::Error(e)) => Err(Failure::io(path(names).display(), &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebodys_own_directory_is_neither_taken_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("api")).unwrap();
        let names = Names::of(folder.path());
        assert!(ensure(&names).unwrap_err().message.contains("not empty"));
        assert!(existing(&names).unwrap_err().message.contains("not a dev cloud's directory"));
        assert!(folder.path().join("api").exists());
    }

    #[test]
    fn an_empty_directory_becomes_a_clouds_and_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names::of(folder.path());
        let held = ensure(&names).unwrap();
        assert!(existing(&names).unwrap_err().message.contains("another 'tepui dev'"));
        drop(held);
        fs::write(folder.path().join("env"), "").unwrap();
        drop(ensure(&names).unwrap());
        drop(existing(&names).unwrap());
        remove(&names).unwrap();
        existing(&names).unwrap_err();
    }
}
