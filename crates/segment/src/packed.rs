//! A column of whole numbers, readable at any row without unpacking it: blocks of 128 values, each value
//! stored as its distance to the least of its block, in as many bits as the widest of them needs.
//!
//! Layout: per block 16 bytes (least value, start of its bits), then per block one byte with the width
//! and the bits. All little endian.

use std::ops::Range;

use bytes::Bytes;
use lodestone_types::Result;

use crate::part::{Section, le_u64};

const BLOCK: usize = 128;
const ENTRY: usize = 16;

/// Packs values as they come.
#[derive(Default)]
pub(crate) struct PackedWriter {
    pending: Vec<u64>,
    index: Vec<u8>,
    bits: Vec<u8>,
}

impl PackedWriter {
    pub fn push(&mut self, value: u64) {
        self.pending.push(value);
        if self.pending.len() == BLOCK {
            self.flush();
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.index.append(&mut self.bits);
        self.index
    }

    fn flush(&mut self) {
        let Some(&least) = self.pending.iter().min() else { return };
        self.index.extend_from_slice(&least.to_le_bytes());
        self.index.extend_from_slice(&(self.bits.len() as u64).to_le_bytes());
        let spread = self.pending.iter().map(|v| v - least).max().unwrap_or(0);
        let width = u64::BITS - spread.leading_zeros();
        self.bits.push(width as u8);
        let (mut window, mut held) = (0u128, 0);
        for value in self.pending.drain(..) {
            window |= u128::from(value - least) << held;
            held += width;
            while held >= 8 {
                self.bits.push(window as u8);
                window >>= 8;
                held -= 8;
            }
        }
        if held > 0 {
            self.bits.push(window as u8);
        }
    }
}

/// Reads what [`PackedWriter`] wrote. Checked once as a whole, so that reading a value cannot fail.
#[derive(Debug)]
pub(crate) struct PackedColumn {
    len: usize,
    bytes: Bytes,
}

impl PackedColumn {
    /// A column of `len` values.
    pub fn open(section: &Section, len: usize) -> Result<Self> {
        let bytes = section.bytes.clone();
        let index = len.div_ceil(BLOCK) * ENTRY;
        if bytes.len() < index {
            return Err(section.damaged("it is shorter than its index"));
        }
        let column = Self { len, bytes };
        let bits = column.bytes.len() - index;
        let mut at = 0usize;
        for block in 0..len.div_ceil(BLOCK) {
            let (_, start) = column.entry(block);
            let width = column.bytes.get(index + at).copied().unwrap_or(u8::MAX);
            if start != at as u64 || width > 64 {
                return Err(section.damaged(format!("its block {block} is not where or what it should be")));
            }
            let values = (len - block * BLOCK).min(BLOCK);
            at += 1 + (values * usize::from(width)).div_ceil(8);
        }
        if at != bits {
            return Err(section.damaged("its length does not follow from its blocks"));
        }
        Ok(column)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The value at `at`; `None` past the end.
    pub fn get(&self, at: usize) -> Option<u64> {
        if at >= self.len {
            return None;
        }
        let (least, start) = self.entry(at / BLOCK);
        let block = self.len.div_ceil(BLOCK) * ENTRY + start as usize;
        let width = usize::from(self.bytes[block]);
        let bit = (at % BLOCK) * width;
        let from = block + 1 + bit / 8;
        // 64 bits that do not begin at a byte reach into nine.
        let mut window = [0u8; 16];
        let there = &self.bytes[from..self.bytes.len().min(from + 9)];
        window[..there.len()].copy_from_slice(there);
        let value = (u128::from_le_bytes(window) >> (bit % 8)) & ((1u128 << width) - 1);
        Some(least.wrapping_add(value as u64))
    }

    /// The first place whose value is not less than `value`, in a column whose values ascend.
    pub fn lower_bound(&self, value: u64) -> usize {
        // In such a column a block's least value is its first, so the index leads to the block.
        let blocks = partition_point(0..self.len.div_ceil(BLOCK), |block| self.entry(block).0 < value);
        let start = blocks.saturating_sub(1) * BLOCK;
        let end = self.len.min(start + BLOCK);
        partition_point(start..end, |at| self.get(at).is_some_and(|v| v < value))
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> {
        (0..self.len).filter_map(|at| self.get(at))
    }

    fn entry(&self, block: usize) -> (u64, u64) {
        let entry = &self.bytes[block * ENTRY..][..ENTRY];
        let (least, start) = entry.split_at(8);
        (le_u64(least), le_u64(start))
    }
}

/// The first place in `range` that is not `before`, where all that are come first.
pub(crate) fn partition_point(range: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(values: &[u64]) -> Vec<u8> {
        let mut writer = PackedWriter::default();
        values.iter().for_each(|&v| writer.push(v));
        writer.finish()
    }

    fn open(bytes: Vec<u8>, len: usize) -> Result<PackedColumn> {
        PackedColumn::open(&Section::new(bytes.into(), "here"), len)
    }

    #[test]
    fn dense_numbers_take_a_byte_each() {
        let values: Vec<u64> = (0..10_000).collect();
        assert!(pack(&values).len() < 10_200);
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(
            values in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..300, Just(u64::MAX)], 0..700),
        ) {
            let column = open(pack(&values), values.len()).unwrap();
            prop_assert_eq!(column.iter().collect::<Vec<_>>(), values.clone());
            prop_assert_eq!(column.get(values.len()), None);
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..600), len in 0usize..400) {
            if let Ok(column) = open(bytes, len) {
                prop_assert_eq!(column.iter().count(), len);
            }
        }
    }
}
