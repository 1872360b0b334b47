//! What of a disk's content has to be written to a file: the rest are holes in it.

/// Zeros of this size become a hole.
const BLOCK: usize = 64 << 10;
/// What such a block is compared with, all of it at once.
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The blocks of a piece of content that are not all zeros, each with where in the piece it begins, in bytes. Written to a
/// file that has nothing there yet, they leave holes for the others; at its end the file's length has to be set.
pub fn data(piece: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let places = (0..).step_by(BLOCK);
    places.zip(piece.chunks(BLOCK)).filter(|(_, block)| !ZEROS.starts_with(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_zeros_are_left_out_and_all_else_keeps_its_place() {
        let mut piece = vec![0; 3 * BLOCK + 5];
        assert_eq!(data(&piece).count(), 0);
        let last = piece.len() - 1;
        for place in [BLOCK, last] {
            if let Some(byte) = piece.get_mut(place) {
                *byte = 7;
            }
        }
        let found: Vec<_> = data(&piece).map(|(place, block)| (place, block.len())).collect();
        assert_eq!(found, [(BLOCK as u64, BLOCK), (3 * BLOCK as u64, 5)]);
    }
}
