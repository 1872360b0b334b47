//! Files that are there whole or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What a half-written file is called; such files mean nothing and are removed at the next start.
pub const HALF_WRITTEN: &str = ".tmp";

/// Replaces `path` by `content` with the given mode: written beside it, fsynced, renamed, and the
/// directory fsynced before this returns.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let half_written = path.with_added_extension("tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&half_written)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&half_written, path)?;
    sync_parent(path)
}

/// Removes `path` for good. A missing file is a success.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the names in the directory of `path` durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_stays_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn removing_twice_is_a_success() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone");
        write(&path, b"", 0o600).unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
