//! Copies of files with holes between file systems.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::error::file;
use crate::shelf::{STAT_BLOCK, point};
use crate::{Pool, PoolError, reflink};

/// What is read and written at once.
const PIECE: usize = 1 << 20;
/// After so many bytes they are put on the disk: otherwise those of a whole image would wait in memory, where they
/// hold up the writes of others, and no word could end the copy while they are put there at last.
pub(crate) const STRIDE: u64 = 64 << 20;

/// A copy under way, as seen from outside of it.
#[derive(Debug, Default)]
pub struct Copying {
    done: AtomicU64,
    given_up: AtomicBool,
}

impl Copying {
    /// How many bytes are copied, holes included.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the copy before its next stride.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for the copy any more.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(crate) fn at(&self, offset: u64) -> Result<(), PoolError> {
        self.done.store(offset, Ordering::Relaxed);
        if self.is_given_up() { Err(PoolError::Stopped) } else { Ok(()) }
    }
}

impl Pool {
    /// Fills a new file with the first `bytes` of another one, which nobody writes: by a clone, or byte by byte where
    /// they are on two file systems. What is a hole there is one here.
    ///
    /// # Errors
    /// A pool that is full or would become so, `Stopped`.
    pub(crate) fn fill(
        &self,
        operation: &'static str,
        from: (&File, &Path),
        to: (&File, &Path),
        (bytes, copying): (u64, &Copying),
    ) -> Result<(), PoolError> {
        if reflink::try_clone(from.0, to.0).map_err(file(to.1))? {
            return Ok(());
        }
        let allocated = from.0.metadata().map_err(file(from.1))?.blocks() * STAT_BLOCK;
        // Else it would begin again and again, and fill the pool each time.
        self.require_room_for(allocated)?;
        copying.at(0)?;
        copy(from, to, bytes, |done| {
            copying.at(done)?;
            self.require_room()?;
            point(operation, "piece")
        })
    }
}

/// `between` is asked after each stride, when it is on the disk, and after the last, with how many bytes are copied.
fn copy(
    (from, from_path): (&File, &Path),
    (to, to_path): (&File, &Path),
    bytes: u64,
    mut between: impl FnMut(u64) -> Result<(), PoolError>,
) -> Result<(), PoolError> {
    to.set_len(bytes).map_err(file(to_path))?;
    let mut piece = vec![0; PIECE];
    let (mut place, mut waiting) = (0, 0);
    while let Some(data) = data_from(from, place).map_err(file(from_path))? {
        let end = data.end.min(bytes);
        place = data.start;
        while place < end {
            let most = usize::try_from(end - place).unwrap_or(PIECE).min(PIECE);
            let piece = piece.get_mut(..most).unwrap_or_default();
            from.read_exact_at(piece, place).map_err(file(from_path))?;
            to.write_all_at(piece, place).map_err(file(to_path))?;
            place += piece.len() as u64;
            waiting += piece.len() as u64;
            if waiting >= STRIDE {
                to.sync_data().map_err(file(to_path))?;
                waiting = 0;
                between(place)?;
            }
        }
        if place >= bytes {
            break;
        }
    }
    to.sync_data().map_err(file(to_path))?;
    between(bytes)
}

/// The next bytes at or behind `place` that are no hole.
pub(crate) fn data_from(file: &File, place: u64) -> io::Result<Option<Range<u64>>> {
    let start = match seek(file, SeekFrom::Data(place)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(start..seek(file, SeekFrom::Hole(start))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(content: &[(u64, &[u8])], bytes: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        for (offset, content) in content {
            file.write_all_at(content, *offset).unwrap();
        }
        file
    }

    fn content(file: &File) -> Vec<u8> {
        let mut content = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut content, 0).unwrap();
        content
    }

    #[test]
    fn bytes_are_copied_and_holes_stay_holes_at_any_length() {
        let long = vec![7; (2 << 20) + 13];
        for (pieces, bytes) in [
            (vec![], 0),
            (vec![], 4097),
            (vec![(0, &long[..])], long.len() as u64),
            (vec![(0, &[1; 1][..]), (8 << 20, &long)], (16 << 20) + 1),
            (vec![(4096, &[2; 5000])], 9096),
        ] {
            let (from, to) = (filled(&pieces, bytes), tempfile::tempfile().unwrap());
            let copying = Copying::default();
            let (source, copied) = (Path::new("source"), Path::new("copy"));
            copy((&from, source), (&to, copied), bytes, |done| copying.at(done)).unwrap();
            assert!(content(&to) == content(&from), "{bytes}");
            assert!(to.metadata().unwrap().blocks() <= from.metadata().unwrap().blocks() + 16, "{bytes}");
            assert_eq!(copying.done(), bytes);
        }
    }

    #[test]
    fn a_copy_that_is_given_up_ends() {
        let (from, to) = (filled(&[(0, &[7; 4096])], 4096), tempfile::tempfile().unwrap());
        let copying = Copying::default();
        copying.give_up();
        let (source, copied) = (Path::new("source"), Path::new("copy"));
        let error = copy((&from, source), (&to, copied), 4096, |done| copying.at(done)).unwrap_err();
        assert!(matches!(error, PoolError::Stopped), "{error}");
    }
}
