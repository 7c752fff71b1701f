//! AVX-512: 64 look-ups per instruction, that is 16 components of 16 rows.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{Ask, Blocks, Estimate, Near, SPAN_BYTES, factors, places};

/// See [`super::Kernel`]; needs F, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn block(ask: &Ask, blocks: &Blocks, near: &mut Near) -> usize {
    let (block, codes) = (blocks.now, ask.table.len());
    debug_assert!(block.len() >= codes);
    let (mut first, mut last) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    let mut at = 0;
    while at < codes {
        let length = (codes - at).min(SPAN_BYTES);
        // SAFETY: `at + length` is within the table, and the block is at least as long.
        let sums = unsafe {
            sums(
                ask.table.as_ptr().add(at),
                block.as_ptr().add(at),
                blocks.next.as_ptr().wrapping_add(at),
                length / 64,
            )
        };
        first = _mm512_add_ps(first, floats(_mm512_castsi512_si256(sums)));
        last = _mm512_add_ps(last, floats(_mm512_extracti64x4_epi64(sums, 1)));
        at += length;
    }
    let (add, mul) = factors(block, codes);
    let (step, bias) = (_mm512_set1_ps(ask.step), _mm512_set1_ps(ask.bias));
    let (base, limit) = (_mm512_set1_ps(ask.base), _mm512_set1_ps(ask.limit));
    let (places, mut count) = (places(block), 0);
    for (half, sums) in [first, last].into_iter().enumerate() {
        // SAFETY: all three have 32 numbers.
        let (add, mul, places) = unsafe {
            (
                _mm512_loadu_ps(add.as_ptr().add(16 * half).cast()),
                _mm512_loadu_ps(mul.as_ptr().add(16 * half).cast()),
                places.as_ptr().add(16 * half),
            )
        };
        let product = _mm512_fmadd_ps(sums, step, bias);
        let value = _mm512_fmadd_ps(mul, product, _mm512_add_ps(add, base));
        let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, limit);
        if below != 0 {
            // SAFETY: there are 16 places, and room for 16 more estimates at the most that can have been found.
            unsafe { put(value, _mm512_loadu_si512(places.cast()), below, near.as_mut_ptr().add(count)) };
            count += below.count_ones() as usize;
        }
    }
    count
}

/// Writes those estimates side by side that have a bit in `below`. What follows up to the sixteenth is overwritten too.
///
/// # Safety
/// There is room for 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn put(values: __m512, places: __m512i, below: u16, to: *mut MaybeUninit<Estimate>) {
    let values = _mm512_castps_si512(_mm512_maskz_compress_ps(below, values));
    let places = _mm512_maskz_compress_epi32(below, places);
    let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let last = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    // SAFETY: an estimate is a value and a place after it, eight of them 64 bytes.
    unsafe {
        _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi32(values, first, places));
        _mm512_storeu_si512(to.add(8).cast(), _mm512_permutex2var_epi32(values, last, places));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn floats(sums: __m256i) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums))
}

/// See [`super::Fill`]; needs F, BW and VL. Four fours at once, a lane of 128 bits for each.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn fill(fours: &[[f32; 4]], scale: f32, table: &mut [[u8; 16]]) {
    let (scale, half) = (_mm512_set1_ps(scale), _mm512_set1_ps(0.5));
    for (fours, bytes) in fours.as_chunks::<4>().0.iter().zip(table.as_chunks_mut::<4>().0) {
        // SAFETY: 16 floats.
        let x = _mm512_mul_ps(unsafe { _mm512_loadu_ps(fours.as_ptr().cast()) }, scale);
        let negative = _mm512_sub_ps(_mm512_abs_ps(x), x);
        let pairs = _mm512_add_ps(negative, _mm512_shuffle_ps(negative, negative, 0b10_11_00_01));
        let all = _mm512_add_ps(pairs, _mm512_shuffle_ps(pairs, pairs, 0b01_00_11_10));
        let least = _mm512_add_ps(all, half);
        let twice = _mm512_add_ps(x, x);
        let a = _mm512_maskz_shuffle_ps(0b1010_1010_1010_1010, twice, twice, 0b00_00_00_00);
        let b = _mm512_maskz_shuffle_ps(0b1100_1100_1100_1100, twice, twice, 0b01_01_01_01);
        let (c, d) = (_mm512_shuffle_ps(twice, twice, 0b10_10_10_10), _mm512_shuffle_ps(twice, twice, 0xff));
        // The four sums of the first two components beside each other, those of the others one after another.
        let low = _mm512_add_ps(a, b);
        let whole = |sum: __m512| _mm512_cvttps_epi32(_mm512_add_ps(sum, least));
        let first = _mm512_packs_epi32(whole(low), whole(_mm512_add_ps(low, c)));
        let last =
            _mm512_packs_epi32(whole(_mm512_add_ps(low, d)), whole(_mm512_add_ps(low, _mm512_add_ps(c, d))));
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), _mm512_packus_epi16(first, last)) };
    }
}

