//! What a snapshot holds, on its way to another machine.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use tepui_types::SnapshotId;
use tepui_types::frames::{Encoder, PIECE_BYTES};

use crate::error::file;
use crate::shelf::SNAPSHOTS;
use crate::sparse::data_from;
use crate::{Pool, PoolError};

/// So many bytes of frames are handed over at once, or more: those of holes are small.
const PORTION_BYTES: usize = 64 << 10;

/// The content of a snapshot from an offset on, in portions of whole [`frames`](tepui_types::frames). It stays readable
/// when the snapshot is removed meanwhile. Holes are not read.
pub struct Content {
    file: File,
    path: PathBuf,
    bytes: u64,
    place: u64,
    /// The next bytes at or behind `place` that are no hole, or what is known to be before it.
    data: Range<u64>,
    encoder: Encoder,
    piece: Vec<u8>,
}

impl Pool {
    /// Opens what a snapshot holds from an offset on; behind its end there is nothing.
    ///
    /// # Errors
    /// No such snapshot, or it cannot be opened.
    pub fn content(&self, of: SnapshotId, offset: u64) -> Result<Content, PoolError> {
        let found = self.find(SNAPSHOTS, &of)?.ok_or(PoolError::NoSnapshot(of))?;
        Content::open(found.path, offset)
    }
}

impl Content {
    /// Opens what a raw file holds, which nobody writes.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: PathBuf, offset: u64) -> Result<Self, PoolError> {
        let opened = File::open(&path).and_then(|disk| Ok((disk.metadata()?.len(), disk, Encoder::new()?)));
        let (bytes, disk, encoder) = opened.map_err(file(&path))?;
        let piece = vec![0; PIECE_BYTES];
        Ok(Self { file: disk, path, bytes, place: offset, data: 0..0, encoder, piece })
    }

    /// The size of the whole.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn portion(&mut self) -> io::Result<Vec<u8>> {
        let mut frames = Vec::new();
        while self.place < self.bytes && frames.len() < PORTION_BYTES {
            self.append_piece(&mut frames)?;
        }
        Ok(frames)
    }

    fn append_piece(&mut self, frames: &mut Vec<u8>) -> io::Result<()> {
        let length = usize::try_from(self.bytes - self.place).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let end = self.place + length as u64;
        if self.data.end <= self.place {
            self.data = data_from(&self.file, self.place)?.unwrap_or(self.bytes..self.bytes);
        }
        let is_hole = self.data.start >= end;
        let piece = self.piece.get_mut(..length).unwrap_or_default();
        if is_hole && length == PIECE_BYTES {
            self.encoder.hole(frames);
        } else {
            self.file.read_exact_at(piece, self.place)?;
            self.encoder.piece(piece, frames)?;
        }
        self.place = end;
        Ok(())
    }
}

impl Iterator for Content {
    type Item = Result<Vec<u8>, PoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        let portion = self.portion().map_err(file(&self.path));
        match portion {
            Ok(portion) if portion.is_empty() => None,
            Ok(portion) => Some(Ok(portion)),
            Err(error) => {
                // What follows the bytes that cannot be read is not theirs.
                self.place = self.bytes;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tepui_types::frames::{Decoder, FrameError};

    use super::*;

    /// What is read of a content, and in how many bytes it came.
    fn read(content: Content) -> (Vec<u8>, usize) {
        let (mut decoder, mut raw, mut came) = (Decoder::new().unwrap(), Vec::new(), 0);
        for portion in content {
            let portion = portion.unwrap();
            came += portion.len();
            let keep = |piece: &[u8]| {
                raw.extend_from_slice(piece);
                Ok::<_, FrameError>(())
            };
            decoder.read(&portion, keep).unwrap();
            assert!(!decoder.is_within_frame(), "portions are of whole frames");
        }
        (raw, came)
    }

    #[test]
    fn content_is_read_from_any_offset_on_and_holes_take_next_to_nothing() {
        let whole = tempfile::NamedTempFile::new().unwrap();
        let bytes = 64 * PIECE_BYTES + 5;
        whole.as_file().set_len(bytes as u64).unwrap();
        // Within a piece, over the border of two, and at the very end.
        for (offset, content) in [(4096, &[1; 13][..]), (9 * PIECE_BYTES - 7, &[2; 14]), (bytes - 3, &[3; 3])]
        {
            whole.as_file().write_all_at(content, offset as u64).unwrap();
        }
        let raw = std::fs::read(whole.path()).unwrap();
        for offset in [0, 1, PIECE_BYTES, 9 * PIECE_BYTES - 3, bytes - 1, bytes, bytes + 1] {
            let content = Content::open(whole.path().to_owned(), offset as u64).unwrap();
            assert_eq!(content.bytes(), bytes as u64);
            let (read, came) = read(content);
            assert!(read == raw.get(offset..).unwrap_or_default(), "{offset}");
            assert!(came < 20_000, "{came}");
        }
    }
}
