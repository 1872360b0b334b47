//! Small files that are either whole or not there.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Only the owner reads: keys.
pub(crate) const SECRET: u32 = 0o600;
/// Everybody reads: certificates.
pub(crate) const PUBLIC: u32 = 0o644;

/// A file or folder under `data_dir` could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

pub(crate) fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}

/// Writes a file whole: a crash leaves the old content or the new, never a part.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.as_file().set_permissions(Permissions::from_mode(mode))?;
        temporary.write_all(content)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(error("write", path))
}

/// A file's text, or `None` when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(error("read", path)(source)),
    }
}

/// A folder that only the owner enters.
pub(crate) fn private_folder(path: &Path) -> Result<(), FileError> {
    folder(path, 0o700)
}

/// A folder through which others reach what they know the name of.
pub(crate) fn passable_folder(path: &Path) -> Result<(), FileError> {
    folder(path, 0o711)
}

fn folder(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(error("create", path))
}

/// Closes a file to others; makes an empty one where it is missing. SQLite gives its logs the mode of
/// the database.
pub(crate) fn make_private(path: &Path) -> Result<(), FileError> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|file| file.set_permissions(Permissions::from_mode(SECRET)))
        .map_err(error("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_others_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(read(&path).unwrap(), None);
        write(&path, b"one", SECRET).unwrap();
        write(&path, b"two", SECRET).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
