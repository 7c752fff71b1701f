//! What a search from afar reads of a model's centroids: codes of them, which tell well enough which are near.

use bytes::Bytes;
use lodestone_kernels::{BLOCK_ROWS, Estimate, LevelBits, LevelQuery, SignQuery, block_bytes};

use super::Model;
use super::code::{level_bytes, level_estimate, put_level};

/// Bytes of level codes from which on signs must do: what centroids take is not left for codes of rows. Measured, see
/// `docs/0005-cold-search.md`.
const MOST_LEVELS: usize = 512 << 10;

/// Codes of all centroids, in the order of lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CentroidCodes {
    /// Level codes with their factors: they tell the order of lists about as well as floats, of which they take an eighth.
    Levels(Bytes),
    /// Blocks of sign codes for the model's distance: a thirtieth.
    Signs(Bytes),
}

impl CentroidCodes {
    /// Of the centroids of a model.
    pub fn of(model: &Model) -> Self {
        Self::within(model, MOST_LEVELS)
    }

    fn within(model: &Model, most: usize) -> Self {
        let bits = model.level_bits();
        let size = level_bytes(bits, model.padded());
        if model.lists() * size > most {
            return Self::Signs(Bytes::copy_from_slice(model.blocks()));
        }
        let (mut bytes, mut found) = (Vec::with_capacity(model.lists() * size), Vec::new());
        for list in 0..model.lists() {
            put_level(model.distance(), bits, &model.centroid(list), &mut found, &mut bytes);
        }
        Self::Levels(bytes.into())
    }

    /// The stored form.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Levels(bytes) | Self::Signs(bytes) => bytes,
        }
    }

    /// What is wrong with them, if they are to be of so many lists and `padded` components.
    pub(super) fn check(&self, bits: LevelBits, padded: usize, lists: usize) -> Result<(), String> {
        let is_whole = match self {
            Self::Levels(bytes) => Some(bytes.len()) == lists.checked_mul(level_bytes(bits, padded)),
            Self::Signs(bytes) => {
                Some(bytes.len()) == lists.div_ceil(BLOCK_ROWS).checked_mul(block_bytes(padded))
            }
        };
        if is_whole { Ok(()) } else { Err(format!("the codes of its centroids are not of {lists} lists")) }
    }

    /// How far the centroids of the first so many lists seem to be from a query that was turned, less something that is the same for all.
    /// Those are left out of which nothing can be told.
    pub(super) fn distances(&self, turned: &[f32], bits: LevelBits, lists: usize) -> Vec<Estimate> {
        let mut found = Vec::new();
        match self {
            Self::Levels(bytes) => {
                let mut query = LevelQuery::new(turned.len(), bits);
                query.set(turned);
                let entries = bytes.chunks_exact(level_bytes(bits, turned.len()));
                let estimate = |(place, entry)| Estimate { value: level_estimate(&query, entry), place };
                found.extend((0..).zip(entries).map(estimate));
            }
            Self::Signs(bytes) => {
                let mut query = SignQuery::new(turned.len());
                query.set(turned);
                query.scan(bytes, &[], 0.0, f32::INFINITY, &mut found);
            }
        }
        found.retain(|found| found.value.is_finite() && (found.place as usize) < lists);
        found
    }
}

#[cfg(test)]
mod tests {
    use lodestone_kernels::LevelBits;

    use super::*;
    use crate::dense::{Distance, TrainOptions};

    const DIM: usize = 96;

    fn model(distance: Distance, level_bits: LevelBits) -> Model {
        let options = TrainOptions { distance, list_rows: 20, sample_rows: 4_000, level_bits, seed: 5 };
        let rows = |number: usize, row: &mut [f32]| {
            row.iter_mut()
                .enumerate()
                .for_each(|(x, to)| *to = ((number * 31 + x * 17) % 101) as f32 / 50.0 - 1.0);
        };
        Model::train(DIM, 4_000, &rows, options)
    }

    /// By how much the distances of these codes are beside the true ones, relative to how much those differ.
    fn error(model: &Model, codes: &CentroidCodes, query: &[f32]) -> f32 {
        let exact: Vec<f32> = (0..model.lists())
            .map(|list| match model.distance() {
                Distance::Euclid => model.square(list as u32) - 2.0 * model.product(list, query),
                Distance::Dot => -model.product(list, query),
            })
            .collect();
        let found = codes.distances(query, model.level_bits(), model.lists());
        assert_eq!(found.len(), model.lists());
        let mean = exact.iter().sum::<f32>() / exact.len() as f32;
        let spread: f32 = exact.iter().map(|x| (x - mean).powi(2)).sum();
        let wrong: f32 = found.iter().map(|f| (f.value - exact[f.place as usize]).powi(2)).sum();
        (wrong / spread).sqrt()
    }

    #[test]
    fn levels_tell_better_than_signs_how_far_centroids_are() {
        for distance in [Distance::Euclid, Distance::Dot] {
            for bits in [LevelBits::Four, LevelBits::Eight] {
                let model = model(distance, bits);
                let (levels, signs) = (CentroidCodes::of(&model), CentroidCodes::within(&model, 0));
                assert!(matches!((&levels, &signs), (CentroidCodes::Levels(_), CentroidCodes::Signs(_))));
                let query: Vec<f32> = (0..model.padded()).map(|x| (x as f32 * 0.7).sin()).collect();
                let (fine, coarse) = (error(&model, &levels, &query), error(&model, &signs, &query));
                assert!(fine < 0.1 && coarse > 3.0 * fine, "{distance:?} {bits:?}: {fine}, {coarse}");
            }
        }
    }

    #[test]
    fn codes_of_another_length_are_told() {
        let model = model(Distance::Euclid, LevelBits::Four);
        let (bits, padded, lists) = (model.level_bits(), model.padded(), model.lists());
        for codes in [CentroidCodes::of(&model), CentroidCodes::within(&model, 0)] {
            assert_eq!(codes.check(bits, padded, lists), Ok(()));
            let other: fn(Bytes) -> CentroidCodes = match codes {
                CentroidCodes::Levels(_) => CentroidCodes::Levels,
                CentroidCodes::Signs(_) => CentroidCodes::Signs,
            };
            for missing in [1, block_bytes(padded).min(codes.bytes().len())] {
                let cut = other(codes.bytes().slice(missing..));
                assert!(cut.check(bits, padded, lists).is_err(), "{missing} bytes");
            }
        }
    }
}
