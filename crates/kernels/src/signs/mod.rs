//! Sign codes: one bit per component, 32 rows scanned at a time.
//!
//! A row's code says of each component whether it is positive: a vector `s` of +1 and -1. A query `q` is turned into
//! a table of the 16 sums that four signs can give, for every four components, rounded to 6 bits; a row's `<s, q>` is
//! then a sum of table look-ups, which processors do by the dozen in one instruction, and of which four still fit in a byte ("fast scan": André, Kermarrec, Le
//! Scouarnec, Cache locality is not enough, VLDB 2015, section 4). What a score is made of `<s, q>` by two factors per
//! row (RaBitQ: Gao, Long, arXiv 2405.12497, section 3.2) is worked out in the same pass.
//!
//! # A block
//! Little-endian, [`block_bytes`] long, the rows of one block side by side:
//!
//! | bytes | what |
//! | --- | --- |
//! | `4 * dim` | for every four components 16 bytes: row `r` has the four bits `4 * (r / 16)` and up of byte `2 * (r % 8) + r / 8 % 2` |
//! | 128 | `add`: `f32` of each row |
//! | 128 | `mul`: `f32` of each row |
//! | 128 | `place`: `u32` of each row, handed back and not looked at |
//!
//! Where fewer than 32 rows are left the others have an infinite `add`, and are never found.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use std::mem::MaybeUninit;

use crate::Isa;

/// Rows of a block.
pub const BLOCK_ROWS: usize = 32;

/// A code's length is a multiple of so many components: what the widest registers take at once.
pub const SIGN_DIM_STEP: usize = 16;

/// The greatest number of a table. Four of them fit in a byte. That it is no greater adds less than half a percent to the
/// variance of what is estimated, most of which is due to a sign saying so little.
const TOP: f32 = 63.0;

/// Components whose bytes are added up in 16 bits before they go on as floats: a lane of the widest registers adds one
/// byte per 16 components, and four lanes are put together.
const SPAN: usize = 4096;

/// Bytes of the table, and of the codes, for the components of a [`SPAN`].
const SPAN_BYTES: usize = 4 * SPAN;

/// A block is on its way to the processor while the one so many before it is looked at.
const AHEAD: usize = 2;

const FACTORS: usize = 4 * BLOCK_ROWS;

/// Bytes of a block of codes with `dim` components.
pub const fn block_bytes(dim: usize) -> usize {
    4 * dim + 3 * FACTORS
}

/// A block with no rows yet.
pub fn empty_block(dim: usize) -> Vec<u8> {
    let mut block = vec![0; block_bytes(dim)];
    for row in 0..BLOCK_ROWS {
        put(&mut block, 4 * dim, row, f32::INFINITY.to_le_bytes());
    }
    block
}

/// Which of every 16 bytes of codes has the four bits of a row, and the first of them.
fn bits_of(row: usize) -> (usize, usize) {
    (2 * (row % 8) + row / 8 % 2, 4 * (row / 16))
}

fn put(block: &mut [u8], section: usize, row: usize, value: [u8; 4]) {
    block[section + 4 * row..section + 4 * row + 4].copy_from_slice(&value);
}

/// Writes row `row` of a block that had none there: the signs of `components`, which has the code's length, and what
/// goes with them.
///
/// # Panics
/// If the block has another length than such codes have.
pub fn put_row(block: &mut [u8], row: usize, components: &[f32], add: f32, mul: f32, place: u32) {
    let dim = components.len();
    assert_eq!(block.len(), block_bytes(dim), "a block of other codes");
    let (byte, shift) = bits_of(row);
    for (group, four) in components.chunks(4).enumerate() {
        let bits = four.iter().enumerate().fold(0, |bits, (i, x)| bits | u8::from(*x > 0.0) << i);
        block[16 * group + byte] |= bits << shift;
    }
    put(block, 4 * dim, row, add.to_le_bytes());
    put(block, 4 * dim + FACTORS, row, mul.to_le_bytes());
    put(block, 4 * dim + 2 * FACTORS, row, place.to_le_bytes());
}

/// The rows that a block has: the number of each within it, and its `place`.
pub fn block_rows(block: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let (add, mul) = factors(block, block.len() - 3 * FACTORS);
    let places = places(block);
    // No vector has these factors: what stretches its code is 0 only where nothing is infinite.
    let is_there =
        |row: &usize| f32::from_le_bytes(add[*row]) != f32::INFINITY || f32::from_le_bytes(mul[*row]) != 0.0;
    (0..BLOCK_ROWS).filter(is_there).map(|row| (row, u32::from_le_bytes(places[row])))
}

/// The factor `mul` of row `row` of a block.
pub fn row_mul(block: &[u8], row: usize) -> f32 {
    f32::from_le_bytes(factors(block, block.len() - 3 * FACTORS).1[row])
}

