//! How the vectors of a shard are seen: their mean, a rotation, and the centroids of the lists.

use bytes::Bytes;
use lodestone_kernels::{BLOCK_ROWS, LevelBits, MAX_DIM, empty_block, put_row};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::assign::spill_cost;
use super::calibration::{Calibration, held_out};
use super::code::{dot, sign_factors};
use super::kmeans::cluster;
use super::order::bisected;
use super::rotation::{Rotation, split_mix};
use super::{IndexShape, Rows, VectorIndex};

/// Rows that are read at once.
const READ_ROWS: usize = 512;

/// What is compared; less is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Distance {
    /// The squared L2 distance.
    Euclid,
    /// The negated inner product. Cosine, for vectors of unit length.
    Dot,
}

/// What a model is made for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainOptions {
    /// What will be compared.
    pub distance: Distance,
    /// Rows of a list, on average.
    pub list_rows: usize,
    /// Rows to learn from, at most.
    pub sample_rows: usize,
    /// How fine the codes are that rank what a scan found.
    pub level_bits: LevelBits,
    /// Decides about everything that is random.
    pub seed: u64,
}

/// What of a model is not in its sections. The rotation is what [`Rotation`] makes of the seed, and has to stay so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModelHeader {
    /// What is compared.
    pub distance: Distance,
    /// Bits of a level code per component, 4 or 8.
    pub level_bits: u8,
    /// Components of a vector.
    pub dim: u32,
    /// Lists.
    pub lists: u32,
    /// Of the rotation.
    pub seed: u64,
    /// Rows that it was made for.
    pub rows: u64,
    /// The [spread](IndexShape::spread) of those rows; infinite if it was not noted.
    pub spread: f32,
    /// About how long rows are; 0 if it was not noted. Like what follows stored after all else, which models of old end with.
    #[serde(skip)]
    pub row_length: f32,
    /// What a search has to do; the usual if it was not measured.
    #[serde(skip)]
    pub calibration: Calibration,
    /// Whether signs alone say which rows are compared. Level codes are for merges then, and for searches from afar.
    #[serde(skip)]
    pub signs_alone: bool,
    /// How fast what lists promise falls with how far they are, see [`super::ColdQuery::promises`]; if it was measured.
    #[serde(skip)]
    pub decay: Option<f32>,
    /// Where not all rows are in a second list, those are for which that costs less than this, in squared distances of a row to its first
    /// centroid; 0 in models of before, for none.
    #[serde(skip)]
    pub spill_cost: f32,
}

/// Rows that are so many times farther from the mean than the middle one have no say in where it is.
const STRAY: f64 = 16.0;
/// And so often are they looked for: some hide behind others.
const STRAY_ROUNDS: usize = 3;
/// A model is made anew for so many times more rows.
const OUTGROWN: u64 = 4;
/// And without delay for so many times more.
const OVERGROWN: u64 = 16;
/// And for so many times fewer: most of each list's block would be empty. More than as many segments are merged into one, so that what
/// folds write has the model of the segments that were merged of such before, while there are any, and these share it with the next.
const OVERSIZED: u64 = 16;
/// And where rows are so many times farther from centroids than those that it was made for. Rows of the same distribution
/// are 1.02 times as far, as they had no say in where centroids are; at 1.1 searches of little effort lose a percent.
const DRIFTED: f32 = 1.08;
/// The same for models of few lists, of which a search looks at most anyway: segments this small are about to be merged,
/// and gain more by having one model than by each having its own.
const DRIFTED_SMALL: f32 = 1.25;
/// How many lists are few.
const FEW_LISTS: u32 = 512;

impl ModelHeader {
    /// Whether the lists of this model suit a segment of so many rows.
    pub fn suits(&self, rows: u64) -> bool {
        rows <= self.rows.saturating_mul(OUTGROWN) && self.rows <= rows.saturating_mul(OVERSIZED)
    }

    /// Whether so many rows are so many more than those that the model was made for that searches take several times as long.
    pub fn is_overgrown(&self, rows: u64) -> bool {
        rows > self.rows.saturating_mul(OVERGROWN)
    }

