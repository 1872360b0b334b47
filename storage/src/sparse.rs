//! Copies of a file's data from one file system to another; its holes stay holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Bytes in memory at once.
const PIECE: usize = 1 << 20;
/// Bytes that may wait for the disk: without a bound a copy would fill the host's memory with them, and then every
/// guest's write would wait for all of them.
const STRIDE: u64 = 64 << 20;

/// Copies the data of `from`, which nobody writes, into `to`, which is empty. `between` is asked before each stride,
/// and after the last.
pub(crate) fn copy<E>(
    from: &File,
    to: &File,
    failed: impl Fn(io::Error) -> E,
    mut between: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    to.set_len(from.metadata().map_err(&failed)?.len()).map_err(&failed)?;
    let mut piece = vec![0; PIECE];
    let mut place = 0;
    while let Some(data) = data_from(from, place).map_err(&failed)? {
        between()?;
        let stride = data.start..data.end.min(data.start.saturating_add(STRIDE));
        place = stride.end;
        copy_range(from, to, stride, &mut piece).map_err(&failed)?;
        to.sync_data().map_err(&failed)?;
    }
    between()
}

/// The next bytes at or behind `place` that are no hole.
fn data_from(file: &File, place: u64) -> io::Result<Option<Range<u64>>> {
    let start = match seek(file, SeekFrom::Data(place)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(start..seek(file, SeekFrom::Hole(start))?))
}

fn copy_range(from: &File, to: &File, mut range: Range<u64>, piece: &mut [u8]) -> io::Result<()> {
    while range.start < range.end {
        let most = usize::try_from(range.end - range.start).unwrap_or(PIECE).min(PIECE);
        let read = from.read_at(&mut piece[..most], range.start)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all_at(&piece[..read], range.start)?;
        range.start += read as u64;
    }
    Ok(())
}