/// Copies a row's code and factors from one block to where another one of equal length has no row yet, with another
/// `place`.
///
/// # Panics
/// If the blocks have different lengths.
pub fn copy_row((from, from_row): (&[u8], usize), (to, to_row): (&mut [u8], usize), place: u32) {
    assert_eq!(from.len(), to.len(), "a block of other codes");
    let codes = from.len() - 3 * FACTORS;
    let ((byte, shift), (to_byte, to_shift)) = (bits_of(from_row), bits_of(to_row));
    for (from, to) in from[..codes].as_chunks::<16>().0.iter().zip(to[..codes].as_chunks_mut::<16>().0) {
        to[to_byte] |= (from[byte] >> shift & 15) << to_shift;
    }
    let (add, mul) = factors(from, codes);
    put(to, codes, to_row, add[from_row]);
    put(to, codes + FACTORS, to_row, mul[from_row]);
    put(to, codes + 2 * FACTORS, to_row, place.to_le_bytes());
}

/// The mean size of `mul` over the rows of a block; 0 where it has none.
pub fn mean_mul(block: &[u8]) -> f32 {
    let sizes = block_rows(block).map(|(row, _)| row_mul(block, row).abs());
    let (sum, count) =
        sizes.filter(|size| size.is_finite()).fold((0.0, 0), |(sum, n), size| (sum + size, n + 1));
    sum / count.max(1) as f32
}

/// A row that a scan found.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Estimate {
    /// How far it seems to be; smaller is nearer.
    pub value: f32,
    /// What the block says of the row.
    pub place: u32,
}

/// A query, ready to be compared with sign codes.
#[derive(Debug)]
pub struct SignQuery {
    kernel: Kernel,
    fill: Fill,
    dim: usize,
    /// 16 bytes for every four components.
    table: Vec<u8>,
    /// `<s, q> = step * sum + bias`
    step: f32,
    bias: f32,
}

/// What one block is asked for.
struct Ask<'a> {
    table: &'a [u8],
    step: f32,
    /// Of all components.
    bias: f32,
    base: f32,
    limit: f32,
}

/// A block, and one that is asked for soon: what reads the one brings the other near.
struct Blocks<'a> {
    now: &'a [u8],
    next: &'a [u8],
}

/// Writes those rows of the block, in their order, that have `base + add + mul * <s, q>` below the limit, and returns how
/// many. The processor has what the kernel needs, and the block has the table's length.
type Kernel = unsafe fn(&Ask, &Blocks, &mut Near) -> usize;

/// Room for the rows that a block may have below the limit.
type Near = [MaybeUninit<Estimate>; BLOCK_ROWS];

/// Writes the table for four components after another, in units of `1 / scale`. Where one of four is no number, the 16 are
/// 0. No sum is above [`TOP`]. The processor has what the code needs.
type Fill = unsafe fn(&[[f32; 4]], f32, &mut [[u8; 16]]);

impl SignQuery {
    /// No query yet, for codes with `dim` components.
    ///
    /// # Panics
    /// If `dim` is not a multiple of [`SIGN_DIM_STEP`].
    pub fn new(dim: usize) -> Self {
        match Self::with_isa(Isa::best(), dim) {
            Some(query) => query,
            None => unreachable!("the best instruction set is one of those available"),
        }
    }

    /// As [`SignQuery::new`], for one instruction set; `None` where the processor does not have it.
    ///
    /// # Panics
    /// If `dim` is not a multiple of [`SIGN_DIM_STEP`].
    pub fn with_isa(isa: Isa, dim: usize) -> Option<Self> {
        assert!(dim.is_multiple_of(SIGN_DIM_STEP), "codes have a multiple of {SIGN_DIM_STEP} components");
        if !isa.is_available() {
            return None;
        }
        let (kernel, fill): (Kernel, Fill) = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni => (avx512::block, avx512::fill),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (avx2::block, avx2::fill),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDot => (neon::block, neon::fill),
            _ => (scalar::block, scalar::fill),
        };
        Some(Self { kernel, fill, dim, table: vec![0; 4 * dim], step: 1.0, bias: 0.0 })
    }

    /// Takes another query.
    ///
    /// # Panics
    /// If it has another length than the codes.
    pub fn set(&mut self, query: &[f32]) {
        assert_eq!(query.len(), self.dim, "a query of another length than the codes");
        let fours = query.as_chunks::<4>().0;
        let (widest, all) = reach(fours);
        // Not so small that its inverse is infinite.
        self.step = (2.0 / TOP * widest).max(f32::MIN_POSITIVE);
        self.bias = -all;
        // SAFETY: `with_isa` chose code that runs here.
        unsafe { (self.fill)(fours, 1.0 / self.step, self.table.as_chunks_mut().0) };
    }

    /// Adds to `found` every row of the blocks with `base + add + mul * <s, q>` below `limit`. The beginning of `next`,
    /// blocks that will be scanned after these, is on its way to the processor meanwhile.
    ///
    /// # Panics
    /// If `blocks` is no whole number of blocks.
    pub fn scan(&self, blocks: &[u8], next: &[u8], base: f32, limit: f32, found: &mut Vec<Estimate>) {
        let size = block_bytes(self.dim);
        assert!(blocks.len().is_multiple_of(size), "whole blocks");
        let ask = Ask { table: &self.table, step: self.step, bias: self.bias, base, limit };
        for at in (0..blocks.len()).step_by(size) {
            let (block, ahead) = (&blocks[at..at + size], at + AHEAD * size);
            let after = ahead.checked_sub(blocks.len()).and_then(|after| next.get(after..after + size));
            let both =
                Blocks { now: block, next: blocks.get(ahead..ahead + size).or(after).unwrap_or(block) };
            let count = found.len();
            found.reserve(BLOCK_ROWS);
            if let Some(near) = found.spare_capacity_mut().first_chunk_mut() {
                // SAFETY: `with_isa` chose a kernel that runs here; the block has the length of the table's codes. The
                // kernel has written as many as it says.
                unsafe {
                    let more = (self.kernel)(&ask, &both, near);
                    found.set_len(count + more);
                }
            }
        }
    }
}

