//! Level codes: each component as one of 16 or 256 evenly spaced levels, compared with a query in whole numbers.
//!
//! A row's code is a vector `u` of levels from 0 to `2^bits - 1`; it stands for the direction `u - middle`, where `middle`
//! lies between the two central levels. What a distance is made of `<u - middle, q>` by two factors per row is the
//! business of whoever makes the codes (extended RaBitQ: Gao et al., arXiv 2409.09913, section 3). The query is rounded to
//! 8 bits, which is finer than what 4-bit codes leave out, and about as fine as what 8-bit codes do.
//!
//! # A row
//! For 8 bits a byte per component. For 4 bits, for every 64 components 32 bytes: byte `i` has component `i` in its lower
//! half and component `32 + i` in its upper.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::Isa;

/// A code's length is a multiple of so many components.
pub const LEVEL_DIM_STEP: usize = 64;

/// How fine a level code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LevelBits {
    /// 16 levels.
    Four,
    /// 256 levels.
    Eight,
}

impl LevelBits {
    /// Codes of 4 or 8 bits; there are no others.
    pub fn of(bits: u8) -> Option<Self> {
        [LevelBits::Four, LevelBits::Eight].into_iter().find(|known| known.bits() == bits)
    }

    /// Bits per component.
    pub const fn bits(self) -> u8 {
        match self {
            LevelBits::Four => 4,
            LevelBits::Eight => 8,
        }
    }

    /// The greatest level.
    pub const fn greatest(self) -> u8 {
        match self {
            LevelBits::Four => 15,
            LevelBits::Eight => 255,
        }
    }

    /// What lies between the two central levels.
    pub fn middle(self) -> f32 {
        f32::from(self.greatest()) / 2.0
    }

    /// Bytes of a code with `dim` components.
    pub const fn code_bytes(self, dim: usize) -> usize {
        match self {
            LevelBits::Four => dim / 2,
            LevelBits::Eight => dim,
        }
    }
}

/// Appends the code that has these levels.
///
/// # Panics
/// If their number is not a multiple of [`LEVEL_DIM_STEP`].
pub fn pack_levels(bits: LevelBits, levels: &[u8], code: &mut Vec<u8>) {
    let (pieces, rest) = levels.as_chunks::<LEVEL_DIM_STEP>();
    assert!(rest.is_empty(), "codes have a multiple of {LEVEL_DIM_STEP} components");
    match bits {
        LevelBits::Eight => code.extend_from_slice(levels),
        LevelBits::Four => {
            for piece in pieces {
                let (low, high) = piece.split_at(LEVEL_DIM_STEP / 2);
                code.extend(low.iter().zip(high).map(|(low, high)| low & 15 | high << 4));
            }
        }
    }
}

/// A query, ready to be compared with level codes.
#[derive(Debug)]
pub struct LevelQuery {
    kernel: Kernel,
    bits: LevelBits,
    /// In the order in which the kernel meets the components: for 4 bits first those of lower halves, then of upper ones.
    levels: Vec<i8>,
    step: f32,
    /// `middle` times the sum of the query.
    centre: f32,
}

/// The sum of products of a query's and a row's levels. The processor has what the kernel needs, and the row has the
/// query's length.
type Kernel = unsafe fn(&[i8], &[u8]) -> i32;

impl LevelQuery {
    /// No query yet, for codes with `dim` components.
    ///
    /// # Panics
    /// If `dim` is not a multiple of [`LEVEL_DIM_STEP`].
    pub fn new(dim: usize, bits: LevelBits) -> Self {
        match Self::with_isa(Isa::best(), dim, bits) {
            Some(query) => query,
            None => unreachable!("the best instruction set is one of those available"),
        }
    }

    /// As [`LevelQuery::new`], for one instruction set; `None` where the processor does not have it.
    ///
    /// # Panics
    /// If `dim` is not a multiple of [`LEVEL_DIM_STEP`].
    pub fn with_isa(isa: Isa, dim: usize, bits: LevelBits) -> Option<Self> {
        assert!(dim.is_multiple_of(LEVEL_DIM_STEP), "codes have a multiple of {LEVEL_DIM_STEP} components");
        if !isa.is_available() {
            return None;
        }
        let kernel: Kernel = match (isa, bits) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Vnni, LevelBits::Four) => avx512::halves,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Vnni, LevelBits::Eight) => avx512::bytes,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx2, LevelBits::Four) => avx2::halves,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx2, LevelBits::Eight) => avx2::bytes,
            #[cfg(target_arch = "aarch64")]
            (Isa::NeonDot, LevelBits::Four) => neon::halves_dot,
            #[cfg(target_arch = "aarch64")]
            (Isa::NeonDot, LevelBits::Eight) => neon::bytes_dot,
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon, LevelBits::Four) => neon::halves,
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon, LevelBits::Eight) => neon::bytes,
            (_, LevelBits::Four) => scalar::halves,
            (_, LevelBits::Eight) => scalar::bytes,
        };
        Some(Self { kernel, bits, levels: vec![0; dim], step: 1.0, centre: 0.0 })
    }

    /// Takes another query.
    ///
    /// # Panics
    /// If it has another length than the codes.
    pub fn set(&mut self, query: &[f32]) {
        assert_eq!(query.len(), self.levels.len(), "a query of another length than the codes");
        // Of 16 at once, or each comparison would wait for the one before it.
        let mut most = [0.0f32; 16];
        for some in query.as_chunks::<16>().0 {
            most.iter_mut().zip(some).for_each(|(most, x)| *most = most.max(x.abs()));
        }
        let greatest = most.into_iter().fold(f32::MIN_POSITIVE, f32::max);
        let scale = 127.0 / greatest;
        // Added to a small number this leaves its nearest whole number in the lowest bits.
        const WHOLE: f32 = 1.5 * (1 << 23) as f32;
        let rounded = |x: &f32| (x * scale + WHOLE).to_bits() as i8;
        match self.bits {
            LevelBits::Eight => {
                self.levels.iter_mut().zip(query).for_each(|(level, x)| *level = rounded(x));
            }
            LevelBits::Four => {
                const HALF: usize = LEVEL_DIM_STEP / 2;
                let (low, high) = self.levels.split_at_mut(query.len() / 2);
                let halves = low.chunks_mut(HALF).zip(high.chunks_mut(HALF));
                for (piece, (low, high)) in query.chunks(LEVEL_DIM_STEP).zip(halves) {
                    low.iter_mut().zip(&piece[..HALF]).for_each(|(level, x)| *level = rounded(x));
                    high.iter_mut().zip(&piece[HALF..]).for_each(|(level, x)| *level = rounded(x));
                }
            }
        }
        self.step = greatest / 127.0;
        let sum: i32 = self.levels.iter().map(|level| i32::from(*level)).sum();
        self.centre = self.bits.middle() * self.step * sum as f32;
    }

    /// `<u - middle, q>` of one row.
    ///
    /// # Panics
    /// If the row has another length than such codes have.
    pub fn product(&self, row: &[u8]) -> f32 {
        assert_eq!(row.len(), self.bits.code_bytes(self.levels.len()), "a code of another length");
        // SAFETY: `with_isa` chose a kernel that runs here, and the row has the query's length.
        let sum = unsafe { (self.kernel)(&self.levels, row) };
        sum as f32 * self.step - self.centre
    }
}
