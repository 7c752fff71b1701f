//! AVX-512 (F, BW, VL): vectors of 64 bytes and masked loads; with VNNI also products of bytes four at a time.
//!
//! Contract of every function: the processor has these, and pointers reach as far as [`crate::lanes`] says.

use std::arch::x86_64::*;

use crate::lanes::{Backend, Bytes, Floats, Measure, Query, Stored, score_bytes, score_floats};

pub(crate) struct Avx512;
pub(crate) struct Avx512Vnni;

impl Avx512 {
    pub(crate) fn available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }
}

impl Avx512Vnni {
    pub(crate) fn available() -> bool {
        Avx512::available() && is_x86_feature_detected!("avx512vnni")
    }
}

impl Backend for Avx512 {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn floats<M: Measure, S: Stored, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise. Four sums for each of four rows leave half of the 32 registers free.
        unsafe { score_floats::<Lanes, M, S, R, 4>(query, rows) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn bytes<M: Measure, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise.
        unsafe { score_bytes::<Avx512, M, R>(query, rows) }
    }
}

impl Backend for Avx512Vnni {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn floats<M: Measure, S: Stored, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise.
        unsafe { Avx512::floats::<M, S, R>(query, rows) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn bytes<M: Measure, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise.
        unsafe { score_bytes::<Avx512Vnni, M, R>(query, rows) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Lanes(__m512);

impl Floats for Lanes {
    const LANES: usize = 16;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn zero() -> Self {
        Self(_mm512_setzero_ps())
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_f32(at: *const u8) -> Self {
        // SAFETY: the caller promises 64 bytes.
        Self(unsafe { _mm512_loadu_ps(at.cast()) })
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_f16(at: *const u8) -> Self {
        // SAFETY: the caller promises 32 bytes.
        Self(_mm512_cvtph_ps(unsafe { _mm256_loadu_si256(at.cast()) }))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_f32_part(at: *const u8, n: usize) -> Self {
        // SAFETY: the caller promises `n < 16` components; lanes the mask leaves out are not read.
        Self(unsafe { _mm512_maskz_loadu_ps((1 << n) - 1, at.cast()) })
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_f16_part(at: *const u8, n: usize) -> Self {
        // SAFETY: the caller promises `n < 16` components; lanes the mask leaves out are not read.
        Self(_mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16((1 << n) - 1, at.cast()) }))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn add(self, other: Self) -> Self {
        Self(_mm512_add_ps(self.0, other.0))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn sub(self, other: Self) -> Self {
        Self(_mm512_sub_ps(self.0, other.0))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        Self(_mm512_fmadd_ps(self.0, factor.0, sum.0))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn abs(self) -> Self {
        Self(_mm512_abs_ps(self.0))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn sum(self) -> f32 {
        _mm512_reduce_add_ps(self.0)
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_bytes(at: *const u8) -> __m512i {
    // SAFETY: the caller promises 64 bytes.
    unsafe { _mm512_loadu_si512(at.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_bytes_part(at: *const u8, n: usize) -> __m512i {
    // SAFETY: the caller promises `n < 64` bytes; lanes the mask leaves out are not read.
    unsafe { _mm512_maskz_loadu_epi8((1 << n) - 1, at.cast()) }
}

/// Adds the products of neighbouring lanes, after widening both to 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_products(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let low = _mm512_madd_epi16(_mm512_unpacklo_epi8(a, zero), _mm512_unpacklo_epi8(b, zero));
    let high = _mm512_madd_epi16(_mm512_unpackhi_epi8(a, zero), _mm512_unpackhi_epi8(b, zero));
    _mm512_add_epi32(sum, _mm512_add_epi32(low, high))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_squares(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    let difference = _mm512_or_si512(_mm512_subs_epu8(a, b), _mm512_subs_epu8(b, a));
    add_products(sum, difference, difference)
}

/// Sums of eight differences in lanes of 64 bits, whose upper halves stay 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_differences(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(sum, _mm512_sad_epu8(a, b))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn total(sum: __m512i) -> u32 {
    _mm512_reduce_add_epi32(sum) as u32
}

impl Bytes for Avx512 {
    const LANES: usize = 64;
    type Vector = __m512i;
    type Sum = __m512i;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn zero() -> __m512i {
        _mm512_setzero_si512()
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(at: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { load_bytes(at) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_part(at: *const u8, n: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { load_bytes_part(at, n) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn products(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        add_products(sum, a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn squares(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        add_squares(sum, a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn differences(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        add_differences(sum, a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn total(sum: __m512i) -> u32 {
        total(sum)
    }
}

/// VNNI multiplies unsigned by signed bytes. So `a * b` is `b * (a - 128) + 128 * b`: the first field sums the
/// former term, the second the `b`.
#[derive(Clone, Copy)]
pub(crate) struct SignedSum {
    signed: __m512i,
    plain: __m512i,
}

impl Bytes for Avx512Vnni {
    const LANES: usize = 64;
    type Vector = __m512i;
    type Sum = SignedSum;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn zero() -> SignedSum {
        SignedSum { signed: _mm512_setzero_si512(), plain: _mm512_setzero_si512() }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load(at: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { load_bytes(at) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load_part(at: *const u8, n: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { load_bytes_part(at, n) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn products(sum: SignedSum, a: __m512i, b: __m512i) -> SignedSum {
        // The first operand of the product is the query's, the same for all rows, and so is its sign flip.
        let less_128 = _mm512_xor_si512(a, _mm512_set1_epi8(-128));
        SignedSum {
            signed: _mm512_dpbusd_epi32(sum.signed, b, less_128),
            plain: _mm512_dpbusd_epi32(sum.plain, b, _mm512_set1_epi8(1)),
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn squares(sum: SignedSum, a: __m512i, b: __m512i) -> SignedSum {
        SignedSum { signed: add_squares(sum.signed, a, b), ..sum }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn differences(sum: SignedSum, a: __m512i, b: __m512i) -> SignedSum {
        SignedSum { signed: add_differences(sum.signed, a, b), ..sum }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn total(sum: SignedSum) -> u32 {
        total(sum.signed).wrapping_add(total(sum.plain).wrapping_mul(128))
    }
}
