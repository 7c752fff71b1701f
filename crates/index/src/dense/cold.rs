//! Search of an index whose bytes are far away: decides what to read, and ranks what came, without any I/O.
//!
//! A warm search scans sign codes and looks up finer ones here and there. Where each look is a request, as many bytes as
//! possible should come with each: so a cold search reads the *level codes* of whole lists, which lie in the order of
//! lists, and lists next to each other are near each other. What it takes, trip by trip:
//!
//! | trip | bytes | then |
//! | --- | --- | --- |
//! | 1 | an [`Outline`] of the model, and of each index where its lists begin ([`ListPlaces`]) | [`ColdQuery::near_lists`], [`plan_reads`] |
//! | 2 | level codes of the nearest lists, each with what its row is ([`ColdQuery::rank`]) | the most promising rows |
//! | 3 | their vectors | exact scores |

use std::ops::Range;

use bytes::Bytes;
use lodestone_kernels::{Estimate, LevelBits, LevelQuery, MAX_DIM, SignQuery, block_bytes};

use super::calibration::Calibration;
use super::model::{Distance, ModelHeader, floats};
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

/// Which places the lists of an index have.
#[derive(Debug)]
pub struct ListPlaces(Vec<u32>);

impl ListPlaces {
    /// From the stored form of an index's lists; says what is wrong with it otherwise.
    pub fn open(lists: &[u8], rows: u32) -> Result<Self, String> {
        let (entries, rest) = lists.as_chunks::<8>();
        let places: Vec<u32> =
            entries.iter().map(|[.., a, b, c, d]| u32::from_le_bytes([*a, *b, *c, *d])).collect();
        if !rest.is_empty() || !places.is_sorted() || places.last() != Some(&rows) {
            return Err("its lists make no sense".into());
        }
        Ok(Self(places))
    }

    /// A range of whole lists in pieces of whole lists, each of at most so many places unless a list alone has more.
    pub fn pieces(&self, places: Range<u32>, most: u32) -> Vec<Range<u32>> {
        let mut pieces = Vec::new();
        let mut start = places.start;
        while start < places.end {
            let limit = start.saturating_add(most.max(1)).min(places.end);
            let fit = self.0.partition_point(|end| *end <= limit);
            let end = match self.0.get(fit.wrapping_sub(1)) {
                Some(end) if *end > start => *end,
                _ => self.0.get(fit).copied().unwrap_or(places.end).min(places.end),
            };
            pieces.push(start..end);
            start = end;
        }
        pieces
    }

    fn of(&self, list: u32) -> Range<u32> {
        let at = |list: usize| self.0.get(list).or(self.0.last()).copied().unwrap_or_default();
        at(list as usize)..at(list as usize + 1)
    }
}

/// How much a trip may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBudget {
    /// Places, over all indexes.
    pub places: usize,
    /// Ranges of places, over all indexes.
    pub ranges: usize,
}

/// The ranges of places to read, each with the number of its index: those of as many of the nearest lists as the budget
/// allows. Where lists are too far apart for so many ranges, what is between them is read too.
pub fn plan_reads(near: &[u32], indexes: &[&ListPlaces], budget: ReadBudget) -> Vec<(usize, Range<u32>)> {
    let read = |count: usize| {
        let places = |list: &u32| {
            let each = indexes.iter().enumerate().map(|(number, index)| (number, index.of(*list)));
            each.filter(|(_, places)| !places.is_empty()).collect::<Vec<_>>()
        };
        coalesced(near[..count].iter().flat_map(places).collect(), budget.ranges.max(indexes.len()))
    };
    let fits = |count: &usize| {
        let places: usize = read(*count).iter().map(|(_, places)| places.len()).sum();
        places <= budget.places
    };
    // What is read grows with the number of lists, so the most that fit are found by halving.
    let (mut fit, mut too_many) = (1.min(near.len()), near.len() + 1);
    while too_many - fit > 1 {
        let middle = fit + (too_many - fit) / 2;
        if fits(&middle) { fit = middle } else { too_many = middle }
    }
    read(fit)
}

