//! AVX2 with FMA and F16C: vectors of 32 bytes.
//!
//! Contract of every function: the processor has these three, and pointers reach as far as [`crate::lanes`] says.

use std::arch::x86_64::*;
use std::ptr::copy_nonoverlapping;

use crate::lanes::{Backend, Bytes, Floats, Measure, Query, Stored, score_bytes, score_floats};

pub(crate) struct Avx2;

impl Avx2 {
    pub(crate) fn available() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
    }
}

impl Backend for Avx2 {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn floats<M: Measure, S: Stored, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise. Two sums for each of four rows leave half of the 16 registers free.
        unsafe { score_floats::<Lanes, M, S, R, 2>(query, rows) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bytes<M: Measure, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise.
        unsafe { score_bytes::<Avx2, M, R>(query, rows) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Lanes(__m256);

impl Floats for Lanes {
    const LANES: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zero() -> Self {
        Self(_mm256_setzero_ps())
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f32(at: *const u8) -> Self {
        // SAFETY: the caller promises 32 bytes.
        Self(unsafe { _mm256_loadu_ps(at.cast()) })
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f16(at: *const u8) -> Self {
        // SAFETY: the caller promises 16 bytes.
        Self(_mm256_cvtph_ps(unsafe { _mm_loadu_si128(at.cast()) }))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f32_part(at: *const u8, n: usize) -> Self {
        let mut whole = [0u8; 32];
        // SAFETY: the caller promises `n < 8` components.
        unsafe {
            copy_nonoverlapping(at, whole.as_mut_ptr(), 4 * n);
            Self::load_f32(whole.as_ptr())
        }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f16_part(at: *const u8, n: usize) -> Self {
        let mut whole = [0u8; 16];
        // SAFETY: the caller promises `n < 8` components.
        unsafe {
            copy_nonoverlapping(at, whole.as_mut_ptr(), 2 * n);
            Self::load_f16(whole.as_ptr())
        }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(self, other: Self) -> Self {
        Self(_mm256_add_ps(self.0, other.0))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub(self, other: Self) -> Self {
        Self(_mm256_sub_ps(self.0, other.0))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        Self(_mm256_fmadd_ps(self.0, factor.0, sum.0))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn abs(self) -> Self {
        Self(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sum(self) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// Adds the products of neighbouring lanes, after widening both to 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    let zero = _mm256_setzero_si256();
    let low = _mm256_madd_epi16(_mm256_unpacklo_epi8(a, zero), _mm256_unpacklo_epi8(b, zero));
    let high = _mm256_madd_epi16(_mm256_unpackhi_epi8(a, zero), _mm256_unpackhi_epi8(b, zero));
    _mm256_add_epi32(sum, _mm256_add_epi32(low, high))
}

impl Bytes for Avx2 {
    const LANES: usize = 32;
    type Vector = __m256i;
    type Sum = __m256i;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn zero() -> __m256i {
        _mm256_setzero_si256()
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(at: *const u8) -> __m256i {
        // SAFETY: the caller promises 32 bytes.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load_part(at: *const u8, n: usize) -> __m256i {
        let mut whole = [0u8; 32];
        // SAFETY: the caller promises `n < 32` bytes.
        unsafe {
            copy_nonoverlapping(at, whole.as_mut_ptr(), n);
            Self::load(whole.as_ptr())
        }
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn products(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        add_products(sum, a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn squares(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        let difference = _mm256_or_si256(_mm256_subs_epu8(a, b), _mm256_subs_epu8(b, a));
        add_products(sum, difference, difference)
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn differences(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // Sums of eight differences in lanes of 64 bits, whose upper halves stay 0.
        _mm256_add_epi32(sum, _mm256_sad_epu8(a, b))
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn total(sum: __m256i) -> u32 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two))) as u32
    }
}
