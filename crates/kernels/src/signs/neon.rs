//! NEON: 16 look-ups per instruction, that is 4 components of 16 rows.

use std::arch::aarch64::*;

use super::{Ask, BLOCK_ROWS, Blocks, Near, SPAN_BYTES, fill_table, finish};
use crate::prefetch;

/// Chunks whose bytes are added up before they are widened: four of the greatest number of a table fit in a byte.
const CHUNKS: usize = 4;

/// See [`super::Kernel`]; needs NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn block(ask: &Ask, blocks: &Blocks, near: &mut Near) -> usize {
    let (block, codes) = (blocks.now, ask.table.len());
    debug_assert!(block.len() >= codes);
    let mut sums = [0.0; BLOCK_ROWS];
    let spans = ask.table.chunks(SPAN_BYTES).zip(block[..codes].chunks(SPAN_BYTES));
    for ((table, codes), next) in spans.zip(blocks.next.chunks(SPAN_BYTES)) {
        for (sum, more) in sums.iter_mut().zip(self::sums(table, codes, next)) {
            *sum += f32::from(more);
        }
    }
    finish(ask, &sums, block, near)
}

/// See [`super::Fill`]; needs NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn fill(fours: &[[f32; 4]], scale: f32, table: &mut [[u8; 16]]) {
    fill_table(fours, scale, table);
}

/// The 32 sums of codes that are as long as the table, in the order of rows. `next`, which is no shorter, is brought near.
#[target_feature(enable = "neon")]
fn sums(table: &[u8], codes: &[u8], next: &[u8]) -> [u16; BLOCK_ROWS] {
    let nibble = vdupq_n_u8(15);
    // Of rows 0 to 15 and of the others: the lower byte of each pair together with 256 times the upper one, and the upper
    // one alone. What of the upper ones is in the first sums is taken off at the end.
    let (mut low, mut high) = ([vdupq_n_u16(0); 2], [vdupq_n_u16(0); 2]);
    let (table, codes) = (table.as_chunks::<16>().0, codes.as_chunks::<16>().0);
    for ((table, codes), next) in table.chunks(CHUNKS).zip(codes.chunks(CHUNKS)).zip(next.chunks(16 * CHUNKS))
    {
        prefetch(next);
        let mut bytes = [vdupq_n_u8(0); 2];
        for (table, codes) in table.iter().zip(codes) {
            // SAFETY: both are 16 bytes.
            let (table, codes) = unsafe { (vld1q_u8(table.as_ptr()), vld1q_u8(codes.as_ptr())) };
            bytes[0] = vaddq_u8(bytes[0], vqtbl1q_u8(table, vandq_u8(codes, nibble)));
            bytes[1] = vaddq_u8(bytes[1], vqtbl1q_u8(table, vshrq_n_u8::<4>(codes)));
        }
        for (i, bytes) in bytes.into_iter().enumerate() {
            let pairs = vreinterpretq_u16_u8(bytes);
            low[i] = vaddq_u16(low[i], pairs);
            high[i] = vaddq_u16(high[i], vshrq_n_u16::<8>(pairs));
        }
    }
    let mut sums = [0; BLOCK_ROWS];
    for i in 0..2 {
        let lower = vsubq_u16(low[i], vshlq_n_u16::<8>(high[i]));
        for (j, each) in [lower, high[i]].into_iter().enumerate() {
            // SAFETY: eight sums of 16 bits from the place `16 * i + 8 * j`, at most 24, on.
            unsafe { vst1q_u16(sums.as_mut_ptr().add(16 * i + 8 * j), each) };
        }
    }
    sums
}
