//! What a file holds, sector by sector.

use std::fmt::Display;
use std::path::Path;

/// What a disk writes whole.
pub(crate) const SECTOR: u64 = 512;
/// What sizes are multiples of.
pub(crate) const BLOCK: u64 = 4096;
const SECTORS_OF_BLOCK: usize = 8;

/// The mark of each sector; 0 was never written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content(Vec<u32>);

impl Content {
    /// What was never written.
    pub(crate) fn new(blocks: u32) -> Self {
        Self::default().grown(blocks)
    }

    pub(crate) fn grown(mut self, blocks: u32) -> Self {
        self.0.resize(blocks as usize * SECTORS_OF_BLOCK, 0);
        self
    }

    pub(crate) fn blocks(&self) -> u32 {
        (self.0.len() / SECTORS_OF_BLOCK).try_into().unwrap()
    }

    pub(crate) fn write(&mut self, first: u32, count: u32, mark: u32) {
        self.0[first as usize..][..count as usize].fill(mark);
    }

    /// The room that it takes at most.
    pub(crate) fn room(&self) -> u64 {
        let written = |block: &&[u32]| block.iter().any(|mark| *mark != 0);
        self.0.chunks(SECTORS_OF_BLOCK).filter(written).count() as u64 * BLOCK
    }

    /// That the file holds exactly this.
    pub(crate) fn compare(&self, what: &dyn Display, path: &Path) {
        let found = std::fs::read(path).unwrap();
        assert_eq!(found.len() as u64, self.0.len() as u64 * SECTOR, "the size of {what}");
        let sectors = found.chunks(SECTOR.try_into().unwrap());
        for (number, (found, mark)) in sectors.zip(&self.0).enumerate() {
            assert!(
                found == sector(*mark),
                "sector {number} of {what} holds {:?}…, and not the mark {mark}",
                &found[..8]
            );
        }
    }
}

/// A sector with a mark.
pub(crate) fn sector(mark: u32) -> Vec<u8> {
    mark.to_le_bytes().repeat(SECTOR as usize / 4)
}
