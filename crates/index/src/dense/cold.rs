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

use bytes::Bytes;
use lodestone_kernels::{LevelBits, LevelQuery, MAX_DIM, SignQuery, block_bytes};

use super::calibration::Calibration;
use super::model::{Distance, ModelHeader, floats};
use super::promise::{promises, steps};
use super::rotation::Rotation;
use super::vector_index::LEVEL_FACTORS;

/// A model without its centroids as floats: their sign codes, which take a thirtieth, tell well enough which are near.
#[derive(Debug)]
pub struct Outline {
    header: ModelHeader,
    level_bits: LevelBits,
    rotation: Rotation,
    mean: Vec<f32>,
    /// Sign codes of the centroids for the model's distance.
    blocks: Bytes,
}

impl Outline {
    /// The outline that was stored as these; says what is wrong with them otherwise.
    pub fn open(header: ModelHeader, mean: &[u8], blocks: Bytes) -> Result<Self, String> {
        let level_bits = LevelBits::of(header.level_bits)
            .ok_or_else(|| format!("codes of {} bits are not known", header.level_bits))?;
        let dim = header.dim as usize;
        if !(1..=MAX_DIM).contains(&dim) || mean.len() != 4 * dim {
            return Err(format!("it has {dim} dimensions and a mean of {} bytes", mean.len()));
        }
        let rotation = Rotation::new(dim, header.seed);
        if !blocks.len().is_multiple_of(block_bytes(rotation.padded())) {
            return Err("the codes of its centroids are no whole blocks".into());
        }
        Ok(Self { level_bits, mean: floats(mean).collect(), rotation, blocks, header })
    }

    /// What searches have to do.
    pub fn calibration(&self) -> Calibration {
        self.header.calibration
    }

    /// Bytes that were read for it.
    pub fn bytes(&self) -> usize {
        self.blocks.len() + 4 * self.mean.len()
    }

    /// Bytes of a level code with its factors, and without what follows them.
    pub fn level_bytes(&self) -> usize {
        self.level_bits.code_bytes(self.rotation.padded()) + LEVEL_FACTORS
    }
}

/// A query, ready to be compared with centroids and level codes.
#[derive(Debug)]
pub struct ColdQuery {
    signs: SignQuery,
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
        let mut signs = SignQuery::new(padded);
        signs.set(&turned);
        let mut levels = LevelQuery::new(padded, outline.level_bits);
        levels.set(&turned);
        let base = match distance {
            Distance::Euclid => turned.iter().map(|x| x * x).sum(),
            Distance::Dot => 0.0,
        };
        Self { signs, levels, level_bytes: outline.level_bytes(), base }
    }

    /// How densely the lists of the model hold the query's nearest rows, as far as can be told; the nearest list about 1, others less.
    pub fn promises(&self, outline: &Outline) -> Vec<f32> {
        let steps = steps(&self.signs, &outline.blocks, outline.header.lists as usize);
        promises(&steps, outline.header.decay)
    }

    /// How near the rows of some level codes seem to be, less being nearer, each with the bytes that follow its code.
    /// Bytes that are no whole number of entries of `entry_bytes` are left out.
    pub fn rank<'a>(
        &'a self,
        codes: &'a [u8],
        entry_bytes: usize,
    ) -> impl Iterator<Item = (f32, &'a [u8])> + 'a {
        let code_bytes = self.level_bytes - LEVEL_FACTORS;
        let entries = codes.chunks_exact(entry_bytes.max(self.level_bytes));
        entries.map(move |entry| {
            let (code, rest) = entry.split_at(code_bytes);
            let (factors, rest) = rest.split_at(LEVEL_FACTORS);
            let factor =
                |at: usize| factors[at..].first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
            (self.base + factor(0) + factor(4) * self.levels.product(code), rest)
        })
    }
}
