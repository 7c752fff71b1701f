//! Large copies piece by piece, so that whoever waits for the processor has it in between.

use std::io;
use std::ops::Range;

use lodestone_types::Stretch;

/// Bytes of a piece. To copy so much takes some twenty microseconds, and where memory was never touched a millisecond.
pub(crate) const PIECE: usize = 256 << 10;

/// Does `each` for one range after the other, up to `length`. All but the last are of whole pages.
pub(crate) fn in_pieces(
    length: usize,
    mut each: impl FnMut(Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut stretch = Stretch::begin();
    for start in (0..length).step_by(PIECE) {
        each(start..length.min(start + PIECE))?;
        stretch.give_way();
    }
    Ok(())
}

/// Copies `from` to the start of `to`.
///
/// # Panics
/// If there is not room for it.
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    let mut stretch = Stretch::begin();
    for (to, from) in to[..from.len()].chunks_mut(PIECE).zip(from.chunks(PIECE)) {
        to.copy_from_slice(from);
        stretch.give_way();
    }
}

/// The CRC-32C of `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let mut stretch = Stretch::begin();
    bytes.chunks(PIECE).fold(0, |sum, piece| {
        stretch.give_way();
        crc32c::crc32c_append(sum, piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_all_of_it() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut gathered = Vec::new();
            let gather = |range: Range<usize>| {
                gathered.extend_from_slice(&bytes[range]);
                Ok(())
            };
            in_pieces(length, gather).unwrap();
            assert_eq!(gathered, bytes);
            let mut copied = vec![9; length + 1];
            copy(&bytes, &mut copied);
            assert_eq!((&copied[..length], copied[length]), (&bytes[..], 9));
            assert_eq!(checksum(&bytes), crc32c::crc32c(&bytes));
        }
        let failed =
            in_pieces(
                PIECE + 1,
                |range| if range.start == 0 { Ok(()) } else { Err(io::Error::other("full")) },
            );
        assert!(failed.is_err());
    }
}
