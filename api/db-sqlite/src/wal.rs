//! Whether acknowledged commits are missing from a log that was left behind.
//!
//! SQLite reads a log up to the first frame that does not hold and drops what follows in silence
//! (<https://sqlite.org/fileformat2.html#walformat>). That is right for the end that a power cut tore
//! off: its commit was never acknowledged. It is wrong for a log that was damaged or cut later. Two
//! signs tell them apart:
//!
//! - A commit begins after the one before it is on the disk. So a power cut tears one commit at most;
//!   where the ends of two follow a frame that does not hold, the first was acknowledged.
//! - The index beside the log counts a commit's frames after its fsync. So a log that has fewer than
//!   an index of the same log counts has lost some.
//!
//! A log that was removed whole, with its index, is not noticed: a database that was closed looks so.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The first header's end in the index.
const INDEX_HEADER: usize = 48;
/// The magic number, but for its last bit, which tells the order of bytes in checksums.
const MAGIC: u32 = 0x377f_0682;

/// The log of the database at `database`.
pub(crate) fn path_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// What acknowledged commits are missing, in words.
pub(crate) fn lost(database: &Path) -> io::Result<Option<String>> {
    let Some(log) = Log::open(&path_of(database))? else { return Ok(None) };
    let salts = log.salts;
    let Found { whole, ends_behind } = log.walk()?;
    if ends_behind > 1 {
        let what = format!("frame {} of its log does not hold, and later commits follow it", whole + 1);
        return Ok(Some(what));
    }
    let counted = Index::read(&beside(database, "-shm"))?.filter(|index| index.salts == salts);
    let missing = counted.map(|index| index.frames).filter(|counted| *counted > whole);
    Ok(missing.map(|counted| format!("its log has {whole} of {counted} frames")))
}

/// A running checksum over pairs of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum(u32, u32);

impl Sum {
    fn over(self, bytes: &[u8], word: fn([u8; 4]) -> u32) -> Self {
        bytes.chunks_exact(8).fold(self, |Self(first, second), pair| {
            let first = first.wrapping_add(word(four(pair, 0))).wrapping_add(second);
            Self(first, second.wrapping_add(word(four(pair, 4))).wrapping_add(first))
        })
    }
}

/// An open log whose header holds.
struct Log {
    reader: BufReader<File>,
    page: usize,
    salts: [u8; 8],
    sum: Sum,
    word: fn([u8; 4]) -> u32,
}

/// What is in a log.
struct Found {
    /// Frames up to the last commit that holds.
    whole: u32,
    /// Ends of commits behind the first frame that does not hold.
    ends_behind: u32,
}

impl Log {
    /// `None` for one that is missing or begins with no header that holds: nothing was written to it
    /// since the database took over what it had held before.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut header = [0; HEADER];
        if !filled(&mut reader, &mut header)? {
            return Ok(None);
        }
        let magic = big(four(&header, 0));
        let word: fn([u8; 4]) -> u32 = if magic & 1 == 1 { u32::from_be_bytes } else { u32::from_le_bytes };
        let sum = Sum(0, 0).over(&header[..24], word);
        let holds = magic & !1 == MAGIC && sum == stated(&header, 24);
        let page = big(four(&header, 8)) as usize;
        Ok(holds.then_some(Self { reader, page, salts: eight(&header, 16), sum, word }))
    }

    fn walk(mut self) -> io::Result<Found> {
        let mut found = Found { whole: 0, ends_behind: 0 };
        let (mut frame, mut number, mut holds) = (vec![0; FRAME_HEADER + self.page], 0, true);
        while filled(&mut self.reader, &mut frame)? {
            number += 1;
            let is_of_this_log = eight(&frame, 8) == self.salts;
            let ends_commit = big(four(&frame, 4)) != 0;
            holds = holds && is_of_this_log && self.follows(&frame);
            match (holds, is_of_this_log && ends_commit) {
                (true, true) => found.whole = number,
                (false, true) => found.ends_behind += 1,
                (_, false) => {}
            }
        }
        Ok(found)
    }

    fn follows(&mut self, frame: &[u8]) -> bool {
        self.sum = self.sum.over(&frame[..8], self.word).over(&frame[FRAME_HEADER..], self.word);
        self.sum == stated(frame, 16)
    }
}

/// What the index says of its log.
struct Index {
    salts: [u8; 8],
    frames: u32,
}

impl Index {
    /// `None` for one that is missing, or was being written when its process died.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut both = [0; 2 * INDEX_HEADER];
        let is_whole = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            opened => filled(&mut opened?, &mut both)?,
        };
        let (first, second) = both.split_at(INDEX_HEADER);
        let native = |at| u32::from_ne_bytes(four(first, at));
        let sum = Sum(0, 0).over(&first[..40], u32::from_ne_bytes);
        let holds = is_whole && first == second && sum == Sum(native(40), native(44));
        Ok(holds.then(|| Self { salts: eight(first, 32), frames: native(16) }))
    }
}

/// Fills the buffer; `false` when there is less.
fn filled(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    std::array::from_fn(|index| bytes.get(at + index).copied().unwrap_or_default())
}

fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    std::array::from_fn(|index| bytes.get(at + index).copied().unwrap_or_default())
}

fn big(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

fn stated(bytes: &[u8], at: usize) -> Sum {
    Sum(big(four(bytes, at)), big(four(bytes, at + 4)))
}
