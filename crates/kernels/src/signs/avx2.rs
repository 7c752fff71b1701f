//! AVX2: 32 look-ups per instruction, that is 8 components of 16 rows.

use std::arch::x86_64::*;

use super::{Ask, BLOCK_ROWS, Blocks, Near, SPAN_BYTES, factors, fill_table, put_below};

/// Bytes of codes that are looked up at once.
const CHUNK: usize = 32;

/// Registers that the numbers of a block's rows take.
const EIGHTS: usize = BLOCK_ROWS / 8;

/// See [`super::Kernel`]; needs AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn block(ask: &Ask, blocks: &Blocks, near: &mut Near) -> usize {
    let (block, codes) = (blocks.now, ask.table.len());
    debug_assert!(block.len() >= codes);
    let mut sums = [_mm256_setzero_ps(); EIGHTS];
    let mut at = 0;
    while at < codes {
        let length = (codes - at).min(SPAN_BYTES);
        // SAFETY: `at + length` is within the table, and the block is at least as long.
        let part = unsafe {
            self::sums(
                ask.table.as_ptr().add(at),
                block.as_ptr().add(at),
                blocks.next.as_ptr().wrapping_add(at),
                length / CHUNK,
            )
        };
        for (sum, more) in sums.iter_mut().zip(part) {
            *sum = _mm256_add_ps(*sum, _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(more)));
        }
        at += length;
    }
    finish(ask, &sums, block, near)
}

/// As [`super::finish`], eight rows at once.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn finish(ask: &Ask, sums: &[__m256; EIGHTS], block: &[u8], near: &mut Near) -> usize {
    let (add, mul) = factors(block, ask.table.len());
    let (step, bias) = (_mm256_set1_ps(ask.step), _mm256_set1_ps(ask.bias));
    let (base, limit) = (_mm256_set1_ps(ask.base), _mm256_set1_ps(ask.limit));
    let (mut values, mut below) = ([0.0; BLOCK_ROWS], 0);
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: both have 32 numbers.
        let (add, mul) = unsafe {
            (_mm256_loadu_ps(add.as_ptr().add(8 * i).cast()), _mm256_loadu_ps(mul.as_ptr().add(8 * i).cast()))
        };
        let product = _mm256_fmadd_ps(*sums, step, bias);
        let value = _mm256_fmadd_ps(mul, product, _mm256_add_ps(add, base));
        below |= (_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(value, limit)) as u32) << (8 * i);
        // SAFETY: there is room for 32 numbers.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr().add(8 * i), value) };
    }
    put_below(&values, below, block, near)
}

/// See [`super::Fill`]; needs AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn fill(fours: &[[f32; 4]], scale: f32, table: &mut [[u8; 16]]) {
    fill_table(fours, scale, table);
}

/// The sums of eight rows after eight rows, of `chunks` times 32 bytes of codes. As many from `next` on are brought near.
///
/// # Safety
/// So many bytes can be read from `table` and `codes`; `next` may be any address.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sums(table: *const u8, codes: *const u8, next: *const u8, chunks: usize) -> [__m128i; EIGHTS] {
    let mut sums = Wide { low: [_mm256_setzero_si256(); 2], high: [_mm256_setzero_si256(); 2] };
    let fours = chunks / 4;
    for four in 0..fours {
        let at = 4 * CHUNK * four;
        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(at).cast());
        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(at + 2 * CHUNK).cast());
        let mut bytes = [_mm256_setzero_si256(); 2];
        for chunk in 0..4 {
            let at = at + CHUNK * chunk;
            // SAFETY: the caller's promise.
            let [first, second] = unsafe { looked_up(table.add(at), codes.add(at)) };
            bytes = [_mm256_add_epi8(bytes[0], first), _mm256_add_epi8(bytes[1], second)];
        }
        sums.add(bytes);
    }
    for at in (4 * fours..chunks).map(|chunk| CHUNK * chunk) {
        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(at).cast());
        // SAFETY: the caller's promise.
        sums.add(unsafe { looked_up(table.add(at), codes.add(at)) });
    }
    sums.of_rows()
}

/// What 32 bytes of codes have in the table: of the rows of the lower four bits of each, and of the upper.
///
/// # Safety
/// Both can be read.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn looked_up(table: *const u8, codes: *const u8) -> [__m256i; 2] {
    let nibble = _mm256_set1_epi8(15);
    // SAFETY: the caller's promise.
    let (table, codes) = unsafe { (_mm256_loadu_si256(table.cast()), _mm256_loadu_si256(codes.cast())) };
    let upper = _mm256_srli_epi16(codes, 4);
    [codes, upper].map(|bits| _mm256_shuffle_epi8(table, _mm256_and_si256(bits, nibble)))
}

/// Bytes added up as 16 bits, as by its namesake of AVX-512, which explains it.
struct Wide {
    low: [__m256i; 2],
    high: [__m256i; 2],
}

impl Wide {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add(&mut self, bytes: [__m256i; 2]) {
        for (i, bytes) in bytes.into_iter().enumerate() {
            self.low[i] = _mm256_add_epi16(self.low[i], bytes);
            self.high[i] = _mm256_add_epi16(self.high[i], _mm256_srli_epi16(bytes, 8));
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn of_rows(self) -> [__m128i; EIGHTS] {
        let mut sums = [_mm_setzero_si128(); EIGHTS];
        for (i, high) in self.high.into_iter().enumerate() {
            let lower = _mm256_sub_epi16(self.low[i], _mm256_slli_epi16(high, 8));
            for (j, each) in [lower, high].into_iter().enumerate() {
                sums[2 * i + j] =
                    _mm_add_epi16(_mm256_castsi256_si128(each), _mm256_extracti128_si256(each, 1));
            }
        }
        sums
    }
}
