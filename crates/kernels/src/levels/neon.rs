//! NEON: products of bytes, in pairs, or where the processor has `dotprod` four at a time.

use std::arch::aarch64::*;
use std::arch::asm;

/// 8-bit codes; needs NEON. The row is as long as the query, a multiple of 64.
#[target_feature(enable = "neon")]
pub(super) unsafe fn bytes(query: &[i8], row: &[u8]) -> i32 {
    debug_assert!(query.len() == row.len() && row.len().is_multiple_of(16));
    let mut sums = [vdupq_n_s32(0); 2];
    for (q, u) in query.as_chunks::<16>().0.iter().zip(row.as_chunks::<16>().0) {
        // SAFETY: both are 16 bytes.
        let (q, u) = unsafe { (vld1q_s8(q.as_ptr()), vld1q_u8(u.as_ptr())) };
        // A product of a full byte does not fit in 16 bits with its sign, so both are widened first.
        let low = (vmovl_s8(vget_low_s8(q)), vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(u))));
        let high = (vmovl_high_s8(q), vreinterpretq_s16_u16(vmovl_high_u8(u)));
        for (q, u) in [low, high] {
            sums[0] = vmlal_s16(sums[0], vget_low_s16(q), vget_low_s16(u));
            sums[1] = vmlal_high_s16(sums[1], q, u);
        }
    }
    vaddvq_s32(vaddq_s32(sums[0], sums[1]))
}

/// 4-bit codes; needs NEON. The query is twice as long as the row, which is a multiple of 32.
#[target_feature(enable = "neon")]
pub(super) unsafe fn halves(query: &[i8], row: &[u8]) -> i32 {
    debug_assert!(query.len() == 2 * row.len() && row.len().is_multiple_of(16));
    let mut sum = vdupq_n_s32(0);
    for_halves(query, row, |q, u| {
        // At most two times 15 * 127 in 16 bits.
        let low = vmull_s8(vget_low_s8(q), vget_low_s8(u));
        sum = vpadalq_s16(sum, vmlal_high_s8(low, q, u));
    });
    vaddvq_s32(sum)
}

/// As [`bytes`]; needs `dotprod`.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn bytes_dot(query: &[i8], row: &[u8]) -> i32 {
    debug_assert!(query.len() == row.len() && row.len().is_multiple_of(16));
    // The instruction wants signs on both sides: 128 is taken off each level, and added again as 128 times the query's sum.
    let (flip, ones) = (vdupq_n_u8(128), vdupq_n_s8(1));
    let (mut sum, mut taken_off) = (vdupq_n_s32(0), vdupq_n_s32(0));
    for (q, u) in query.as_chunks::<16>().0.iter().zip(row.as_chunks::<16>().0) {
        // SAFETY: both are 16 bytes.
        let (q, u) = unsafe { (vld1q_s8(q.as_ptr()), vld1q_u8(u.as_ptr())) };
        sum = dot(sum, q, vreinterpretq_s8_u8(veorq_u8(u, flip)));
        taken_off = dot(taken_off, q, ones);
    }
    vaddvq_s32(vaddq_s32(sum, vshlq_n_s32::<7>(taken_off)))
}

/// As [`halves`]; needs `dotprod`.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn halves_dot(query: &[i8], row: &[u8]) -> i32 {
    debug_assert!(query.len() == 2 * row.len() && row.len().is_multiple_of(16));
    let mut sum = vdupq_n_s32(0);
    for_halves(query, row, |q, u| sum = dot(sum, q, u));
    vaddvq_s32(sum)
}

/// Calls `each` with 16 components of the query and their levels, for lower and for upper halves.
#[inline(always)]
fn for_halves(query: &[i8], row: &[u8], mut each: impl FnMut(int8x16_t, int8x16_t)) {
    let (low, high) = query.split_at(row.len());
    let halves = low.as_chunks::<16>().0.iter().zip(high.as_chunks::<16>().0);
    for ((l, h), u) in halves.zip(row.as_chunks::<16>().0) {
        // SAFETY: all three are 16 bytes, and every 64-bit ARM has NEON.
        unsafe {
            let u = vld1q_u8(u.as_ptr());
            each(vld1q_s8(l.as_ptr()), vreinterpretq_s8_u8(vandq_u8(u, vdupq_n_u8(15))));
            each(vld1q_s8(h.as_ptr()), vreinterpretq_s8_u8(vshrq_n_u8::<4>(u)));
        }
    }
}

/// Adds the products of four neighbours to each of four sums.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: the processor has `dotprod`, and the instruction touches only the three registers named.
    unsafe {
        asm!("sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}