    /// How many times the rows that the model was made for so many are: no less than 1, and no more than a model is kept for.
    pub fn growth(&self, rows: u64) -> f32 {
        (rows as f32 / self.rows.max(1) as f32).clamp(1.0, OUTGROWN as f32)
    }

    /// Whether an index of this model had better be one of a new model: it has many more or fewer rows than those that
    /// the model was made for, or rows elsewhere. Never so for the index whose spread was noted.
    pub fn is_outdated(&self, index: &IndexShape) -> bool {
        !self.suits(index.rows.into()) || self.has_drifted(index)
    }

    /// Whether the rows of an index are elsewhere than those that the model was made for, so that searches may miss some.
    pub fn has_drifted(&self, index: &IndexShape) -> bool {
        let drifted = if self.lists <= FEW_LISTS { DRIFTED_SMALL } else { DRIFTED };
        index.spread > self.spread * drifted
    }
}

/// The mean, the rotation and the centroids. All vectors here are turned and, but for queries of [`Distance::Dot`], taken
/// from the mean.
#[derive(Debug)]
pub struct Model {
    header: ModelHeader,
    level_bits: LevelBits,
    rotation: Rotation,
    mean: Vec<f32>,
    /// Floats of one centroid after another, as bytes that the kernels read.
    centroids: Bytes,
    squares: Vec<f32>,
    /// Sign codes of the centroids, to find the nearest ones of many.
    blocks: Vec<u8>,
}

impl Model {
    /// Learns from `count` vectors of `dim` components, of which it reads as many as it may learn from, each once. Some are
    /// [held out](super::HeldOut). Gives up where they are [not wanted](Rows::is_wanted) any more.
    pub fn train(dim: usize, count: usize, rows: &dyn Rows, options: TrainOptions) -> Self {
        let mut numbers = drawn(count, options.sample_rows, options.seed);
        let mut held_out = held_out(count).peekable();
        numbers.retain(|number| {
            while held_out.next_if(|held| held < number).is_some() {}
            held_out.peek() != Some(number)
        });
        let rotation = Rotation::new(dim, options.seed);
        let padded = rotation.padded();
        // Each with room for what turning adds.
        let mut turned = vec![0.0; numbers.len() * padded];
        turned.par_chunks_mut(READ_ROWS * padded).zip(numbers.par_chunks(READ_ROWS)).for_each(
            |(places, numbers)| {
                let mut vectors = vec![0.0; numbers.len() * dim];
                rows.write(numbers, &mut vectors);
                let vectors = vectors.chunks_exact(dim);
                places.chunks_exact_mut(padded).zip(vectors).for_each(|(p, v)| p[..dim].copy_from_slice(v));
            },
        );
        let give_up_if_unwanted = |turned: &mut Vec<f32>| {
            if !rows.is_wanted() {
                turned.clear();
            }
        };
        give_up_if_unwanted(&mut turned);
        let mean = mean_of_most(dim, &turned, padded);
        give_up_if_unwanted(&mut turned);
        turned.par_chunks_mut(padded).for_each_init(
            || vec![0.0; dim],
            |vector, turned| {
                vector.copy_from_slice(&turned[..dim]);
                vector.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
                rotation.apply(vector, turned);
            },
        );
        forget_endless(&mut turned, padded);
        let clusters =
            cluster(&turned, padded, count.div_ceil(options.list_rows), options.seed, &|| rows.is_wanted());
        let order = bisected(&clusters.fine, padded);
        let centroids: Vec<f32> = order
            .iter()
            .flat_map(|i| &clusters.fine[*i as usize * padded..(*i as usize + 1) * padded])
            .copied()
            .collect();
        let header = ModelHeader {
            distance: options.distance,
            level_bits: options.level_bits.bits(),
            dim: dim as u32,
            lists: order.len() as u32,
            seed: options.seed,
            rows: count as u64,
            spread: f32::INFINITY,
            row_length: row_length(&mean, &turned, padded),
            calibration: Calibration::default(),
            signs_alone: false,
            decay: None,
            spill_cost: 0.0,
        };
        let bytes = centroids.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut model = Self::new(header, options.level_bits, rotation, mean, bytes);
        model.header.spill_cost = spill_cost(&model, &turned);
        model
    }

