//! AVX2: products of bytes in pairs.

use std::arch::x86_64::*;

/// 8-bit codes; needs AVX2. The row is as long as the query, a multiple of 64.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn bytes(query: &[i8], row: &[u8]) -> i32 {
    debug_assert!(query.len() == row.len() && row.len().is_multiple_of(16));
    let mut sum = _mm256_setzero_si256();
    let mut at = 0;
    // A pair of products of a full byte each does not fit in 16 bits, so both are widened first.
    while at < row.len() {
        // SAFETY: 16 bytes of both are left.
        let (q, u) = unsafe {
            (_mm_loadu_si128(query.as_ptr().add(at).cast()), _mm_loadu_si128(row.as_ptr().add(at).cast()))
        };
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_cvtepi8_epi16(q), _mm256_cvtepu8_epi16(u)));
        at += 16;
    }
    total(sum)
}

/// 4-bit codes; needs AVX2. The query is twice as long as the row, which is a multiple of 32.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn halves(query: &[i8], row: &[u8]) -> i32 {
    debug_assert!(query.len() == 2 * row.len() && row.len().is_multiple_of(32));
    let (half, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let (low, high) = query.split_at(row.len());
    let mut sum = _mm256_setzero_si256();
    let mut at = 0;
    while at < row.len() {
        // SAFETY: 32 bytes of all three are left.
        let (l, h, u) = unsafe {
            (
                _mm256_loadu_si256(low.as_ptr().add(at).cast()),
                _mm256_loadu_si256(high.as_ptr().add(at).cast()),
                _mm256_loadu_si256(row.as_ptr().add(at).cast()),
            )
        };
        // At most four times 15 * 127 in 16 bits.
        let first = _mm256_maddubs_epi16(_mm256_and_si256(u, half), l);
        let second = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(u, 4), half), h);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(first, second), ones));
        at += 32;
    }
    total(sum)
}

#[target_feature(enable = "avx2")]
fn total(sum: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)))
}
