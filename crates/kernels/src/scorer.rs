//! The safe outside: a query, and rows to score against it.

use std::fmt;

use crate::lanes::{Kernels, PAD, Query, pick};
use crate::scalar::Scalar;
use crate::{Element, Metric, decode, encode, prefetch, prepare};

/// The most components a vector may have. Sums over so many `u8` products still fit in 32 bits.
pub const MAX_DIM: usize = 65_536;

/// Rows that lie anywhere are on their way so many before they are scored.
const AHEAD: usize = 4;
/// Bytes that are: what follows in a longer row the processor sees coming.
const NEAR: usize = 1024;

/// An instruction set that this crate has code for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Anything.
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW and VL.
    Avx512,
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// ARM's NEON, which every 64-bit one has.
    Neon,
    /// NEON with `dotprod`.
    NeonDot,
}

impl Isa {
    /// Those this processor has, the best one last.
    pub fn available() -> Vec<Isa> {
        [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni, Isa::Neon, Isa::NeonDot]
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        self.kernels(Metric::Dot, Element::F32).is_some()
    }

    /// The best of those this processor has.
    pub fn best() -> Isa {
        [Isa::NeonDot, Isa::Neon, Isa::Avx512Vnni, Isa::Avx512, Isa::Avx2]
            .into_iter()
            .find(|isa| isa.is_available())
            .unwrap_or(Isa::Scalar)
    }

    /// The code, unless this processor could not run it.
    fn kernels(self, metric: Metric, element: Element) -> Option<Kernels> {
        match self {
            Isa::Scalar => Some(pick::<Scalar>(metric, element)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => crate::avx2::Avx2::available().then(|| pick::<crate::avx2::Avx2>(metric, element)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                crate::avx512::Avx512::available().then(|| pick::<crate::avx512::Avx512>(metric, element))
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => crate::avx512::Avx512Vnni::available()
                .then(|| pick::<crate::avx512::Avx512Vnni>(metric, element)),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(pick::<crate::neon::Neon>(metric, element)),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod")
                .then(|| pick::<crate::neon::Neon>(metric, element)),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni => None,
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon | Isa::NeonDot => None,
        }
    }
}

/// A query, ready to be compared with rows. The query is rounded as storage rounds rows, so that a stored
/// vector is at distance 0 from itself.
pub struct Scorer {
    metric: Metric,
    element: Element,
    isa: Isa,
    query: Query,
    kernels: Kernels,
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scorer")
            .field("metric", &self.metric)
            .field("element", &self.element)
            .field("isa", &self.isa)
            .field("dim", &self.query.dim)
            .finish_non_exhaustive()
    }
}

impl Scorer {
    /// Prepares `query` (normalising it for the cosine of floats) for the best instruction set there is.
    ///
    /// # Panics
    /// If the query is empty or longer than [`MAX_DIM`].
    pub fn new(query: &[f32], metric: Metric, element: Element) -> Self {
        match Self::with_isa(Isa::best(), query, metric, element) {
            Some(scorer) => scorer,
            None => unreachable!("the best instruction set is one of those available"),
        }
    }

    /// As [`Scorer::new`], for one instruction set; `None` where the processor does not have it.
    ///
    /// # Panics
    /// If the query is empty or longer than [`MAX_DIM`].
    pub fn with_isa(isa: Isa, query: &[f32], metric: Metric, element: Element) -> Option<Self> {
        assert!((1..=MAX_DIM).contains(&query.len()), "a query has 1 to {MAX_DIM} components");
        let kernels = isa.kernels(metric, element)?;
        let mut prepared = query.to_vec();
        prepare(metric, element, &mut prepared);
        Some(Self { metric, element, isa, query: pad(&prepared, element), kernels })
    }

    /// How nearness is measured.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.query.dim * self.element.bytes()
    }

    /// The score of one row.
    ///
    /// # Panics
    /// If `row` is not [`Scorer::row_bytes`] long.
    pub fn score(&self, row: &[u8]) -> f32 {
        assert_eq!(row.len(), self.row_bytes(), "a row has another length than the query");
        // SAFETY: the row has the query's length, the query is padded, and `kernels` gave code that runs here.
        let [score] = unsafe { (self.kernels.one)(&self.query, [row]) };
        score
    }

    /// The scores of rows that lie side by side.
    ///
    /// # Panics
    /// If `rows` is not `out.len()` rows long.
    pub fn score_block(&self, rows: &[u8], out: &mut [f32]) {
        let stride = self.row_bytes();
        assert_eq!(rows.len(), out.len() * stride, "as many rows as scores");
        self.score_each(out, |i| &rows[i * stride..(i + 1) * stride]);
    }

    /// The scores of the rows with the given `numbers`, of rows that lie side by side.
    ///
    /// # Panics
    /// If a number is past the end of `rows`, or `numbers` and `out` differ in length.
    pub fn score_numbered(&self, rows: &[u8], numbers: &[u32], out: &mut [f32]) {
        let stride = self.row_bytes();
        assert_eq!(numbers.len(), out.len(), "as many numbers as scores");
        let row = |i: usize| {
            let number = numbers[i] as usize;
            &rows[number * stride..(number + 1) * stride]
        };
        self.score_each(out, |i| {
            if let Some(ahead) = (i + AHEAD < numbers.len()).then(|| row(i + AHEAD)) {
                prefetch(&ahead[..ahead.len().min(NEAR)]);
            }
            row(i)
        });
    }

    /// Scores the rows `row(0)`, `row(1)`..., each [`Scorer::row_bytes`] long.
    fn score_each<'a>(&self, out: &mut [f32], row: impl Fn(usize) -> &'a [u8]) {
        let (fours, rest) = out.as_chunks_mut::<4>();
        let done = fours.len() * 4;
        for (i, four) in fours.iter_mut().enumerate() {
            let rows = [row(4 * i), row(4 * i + 1), row(4 * i + 2), row(4 * i + 3)];
            debug_assert!(rows.iter().all(|r| r.len() == self.row_bytes()));
            // SAFETY: the callers' rows have the query's length, the query is padded, and `kernels` gave code
            // that runs here.
            *four = unsafe { (self.kernels.four)(&self.query, rows) };
        }
        for (i, one) in rest.iter_mut().enumerate() {
            *one = self.score(row(done + i));
        }
    }
}

/// Rounds the query as storage would and pads it with zeros.
fn pad(query: &[f32], element: Element) -> Query {
    let padded = query.len().next_multiple_of(PAD);
    if element == Element::F32 {
        let mut floats = Vec::with_capacity(padded);
        floats.extend_from_slice(query);
        floats.resize(padded, 0.0);
        return Query { dim: query.len(), floats, bytes: Vec::new(), bytes_norm: 0 };
    }
    let mut bytes = Vec::with_capacity(padded * element.bytes());
    encode(element, query, &mut bytes);
    if element == Element::U8 {
        let bytes_norm = bytes.iter().map(|&b| u32::from(b) * u32::from(b)).sum();
        bytes.resize(padded, 0);
        return Query { dim: query.len(), floats: Vec::new(), bytes, bytes_norm };
    }
    let mut floats = Vec::with_capacity(padded);
    decode(element, &bytes, &mut floats);
    floats.resize(padded, 0.0);
    Query { dim: query.len(), floats, bytes: Vec::new(), bytes_norm: 0 }
}