/// The 32 sums of `chunks` times 64 bytes of codes, in the order of rows. As many from `next` on are brought near.
///
/// # Safety
/// So many bytes can be read from `table` and `codes`; `next` may be any address.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn sums(table: *const u8, codes: *const u8, next: *const u8, chunks: usize) -> __m512i {
    let mut wide = Wide { low: [_mm512_setzero_si512(); 2], high: [_mm512_setzero_si512(); 2] };
    let fours = chunks - chunks % 4;
    let mut chunk = 0;
    while chunk < fours {
        // SAFETY: the caller's promise.
        wide.add(unsafe {
            bytes(table.add(64 * chunk), codes.add(64 * chunk), next.wrapping_add(64 * chunk), 4)
        });
        chunk += 4;
    }
    if chunk < chunks {
        // SAFETY: the caller's promise.
        wide.add(unsafe {
            bytes(table.add(64 * chunk), codes.add(64 * chunk), next.wrapping_add(64 * chunk), chunks - chunk)
        });
    }
    wide.total()
}

/// What is looked up for lower and for upper rows in at most four chunks, added up in bytes.
///
/// # Safety
/// So many times 64 bytes can be read from `table` and `codes`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn bytes(table: *const u8, codes: *const u8, next: *const u8, chunks: usize) -> [__m512i; 2] {
    let nibble = _mm512_set1_epi8(15);
    let mut sums = [_mm512_setzero_si512(); 2];
    for chunk in 0..chunks {
        // SAFETY: the caller's promise, and bringing near reads nothing.
        let (table, codes) = unsafe {
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(64 * chunk).cast());
            (
                _mm512_loadu_si512(table.add(64 * chunk).cast()),
                _mm512_loadu_si512(codes.add(64 * chunk).cast()),
            )
        };
        let first = _mm512_shuffle_epi8(table, _mm512_and_si512(codes, nibble));
        let second = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble));
        sums = [_mm512_add_epi8(sums[0], first), _mm512_add_epi8(sums[1], second)];
    }
    sums
}

/// Bytes added up as 16 bits: the lower byte of each pair together with 256 times the upper one, and the upper one alone.
/// What of the upper ones is in the first sums is taken off at the end.
struct Wide {
    low: [__m512i; 2],
    high: [__m512i; 2],
}

impl Wide {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn add(&mut self, bytes: [__m512i; 2]) {
        for (i, bytes) in bytes.into_iter().enumerate() {
            self.low[i] = _mm512_add_epi16(self.low[i], bytes);
            self.high[i] = _mm512_add_epi16(self.high[i], _mm512_srli_epi16(bytes, 8));
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn total(&self) -> __m512i {
        let lower = |i: usize| _mm512_sub_epi16(self.low[i], _mm512_slli_epi16(self.high[i], 8));
        let (a, b) = (add_lanes(lower(0), self.high[0]), add_lanes(lower(1), self.high[1]));
        _mm512_add_epi16(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd))
    }
}

/// Of four lanes each, the sums of the first two and of the last two: `[a0 + a1, a2 + a3, b0 + b1, b2 + b3]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_lanes(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi16(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd))
}
