//! No instruction set in particular.

/// 8-bit codes; nothing is asked of the processor.
pub(super) unsafe fn bytes(query: &[i8], row: &[u8]) -> i32 {
    query.iter().zip(row).map(|(q, level)| i32::from(*q) * i32::from(*level)).sum()
}

/// 4-bit codes; nothing is asked of the processor.
pub(super) unsafe fn halves(query: &[i8], row: &[u8]) -> i32 {
    let (low, high) = query.split_at(row.len());
    let pairs = low.iter().zip(high).zip(row);
    pairs
        .map(|((l, h), byte)| i32::from(*l) * i32::from(byte & 15) + i32::from(*h) * i32::from(byte >> 4))
        .sum()
}
