//! AVX2: 32 look-ups per instruction, that is 8 components of 16 rows.

use std::arch::x86_64::*;

use super::{Ask, BLOCK_ROWS, Blocks, Near, SPAN_BYTES, fill_table, finish};

/// See [`super::Kernel`]; needs AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn block(ask: &Ask, blocks: &Blocks, near: &mut Near) -> usize {
    let (block, codes) = (blocks.now, ask.table.len());
    debug_assert!(block.len() >= codes);
    let mut sums = [0.0; BLOCK_ROWS];
    let mut at = 0;
    while at < codes {
        let length = (codes - at).min(SPAN_BYTES);
        // SAFETY: `at + length` is within the table, and the block is at least as long.
        let part = unsafe {
            self::sums(
                ask.table.as_ptr().add(at),
                block.as_ptr().add(at),
                blocks.next.as_ptr().wrapping_add(at),
                length / 32,
            )
        };
        for (sum, more) in sums.iter_mut().zip(part) {
            *sum += f32::from(more);
        }
        at += length;
    }
    finish(ask, &sums, block, near)
}

/// See [`super::Fill`]; needs AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn fill(fours: &[[f32; 4]], scale: f32, table: &mut [[u8; 16]]) {
    fill_table(fours, scale, table);
}

/// The 32 sums of `chunks` times 32 bytes of codes, in the order of rows. As many from `next` on are brought near.
///
/// # Safety
/// So many bytes can be read from `table` and `codes`; `next` may be any address.
#[target_feature(enable = "avx2,fma")]
unsafe fn sums(table: *const u8, codes: *const u8, next: *const u8, chunks: usize) -> [u16; BLOCK_ROWS] {
    let nibble = _mm256_set1_epi8(15);
    // As in the version for AVX-512, which explains it.
    let mut low = [_mm256_setzero_si256(); 2];
    let mut high = [_mm256_setzero_si256(); 2];
    for four in (0..chunks).step_by(4) {
        let mut bytes = [_mm256_setzero_si256(); 2];
        for chunk in four..chunks.min(four + 4) {
            // SAFETY: the caller's promise, and bringing near reads nothing.
            let (table, codes) = unsafe {
                if chunk % 2 == 0 {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(32 * chunk).cast());
                }
                (
                    _mm256_loadu_si256(table.add(32 * chunk).cast()),
                    _mm256_loadu_si256(codes.add(32 * chunk).cast()),
                )
            };
            let first = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, nibble));
            let second = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble));
            bytes = [_mm256_add_epi8(bytes[0], first), _mm256_add_epi8(bytes[1], second)];
        }
        for (i, bytes) in bytes.into_iter().enumerate() {
            low[i] = _mm256_add_epi16(low[i], bytes);
            high[i] = _mm256_add_epi16(high[i], _mm256_srli_epi16(bytes, 8));
        }
    }
    let mut sums = [0; BLOCK_ROWS];
    for i in 0..2 {
        let lower = _mm256_sub_epi16(low[i], _mm256_slli_epi16(high[i], 8));
        for (j, each) in [lower, high[i]].into_iter().enumerate() {
            let both = _mm_add_epi16(_mm256_castsi256_si128(each), _mm256_extracti128_si256(each, 1));
            // SAFETY: eight sums of 16 bits from the place `16 * i + 8 * j`, at most 24, on.
            unsafe { _mm_storeu_si128(sums.as_mut_ptr().add(16 * i + 8 * j).cast(), both) };
        }
    }
    sums
}
