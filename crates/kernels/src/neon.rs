//! NEON, which every 64-bit ARM has: vectors of 16 bytes.
//!
//! Contract of every function: pointers reach as far as [`crate::lanes`] says.

use std::arch::aarch64::*;
use std::arch::asm;
use std::ptr::copy_nonoverlapping;

use crate::lanes::{Backend, Bytes, Floats, Measure, Query, Stored, score_bytes, score_floats};

pub(crate) struct Neon;

impl Backend for Neon {
    #[target_feature(enable = "neon")]
    unsafe fn floats<M: Measure, S: Stored, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise. Four sums for each of four rows leave half of the 32 registers free.
        unsafe { score_floats::<Lanes, M, S, R, 4>(query, rows) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn bytes<M: Measure, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise.
        unsafe { score_bytes::<Neon, M, R>(query, rows) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Lanes(float32x4_t);

impl Floats for Lanes {
    const LANES: usize = 4;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn zero() -> Self {
        Self(vdupq_n_f32(0.0))
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_f32(at: *const u8) -> Self {
        // SAFETY: the caller promises 16 bytes; loading bytes needs no alignment.
        Self(vreinterpretq_f32_u8(unsafe { vld1q_u8(at) }))
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_f16(at: *const u8) -> Self {
        // SAFETY: the caller promises 8 bytes; loading bytes needs no alignment.
        let halves = unsafe { vld1_u8(at) };
        let wide: float32x4_t;
        // SAFETY: the instruction is part of NEON and touches only the two registers named.
        unsafe {
            asm!("fcvtl {wide:v}.4s, {halves:v}.4h", wide = lateout(vreg) wide, halves = in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags));
        }
        Self(wide)
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_f32_part(at: *const u8, n: usize) -> Self {
        let mut whole = [0u8; 16];
        // SAFETY: the caller promises `n < 4` components.
        unsafe {
            copy_nonoverlapping(at, whole.as_mut_ptr(), 4 * n);
            Self::load_f32(whole.as_ptr())
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_f16_part(at: *const u8, n: usize) -> Self {
        let mut whole = [0u8; 8];
        // SAFETY: the caller promises `n < 4` components.
        unsafe {
            copy_nonoverlapping(at, whole.as_mut_ptr(), 2 * n);
            Self::load_f16(whole.as_ptr())
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add(self, other: Self) -> Self {
        Self(vaddq_f32(self.0, other.0))
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sub(self, other: Self) -> Self {
        Self(vsubq_f32(self.0, other.0))
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        Self(vfmaq_f32(sum.0, self.0, factor.0))
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn abs(self) -> Self {
        Self(vabsq_f32(self.0))
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sum(self) -> f32 {
        vaddvq_f32(self.0)
    }
}

/// Adds the products of all lanes. A product of two bytes fits in 16 bits.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    let low = vmull_u8(vget_low_u8(a), vget_low_u8(b));
    vpadalq_u16(vpadalq_u16(sum, low), vmull_high_u8(a, b))
}

impl Bytes for Neon {
    const LANES: usize = 16;
    type Vector = uint8x16_t;
    type Sum = uint32x4_t;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn zero() -> uint32x4_t {
        vdupq_n_u32(0)
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(at: *const u8) -> uint8x16_t {
        // SAFETY: the caller promises 16 bytes.
        unsafe { vld1q_u8(at) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_part(at: *const u8, n: usize) -> uint8x16_t {
        let mut whole = [0u8; 16];
        // SAFETY: the caller promises `n < 16` bytes.
        unsafe {
            copy_nonoverlapping(at, whole.as_mut_ptr(), n);
            Self::load(whole.as_ptr())
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn products(sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
        add_products(sum, a, b)
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn squares(sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
        let difference = vabdq_u8(a, b);
        add_products(sum, difference, difference)
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn differences(sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
        vpadalq_u16(sum, vpaddlq_u8(vabdq_u8(a, b)))
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn total(sum: uint32x4_t) -> u32 {
        vaddvq_u32(sum)
    }
}
