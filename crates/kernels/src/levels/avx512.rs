//! AVX-512 with VNNI: 64 products of bytes per instruction, added up in 32 bits.

use std::arch::x86_64::*;

/// 8-bit codes; needs F, BW, VL and VNNI. The row is as long as the query, a multiple of 64.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn bytes(query: &[i8], row: &[u8]) -> i32 {
    debug_assert!(query.len() == row.len() && row.len().is_multiple_of(64));
    let mut sums = [_mm512_setzero_si512(); 2];
    let mut at = 0;
    while at < row.len() {
        // SAFETY: 64 bytes of both are left.
        let (q, u) = unsafe { (load(query.as_ptr().add(at).cast()), load(row.as_ptr().add(at))) };
        let sum = &mut sums[at / 64 % 2];
        *sum = _mm512_dpbusd_epi32(*sum, u, q);
        at += 64;
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
}

/// 4-bit codes; needs F, BW, VL and VNNI. The query is twice as long as the row, which is a multiple of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn halves(query: &[i8], row: &[u8]) -> i32 {
    debug_assert!(query.len() == 2 * row.len() && row.len().is_multiple_of(32));
    let half = _mm512_set1_epi8(15);
    let (low, high) = query.split_at(row.len());
    let (mut first, mut second) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    let mut at = 0;
    while at + 64 <= row.len() {
        // SAFETY: 64 bytes of all three are left.
        let (l, h, u) = unsafe {
            (
                load(low.as_ptr().add(at).cast()),
                load(high.as_ptr().add(at).cast()),
                load(row.as_ptr().add(at)),
            )
        };
        first = _mm512_dpbusd_epi32(first, _mm512_and_si512(u, half), l);
        second = _mm512_dpbusd_epi32(second, _mm512_and_si512(_mm512_srli_epi16(u, 4), half), h);
        at += 64;
    }
    if at < row.len() {
        // SAFETY: 32 bytes of all three are left, and the mask reads no more.
        let (l, h, u) = unsafe {
            (
                load_32(low.as_ptr().add(at).cast()),
                load_32(high.as_ptr().add(at).cast()),
                load_32(row.as_ptr().add(at)),
            )
        };
        first = _mm512_dpbusd_epi32(first, _mm512_and_si512(u, half), l);
        second = _mm512_dpbusd_epi32(second, _mm512_and_si512(_mm512_srli_epi16(u, 4), half), h);
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(first, second))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load(at: *const u8) -> __m512i {
    // SAFETY: the caller promises 64 bytes.
    unsafe { _mm512_loadu_si512(at.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_32(at: *const u8) -> __m512i {
    // SAFETY: the caller promises 32 bytes.
    unsafe { _mm512_maskz_loadu_epi8((1 << 32) - 1, at.cast()) }
}