/// The same ranges as at most `most`, those joined that are least far apart.
fn coalesced(mut ranges: Vec<(usize, Range<u32>)>, most: usize) -> Vec<(usize, Range<u32>)> {
    ranges.sort_unstable_by_key(|(index, range)| (*index, range.start));
    let gap = |pair: &[(usize, Range<u32>)]| match pair {
        [(a, before), (b, after)] if a == b => after.start.saturating_sub(before.end),
        _ => u32::MAX,
    };
    let mut gaps: Vec<u32> = ranges.windows(2).map(gap).collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    let joined_up_to = gaps.get(most.saturating_sub(1)).copied().unwrap_or(0);
    let mut joined: Vec<(usize, Range<u32>)> = Vec::new();
    for (index, range) in ranges {
        match joined.last_mut() {
            Some((last, before))
                if *last == index && range.start.saturating_sub(before.end) <= joined_up_to =>
            {
                before.end = before.end.max(range.end);
            }
            _ => joined.push((index, range)),
        }
    }
    joined
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

    /// The lists of the model, those first whose centroids seem nearest, at most `most`.
    pub fn near_lists(&self, outline: &Outline, most: usize) -> Vec<u32> {
        let mut found: Vec<Estimate> = Vec::new();
        self.signs.scan(&outline.blocks, &[], 0.0, f32::INFINITY, &mut found);
        found.retain(|found| found.place < outline.header.lists);
        found.sort_unstable_by(|a, b| a.value.total_cmp(&b.value).then(a.place.cmp(&b.place)));
        found.truncate(most);
        found.into_iter().map(|found| found.place).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_where_they_are_near() {
        let ranges = vec![(0, 10..20), (1, 0..5), (0, 90..95), (0, 20..30), (0, 40..50)];
        assert_eq!(coalesced(ranges.clone(), 9), [(0, 10..30), (0, 40..50), (0, 90..95), (1, 0..5)]);
        assert_eq!(coalesced(ranges.clone(), 3), [(0, 10..50), (0, 90..95), (1, 0..5)]);
        assert_eq!(coalesced(ranges, 1), [(0, 10..95), (1, 0..5)], "two objects are never one range");
    }

    #[test]
    fn long_ranges_are_read_in_pieces_of_whole_lists() {
        let starts = [0u32, 3, 3, 10, 30, 34, 40];
        let bytes: Vec<u8> = starts.iter().flat_map(|at| [0, *at]).flat_map(u32::to_le_bytes).collect();
        let places = ListPlaces::open(&bytes, 40).unwrap();
        assert_eq!(places.pieces(0..40, 10), [0..10, 10..30, 30..40]);
        assert_eq!(places.pieces(3..34, 20), [3..10, 10..30, 30..34]);
        assert_eq!(places.pieces(3..40, 1), [3..10, 10..30, 30..34, 34..40], "no list is cut");
        assert!(places.pieces(3..3, 10).is_empty());
    }

    #[test]
    fn as_many_lists_are_read_as_the_budget_allows() {
        let starts: Vec<u8> = (0..=10u32).flat_map(|i| [0, i * 7]).flat_map(u32::to_le_bytes).collect();
        let places = ListPlaces::open(&starts, 70).unwrap();
        let near = [5, 2, 6, 9, 1, 0, 3, 4, 7, 8];
        let read =
            |places_most, ranges| plan_reads(&near, &[&places], ReadBudget { places: places_most, ranges });
        assert_eq!(read(21, 8), [(0, 14..21), (0, 35..49)]);
        assert_eq!(read(20, 8), [(0, 14..21), (0, 35..42)]);
        assert_eq!(read(35, 1), [(0, 14..49)], "what is between is read too");
        assert_eq!(read(1, 8), [(0, 35..42)], "the nearest list in any case");
        assert_eq!(read(1000, 8), [(0, 0..70)]);
        assert!(plan_reads(&[], &[&places], ReadBudget { places: 9, ranges: 9 }).is_empty());
        assert!(ListPlaces::open(&starts, 71).is_err());
        assert!(ListPlaces::open(&starts[1..], 70).is_err());
    }
}
