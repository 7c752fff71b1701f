//! AVX-512: seven rounds of 128 neighbours in registers, then two rounds at a time.

use std::arch::x86_64::*;

/// As [`super::transform`], addition by addition; needs F, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn transform(x: &mut [f32]) {
    let (pieces, rest) = x.as_chunks_mut::<128>();
    if !rest.is_empty() {
        return super::transform(x);
    }
    for piece in pieces {
        neighbours(piece);
    }
    let mut half = 128;
    while 2 * half < x.len() {
        for four in x.chunks_exact_mut(4 * half) {
            two_rounds(four, half);
        }
        half *= 4;
    }
    if half < x.len() {
        super::butterfly(x, half);
    }
    let scale = 1.0 / (x.len() as f32).sqrt();
    x.iter_mut().for_each(|x| *x *= scale);
}

/// The rounds within 128 floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn neighbours(x: &mut [f32; 128]) {
    let mut eight = [_mm512_setzero_ps(); 8];
    for (i, lanes) in eight.iter_mut().enumerate() {
        // SAFETY: 16 of 128 floats.
        *lanes = within(unsafe { _mm512_loadu_ps(x.as_ptr().add(16 * i)) });
    }
    for half in [1, 2, 4] {
        for i in (0..8).filter(|i| i & half == 0) {
            let (a, b) = (eight[i], eight[i + half]);
            (eight[i], eight[i + half]) = (_mm512_add_ps(a, b), _mm512_sub_ps(a, b));
        }
    }
    for (i, lanes) in eight.iter().enumerate() {
        // SAFETY: 16 of 128 floats.
        unsafe { _mm512_storeu_ps(x.as_mut_ptr().add(16 * i), *lanes) };
    }
}

/// The rounds within 16 floats: to each the one across is added, or it is taken from that one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn within(x: __m512) -> __m512 {
    let across = _mm512_permute_ps(x, 0b10_11_00_01);
    let x = _mm512_mask_sub_ps(_mm512_add_ps(x, across), 0b1010_1010_1010_1010, across, x);
    let across = _mm512_permute_ps(x, 0b01_00_11_10);
    let x = _mm512_mask_sub_ps(_mm512_add_ps(x, across), 0b1100_1100_1100_1100, across, x);
    let across = _mm512_shuffle_f32x4(x, x, 0b10_11_00_01);
    let x = _mm512_mask_sub_ps(_mm512_add_ps(x, across), 0b1111_0000_1111_0000, across, x);
    let across = _mm512_shuffle_f32x4(x, x, 0b01_00_11_10);
    _mm512_mask_sub_ps(_mm512_add_ps(x, across), 0b1111_1111_0000_0000, across, x)
}

/// The rounds of `half` and of twice as many.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn two_rounds(four: &mut [f32], half: usize) {
    let (low, high) = four.split_at_mut(2 * half);
    let ((a, b), (c, d)) = (low.split_at_mut(half), high.split_at_mut(half));
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (e, f, g, h) = (*a + *b, *a - *b, *c + *d, *c - *d);
        (*a, *b, *c, *d) = (e + g, f + h, e - g, f - h);
    }
}