/// The greatest sum of the sizes of four components, and the sum of all. Four fours at once, or each addition would wait
/// for the one before it.
fn reach(fours: &[[f32; 4]]) -> (f32, f32) {
    let (mut widest, mut sums) = ([0.0f32; 4], [0.0f32; 4]);
    for some in fours.as_chunks::<4>().0 {
        let size = |i: usize| {
            let [a, b, c, d] = some[i].map(f32::abs);
            (a + b) + (c + d)
        };
        for i in 0..4 {
            widest[i] = widest[i].max(size(i));
            sums[i] += size(i);
        }
    }
    (widest.into_iter().fold(0.0, f32::max), sums.iter().sum())
}

/// The table of a query: for every four components the 16 sums above the least one, where a positive sign adds twice its
/// component's size, and a negative one of a negative component likewise. Compiled anew for some instruction sets, with
/// the same result.
#[inline(always)]
fn fill_table(fours: &[[f32; 4]], scale: f32, table: &mut [[u8; 16]]) {
    /// Twice the bits of each number below 16.
    const BITS: [[f32; 16]; 4] = {
        let mut bits = [[0.0; 16]; 4];
        let mut at = 0;
        while at < 64 {
            bits[at / 16][at % 16] = (((at % 16) >> (at / 16)) & 1) as f32 * 2.0;
            at += 1;
        }
        bits
    };
    for (four, bytes) in fours.iter().zip(table) {
        let [a, b, c, d] = four.map(|x| x * scale);
        // Half a step, so that cutting off is rounding.
        let least = ((a.abs() - a) + (b.abs() - b)) + ((c.abs() - c) + (d.abs() - d)) + 0.5;
        for (i, byte) in bytes.iter_mut().enumerate() {
            let sum = (BITS[0][i] * a + BITS[1][i] * b) + (BITS[2][i] * c + BITS[3][i] * d) + least;
            *byte = (sum as i32) as u8;
        }
    }
}

/// The places of a block's rows.
#[inline(always)]
fn places(block: &[u8]) -> &[[u8; 4]] {
    block[block.len() - FACTORS..].as_chunks().0
}

/// The factors of a block.
#[inline(always)]
fn factors(block: &[u8], codes: usize) -> (&[[u8; 4]], &[[u8; 4]]) {
    let (add, rest) = block[codes..].split_at(FACTORS);
    (add.as_chunks().0, rest[..FACTORS].as_chunks().0)
}

/// From sums of bytes to estimates that are below the limit. Becomes part of the kernels, each of which has it compiled
/// for its instructions.
#[inline(always)]
fn finish(ask: &Ask, sums: &[f32; BLOCK_ROWS], block: &[u8], near: &mut Near) -> usize {
    let (add, mul) = factors(block, ask.table.len());
    let mut values = [0.0; BLOCK_ROWS];
    for row in 0..BLOCK_ROWS {
        let product = sums[row] * ask.step + ask.bias;
        values[row] = f32::from_le_bytes(mul[row]) * product + (f32::from_le_bytes(add[row]) + ask.base);
    }
    let mut below = 0;
    for (row, value) in values.iter().enumerate() {
        below |= u32::from(*value < ask.limit) << row;
    }
    put_below(&values, below, block, near)
}

/// Writes those estimates that have a bit in `below`, and returns how many.
#[inline(always)]
fn put_below(values: &[f32; BLOCK_ROWS], mut below: u32, block: &[u8], near: &mut Near) -> usize {
    let (places, count) = (places(block), below.count_ones() as usize);
    for estimate in &mut near[..count] {
        let row = below.trailing_zeros() as usize;
        below &= below - 1;
        estimate.write(Estimate { value: values[row], place: u32::from_le_bytes(places[row]) });
    }
    count
}
