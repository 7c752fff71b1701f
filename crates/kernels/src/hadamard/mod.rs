//! The fast Walsh-Hadamard transform, which makes a random rotation cost `n log n`.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::Isa;

/// Transforms a power of two of floats in place and scales them, so that lengths stay what they were.
///
/// # Panics
/// If their number is not a power of two.
pub fn hadamard(x: &mut [f32]) {
    hadamard_with(Isa::best(), x);
}

/// As [`hadamard`], with one instruction set. All give the same bits.
///
/// # Panics
/// If the number of floats is not a power of two, or the processor does not have the instructions.
pub fn hadamard_with(isa: Isa, x: &mut [f32]) {
    assert!(x.len().is_power_of_two(), "a power of two of floats");
    assert!(isa.is_available(), "no {isa:?} here");
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has it.
        Isa::Avx512 | Isa::Avx512Vnni => unsafe { avx512::transform(x) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has it.
        Isa::Avx2 => unsafe { avx2(x) },
        _ => transform(x),
    }
}

/// Needs AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(x: &mut [f32]) {
    transform(x);
}

/// Compiled anew for each instruction set that calls it.
#[inline(always)]
fn transform(x: &mut [f32]) {
    let scale = 1.0 / (x.len() as f32).sqrt();
    // The narrow rounds of 16 neighbours at a time, so that they stay in registers.
    let (groups, rest) = x.as_chunks_mut::<16>();
    for group in groups {
        for half in [1, 2, 4, 8] {
            for pair in group.chunks_exact_mut(2 * half) {
                butterfly(pair, half);
            }
        }
    }
    let mut half = 1;
    while half < rest.len() {
        rest.chunks_exact_mut(2 * half).for_each(|pair| butterfly(pair, half));
        half *= 2;
    }
    let mut half = 16;
    while half < x.len() {
        x.chunks_exact_mut(2 * half).for_each(|pair| butterfly(pair, half));
        half *= 2;
    }
    x.iter_mut().for_each(|x| *x *= scale);
}

#[inline(always)]
fn butterfly(pair: &mut [f32], half: usize) {
    let (low, high) = pair.split_at_mut(half);
    for (a, b) in low.iter_mut().zip(high) {
        (*a, *b) = (*a + *b, *a - *b);
    }
}
