//! The form in which the content of a disk travels: one frame of zstd (RFC 8878) for each piece of it, with zstd's own
//! checksum. A frame is whole or refused, so that a reader whose line broke goes on behind its last whole piece, and
//! `zstd -d` reads all of them as one. Zeros take next to nothing.

use std::io;

use zstd::bulk::Compressor;
use zstd::stream::raw::{DParameter, Decoder as RawDecoder, Operation as _};
use zstd::zstd_safe::CParameter;

/// The header of a message with frames that tells how many bytes the whole disk has, whatever offset they begin at.
pub const RAW_SIZE_HEADER: &str = "tepui-raw-size";
/// The content of a frame; the last one may have less.
pub const PIECE_BYTES: usize = 1 << PIECE_LOG;
const PIECE_LOG: u32 = 20;
/// Disks are read faster than higher levels compress.
const LEVEL: i32 = 1;
/// What a frame may have beyond the bytes of its piece: zstd's bound of a piece that cannot be compressed, rounded up.
const FRAME_OVERHEAD: u64 = PIECE_BYTES as u64 / 256 + 256;

/// The most bytes that the frames of so many bytes take.
pub const fn most_bytes(raw: u64) -> u64 {
    raw.saturating_add(raw.div_ceil(PIECE_BYTES as u64).saturating_mul(FRAME_OVERHEAD))
}

/// Makes frames.
pub struct Encoder {
    compressor: Compressor<'static>,
    /// The frame of a whole piece of zeros: most of a disk is that.
    hole: Vec<u8>,
}

impl Encoder {
    /// An encoder; it may be used for any number of frames.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        let hole = compressor.compress(&vec![0; PIECE_BYTES])?;
        Ok(Self { compressor, hole })
    }

    /// Appends the frame of a piece.
    ///
    /// # Errors
    /// No memory.
    pub fn piece(&mut self, piece: &[u8], frames: &mut Vec<u8>) -> io::Result<()> {
        frames.extend(self.compressor.compress(piece)?);
        Ok(())
    }

    /// Appends the frame of a whole piece of zeros.
    pub fn hole(&self, frames: &mut Vec<u8>) {
        frames.extend(&self.hole);
    }
}

/// Why frames cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// They are not zstd's, or their checksum is not that of their content.
    #[error("the content came damaged")]
    Damaged(#[source] io::Error),
    /// A frame has more content than one may have.
    #[error("a frame of the content has more than {PIECE_BYTES} bytes")]
    TooLarge,
}

/// Reads frames, in whatever portions they come.
pub struct Decoder {
    raw: RawDecoder<'static>,
    piece: Vec<u8>,
    filled: usize,
    is_within: bool,
}

impl Decoder {
    /// A decoder that has read nothing.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> io::Result<Self> {
        let mut raw = RawDecoder::new()?;
        // Else a stranger's frame could ask for gigabytes of memory.
        raw.set_parameter(DParameter::WindowLogMax(PIECE_LOG))?;
        Ok(Self { raw, piece: vec![0; PIECE_BYTES], filled: 0, is_within: false })
    }

    /// Reads on; hands each piece that is whole by now to `take`.
    ///
    /// # Errors
    /// Those of [`FrameError`], after which nothing more can be read, and those of `take`.
    pub fn read<E: From<FrameError>>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let room = self.piece.get_mut(self.filled..).unwrap_or_default();
            let step = self.raw.run_on_buffers(bytes, room).map_err(FrameError::Damaged)?;
            self.filled += step.bytes_written;
            self.is_within = step.remaining > 0;
            if !self.is_within {
                take(self.piece.get(..self.filled).unwrap_or_default())?;
                self.filled = 0;
            } else if step.bytes_read == 0 && step.bytes_written == 0 {
                return Err(FrameError::TooLarge.into());
            }
            bytes = bytes.get(step.bytes_read..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether a frame has begun and not ended.
    pub fn is_within_frame(&self) -> bool {
        self.is_within
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut encoder, mut frames) = (Encoder::new().unwrap(), Vec::new());
        for piece in pieces {
            encoder.piece(piece, &mut frames).unwrap();
        }
        frames
    }

    /// What is read of frames that come in portions of this size.
    fn read(frames: &[u8], portion: usize) -> Result<(Vec<Vec<u8>>, bool), FrameError> {
        let (mut decoder, mut pieces) = (Decoder::new().unwrap(), Vec::new());
        for bytes in frames.chunks(portion) {
            decoder.read::<FrameError>(bytes, |piece| {
                pieces.push(piece.to_vec());
                Ok(())
            })?;
        }
        Ok((pieces, decoder.is_within_frame()))
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 56) as u8
        };
        (0..bytes).map(|_| next(&mut state)).collect()
    }

    #[test]
    fn pieces_come_as_they_went_in_whatever_portions() {
        let (noise, zeros) = (noise(PIECE_BYTES), vec![0; PIECE_BYTES]);
        let pieces: [&[u8]; 4] = [&noise, &zeros, &noise[..13], &[]];
        let frames = frames(&pieces);
        let raw = pieces.iter().map(|piece| piece.len() as u64).sum();
        assert!(frames.len() as u64 <= most_bytes(raw), "{} of {}", frames.len(), most_bytes(raw));
        for portion in [1009, 65_536, frames.len()] {
            let (read, is_within) = read(&frames, portion).unwrap();
            assert!(read == pieces, "{portion}");
            assert!(!is_within);
        }
    }

    #[test]
    fn a_hole_is_a_piece_of_zeros_and_takes_next_to_nothing() {
        let mut hole = Vec::new();
        Encoder::new().unwrap().hole(&mut hole);
        assert!(hole.len() < 100, "{}", hole.len());
        assert!(read(&hole, 7).unwrap().0 == [vec![0; PIECE_BYTES]]);
    }

    #[test]
    fn what_was_cut_off_is_not_whole() {
        let frames = frames(&[b"first", b"second"]);
        let (pieces, is_within) = read(&frames[..frames.len() - 1], 3).unwrap();
        assert_eq!(pieces, [b"first"]);
        assert!(is_within);
    }

    #[test]
    fn a_bit_that_changed_is_found() {
        let mut frames = frames(&[&noise(5000)]);
        frames[2500] ^= 1;
        assert!(matches!(read(&frames, 4096), Err(FrameError::Damaged(_))));
    }

    #[test]
    fn a_frame_that_grows_beyond_a_piece_is_refused() {
        let large = zstd::bulk::compress(&vec![0; PIECE_BYTES + 1], LEVEL).unwrap();
        assert!(read(&large, 4096).is_err());
        // One that does not say how large it is, with a window that may be.
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL).unwrap();
        encoder.set_parameter(CParameter::WindowLog(PIECE_LOG)).unwrap();
        io::Write::write_all(&mut encoder, &vec![0; 3 * PIECE_BYTES]).unwrap();
        let large = encoder.finish().unwrap();
        assert!(matches!(read(&large, 4096), Err(FrameError::TooLarge)));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes: Vec<u8>, portion in 1_usize..64) {
            let _ = read(&bytes, portion);
        }
    }
}
