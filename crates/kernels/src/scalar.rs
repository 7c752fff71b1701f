//! No instruction set in particular: arrays that the compiler may turn into whatever the target has.

use half::f16;

use crate::lanes::{Backend, Bytes, Floats, Measure, Query, Stored, score_bytes, score_floats};

pub(crate) struct Scalar;

impl Backend for Scalar {
    unsafe fn floats<M: Measure, S: Stored, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise.
        unsafe { score_floats::<Lanes, M, S, R, 1>(query, rows) }
    }

    unsafe fn bytes<M: Measure, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R] {
        // SAFETY: the caller's promise.
        unsafe { score_bytes::<Scalar, M, R>(query, rows) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Lanes([f32; 8]);

impl Lanes {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self;
        for (a, b) in out.0.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        out
    }

    #[inline(always)]
    fn fill<const W: usize>(bytes: &[u8], f: impl Fn([u8; W]) -> f32) -> Self {
        let mut out = [0.0; 8];
        for (a, b) in out.iter_mut().zip(bytes.as_chunks().0) {
            *a = f(*b);
        }
        Self(out)
    }
}

impl Floats for Lanes {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 8])
    }
    #[inline(always)]
    unsafe fn load_f32(at: *const u8) -> Self {
        // SAFETY: the caller promises 8 components.
        Self::fill(unsafe { std::slice::from_raw_parts(at, 32) }, f32::from_ne_bytes)
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u8) -> Self {
        // SAFETY: the caller promises 8 components.
        Self::fill(unsafe { std::slice::from_raw_parts(at, 16) }, |b| f16::from_le_bytes(b).to_f32())
    }
    #[inline(always)]
    unsafe fn load_f32_part(at: *const u8, n: usize) -> Self {
        // SAFETY: the caller promises `n` components.
        Self::fill(unsafe { std::slice::from_raw_parts(at, 4 * n) }, f32::from_ne_bytes)
    }
    #[inline(always)]
    unsafe fn load_f16_part(at: *const u8, n: usize) -> Self {
        // SAFETY: the caller promises `n` components.
        Self::fill(unsafe { std::slice::from_raw_parts(at, 2 * n) }, |b| f16::from_le_bytes(b).to_f32())
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // Not `f32::mul_add`, which is a slow library call where the target has no such instruction.
        self.zip(factor, |a, b| a * b).zip(sum, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        self.zip(self, |a, _| a.abs())
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.0.iter().sum()
    }
}

impl Bytes for Scalar {
    const LANES: usize = 16;
    type Vector = [u8; 16];
    type Sum = u32;

    #[inline(always)]
    unsafe fn zero() -> u32 {
        0
    }
    #[inline(always)]
    unsafe fn load(at: *const u8) -> [u8; 16] {
        // SAFETY: the caller promises 16 components.
        unsafe { at.cast::<[u8; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(at: *const u8, n: usize) -> [u8; 16] {
        let mut out = [0; 16];
        // SAFETY: the caller promises `n < 16` components.
        unsafe { std::ptr::copy_nonoverlapping(at, out.as_mut_ptr(), n) };
        out
    }
    #[inline(always)]
    unsafe fn products(sum: u32, a: [u8; 16], b: [u8; 16]) -> u32 {
        a.iter().zip(b).fold(sum, |sum, (&a, b)| sum.wrapping_add(u32::from(a) * u32::from(b)))
    }
    #[inline(always)]
    unsafe fn squares(sum: u32, a: [u8; 16], b: [u8; 16]) -> u32 {
        a.iter().zip(b).fold(sum, |sum, (&a, b)| sum.wrapping_add(u32::from(a.abs_diff(b)).pow(2)))
    }
    #[inline(always)]
    unsafe fn differences(sum: u32, a: [u8; 16], b: [u8; 16]) -> u32 {
        a.iter().zip(b).fold(sum, |sum, (&a, b)| sum.wrapping_add(u32::from(a.abs_diff(b))))
    }
    #[inline(always)]
    unsafe fn total(sum: u32) -> u32 {
        sum
    }
}
