//! Reading and copying sparse files: holes are hashed as zeros and never written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest as _, Sha256};
use tepui_types::Digest;

/// Read and hashed at once; large enough that the loop costs nothing beside the hashing.
const BLOCK: usize = 1 << 20;
/// Zeros shorter than this are written as data; a file-system block is the least that saves space.
const HOLE_GRAIN: usize = 4096;

/// SHA-256 of the first `length` bytes of `file`, holes included.
pub(crate) fn digest(file: &File, length: u64) -> io::Result<Digest> {
    let zeros = vec![0; BLOCK];
    let mut block = vec![0; BLOCK];
    let mut hasher = Sha256::new();
    let mut offset = 0;
    while offset < length {
        let (hole_end, data_end) = next_extent(file, offset, length)?;
        while offset < hole_end {
            let count = step(offset, hole_end);
            hasher.update(&zeros[..count]);
            offset += count as u64;
        }
        while offset < data_end {
            let count = step(offset, data_end);
            file.read_exact_at(&mut block[..count], offset)?;
            hasher.update(&block[..count]);
            offset += count as u64;
        }
    }
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

/// Copies the data of `source` into the empty file `target`, leaving runs of zeros as holes, and
/// returns the digest of what was written. Stops with `StorageFull` past `max_stored` bytes of data.
pub(crate) fn copy(source: &File, target: &File, length: u64, max_stored: u64) -> io::Result<Digest> {
    target.set_len(length)?;
    let zeros = vec![0; BLOCK];
    let mut block = vec![0; BLOCK];
    let mut hasher = Sha256::new();
    let mut stored = 0;
    let mut offset = 0;
    while offset < length {
        let (hole_end, data_end) = next_extent(source, offset, length)?;
        while offset < hole_end {
            let count = step(offset, hole_end);
            hasher.update(&zeros[..count]);
            offset += count as u64;
        }
        while offset < data_end {
            let count = step(offset, data_end);
            source.read_exact_at(&mut block[..count], offset)?;
            hasher.update(&block[..count]);
            stored += write_data(target, &block[..count], offset)?;
            if stored > max_stored {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            offset += count as u64;
        }
    }
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

fn write_data(target: &File, block: &[u8], offset: u64) -> io::Result<u64> {
    let mut stored = 0;
    for (index, grain) in block.chunks(HOLE_GRAIN).enumerate() {
        if grain.iter().all(|byte| *byte == 0) {
            continue;
        }
        target.write_all_at(grain, offset + (index * HOLE_GRAIN) as u64)?;
        stored += grain.len() as u64;
    }
    Ok(stored)
}

fn step(offset: u64, end: u64) -> usize {
    usize::try_from(end - offset).unwrap_or(BLOCK).min(BLOCK)
}

/// Where the hole at `offset` ends (`offset` itself when there is data) and where the data after
/// it ends.
fn next_extent(file: &File, offset: u64, length: u64) -> io::Result<(u64, u64)> {
    let at = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let data = match lseek(file, at, Whence::SeekData) {
        Ok(data) => u64::try_from(data).unwrap_or(length).min(length),
        Err(Errno::ENXIO) => return Ok((length, length)),
        // A file system without holes has one extent.
        Err(Errno::EINVAL) => return Ok((offset, length)),
        Err(error) => return Err(error.into()),
    };
    let after =
        lseek(file, i64::try_from(data).unwrap_or(i64::MAX), Whence::SeekHole).map_err(io::Error::from);
    let end = if data < length { u64::try_from(after?).unwrap_or(length).min(length) } else { length };
    Ok((data, end))
}
