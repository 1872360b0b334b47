//! What a disk holds, block by block.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

pub(crate) const BLOCK: u64 = 4096;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const BLOCKS_OF_GIB: u32 = 1 << 18;

/// The number of the write that a block is of; 0 was never written.
pub(crate) type Mark = u64;
/// No write puts such a sector anywhere.
const FOREIGN: Mark = u64::MAX;
/// What a disk writes whole.
const SECTOR: usize = 512;
/// Blocks that one line tells of.
const SHOWN: usize = 12;

/// A disk of so many GiB with the marks of what is no zero.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) gib: u32,
    marks: BTreeMap<u32, Mark>,
    /// Blocks that are of several writes, with the mark of each sector: of one that was not answered a part may be there.
    torn: BTreeMap<u32, Vec<Mark>>,
}

impl Content {
    pub(crate) fn new(gib: u32) -> Self {
        Self { gib, marks: BTreeMap::new(), torn: BTreeMap::new() }
    }

    pub(crate) fn grown(&self, gib: u32) -> Self {
        Self { gib, ..self.clone() }
    }

    pub(crate) fn blocks(&self) -> u32 {
        self.gib * BLOCKS_OF_GIB
    }

    pub(crate) fn write(&mut self, first: u32, count: u32, mark: Mark) {
        for block in first..first + count {
            self.torn.remove(&block);
            match mark {
                0 => self.marks.remove(&block),
                mark => self.marks.insert(block, mark),
            };
        }
    }

    /// The mark of the first sector of a block.
    pub(crate) fn at(&self, block: u32) -> Mark {
        self.sector(block, 0)
    }

    fn sector(&self, block: u32, sector: usize) -> Mark {
        let torn = self.torn.get(&block).map(|marks| marks[sector]);
        torn.or_else(|| self.marks.get(&block).copied()).unwrap_or(0)
    }

    /// The blocks that hold something.
    pub(crate) fn written(&self) -> impl Iterator<Item = u32> {
        self.marks.keys().chain(self.torn.keys()).copied()
    }

    /// Whether a write can have left this that makes one of the other two, and was not answered.
    pub(crate) fn is_between(&self, before: &Self, after: &Self) -> bool {
        let blocks: BTreeSet<u32> = self.written().chain(before.written()).chain(after.written()).collect();
        let is_one = |block: u32| {
            (0..BLOCK as usize / SECTOR).all(|sector| {
                let mark = self.sector(block, sector);
                mark == before.sector(block, sector) || mark == after.sector(block, sector)
            })
        };
        self.gib == before.gib && self.gib == after.gib && blocks.into_iter().all(is_one)
    }

    /// All of a file: what is no hole is read.
    pub(crate) fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let bytes = file.metadata().unwrap().len();
        assert_eq!(bytes % GIB, 0, "the size of {}", path.display());
        let mut found = Self::new(u32::try_from(bytes / GIB).unwrap());
        let (mut place, mut piece) = (0, vec![0; 1 << 20]);
        while let Some(data) = seek(&file, place, Whence::SeekData) {
            let end = seek(&file, data, Whence::SeekHole).unwrap().next_multiple_of(BLOCK);
            place = data / BLOCK * BLOCK;
            while place < end {
                let length = usize::try_from(end - place).unwrap().min(piece.len());
                file.read_exact_at(&mut piece[..length], place).unwrap();
                found.note(place, &piece[..length]);
                place += length as u64;
            }
        }
        found
    }

    fn note(&mut self, place: u64, piece: &[u8]) {
        let first = u32::try_from(place / BLOCK).unwrap();
        for (block, bytes) in (first..).zip(piece.chunks(BLOCK as usize)) {
            match mark_of(bytes) {
                0 => {}
                FOREIGN => {
                    self.torn.insert(block, bytes.chunks(SECTOR).map(mark_of).collect());
                }
                mark => {
                    self.marks.insert(block, mark);
                }
            }
        }
    }

    /// What is in one and not the other.
    pub(crate) fn difference(&self, wanted: &Self) -> String {
        let blocks: BTreeSet<u32> = self.written().chain(wanted.written()).collect();
        let is_torn = |block: &u32| self.torn.get(block) != wanted.torn.get(block);
        let other = blocks.into_iter().filter(|block| self.at(*block) != wanted.at(*block) || is_torn(block));
        let told = other.map(|block| format!("{block}: {:x}, not {:x}", self.at(block), wanted.at(block)));
        let told: Vec<_> = told.collect();
        let shown = &told[..told.len().min(SHOWN)];
        format!("{self:?}, not {wanted:?}; {} blocks differ: {}", told.len(), shown.join("; "))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} GiB with {} blocks, {} torn", self.gib, self.marks.len(), self.torn.len())
    }
}

/// The mark of a block, or of a part of one, all of which has it.
pub(crate) fn mark_of(bytes: &[u8]) -> Mark {
    let mut words = bytes.chunks(8);
    let first = words.next().unwrap();
    if words.all(|word| word == first) { u64::from_le_bytes(first.try_into().unwrap()) } else { FOREIGN }
}

/// A block with a mark.
pub(crate) fn block(mark: Mark) -> Vec<u8> {
    mark.to_le_bytes().repeat(BLOCK as usize / 8)
}

/// `None` behind the last data.
fn seek(file: &File, place: u64, whence: Whence) -> Option<u64> {
    match lseek(file, i64::try_from(place).unwrap(), whence) {
        Ok(found) => Some(u64::try_from(found).unwrap()),
        Err(Errno::ENXIO) => None,
        Err(error) => panic!("{error}"),
    }
}
