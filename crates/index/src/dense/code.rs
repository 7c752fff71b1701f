//! From a turned vector to codes, and to the two factors that make an estimate of what a query has in common with one.
//!
//! With `u` the code's direction and `x` the vector, `<x, q>` is estimated by `f <u, q>` with `f = |x|^2 / <u, x>`: exact in
//! the direction of `x`, and without bias across it (RaBitQ: Gao, Long, arXiv 2405.12497, theorem 3.2; for more levels:
//! arXiv 2409.09913, section 3). What a nearest-neighbour search compares is linear in `<u, q>`: `base + add + mul <u, q>`,
//! where `base` depends on the query and the list, `add` and `mul` on the row.

use lodestone_kernels::LevelBits;

use super::Distance;

/// What goes with a row's code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factors {
    pub add: f32,
    pub mul: f32,
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Several sums at once, or each addition would wait for the one before it.
    let mut sums = [0.0f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// How much a code's direction has to be stretched, if it has anything in common with the vector.
fn stretch(length_squared: f32, common: f32) -> f32 {
    if common > 0.0 { length_squared / common } else { 0.0 }
}

/// For the signs of `residual`, a row less its `centroid`. The list's base is the distance of the query to the centroid:
/// squared, or their negated product.
pub(super) fn sign_factors(distance: Distance, residual: &[f32], centroid: &[f32]) -> Factors {
    let signed =
        |v: &[f32]| -> f32 { residual.iter().zip(v).map(|(r, x)| if *r > 0.0 { *x } else { -*x }).sum() };
    let length_squared = dot(residual, residual);
    let f = stretch(length_squared, signed(residual));
    let of_centroid = f * signed(centroid);
    match distance {
        Distance::Euclid => Factors { add: length_squared + 2.0 * of_centroid, mul: -2.0 * f },
        Distance::Dot => Factors { add: of_centroid - dot(residual, centroid), mul: -f },
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
    let quality = |step: f32| {
        let scale = 1.0 / step;
        let (mut common, mut length) = (0.0f32, 0.0f32);
        for x in vector {
            let u = (x * scale + bits.middle() + 0.5).floor().clamp(0.0, f32::from(bits.greatest()))
                - bits.middle();
            common += x * u;
            length += u * u;
        }
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