    /// The model that was stored as these; says what is wrong with them otherwise.
    pub fn open(header: ModelHeader, mean: &[u8], centroids: Bytes) -> Result<Self, String> {
        let level_bits = LevelBits::of(header.level_bits)
            .ok_or_else(|| format!("codes of {} bits are not known", header.level_bits))?;
        let dim = header.dim as usize;
        if !(1..=MAX_DIM).contains(&dim) || header.lists == 0 {
            return Err(format!("it has {dim} dimensions and {} lists", header.lists));
        }
        let rotation = Rotation::new(dim, header.seed);
        let expected = (4 * rotation.padded() as u64).checked_mul(header.lists.into());
        if mean.len() != 4 * dim || expected != Some(centroids.len() as u64) {
            return Err("mean or centroids have a wrong length".into());
        }
        let mean = floats(mean).collect();
        Ok(Self::new(header, level_bits, rotation, mean, centroids))
    }

    fn new(
        header: ModelHeader,
        level_bits: LevelBits,
        rotation: Rotation,
        mean: Vec<f32>,
        centroids: Bytes,
    ) -> Self {
        let each = || centroids.chunks_exact(4 * rotation.padded()).map(floats);
        Self {
            squares: each().map(|c| c.map(|x| x * x).sum()).collect(),
            blocks: coded(header.distance, &centroids, rotation.padded()),
            header,
            level_bits,
            mean,
            centroids,
            rotation,
        }
    }

    /// Notes the spread of the rows that the model was made for, by an index of them.
    pub fn note_spread(&mut self, index: &VectorIndex) {
        self.header.spread = index.shape().spread;
    }

    /// Notes whether searches go by signs alone.
    pub fn note_signs_alone(&mut self, signs_alone: bool) {
        self.header.signs_alone = signs_alone;
    }

    /// Notes what searches have to do.
    pub fn note_calibration(&mut self, calibration: Calibration) {
        self.header.calibration = calibration;
    }

    /// Notes how fast what lists promise falls.
    pub fn note_decay(&mut self, decay: Option<f32>) {
        self.header.decay = decay;
    }

    /// The same model, with level codes of so many bits.
    pub fn with_level_bits(&self, level_bits: LevelBits) -> Self {
        let header = ModelHeader { level_bits: level_bits.bits(), ..self.header };
        Self::new(header, level_bits, self.rotation.clone(), self.mean.clone(), self.centroids.clone())
    }

    /// What of it is not in the sections.
    pub fn header(&self) -> ModelHeader {
        self.header
    }

    /// The stored form of the mean.
    pub fn mean_bytes(&self) -> Vec<u8> {
        self.mean.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    /// The stored form of the centroids.
    pub fn centroid_bytes(&self) -> &Bytes {
        &self.centroids
    }

    /// What is compared.
    pub fn distance(&self) -> Distance {
        self.header.distance
    }

    /// How fine the codes are that rank what a scan found.
    pub fn level_bits(&self) -> LevelBits {
        self.level_bits
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.rotation.dim()
    }

    /// Components of a turned vector and of a code.
    pub fn padded(&self) -> usize {
        self.rotation.padded()
    }

    /// Lists.
    pub fn lists(&self) -> usize {
        self.squares.len()
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.centroids.len() + self.blocks.len() + 4 * (self.squares.len() + self.mean.len())
    }

    /// The squared length of a list's centroid.
    pub(super) fn square(&self, list: u32) -> f32 {
        self.squares[list as usize]
    }

    pub(super) fn centroid(&self, list: usize) -> Vec<f32> {
        let size = 4 * self.padded();
        floats(&self.centroids[list * size..(list + 1) * size]).collect()
    }

    /// What estimates of distances to `query` are greater by than the distances: codes are of rows less the mean.
    pub fn shift(&self, query: &[f32]) -> f32 {
        match self.header.distance {
            Distance::Euclid => 0.0,
            Distance::Dot => dot(&self.mean, query),
        }
    }

    /// By what a query is multiplied. Products keep their order, whatever it is, but estimates of them are from signs of what is left
    /// after the centroid is taken off, and are good where the query is about where rows are: as long as they.
    pub(super) fn query_scale(&self, turned: &[f32]) -> f32 {
        let scale = self.header.row_length / dot(turned, turned).sqrt();
        match self.header.distance {
            Distance::Dot if scale.is_normal() => scale,
            _ => 1.0,
        }
    }

    /// The inner product of a list's centroid with a turned vector.
    pub(super) fn product(&self, list: usize, vector: &[f32]) -> f32 {
        let size = 4 * self.padded();
        let centroid = self.centroids[list * size..(list + 1) * size].as_chunks::<4>().0;
        let mut sums = [0.0f32; 16];
        for (c, x) in centroid.chunks(16).zip(vector.chunks(16)) {
            for ((sum, c), x) in sums.iter_mut().zip(c).zip(x) {
                *sum += f32::from_le_bytes(*c) * x;
            }
        }
        sums.iter().sum()
    }

    /// Turns a row.
    pub(super) fn turn_row(&self, row: &mut [f32], turned: &mut [f32]) {
        row.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x -= mean);
        self.rotation.apply(row, turned);
    }

