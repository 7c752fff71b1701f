//! How near are these vectors, fast?
//!
//! A [`Scorer`] holds one query, prepared for one metric and one way of storing components, and scores rows
//! that are plain bytes: little-endian components side by side, at any alignment. The code for it is
//! chosen when the scorer is made, from what the processor can do (see [`Isa`]). All SIMD of the product
//! and the `unsafe` it needs live in this crate.
//!
//! Beside it, for rows that are quantized: [`SignQuery`] scans one bit per component, 32 rows at a time; [`LevelQuery`]
//! compares codes of 4 or 8 bits; [`Centroids`] is the matrix product of clustering, and [`hadamard`] the core of a
//! random rotation.
//!
//! Layout: `lanes` has the loops, written once over two small traits; `scalar`, `avx2`, `avx512` and `neon`
//! implement the traits, and the codes have modules of the same names; `scorer` is the safe outside; `encode`
//! turns vectors into rows and back.
//!
//! `cargo run --release -p lodestone-kernels --example bandwidth` says how fast each is beside what the machine reads.
//!
//! **Exactness.** For `u8` components sums are whole numbers below 2^32 and exact; only the last step (root,
//! quotient, conversion to `f32`) rounds. For `f32` and `f16` components each sum of `n` terms is off by at
//! most `(n + 3) * 2^-24` times the sum of the terms' absolute values. On one processor the score of a row
//! depends only on the query and the row: never on its place in a block or on its neighbours.

#[cfg(target_endian = "big")]
compile_error!("rows are little-endian and are read in place");

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod encode;
mod hadamard;
mod lanes;
mod levels;
#[cfg(target_arch = "aarch64")]
mod neon;
mod prefetch;
mod product;
mod scalar;
mod scorer;
mod signs;

pub use encode::{F16_MOST, decode, encode, normalize, prepare};
pub use hadamard::{hadamard, hadamard_with};
pub use levels::{LEVEL_DIM_STEP, LevelBits, LevelQuery, pack_levels};
pub use prefetch::prefetch;
pub use product::Centroids;
pub use scorer::{Isa, MAX_DIM, Scorer};
pub use signs::{
    BLOCK_ROWS, Estimate, SIGN_DIM_STEP, SignQuery, block_bytes, block_rows, copy_row, empty_block, mean_mul,
    put_row, row_mul,
};

/// How near two vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Inner product.
    Dot,
    /// The cosine of the angle. Float rows are normalised when written (see [`prepare`]), so it is their inner
    /// product; `u8` rows cannot be and are divided by their length when scored. With a zero vector it is 0.
    Cosine,
    /// L2 distance, not squared.
    Euclid,
    /// L1 distance.
    Manhattan,
}

impl Metric {
    /// Whether a greater score is a nearer row.
    pub fn greater_is_nearer(self) -> bool {
        matches!(self, Metric::Dot | Metric::Cosine)
    }
}

/// How a component is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// A whole number from 0 to 255.
    U8,
}

impl Element {
    /// Bytes of one component.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
            Element::U8 => 1,
        }
    }
}
