//! Search of an index whose bytes are far away: decides what to read, and ranks what came, without any I/O.
//!
//! A warm search scans sign codes and looks up finer ones here and there. Where each look is a request, as many bytes as
//! possible should come with each: so a cold search reads the *level codes* of whole lists, which lie in the order of
//! lists, and lists next to each other are near each other. What it takes, trip by trip:
//!
//! | trip | bytes | then |
//! | --- | --- | --- |
//! | 1 | an [`Outline`] of the model, and of each index where its lists begin ([`ListPlaces`](super::ListPlaces)) | [`ColdQuery::promises`], [`plan_reads`](super::plan_reads) |
//! | 2 | level codes of the nearest lists, each with what its row is ([`ColdQuery::rank`]) | the most promising rows |
//! | 3 | their vectors | exact scores |

use lodestone_kernels::{LevelBits, LevelQuery, MAX_DIM};

use super::calibration::Calibration;
use super::centroids::CentroidCodes;
use super::code::{dot, level_bytes, level_estimate};
use super::model::{Distance, ModelHeader, floats};
use super::promise::{promises, steps};
use super::rotation::Rotation;

/// A model without its centroids as floats: codes of them tell well enough which are near.
#[derive(Debug)]
pub struct Outline {
    header: ModelHeader,
    level_bits: LevelBits,
    rotation: Rotation,
    mean: Vec<f32>,
    centroids: CentroidCodes,
}

impl Outline {
    /// The outline that was stored as these; says what is wrong with them otherwise.
    pub fn open(header: ModelHeader, mean: &[u8], centroids: CentroidCodes) -> Result<Self, String> {
        let level_bits = LevelBits::of(header.level_bits)
            .ok_or_else(|| format!("codes of {} bits are not known", header.level_bits))?;
        let dim = header.dim as usize;
        if !(1..=MAX_DIM).contains(&dim) || mean.len() != 4 * dim {
            return Err(format!("it has {dim} dimensions and a mean of {} bytes", mean.len()));
        }
        let rotation = Rotation::new(dim, header.seed);
        centroids.check(level_bits, rotation.padded(), header.lists as usize)?;
        Ok(Self { level_bits, mean: floats(mean).collect(), rotation, centroids, header })
    }

    /// What searches have to do.
    pub fn calibration(&self) -> Calibration {
        self.header.calibration
    }

    /// Bytes that were read for it.
    pub fn bytes(&self) -> usize {
        self.centroids.bytes().len() + 4 * self.mean.len()
    }

    /// Bytes of a level code with its factors, and without what follows them.
    pub fn level_bytes(&self) -> usize {
        level_bytes(self.level_bits, self.rotation.padded())
    }
}

/// A query, ready to be compared with centroids and level codes.
#[derive(Debug)]
pub struct ColdQuery {
    turned: Vec<f32>,
    levels: LevelQuery,
    level_bytes: usize,
    base: f32,
}

impl ColdQuery {
    /// `query` as `outline` sees it.
    ///
    /// # Panics
    /// If it has another number of components.
    pub fn new(outline: &Outline, query: &[f32]) -> Self {
        assert_eq!(query.len(), outline.rotation.dim(), "a query of another length");
        let mut centred = query.to_vec();
        let distance = outline.header.distance;
        if distance == Distance::Euclid {
            centred.iter_mut().zip(&outline.mean).for_each(|(x, mean)| *x -= mean);
        }
        let padded = outline.rotation.padded();
        let mut turned = vec![0.0; padded];
        outline.rotation.apply(&centred, &mut turned);
        let mut levels = LevelQuery::new(padded, outline.level_bits);
        levels.set(&turned);
        let base = match distance {
            Distance::Euclid => turned.iter().map(|x| x * x).sum(),
            // Codes are of rows less the mean, and rows of several models are compared.
            Distance::Dot => -dot(&outline.mean, query),
        };
        Self { turned, levels, level_bytes: outline.level_bytes(), base }
    }

    /// How densely the lists of the model hold the query's nearest rows, as far as can be told; the nearest list about 1, others less.
    pub fn promises(&self, outline: &Outline) -> Vec<f32> {
        let lists = outline.header.lists as usize;
        let distances = outline.centroids.distances(&self.turned, outline.level_bits, lists);
        promises(&steps(distances, lists), outline.header.decay)
    }

    /// How near the rows of some level codes seem to be, less being nearer, each with the bytes that follow its code.
    /// Bytes that are no whole number of entries of `entry_bytes` are left out.
    pub fn rank<'a>(
        &'a self,
        codes: &'a [u8],
        entry_bytes: usize,
    ) -> impl Iterator<Item = (f32, &'a [u8])> + 'a {
        let entries = codes.chunks_exact(entry_bytes.max(self.level_bytes));
        entries.map(move |entry| {
            let (level, rest) = entry.split_at(self.level_bytes);
            (self.base + level_estimate(&self.levels, level), rest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BuildOptions, Model, TrainOptions, build};
    use super::*;

    const DIM: usize = 48;
    const ROWS: usize = 400;

    /// What a cold search of an index of these rows says of each, beside what is true.
    fn estimates(
        distance: Distance,
        row: &(dyn Fn(usize, &mut [f32]) + Sync),
        query: &[f32],
    ) -> Vec<(f32, f32)> {
        let options = TrainOptions {
            distance,
            list_rows: 20,
            sample_rows: ROWS,
            level_bits: LevelBits::Eight,
            seed: 3,
        };
        let rows = |number: usize, out: &mut [f32]| row(number, out);
        let model = Model::train(DIM, ROWS, &rows, options);
        let index = build(&model, ROWS, &rows, &|number| number, BuildOptions { spill: false });
        let outline = Outline::open(model.header(), &model.mean_bytes(), CentroidCodes::of(&model)).unwrap();
        let asked = ColdQuery::new(&outline, query);
        let levels = index.sections().levels.unwrap();
        let ranked = asked.rank(&levels, index.entry_bytes());
        let pair = |(place, (estimate, _)): (u32, (f32, &[u8]))| {
            let mut vector = vec![0.0; DIM];
            row(index.row(place) as usize, &mut vector);
            let exact = match distance {
                Distance::Euclid => vector.iter().zip(query).map(|(x, q)| (x - q) * (x - q)).sum(),
                Distance::Dot => -dot(&vector, query),
            };
            (estimate, exact)
        };
        (0..).zip(ranked).map(pair).collect()
    }

    #[test]
    fn estimates_by_models_with_other_means_can_be_compared() {
        let query: Vec<f32> = (0..DIM).map(|x| (x as f32 * 1.3).sin()).collect();
        for distance in [Distance::Euclid, Distance::Dot] {
            for mean in [-3.0, 0.0, 3.0] {
                let row = |number: usize, out: &mut [f32]| {
                    let values = (0..DIM).map(|x| ((number * 37 + x * 11) % 53) as f32 / 26.0 - 1.0);
                    out.iter_mut().zip(values.zip(&query)).for_each(|(to, (x, q))| *to = x + mean * q);
                };
                let found = estimates(distance, &row, &query);
                assert_eq!(found.len(), ROWS);
                let wrong =
                    found.iter().map(|(estimate, exact)| (estimate - exact).abs()).fold(0.0, f32::max);
                assert!(wrong < 0.5, "{distance:?}, {mean}: {wrong}");
            }
        }
    }
}
