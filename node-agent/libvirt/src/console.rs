//! Keeps console logs small.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Once the log at `path` is larger than `limit` bytes, copies it to `<path>.1`, in place of the
/// copy before, and empties it; says whether it did. A missing log is nothing to do.
///
/// QEMU appends to the file it has open, so the file must stay the same one. What a guest writes
/// between copying and emptying is lost; a console is no journal.
pub fn rotate_console(path: &Path, limit: u64) -> io::Result<bool> {
    let log = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if log.metadata()?.len() <= limit {
        return Ok(false);
    }
    keep_copy(&log, &with_suffix(path, ".1"))?;
    log.set_len(0)?;
    Ok(true)
}

fn keep_copy(log: &File, copy: &Path) -> io::Result<()> {
    let partial = with_suffix(copy, ".partial");
    // As the log itself: a console shows passwords and host keys.
    let mut into = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    io::copy(&mut &*log, &mut into)?;
    fs::rename(&partial, copy)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_writer_that_appends_goes_on_in_the_emptied_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        assert!(!rotate_console(&path, 4).unwrap());
        let mut guest = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        guest.write_all(b"old words").unwrap();
        assert!(!rotate_console(&path, 9).unwrap());
        assert!(rotate_console(&path, 8).unwrap());
        guest.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let copy = dir.path().join("console.log.1");
        assert_eq!(fs::read(&copy).unwrap(), b"old words");
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
