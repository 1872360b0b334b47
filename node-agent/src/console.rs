//! The logs of the guests' serial consoles.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tepui_types::PlacementId;

use crate::durable;

/// What EC2's `GetConsoleOutput` shows: the last 64 KiB.
pub const TAIL_BYTES: u64 = 64 << 10;
/// A log is turned over at this size, so that a chatty guest cannot fill the host's disk.
pub const LONGEST_LOG: u64 = 4 << 20;

/// The log's name in the directory of consoles.
pub fn file_name(id: PlacementId) -> String {
    format!("{id}.log")
}

fn turned_over(path: &Path) -> PathBuf {
    path.with_added_extension("1")
}

/// The end of a log, with what was turned over just before; empty when the guest never ran.
pub fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = tail_of(path, TAIL_BYTES)?;
    let missing = TAIL_BYTES.saturating_sub(text.len() as u64);
    if missing > 0 {
        let mut older = tail_of(&turned_over(path), missing)?;
        older.append(&mut text);
        text = older;
    }
    Ok(text)
}

fn tail_of(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text)?;
    Ok(text)
}

/// Removes a log for good.
pub fn remove(path: &Path) -> io::Result<()> {
    durable::remove(path)?;
    durable::remove(&turned_over(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_at_most_64_kib_and_reaches_over_a_turned_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.log");
        assert_eq!(tail(&path).unwrap(), b"");
        std::fs::write(turned_over(&path), vec![b'o'; 70 << 10]).unwrap();
        std::fs::write(&path, b"new").unwrap();
        let text = tail(&path).unwrap();
        assert_eq!(text.len() as u64, TAIL_BYTES);
        assert!(text.starts_with(b"o") && text.ends_with(b"new"));
        remove(&path).unwrap();
        assert_eq!(tail(&path).unwrap(), b"");
    }
}