    /// Turns a query.
    pub(super) fn turn_query(&self, query: &[f32], centred: &mut Vec<f32>, turned: &mut [f32]) {
        centred.clear();
        centred.extend_from_slice(query);
        match self.header.distance {
            Distance::Euclid => self.turn_row(centred, turned),
            Distance::Dot => self.rotation.apply(centred, turned),
        }
    }

    /// The sign codes of the centroids for another distance.
    pub(super) fn blocks_for(&self, distance: Distance) -> Vec<u8> {
        coded(distance, &self.centroids, self.padded())
    }

    /// Sign codes of the centroids for the model's distance.
    pub fn blocks(&self) -> &[u8] {
        &self.blocks
    }
}

/// Centroids as rows of blocks.
fn coded(distance: Distance, centroids: &[u8], padded: usize) -> Vec<u8> {
    let (origin, mut centroid) = (vec![0.0; padded], Vec::new());
    let mut blocks = Vec::new();
    for (i, some) in centroids.chunks(4 * BLOCK_ROWS * padded).enumerate() {
        let mut block = empty_block(padded);
        for (row, bytes) in some.chunks_exact(4 * padded).enumerate() {
            centroid.clear();
            centroid.extend(floats(bytes));
            let factors = sign_factors(distance, &centroid, &origin);
            put_row(&mut block, row, &centroid, factors.add, factors.mul, (i * BLOCK_ROWS + row) as u32);
        }
        blocks.extend(block);
    }
    blocks
}

pub(super) fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// The mean of the rows, each the first `dim` of `padded` floats, but for those that are so far away that they alone decided
/// where it is: one row a million times longer than all others leaves the signs of these without meaning.
fn mean_of_most(dim: usize, rows: &[f32], padded: usize) -> Vec<f32> {
    let row = |i: usize| &rows[i * padded..][..dim];
    let mut kept: Vec<usize> = (0..rows.len() / padded).collect();
    let mut rounds = 0;
    loop {
        let mean = mean(dim, kept.iter().map(|i| row(*i)));
        rounds += 1;
        // In f64: where one row is so long that its square is no f32, neither is that of any row less the mean.
        let squared = |i: &usize| -> f64 {
            row(*i).iter().zip(&mean).map(|(x, m)| f64::from(x - m) * f64::from(x - m)).sum()
        };
        let squares: Vec<f64> = kept.par_iter().map(squared).collect();
        let mut ordered = squares.clone();
        let middle = ordered.len() / 2;
        if middle == 0 || rounds > STRAY_ROUNDS {
            return mean;
        }
        let limit = STRAY * STRAY * *ordered.select_nth_unstable_by(middle, f64::total_cmp).1;
        let near: Vec<usize> =
            kept.iter().zip(&squares).filter(|(_, square)| **square <= limit).map(|(i, _)| *i).collect();
        // Where they are many, they are no strays.
        if near.len() == kept.len() || near.len() < rows.len() / padded / 10 * 9 {
            return mean;
        }
        kept = near;
    }
}

