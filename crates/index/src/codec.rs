//! Small readers and writers of bytes that never panic on what they read.

use bytes::Bytes;
use lodestone_types::{Error, Result};
use roaring::RoaringBitmap;

/// The error for bytes that are not what they should be.
pub(crate) fn damaged(what: &str) -> Error {
    Error::damaged(format!("payload index is damaged: {what}"))
}

/// Appends `value` in 1 to 10 bytes, 7 bits each.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads from the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| damaged("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged("a number is too long"))
    }

    pub(crate) fn varint_usize(&mut self) -> Result<usize> {
        usize::try_from(self.varint()?).map_err(|_| damaged("a number is too large"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| damaged("a number is too large"))
    }
}

/// A column of little-endian numbers of `W` bytes, read in place.
#[derive(Debug, Clone)]
pub(crate) struct Column<const W: usize> {
    bytes: Bytes,
}

impl<const W: usize> Column<W> {
    pub(crate) fn open(bytes: Bytes) -> Result<Self> {
        if !bytes.len().is_multiple_of(W) {
            return Err(damaged("a column is cut off"));
        }
        Ok(Self { bytes })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / W
    }

    fn raw(&self, i: usize) -> [u8; W] {
        let start = i.saturating_mul(W);
        self.bytes.get(start..start.saturating_add(W)).and_then(|b| b.try_into().ok()).unwrap_or([0; W])
    }

    /// The first position in `range` where `before` no longer holds; it holds for a prefix of the range.
    pub(crate) fn partition(
        &self,
        range: std::ops::Range<usize>,
        mut before: impl FnMut(&Self, usize) -> bool,
    ) -> usize {
        let (mut low, mut high) = (range.start, range.end.max(range.start));
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self, middle) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl Column<4> {
    /// The number at `i`, 0 past the end.
    pub(crate) fn get(&self, i: usize) -> u32 {
        u32::from_le_bytes(self.raw(i))
    }
}

impl Column<8> {
    /// The number at `i`, 0 past the end.
    pub(crate) fn get(&self, i: usize) -> u64 {
        u64::from_le_bytes(self.raw(i))
    }

    /// The number at `i` as a float, 0 past the end.
    pub(crate) fn get_f64(&self, i: usize) -> f64 {
        f64::from_le_bytes(self.raw(i))
    }
}

pub(crate) fn bitmap_bytes(mut bitmap: RoaringBitmap) -> Vec<u8> {
    bitmap.optimize();
    let mut out = Vec::with_capacity(bitmap.serialized_size());
    // Writing to memory cannot fail; a short result would be refused when read.
    let _ = bitmap.serialize_into(&mut out);
    out
}

pub(crate) fn read_bitmap(bytes: &[u8]) -> Result<RoaringBitmap> {
    RoaringBitmap::deserialize_from(bytes).map_err(|_| damaged("a bitmap cannot be read"))
}

/// A bitmap of rows in any order. Where they are dense among `0..below`, a plain bit set is faster than sorting.
pub(crate) fn bitmap_of_rows(rows: impl ExactSizeIterator<Item = u32>, below: u32) -> RoaringBitmap {
    if rows.len() as u64 * 64 > u64::from(below) {
        let mut bits = vec![0_u8; (below as usize).div_ceil(8)];
        for row in rows {
            if let Some(byte) = bits.get_mut(row as usize / 8) {
                *byte |= 1 << (row % 8);
            }
        }
        return RoaringBitmap::from_lsb0_bytes(0, &bits);
    }
    let mut rows: Vec<u32> = rows.collect();
    rows.sort_unstable();
    rows.dedup();
    rows.into_iter().collect()
}
