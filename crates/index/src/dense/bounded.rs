//! Codes with a bound that always holds: a byte per component, and how far a product can be from what the code says.
//!
//! They are for rows that are compared one by one while they have no index yet. What a code leaves out is at most half a step in
//! each component, whatever the distribution, so a row that cannot be near by its bound need not be looked at: the answer is
//! the one that comparing all rows gives, for a quarter of the bytes. No rotation and no model, for rows are coded as they come.

use lodestone_kernels::{LEVEL_DIM_STEP, LevelBits, LevelQuery};

use super::Rows;
use super::code::dot;

/// Bytes of the factors behind a code: the step, the sum of the absolute values of the code's components, the row's squared length.
const FACTORS: usize = 12;
/// Queries whose greatest component is below this are too small to be rounded to levels.
const SMALLEST: f32 = 1e-30;
/// What sums of `f32` are off by at most, as a share of the lengths' product.
const ROUNDING: f32 = 2e-5;

/// Codes of rows by number.
#[derive(Debug, Clone)]
pub struct BoundedCodes {
    dim: usize,
    entries: Vec<u8>,
}

/// A query, ready to be compared with such codes.
#[derive(Debug)]
pub struct BoundedQuery {
    levels: LevelQuery,
    /// The width of a level of the query, and the sum of its components' absolute values.
    step: f32,
    absolute: f32,
    square: f32,
}

impl BoundedCodes {
    /// Of `count` rows of `dim` components.
    pub fn of(dim: usize, count: usize, rows: &dyn Rows) -> Self {
        Self { dim, entries: Vec::new() }.up_to(count, rows)
    }

    /// The same codes with those of the rows after them, `count` in all.
    pub fn up_to(&self, count: usize, rows: &dyn Rows) -> Self {
        let mut entries = Vec::with_capacity(count * entry_bytes(self.dim));
        entries.extend_from_slice(&self.entries);
        let mut codes = Self { dim: self.dim, entries };
        let mut row = vec![0.0; self.dim];
        for number in self.rows() as u32..count as u32 {
            rows.write(&[number], &mut row);
            codes.push(&row);
        }
        codes
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.entries.len() / entry_bytes(self.dim)
    }

    fn push(&mut self, row: &[f32]) {
        let middle = LevelBits::Eight.middle();
        let step = (greatest(row) / middle).max(f32::MIN_POSITIVE);
        let scale = 1.0 / step;
        let start = self.entries.len();
        // Casting keeps within 0 and 255.
        self.entries.extend(row.iter().map(|x| (x * scale + middle + 0.5) as u8));
        let absolute = self.entries[start..].iter().map(|u| (f32::from(*u) - middle).abs()).sum::<f32>();
        // Queries have zeros there.
        self.entries.resize(start + self.dim.next_multiple_of(LEVEL_DIM_STEP), 0);
        for factor in [step, absolute, dot(row, row)] {
            self.entries.extend(factor.to_le_bytes());
        }
    }

    fn entry(&self, row: usize) -> (&[u8], [f32; 3]) {
        let size = entry_bytes(self.dim);
        let (code, factors) = self.entries[row * size..(row + 1) * size].split_at(size - FACTORS);
        let factor = |at: usize| factors[at..].first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
        (code, [factor(0), factor(4), factor(8)])
    }
}

impl BoundedQuery {
    /// `query` as it is compared with rows.
    pub fn new(query: &[f32]) -> Self {
        let mut padded = query.to_vec();
        padded.resize(query.len().next_multiple_of(LEVEL_DIM_STEP), 0.0);
        let mut levels = LevelQuery::new(padded.len(), LevelBits::Eight);
        levels.set(&padded);
        let greatest = greatest(query);
        // No row can be ruled out where nothing is known.
        let step = if greatest < SMALLEST { f32::INFINITY } else { greatest / 127.0 };
        Self { levels, step, absolute: query.iter().map(|x| x.abs()).sum(), square: dot(query, query) }
    }

