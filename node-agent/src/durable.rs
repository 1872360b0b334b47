//! Files that are there whole or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a half-written file is called; such files mean nothing and are removed at the next start.
pub const HALF_WRITTEN: &str = ".tmp";

/// Replaces `path` by `content` with the given mode: written beside it, fsynced, renamed, and the
/// directory fsynced before this returns.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    stage(path, content, mode)?;
    fs::rename(half_written(path), path)?;
    sync_parent(path)
}

/// Replaces files of one directory as [`write`] does, in their order, for about the price of one: the
/// file system commits flushes that come together at once.
pub fn write_all(files: &[(PathBuf, Vec<u8>)], mode: u32) -> io::Result<()> {
    let Some(((first, content), rest)) = files.split_first() else { return Ok(()) };
    std::thread::scope(|scope| {
        let others = rest.iter().map(|(path, content)| scope.spawn(move || stage(path, content, mode)));
        let threads: Vec<_> = others.collect();
        let staged = stage(first, content, mode);
        let died = |_| Err(io::Error::other("a thread that writes a file panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(died)).fold(staged, Result::and)
    })?;
    for (path, _) in files {
        fs::rename(half_written(path), path)?;
    }
    sync_parent(first)
}

fn stage(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(half_written(path))?;
    file.write_all(content)?;
    file.sync_all()
}

fn half_written(path: &Path) -> PathBuf {
    path.with_added_extension("tmp")
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
    fn files_written_together_are_all_there_or_the_first_that_cannot_be_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| (dir.path().join(name), name.as_bytes().to_vec());
        write_all(&[file("a"), file("b"), file("c")], 0o600).unwrap();
        write_all(&[file("b")], 0o600).unwrap();
        write_all(&[], 0o600).unwrap();
        for name in ["a", "b", "c"] {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), name.as_bytes());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        write_all(&[file("d"), file("missing/e")], 0o600).unwrap_err();
        assert!(!dir.path().join("d").exists());
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
