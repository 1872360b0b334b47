//! Tests of snapshots: each is restored as for a volume that is made of it, and what came of that is read to its end.

use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};
use tepui_types::{Digest, SnapshotId};

use crate::error::file;
use crate::shelf::{HalfMade, point};
use crate::sparse::data_from;
use crate::volume::{MODE, restore};
use crate::{Copying, Pool, PoolError};

/// What is read at once.
const PIECE: usize = 1 << 20;
/// What counts as written or as zeros is decided for so many bytes: no file system of a pool has smaller holes.
const GRAIN: usize = 4096;
/// The first bytes that are digested, so that no other digest is taken for one of this form.
const FORM: &[u8] = b"tepui content of a disk, 1\n";
/// A disk that hangs for longer than this is not made better by a longer rest.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A snapshot that was restored for nothing but a test. Its file goes with this value.
pub struct Restored {
    made: HalfMade,
    bytes: u64,
}

impl Pool {
    /// Restores a snapshot as [`Pool::clone_volume`] does, where nothing but its test finds it. It shares all that it holds
    /// with the snapshot, so that a full pool has room for it.
    ///
    /// # Errors
    /// No such snapshot, or it cannot be restored.
    pub fn restore_for_test(&self, of: SnapshotId) -> Result<Restored, PoolError> {
        let source = self.open_snapshot(of)?;
        let found = self.snapshot(of)?.ok_or(PoolError::NoSnapshot(of))?;
        let made = self.begin(MODE)?;
        restore(&source, (&made.disk, &made.path), found.bytes)?;
        point("test", "restored")?;
        Ok(Restored { made, bytes: found.bytes })
    }
}

impl Restored {
    /// Reads every byte that is no hole, from the disk and not from memory: the new file has nothing there yet. It reads for
    /// half of the time at most, so that guests have the disk for the other half, and leaves nothing in memory that
    /// would be in the way of what they read. The digest depends on size and content, and not on where holes lie.
    ///
    /// # Errors
    /// What cannot be read, `Stopped`.
    pub fn digest(&self, copying: &Copying) -> Result<Digest, PoolError> {
        let HalfMade { path, disk, folder: _ } = &self.made;
        let mut content = ContentDigest::new(self.bytes);
        let mut piece = vec![0; PIECE];
        let mut place = 0;
        while let Some(data) = data_from(disk, place).map_err(file(path))? {
            let end = data.end.next_multiple_of(GRAIN as u64).min(self.bytes);
            place = place.max(data.start - data.start % GRAIN as u64);
            while place < end {
                copying.at(place)?;
                let begun = Instant::now();
                let most = usize::try_from(end - place).unwrap_or(PIECE).min(PIECE);
                let piece = piece.get_mut(..most).unwrap_or_default();
                disk.read_exact_at(piece, place).map_err(file(path))?;
                content.add(place, piece);
                let read = NonZeroU64::new(piece.len() as u64);
                // Advice: where it is not taken nothing but memory is lost.
                let _ = fadvise(disk, place, read, Advice::DontNeed);
                place += piece.len() as u64;
                point("test", "piece")?;
                thread::sleep(begun.elapsed().min(LONGEST_REST));
            }
            if place >= self.bytes {
                break;
            }
        }
        copying.at(self.bytes)?;
        Ok(content.end())
    }
}

/// The digest of a disk: of its size, and of every block that is not all zeros with its place.
struct ContentDigest(Sha256);

impl ContentDigest {
    fn new(bytes: u64) -> Self {
        Self(Sha256::new().chain_update(FORM).chain_update(bytes.to_le_bytes()))
    }

    /// `place` is a multiple of the grain; what is left out is zeros.
    fn add(&mut self, place: u64, piece: &[u8]) {
        for (number, block) in (0..).zip(piece.chunks(GRAIN)) {
            if block.iter().any(|byte| *byte != 0) {
                let at = place + number * GRAIN as u64;
                self.0.update(at.to_le_bytes());
                self.0.update(block);
            }
        }
    }

    fn end(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: u64, pieces: &[(u64, &[u8])]) -> Digest {
        let mut content = ContentDigest::new(bytes);
        pieces.iter().for_each(|(place, piece)| content.add(*place, piece));
        content.end()
    }

    #[test]
    fn zeros_and_holes_are_equal_and_place_size_and_bytes_count() {
        let mut long = vec![0; 5 * GRAIN];
        long[2 * GRAIN..3 * GRAIN].fill(7);
        let (block, at) = ([7; GRAIN], 2 * GRAIN as u64);
        let whole = digest(1 << 20, &[(0, &long)]);
        assert_eq!(digest(1 << 20, &[(at, &block)]), whole, "the rest is a hole");
        assert_eq!(digest(1 << 20, &[(0, &[0; GRAIN]), (at, &block), (8 * at, &[0; 9])]), whole);
        assert_ne!(digest(1 << 21, &[(at, &block)]), whole, "the size");
        assert_ne!(digest(1 << 20, &[(2 * at, &block)]), whole, "the place");
        let mut other = block;
        other[GRAIN - 1] = 8;
        assert_ne!(digest(1 << 20, &[(at, &other)]), whole, "a byte");
    }
}
