//! The loops, written once: every instruction set supplies [`Floats`] and [`Bytes`], and [`pick`] puts the
//! loop for a metric and an element together from them.
//!
//! The loops take several rows at a time: each component of the query is loaded once for all of them, and
//! their memory is fetched side by side. They are `inline(always)` so that they become part of
//! the one function per instruction set that may use its instructions ([`Backend`]).
//!
//! Contract of everything `unsafe` here: the processor has the instruction set, each row holds `query.dim`
//! components of the element, and the query is padded with zeros to a multiple of [`PAD`].

use crate::{Element, Metric};

/// The query is padded with zeros to a multiple of so many components, the widest vector of all (64 bytes of
/// `u8`), so that it can always be loaded whole.
pub(crate) const PAD: usize = 64;

/// A query ready to be compared: its components as storage would round them.
pub(crate) struct Query {
    pub dim: usize,
    /// For float elements.
    pub floats: Vec<f32>,
    /// For `u8`.
    pub bytes: Vec<u8>,
    /// The squared length of `bytes`.
    pub bytes_norm: u32,
}

/// Scores `R` rows.
pub(crate) type Kernel<const R: usize> = unsafe fn(&Query, [&[u8]; R]) -> [f32; R];

/// The code for one metric, element and instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    pub one: Kernel<1>,
    pub four: Kernel<4>,
}

