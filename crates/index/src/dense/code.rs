//! From a turned vector to codes, and to the two factors that make an estimate of what a query has in common with one.
//!
//! With `u` the code's direction and `x` the vector, `<x, q>` is estimated by `f <u, q>` with `f = |x|^2 / <u, x>`: exact in
//! the direction of `x`, and without bias across it (RaBitQ: Gao, Long, arXiv 2405.12497, theorem 3.2; for more levels:
//! arXiv 2409.09913, section 3). What a nearest-neighbour search compares is linear in `<u, q>`: `base + add + mul <u, q>`,
//! where `base` depends on the query and the list, `add` and `mul` on the row.

use lodestone_kernels::{LevelBits, LevelQuery, pack_levels};

use super::Distance;

/// Bytes of the factors beside a level code.
const LEVEL_FACTORS: usize = 8;

/// What goes with a row's code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factors {
    pub add: f32,
    pub mul: f32,
}

/// Sums `of` the components, sixteen at once, or each addition would wait for the one before it.
#[inline(always)]
fn sums<const N: usize>(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> [f32; N]) -> [f32; N] {
    let mut lanes = [[0.0f32; 16]; N];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            let values = of(a[i], b[i]);
            (0..N).for_each(|n| lanes[n][i] += values[n]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        let values = of(*a, *b);
        (0..N).for_each(|n| lanes[n][i] += values[n]);
    }
    lanes.map(|lanes| lanes.iter().sum())
}

/// The inner product.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = sums(a, b, |a, b| [a * b]);
    sum
}

/// How much a code's direction has to be stretched, if it has anything in common with the vector.
fn stretch(length_squared: f32, common: f32) -> f32 {
    if common > 0.0 { length_squared / common } else { 0.0 }
}

/// For the signs of `residual`, a row less its `centroid`. The list's base is the distance of the query to the centroid:
/// squared, or their negated product.
pub(super) fn sign_factors(distance: Distance, residual: &[f32], centroid: &[f32]) -> Factors {
    let [length_squared, common, signed, product] =
        sums(residual, centroid, |r, c| [r * r, r.abs(), if r > 0.0 { c } else { -c }, r * c]);
    let f = stretch(length_squared, common);
    let of_centroid = f * signed;
    match distance {
        Distance::Euclid => Factors { add: length_squared + 2.0 * of_centroid, mul: -2.0 * f },
        Distance::Dot => Factors { add: of_centroid - product, mul: -f },
    }
}

/// The levels of a vector, and their factors. The base is 0, or for [`Distance::Euclid`] the squared length of the query.
pub(super) fn levels(distance: Distance, bits: LevelBits, vector: &[f32], levels: &mut Vec<u8>) -> Factors {
    let length_squared = dot(vector, vector);
    let step = best_step(bits, vector, length_squared);
    levels.clear();
    levels.extend(vector.iter().map(|x| level(bits, *x, 1.0 / step)));
    let common = vector.iter().zip(&*levels).map(|(x, level)| x * (f32::from(*level) - bits.middle())).sum();
    let f = stretch(length_squared, common);
    match distance {
        Distance::Euclid => Factors { add: length_squared, mul: -2.0 * f },
        Distance::Dot => Factors { add: 0.0, mul: -f },
    }
}

/// Bytes of a level code of so many components with its factors.
pub(super) fn level_bytes(bits: LevelBits, padded: usize) -> usize {
    bits.code_bytes(padded) + LEVEL_FACTORS
}

/// Adds the level code of a vector and its factors to `out`; `found` has room for its levels.
pub(super) fn put_level(
    distance: Distance,
    bits: LevelBits,
    vector: &[f32],
    found: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let factors = levels(distance, bits, vector, found);
    pack_levels(bits, found, out);
    out.extend([factors.add, factors.mul].iter().flat_map(|factor| factor.to_le_bytes()));
}

/// A level code and its factors.
#[inline(always)]
pub(super) fn parts_of_level(entry: &[u8]) -> (&[u8], Factors) {
    let (code, factors) = entry.split_at(entry.len() - LEVEL_FACTORS);
    let factor = |at: usize| factors[at..].first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
    (code, Factors { add: factor(0), mul: factor(4) })
}

/// What a level code and its factors tell of a query, less the base.
pub(super) fn level_estimate(query: &LevelQuery, entry: &[u8]) -> f32 {
    let (code, Factors { add, mul }) = parts_of_level(entry);
    add + mul * query.product(code)
}

fn level(bits: LevelBits, x: f32, scale: f32) -> u8 {
    // Casting keeps within 0 and 255.
    ((x * scale + bits.middle() + 0.5) as u8).min(bits.greatest())
}

/// The width of a level that leaves the least angle between code and vector, of a few around what suits a normal
/// distribution, which is what a rotation makes of most vectors.
fn best_step(bits: LevelBits, vector: &[f32], length_squared: f32) -> f32 {
    let spread = (length_squared / vector.len() as f32).sqrt().max(f32::MIN_POSITIVE);
    let candidates: &[f32] = match bits {
        LevelBits::Four => &[0.28, 0.305, 0.33, 0.355, 0.38],
        LevelBits::Eight => &[0.027, 0.031],
    };
    // Added to a small number and taken off again, this leaves its nearest whole number.
    const WHOLE: f32 = 1.5 * (1 << 23) as f32;
    let (middle, greatest) = (bits.middle(), f32::from(bits.greatest()));
    let quality = |step: f32| {
        let scale = 1.0 / step;
        let [common, length] = sums(vector, vector, |x, _| {
            let level = (x * scale + middle).clamp(0.0, greatest);
            let u = (level + WHOLE) - WHOLE - middle;
            [x * u, u * u]
        });
        common * common / length
    };
    let steps = candidates.iter().map(|c| c * spread);
    steps
        .map(|step| (quality(step), step))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(spread, |(_, step)| step)
}

#[cfg(test)]
mod tests;
