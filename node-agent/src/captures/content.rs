//! A capture on its way to another host.

use std::io;
use std::sync::Arc;

use tepui_types::frames::{Encoder, PIECE_BYTES};

use super::make::RESERVE;
use crate::disks::{Disks, FlatDisk};

/// So many bytes of frames are handed over at once, or more: those of holes are small.
const PORTION_BYTES: usize = 64 << 10;

/// The content of a disk, in portions of whole [`frames`](tepui_types::frames).
pub(crate) struct DiskContent {
    disk: FlatDisk,
    /// Beside it. The file has no name any more, and takes its room until it is closed.
    disks: Arc<dyn Disks>,
    place: u64,
    encoder: Encoder,
}

impl DiskContent {
    /// All of this disk.
    pub(super) fn new(disk: FlatDisk, disks: Arc<dyn Disks>) -> io::Result<Self> {
        Ok(Self { disk, disks, place: 0, encoder: Encoder::new()? })
    }

    /// The size of the whole.
    pub(crate) fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    fn portion(&mut self) -> io::Result<Vec<u8>> {
        let mut frames = Vec::new();
        while self.place < self.bytes() && frames.len() < PORTION_BYTES {
            self.check_room()?;
            self.append_piece(&mut frames)?;
        }
        Ok(frames)
    }

    /// What is sent is closed after this, and its room is free: it is captured anew once there is more.
    fn check_room(&self) -> io::Result<()> {
        if self.disks.free_bytes() < RESERVE {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "guests need the room of the capture"));
        }
        Ok(())
    }

    fn append_piece(&mut self, frames: &mut Vec<u8>) -> io::Result<()> {
        let left = self.bytes() - self.place;
        let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)];
        let has_any = self.disk.read(self.place, &mut piece)?;
        if !has_any && piece.len() == PIECE_BYTES {
            self.encoder.hole(frames);
        } else {
            self.encoder.piece(&piece, frames)?;
        }
        self.place += piece.len() as u64;
        Ok(())
    }
}

impl Iterator for DiskContent {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.portion() {
            Ok(portion) if portion.is_empty() => None,
            Ok(portion) => Some(Ok(portion)),
            Err(error) => {
                // What follows the bytes that cannot be read is not theirs.
                self.place = self.bytes();
                Some(Err(error))
            }
        }
    }
}