    /// The inner product with a row is at most this.
    ///
    /// # Panics
    /// If rows have another number of components, or there is no such row.
    pub fn most_product(&self, codes: &BoundedCodes, row: usize) -> f32 {
        let (code, [step, absolute, square]) = codes.entry(row);
        let bound = 0.5 * step * (self.absolute + self.step * absolute);
        let most = step * self.levels.product(code) + bound + ROUNDING * (square * self.square).sqrt();
        // Too large to be known.
        if most.is_nan() { f32::INFINITY } else { most }
    }

    /// The squared L2 distance to a row is at least this, which may be less than nothing.
    ///
    /// # Panics
    /// As [`BoundedQuery::most_product`].
    pub fn least_square(&self, codes: &BoundedCodes, row: usize) -> f32 {
        let (_, [_, _, square]) = codes.entry(row);
        let least = (square + self.square) * (1.0 - ROUNDING) - 2.0 * self.most_product(codes, row);
        if least.is_nan() { f32::NEG_INFINITY } else { least }
    }
}

fn entry_bytes(dim: usize) -> usize {
    dim.next_multiple_of(LEVEL_DIM_STEP) + FACTORS
}

fn greatest(vector: &[f32]) -> f32 {
    vector.iter().fold(0.0, |most, x| x.abs().max(most))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    fn vectors() -> impl Strategy<Value = Vec<Vec<f32>>> {
        let component = prop_oneof![
            4 => -1.0f32..1.0,
            1 => Just(0.0),
            1 => -1e4f32..1e4,
            1 => -1e-6f32..1e-6,
        ];
        (1usize..200).prop_flat_map(move |dim| {
            prop::collection::vec(prop::collection::vec(component.clone(), dim), 2..12)
        })
    }

    proptest! {
        #[test]
        fn bounds_hold_for_whatever_rows(vectors in vectors()) {
            let (query, rows) = vectors.split_first().unwrap();
            let row = |i: usize, out: &mut [f32]| out.copy_from_slice(&rows[i]);
            let codes = BoundedCodes::of(query.len(), rows.len(), &row);
            let bounded = BoundedQuery::new(query);
            for (i, row) in rows.iter().enumerate() {
                let product = exact(query, row);
                prop_assert!(f64::from(bounded.most_product(&codes, i)) >= product);
                let square = exact(query, query) + exact(row, row) - 2.0 * product;
                prop_assert!(f64::from(bounded.least_square(&codes, i)) <= square);
            }
        }
    }

    #[test]
    fn bounds_are_near() {
        let vector = |seed: usize| -> Vec<f32> {
            let x = |i: usize| ((i * 2_654_435_761 + seed * 40_503) % 1000) as f32 / 500.0 - 1.0;
            let row: Vec<f32> = (0..384).map(x).collect();
            let length = dot(&row, &row).sqrt();
            row.iter().map(|x| x / length).collect()
        };
        let row = |i: usize, out: &mut [f32]| out.copy_from_slice(&vector(i));
        let codes = BoundedCodes::of(384, 50, &row);
        let query = vector(1000);
        let bounded = BoundedQuery::new(&query);
        for i in 0..50 {
            let over = bounded.most_product(&codes, i) - dot(&query, &vector(i));
            assert!((0.0..0.02).contains(&over), "{over}");
        }
    }

    #[test]
    fn what_is_too_small_rules_nothing_out() {
        let row = |_: usize, out: &mut [f32]| out.fill(1.0);
        let codes = BoundedCodes::of(64, 1, &row);
        for x in [0.0, 1e-44, 1e-37] {
            let bounded = BoundedQuery::new(&[x; 64]);
            assert_eq!(bounded.most_product(&codes, 0), f32::INFINITY, "{x}");
            assert_eq!(bounded.least_square(&codes, 0), f32::NEG_INFINITY, "{x}");
        }
    }

    #[test]
    fn what_is_too_large_is_never_ruled_out() {
        let row = |_: usize, out: &mut [f32]| out.fill(f32::MAX);
        let codes = BoundedCodes::of(64, 1, &row);
        let bounded = BoundedQuery::new(&[f32::MAX; 64]);
        assert_eq!(bounded.most_product(&codes, 0), f32::INFINITY);
        assert_eq!(bounded.least_square(&codes, 0), f32::NEG_INFINITY);
    }
}
