//! A random rotation, so that no component matters more than another.

use lodestone_kernels::{LEVEL_DIM_STEP, hadamard};

/// Signs and transforms; each round mixes every component with every other one of its half.
const ROUNDS: usize = 4;

/// Turns vectors of `dim` components into vectors of [`Rotation::padded`] components with the same lengths and inner
/// products.
///
/// Four rounds of random signs and a Walsh-Hadamard transform. A length that is no power of two takes the transform over
/// its first and its last components in turn, followed by one step that mixes the halves (Kac's walk), as in the
/// rotation of the RaBitQ library.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    dim: usize,
    padded: usize,
    /// +1 or -1, for each round and component.
    signs: Vec<f32>,
}

impl Rotation {
    /// The rotation that `seed` stands for.
    pub fn new(dim: usize, seed: u64) -> Self {
        let padded = dim.next_multiple_of(LEVEL_DIM_STEP);
        let mut state = seed;
        let mut bits = std::iter::repeat_with(move || {
            let word = split_mix(&mut state);
            (0..64).map(move |i| word >> i & 1)
        })
        .flatten();
        let sign = |bit: u64| if bit == 1 { 1.0 } else { -1.0 };
        let signs = (0..ROUNDS * padded).map(|_| bits.next().map_or(1.0, sign)).collect();
        Self { dim, padded, signs }
    }

    /// Components of a vector before it is turned.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Components of a vector after it was turned.
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// Turns `vector`, which has [`Rotation::dim`] components, into `turned`, which has [`Rotation::padded`].
    pub fn apply(&self, vector: &[f32], turned: &mut [f32]) {
        turned[..self.dim].copy_from_slice(&vector[..self.dim]);
        turned[self.dim..].fill(0.0);
        let power = 1 << self.padded.ilog2();
        for (round, signs) in self.signs.chunks_exact(self.padded).enumerate() {
            turned.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
            let start = if round % 2 == 0 { 0 } else { self.padded - power };
            hadamard(&mut turned[start..start + power]);
            if power < self.padded {
                mix_halves(turned);
            }
        }
    }
}

fn mix_halves(x: &mut [f32]) {
    let (low, high) = x.split_at_mut(x.len() / 2);
    for (a, b) in low.iter_mut().zip(high) {
        (*a, *b) = ((*a + *b) * std::f32::consts::FRAC_1_SQRT_2, (*a - *b) * std::f32::consts::FRAC_1_SQRT_2);
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every state gives another word.
pub(super) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(dim: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..dim).map(|_| (split_mix(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn products_stay_and_components_spread() {
        for dim in [1, 3, 64, 100, 128, 384, 768, 1536] {
            let rotation = Rotation::new(dim, 7);
            let (a, b) = (vector(dim, 1), vector(dim, 2));
            let (mut x, mut y) = (vec![0.0; rotation.padded()], vec![0.0; rotation.padded()]);
            rotation.apply(&a, &mut x);
            rotation.apply(&b, &mut y);
            let size = (dot(&a, &a) * dot(&b, &b)).sqrt();
            assert!((dot(&a, &b) - dot(&x, &y)).abs() < 1e-5 * size, "{dim}");
            // One component alone is spread over all.
            let mut one = vec![0.0; dim];
            one[dim / 2] = 1.0;
            rotation.apply(&one, &mut x);
            let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            assert!(most < 6.0 / (rotation.padded() as f32).sqrt(), "{dim}: {most}");
        }
    }

    #[test]
    fn a_seed_is_a_rotation() {
        assert_eq!(Rotation::new(100, 3), Rotation::new(100, 3));
        assert_ne!(Rotation::new(100, 3), Rotation::new(100, 4));
    }
}