/// A vector of `f32`.
pub(crate) trait Floats: Copy {
    const LANES: usize;
    unsafe fn zero() -> Self;
    /// Loads `LANES` components of 4 bytes.
    unsafe fn load_f32(at: *const u8) -> Self;
    /// Loads `LANES` components of 2 bytes.
    unsafe fn load_f16(at: *const u8) -> Self;
    /// Loads `n < LANES` components of 4 bytes; the other lanes are 0.
    unsafe fn load_f32_part(at: *const u8, n: usize) -> Self;
    /// Loads `n < LANES` components of 2 bytes; the other lanes are 0.
    unsafe fn load_f16_part(at: *const u8, n: usize) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * factor + sum`
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// The sum of all lanes.
    unsafe fn sum(self) -> f32;
}

/// A vector of `u8`, and sums of products in lanes of 32 bits, all modulo 2^32.
pub(crate) trait Bytes {
    const LANES: usize;
    type Vector: Copy;
    type Sum: Copy;
    unsafe fn zero() -> Self::Sum;
    unsafe fn load(at: *const u8) -> Self::Vector;
    /// Loads `n < LANES` components; the other lanes are 0.
    unsafe fn load_part(at: *const u8, n: usize) -> Self::Vector;
    /// Adds `a * b`.
    unsafe fn products(sum: Self::Sum, a: Self::Vector, b: Self::Vector) -> Self::Sum;
    /// Adds `(a - b)^2`.
    unsafe fn squares(sum: Self::Sum, a: Self::Vector, b: Self::Vector) -> Self::Sum;
    /// Adds `|a - b|`.
    unsafe fn differences(sum: Self::Sum, a: Self::Vector, b: Self::Vector) -> Self::Sum;
    /// The sum of all lanes.
    unsafe fn total(sum: Self::Sum) -> u32;
}

/// How float components are stored.
pub(crate) trait Stored {
    const BYTES: usize;
    unsafe fn load<F: Floats>(at: *const u8) -> F;
    unsafe fn load_part<F: Floats>(at: *const u8, n: usize) -> F;
}

pub(crate) struct AsF32;
pub(crate) struct AsF16;

impl Stored for AsF32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<F: Floats>(at: *const u8) -> F {
        // SAFETY: the caller's promise.
        unsafe { F::load_f32(at) }
    }
    #[inline(always)]
    unsafe fn load_part<F: Floats>(at: *const u8, n: usize) -> F {
        // SAFETY: the caller's promise.
        unsafe { F::load_f32_part(at, n) }
    }
}

impl Stored for AsF16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<F: Floats>(at: *const u8) -> F {
        // SAFETY: the caller's promise.
        unsafe { F::load_f16(at) }
    }
    #[inline(always)]
    unsafe fn load_part<F: Floats>(at: *const u8, n: usize) -> F {
        // SAFETY: the caller's promise.
        unsafe { F::load_f16_part(at, n) }
    }
}

/// What a metric adds up, and what it makes of the sums.
pub(crate) trait Measure {
    unsafe fn floats<F: Floats>(sum: F, query: F, row: F) -> F;
    fn finish(sum: f32) -> f32;
    /// Two sums, of which most metrics need one.
    unsafe fn bytes<B: Bytes>(sums: [B::Sum; 2], query: B::Vector, row: B::Vector) -> [B::Sum; 2];
    fn finish_bytes(sums: [u32; 2], query_norm: u32) -> f32;
}

pub(crate) struct Dot;
pub(crate) struct Cosine;
pub(crate) struct Euclid;
pub(crate) struct Manhattan;

impl Measure for Dot {
    #[inline(always)]
    unsafe fn floats<F: Floats>(sum: F, query: F, row: F) -> F {
        // SAFETY: the caller's promise.
        unsafe { query.mul_add(row, sum) }
    }
    #[inline(always)]
    fn finish(sum: f32) -> f32 {
        sum
    }
    #[inline(always)]
    unsafe fn bytes<B: Bytes>([sum, other]: [B::Sum; 2], query: B::Vector, row: B::Vector) -> [B::Sum; 2] {
        // SAFETY: the caller's promise.
        [unsafe { B::products(sum, query, row) }, other]
    }
    #[inline(always)]
    fn finish_bytes([sum, _]: [u32; 2], _: u32) -> f32 {
        sum as f32
    }
}

impl Measure for Cosine {
    #[inline(always)]
    unsafe fn floats<F: Floats>(sum: F, query: F, row: F) -> F {
        // SAFETY: the caller's promise.
        unsafe { Dot::floats(sum, query, row) }
    }
    #[inline(always)]
    fn finish(sum: f32) -> f32 {
        sum
    }
    #[inline(always)]
    unsafe fn bytes<B: Bytes>([sum, norm]: [B::Sum; 2], query: B::Vector, row: B::Vector) -> [B::Sum; 2] {
        // SAFETY: the caller's promise.
        unsafe { [B::products(sum, query, row), B::products(norm, row, row)] }
    }
    #[inline(always)]
    fn finish_bytes([sum, norm]: [u32; 2], query_norm: u32) -> f32 {
        if norm == 0 || query_norm == 0 {
            return 0.0;
        }
        (f64::from(sum) / (f64::from(norm) * f64::from(query_norm)).sqrt()) as f32
    }
}

impl Measure for Euclid {
    #[inline(always)]
    unsafe fn floats<F: Floats>(sum: F, query: F, row: F) -> F {
        // SAFETY: the caller's promise.
        unsafe {
            let difference = query.sub(row);
            difference.mul_add(difference, sum)
        }
    }
    #[inline(always)]
    fn finish(sum: f32) -> f32 {
        sum.sqrt()
    }
    #[inline(always)]
    unsafe fn bytes<B: Bytes>([sum, other]: [B::Sum; 2], query: B::Vector, row: B::Vector) -> [B::Sum; 2] {
        // SAFETY: the caller's promise.
        [unsafe { B::squares(sum, query, row) }, other]
    }
    #[inline(always)]
    fn finish_bytes([sum, _]: [u32; 2], _: u32) -> f32 {
        f64::from(sum).sqrt() as f32
    }
}

impl Measure for Manhattan {
    #[inline(always)]
    unsafe fn floats<F: Floats>(sum: F, query: F, row: F) -> F {
        // SAFETY: the caller's promise.
        unsafe { sum.add(query.sub(row).abs()) }
    }
    #[inline(always)]
    fn finish(sum: f32) -> f32 {
        sum
    }
    #[inline(always)]
    unsafe fn bytes<B: Bytes>([sum, other]: [B::Sum; 2], query: B::Vector, row: B::Vector) -> [B::Sum; 2] {
        // SAFETY: the caller's promise.
        [unsafe { B::differences(sum, query, row) }, other]
    }
    #[inline(always)]
    fn finish_bytes([sum, _]: [u32; 2], _: u32) -> f32 {
        sum as f32
    }
}

/// Scores `R` rows of floats with `U` sums per row, so that additions need not wait for each other. `U` is the
/// same for every `R` of one instruction set: a row's score must not depend on the rows beside it.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "fixed counts unroll; iterators over rows and sums would not")]
pub(crate) unsafe fn score_floats<F: Floats, M: Measure, S: Stored, const R: usize, const U: usize>(
    query: &Query,
    rows: [&[u8]; R],
) -> [f32; R] {
    let q = query.floats.as_ptr();
    let dim = query.dim;
    // SAFETY: every load is below `dim` components of a row, or below the padded length of the query.
    unsafe {
        let mut sums = [[F::zero(); U]; R];
        let mut i = 0;
        while i + U * F::LANES <= dim {
            for u in 0..U {
                let at = i + u * F::LANES;
                let part = F::load_f32(q.add(at).cast());
                for r in 0..R {
                    let row = S::load::<F>(rows[r].as_ptr().add(at * S::BYTES));
                    sums[r][u] = M::floats(sums[r][u], part, row);
                }
            }
            i += U * F::LANES;
        }
        while i + F::LANES <= dim {
            let part = F::load_f32(q.add(i).cast());
            for r in 0..R {
                sums[r][0] = M::floats(sums[r][0], part, S::load::<F>(rows[r].as_ptr().add(i * S::BYTES)));
            }
            i += F::LANES;
        }
        if i < dim {
            let part = F::load_f32(q.add(i).cast());
            for r in 0..R {
                let row = S::load_part::<F>(rows[r].as_ptr().add(i * S::BYTES), dim - i);
                sums[r][0] = M::floats(sums[r][0], part, row);
            }
        }
        let mut scores = [0.0; R];
        for r in 0..R {
            let mut sum = sums[r][0];
            for u in 1..U {
                sum = sum.add(sums[r][u]);
            }
            scores[r] = M::finish(sum.sum());
        }
        scores
    }
}

/// Scores `R` rows of bytes.
#[inline(always)]
pub(crate) unsafe fn score_bytes<B: Bytes, M: Measure, const R: usize>(
    query: &Query,
    rows: [&[u8]; R],
) -> [f32; R] {
    let q = query.bytes.as_ptr();
    let dim = query.dim;
    // SAFETY: every load is below `dim` components of a row, or below the padded length of the query.
    unsafe {
        let mut sums = [[B::zero(); 2]; R];
        let mut i = 0;
        while i + B::LANES <= dim {
            let part = B::load(q.add(i));
            for r in 0..R {
                sums[r] = M::bytes::<B>(sums[r], part, B::load(rows[r].as_ptr().add(i)));
            }
            i += B::LANES;
        }
        if i < dim {
            let part = B::load(q.add(i));
            for r in 0..R {
                sums[r] = M::bytes::<B>(sums[r], part, B::load_part(rows[r].as_ptr().add(i), dim - i));
            }
        }
        let mut scores = [0.0; R];
        for r in 0..R {
            let totals = [B::total(sums[r][0]), B::total(sums[r][1])];
            scores[r] = M::finish_bytes(totals, query.bytes_norm);
        }
        scores
    }
}

/// An instruction set: the two loops, compiled with its instructions.
pub(crate) trait Backend {
    unsafe fn floats<M: Measure, S: Stored, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R];
    unsafe fn bytes<M: Measure, const R: usize>(query: &Query, rows: [&[u8]; R]) -> [f32; R];
}

/// The code of `B` for a metric and an element.
pub(crate) fn pick<B: Backend>(metric: Metric, element: Element) -> Kernels {
    match metric {
        Metric::Dot => pick_element::<B, Dot>(element),
        Metric::Cosine => pick_element::<B, Cosine>(element),
        Metric::Euclid => pick_element::<B, Euclid>(element),
        Metric::Manhattan => pick_element::<B, Manhattan>(element),
    }
}

fn pick_element<B: Backend, M: Measure>(element: Element) -> Kernels {
    match element {
        Element::F32 => Kernels { one: B::floats::<M, AsF32, 1>, four: B::floats::<M, AsF32, 4> },
        Element::F16 => Kernels { one: B::floats::<M, AsF16, 1>, four: B::floats::<M, AsF16, 4> },
        Element::U8 => Kernels { one: B::bytes::<M, 1>, four: B::bytes::<M, 4> },
    }
}