/// Leaves out rows whose squares are no `f32`: no centroid is near them, and one of such rows would be near to nothing. If all are, the
/// mean is left.
fn forget_endless(turned: &mut Vec<f32>, padded: usize) {
    let has_square = |row: &[f32]| dot(row, row).is_finite();
    if !turned.par_chunks(padded).all(has_square) {
        *turned = turned.chunks(padded).filter(|row| has_square(row)).flatten().copied().collect();
        turned.resize(turned.len().max(padded), 0.0);
    }
}

/// The length that half of the rows are longer than. What is left of them after the mean has no part of it on average.
fn row_length(mean: &[f32], centred: &[f32], padded: usize) -> f32 {
    let mut squares: Vec<f32> = centred.par_chunks(padded).map(|row| dot(row, row)).collect();
    let middle = squares.len() / 2;
    if squares.is_empty() {
        return 0.0;
    }
    (dot(mean, mean) + *squares.select_nth_unstable_by(middle, f32::total_cmp).1).sqrt()
}

fn mean<'a>(dim: usize, rows: impl ExactSizeIterator<Item = &'a [f32]>) -> Vec<f32> {
    let (mut sums, scale) = (vec![0.0f64; dim], 1.0 / rows.len().max(1) as f64);
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums.into_iter().map(|sum| (sum * scale) as f32).collect()
}

/// At most `count` of the numbers below `n`, in ascending order.
fn drawn(n: usize, count: usize, seed: u64) -> Vec<u32> {
    let (mut state, mut left) = (seed ^ 0xd8a3, count.min(n));
    let mut numbers = Vec::with_capacity(left);
    for i in 0..n {
        // Each with the chance that leaves the right number (Knuth, TAOCP 2, 3.4.2 S).
        if split_mix(&mut state) % ((n - i) as u64) < left as u64 {
            numbers.push(i as u32);
            left -= 1;
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_many_lists_are_outdated_by_little_drift() {
        let zeros = |_: usize, row: &mut [f32]| row.fill(0.0);
        let options = TrainOptions {
            distance: Distance::Euclid,
            list_rows: 1,
            sample_rows: 10,
            level_bits: LevelBits::Four,
            seed: 1,
        };
        let header = Model::train(1, 1, &zeros, options).header();
        let index = |spread| IndexShape {
            padded: 16,
            level_bits: 4,
            lists: 1,
            rows: 100_000,
            spilled: true,
            spread,
            tag_bytes: 0,
        };
        for (lists, least) in [(FEW_LISTS, 1.25), (FEW_LISTS + 1, 1.08), (10_000, 1.08)] {
            let header = ModelHeader { lists, rows: 100_000, spread: 2.0, ..header };
            let [not_yet, drifted] = [-0.005, 0.005].map(|more| index(2.0 * (least + more)));
            assert!(!header.has_drifted(&not_yet) && !header.is_outdated(&not_yet), "{lists} lists");
            assert!(header.has_drifted(&drifted) && header.is_outdated(&drifted), "{lists} lists");
        }
        let unknown = ModelHeader { spread: f32::INFINITY, ..header };
        assert!(!unknown.has_drifted(&index(1e30)), "its spread was not noted");
    }

    #[test]
    fn rows_far_from_all_others_have_no_say_in_the_mean() {
        let near = |i: usize| [i as f32 % 10.0, 1.0, 0.0, 0.0];
        let usual: Vec<f32> = (0..100).flat_map(near).collect();
        let expected = mean_of_most(2, &usual, 4);
        assert_eq!(expected, [4.5, 1.0]);
        // One behind the other.
        let strays: Vec<f32> = [usual.clone(), vec![1e4, 0.0, 0.0, 0.0, 0.0, -1e9, 0.0, 0.0]].concat();
        assert_eq!(mean_of_most(2, &strays, 4), expected);
        // A fifth of all is no stray.
        let many: Vec<f32> = (0..100).flat_map(|i| if i % 5 == 0 { [1e6; 4] } else { near(i) }).collect();
        assert!(mean_of_most(2, &many, 4)[0] > 1e5);
        assert_eq!(mean_of_most(2, &[1e30; 4], 4), [1e30; 2]);
        assert_eq!(mean_of_most(2, &[], 4), [0.0; 2]);
    }
}
