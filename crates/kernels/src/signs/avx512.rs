//! AVX-512: 64 look-ups per instruction, that is 16 components of 16 rows.

use std::arch::x86_64::*;

use super::{Ask, BLOCK_ROWS, SPAN, factors, fill_table};

/// See [`super::Kernel`]; needs F, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn block(ask: &Ask, block: &[u8], values: &mut [f32; BLOCK_ROWS]) -> u32 {
    let codes = ask.table.len();
    debug_assert!(block.len() >= codes);
    let (mut first, mut last) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    let mut at = 0;
    while at < codes {
        let length = (codes - at).min(4 * SPAN);
        // SAFETY: `at + length` is within the table, and the block is at least as long.
        let sums = unsafe { sums(ask.table.as_ptr().add(at), block.as_ptr().add(at), length / 64) };
        first = _mm512_add_ps(first, floats(_mm512_castsi512_si256(sums)));
        last = _mm512_add_ps(last, floats(_mm512_extracti64x4_epi64(sums, 1)));
        at += length;
    }
    let (add, mul) = factors(block, codes);
    let (step, bias) = (_mm512_set1_ps(ask.step), _mm512_set1_ps(ask.bias));
    let (base, limit) = (_mm512_set1_ps(ask.base), _mm512_set1_ps(ask.limit));
    let mut near = 0;
    for (half, sums) in [first, last].into_iter().enumerate() {
        // SAFETY: both have 32 floats, and so has `values`.
        unsafe {
            let add = _mm512_loadu_ps(add.as_ptr().add(16 * half).cast());
            let mul = _mm512_loadu_ps(mul.as_ptr().add(16 * half).cast());
            let product = _mm512_fmadd_ps(sums, step, bias);
            let value = _mm512_fmadd_ps(mul, product, _mm512_add_ps(add, base));
            _mm512_storeu_ps(values.as_mut_ptr().add(16 * half), value);
            near |= u32::from(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, limit)) << (16 * half);
        }
    }
    near
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn floats(sums: __m256i) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums))
}

/// See [`super::Fill`]; needs F, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn fill(fours: &[[f32; 4]], scale: f32, table: &mut [[u8; 16]]) {
    fill_table(fours, scale, table);
}

/// The 32 sums of `chunks` times 64 bytes of codes, in the order of rows.
///
/// # Safety
/// So many bytes can be read from both pointers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn sums(table: *const u8, codes: *const u8, chunks: usize) -> __m512i {
    let nibble = _mm512_set1_epi8(15);
    // Bytes are added up as 16 bits: the lower byte of each pair together with 256 times the upper one, the upper
    // one alone. What of the upper ones is in the first sums is taken off at the end.
    let mut low = [_mm512_setzero_si512(); 2];
    let mut high = [_mm512_setzero_si512(); 2];
    for chunk in 0..chunks {
        // SAFETY: the caller's promise.
        let (table, codes) = unsafe {
            (
                _mm512_loadu_si512(table.add(64 * chunk).cast()),
                _mm512_loadu_si512(codes.add(64 * chunk).cast()),
            )
        };
        let first = _mm512_shuffle_epi8(table, _mm512_and_si512(codes, nibble));
        let second = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble));
        low[0] = _mm512_add_epi16(low[0], first);
        high[0] = _mm512_add_epi16(high[0], _mm512_srli_epi16(first, 8));
        low[1] = _mm512_add_epi16(low[1], second);
        high[1] = _mm512_add_epi16(high[1], _mm512_srli_epi16(second, 8));
    }
    let lower = |i: usize| _mm512_sub_epi16(low[i], _mm512_slli_epi16(high[i], 8));
    let (a, b) = (add_lanes(lower(0), high[0]), add_lanes(lower(1), high[1]));
    _mm512_add_epi16(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd))
}

/// Of four lanes each, the sums of the first two and of the last two: `[a0 + a1, a2 + a3, b0 + b1, b2 + b3]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_lanes(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi16(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd))
}
