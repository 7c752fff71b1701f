//! The matrix product of clustering and the transform of the rotation give what plain arithmetic gives, with every
//! instruction set.

use lodestone_kernels::{Centroids, Isa, hadamard, hadamard_with};
use proptest::prelude::*;

fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Half of the squared distance less half of the squared length of the row, and how far off an answer may be.
fn expected(row: &[f32], centroid: &[f32]) -> (f64, f64) {
    let pairs = || row.iter().zip(centroid).map(|(x, c)| (f64::from(*x), f64::from(*c)));
    let want = pairs().map(|(x, c)| c * c / 2.0 - x * c).sum();
    let size: f64 = pairs().map(|(x, c)| c * c / 2.0 + (x * c).abs()).sum();
    (want, size * (row.len() + 4) as f64 * 2f64.powi(-24))
}

fn check(dim: usize, centroids: &[f32], rows: &[f32]) {
    for isa in Isa::available() {
        let packed = Centroids::with_isa(isa, dim, centroids).unwrap();
        let count = centroids.len() / dim;
        assert_eq!((packed.len(), packed.dim(), packed.is_empty()), (count, dim, count == 0));
        let mut seen = vec![0; rows.len() / dim];
        packed.half_distances(rows, |row, first, halves| {
            for (half, centroid) in halves.iter().zip(centroids.chunks_exact(dim).skip(first)) {
                let (want, slack) = expected(&rows[row * dim..(row + 1) * dim], centroid);
                assert!((f64::from(*half) - want).abs() <= slack, "{isa:?}: {half} for {want}");
                seen[row] += 1;
            }
        });
        assert!(seen.iter().all(|seen| *seen == count), "every row meets every centroid once");
        for (row, (nearest, half)) in rows.chunks_exact(dim).zip(packed.nearest(rows)) {
            let (want, slack) =
                expected(row, &centroids[nearest as usize * dim..(nearest as usize + 1) * dim]);
            assert!((f64::from(half) - want).abs() <= slack);
            for other in centroids.chunks_exact(dim) {
                let (other, other_slack) = expected(row, other);
                assert!(want <= other + slack + other_slack, "{isa:?}: {other} is nearer than {want}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nearest_of_many(dim in 1usize..130, count in 1usize..200, rows in 0usize..20, seed in any::<u32>()) {
        check(dim, &floats(u64::from(seed), dim * count), &floats(u64::from(seed) + 1, dim * rows));
    }

    #[test]
    fn the_transform_is_what_its_matrix_says(power in 0u32..=9, seed in any::<u32>()) {
        let x = floats(u64::from(seed), 1 << power);
        let scale = 1.0 / (x.len() as f64).sqrt();
        let mut scalar = x.clone();
        hadamard_with(Isa::Scalar, &mut scalar);
        for (i, found) in scalar.iter().enumerate() {
            let signed = |(j, x): (usize, &f32)| if (i & j).count_ones() % 2 == 0 { f64::from(*x) } else { -f64::from(*x) };
            let want: f64 = x.iter().enumerate().map(signed).sum::<f64>() * scale;
            let size: f64 = x.iter().map(|x| f64::from(x.abs())).sum::<f64>() * scale;
            prop_assert!((f64::from(*found) - want).abs() <= size * f64::from(power + 3) * 2f64.powi(-24));
        }
        for isa in Isa::available() {
            let mut transformed = x.clone();
            hadamard_with(isa, &mut transformed);
            prop_assert_eq!(&transformed, &scalar, "{:?}", isa);
        }
    }
}

#[test]
fn a_tile_and_a_panel_more_or_less() {
    for count in [1, 63, 64, 65, 128, 129] {
        for rows in [0, 1, 5, 6, 7, 12] {
            check(17, &floats(count as u64, 17 * count), &floats(rows as u64 + 99, 17 * rows));
        }
    }
    check(2048, &floats(1, 2048 * 70), &floats(2, 2048 * 7));
}

/// Of equal centroids the first one is taken, so that the result does not depend on the instruction set.
#[test]
fn equal_centroids() {
    let centroids = [3.0, 1.0, 2.0, 1.0].map(|x| [x; 8]).concat();
    let rows = [0.9; 8];
    for isa in Isa::available() {
        assert_eq!(Centroids::with_isa(isa, 8, &centroids).unwrap().nearest(&rows)[0].0, 1);
    }
}

#[test]
fn transformed_twice_is_what_it_was() {
    for power in 0..14 {
        let x = floats(power, 1 << power);
        let mut twice = x.clone();
        hadamard(&mut twice);
        hadamard(&mut twice);
        let most = x.iter().zip(&twice).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most <= 1e-5, "2^{power}: {most}");
    }
}
