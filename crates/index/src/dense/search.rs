//! The rows that may be nearest to a query.

use lodestone_kernels::{LevelQuery, SignQuery, block_bytes, mean_mul, prefetch};

use super::lists::{ListFinder, NearList, Turned};
use super::shortlist::{Shortlist, Size};
use super::vector_index::LEVEL_FACTORS;
use super::{Distance, Model, VectorIndex};

/// How much a search does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// Lists to scan. Under a filter more are, until as many rows that match were seen as so many lists have.
    pub lists: usize,
    /// Rows that are looked for.
    pub wanted: usize,
    /// Rows that the scan hands to the finer codes, at least.
    pub keep: usize,
    /// Candidates that are handed out, at least.
    pub candidates: usize,
    /// Rows are kept beyond that while their estimate is so many standard errors from those that are wanted, as they are
    /// where many rows are about equally near.
    pub doubt: f32,
}

/// A row that may be near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Of which of the targets.
    pub target: u32,
    /// Which.
    pub row: u32,
    /// Its distance by its code, up to a constant of the query; less is nearer.
    pub estimate: f32,
}

/// The rows that are answers, where not all are.
pub trait Filter {
    /// How many.
    fn count(&self) -> usize;
    /// Whether `row` is one.
    fn allows(&self, row: u32) -> bool;
}

/// An index to search, and which of its rows are answers; all if there is no filter.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// One that [`VectorIndex::fits`] the model.
    pub index: &'a VectorIndex,
    /// Which rows.
    pub filter: Option<&'a dyn Filter>,
}

impl Target<'_> {
    fn allows(&self, place: u32) -> bool {
        self.filter.is_none_or(|filter| filter.allows(self.index.row(place)))
    }

    fn matching(&self) -> usize {
        self.filter.map_or(self.index.rows(), Filter::count)
    }

    /// About how many rows of a list match.
    fn matching_in(&self, list: u32) -> f64 {
        let places = self.index.places(list);
        if self.filter.is_none() || places.is_empty() {
            return places.len() as f64;
        }
        let step = (places.len() as u32).div_ceil(SAMPLE) as usize;
        let (looked_at, matching) = places
            .clone()
            .step_by(step)
            .fold((0, 0), |(n, m), place| (n + 1, m + u32::from(self.allows(place))));
        places.len() as f64 * f64::from(matching) / f64::from(looked_at)
    }
}

/// Searches indexes of one model; keeps its memory between queries.
#[derive(Debug)]
pub struct Searcher {
    centred: Vec<f32>,
    turned: Vec<f32>,
    signs: SignQuery,
    levels: LevelQuery,
    lists: ListFinder,
    /// The places of one target come after those of another.
    rows: Shortlist,
    firsts: Vec<u32>,
}

/// Rows whose codes are on their way while one is compared.
const AHEAD: usize = 8;
/// Rows of a list that are looked at to tell how many of it match.
const SAMPLE: u32 = 8;
/// Rows are kept in doubt up to so many times as many as are kept in any case.
const MOST: usize = 64;
/// The standard error of a sign code's estimate, of the query's distance to the centroid times `mul`: the sine of the
/// angle between a vector and its signs (RaBitQ: arXiv 2405.12497, theorem 3.2, with a cosine of 0.8).
const SIGN_ERROR: f32 = 0.6;
/// The same of a level code, of the length of the query times `mul`: what a step of a third of the spread leaves.
const LEVEL_ERROR: f32 = 0.35;

impl Searcher {
    /// A searcher for indexes of `model`.
    pub fn new(model: &Model) -> Self {
        Self {
            centred: Vec::new(),
            turned: vec![0.0; model.padded()],
            signs: SignQuery::new(model.padded()),
            levels: LevelQuery::new(model.padded(), model.level_bits()),
            lists: ListFinder::default(),
            rows: Shortlist::default(),
            firsts: Vec::new(),
        }
    }

    /// Writes candidates of all targets to `out`, likely ones first.
    ///
    /// # Panics
    /// If the targets have more rows than a `u32` counts.
    pub fn search(
        &mut self,
        model: &Model,
        targets: &[Target],
        query: &[f32],
        effort: Effort,
        out: &mut Vec<Candidate>,
    ) {
        self.firsts.clear();
        let mut rows: u32 = 0;
        for target in targets {
            self.firsts.push(rows);
            rows = rows.checked_add(target.index.rows() as u32).expect("targets of less than 2^32 rows");
        }
        model.turn_query(query, &mut self.centred, &mut self.turned);
        self.signs.set(&self.turned);
        self.rows.clear();
        if targets.iter().all(|target| target.filter.is_none()) {
            self.scan(model, targets, effort);
        } else {
            self.scan_filtered(model, targets, effort);
        }
        // A row in two of the lists was found twice.
        self.rows.found.sort_unstable_by_key(|found| found.place);
        self.rows.found.dedup_by_key(|found| found.place);
        self.rank(model, targets, effort, out);
    }

    /// Finds the rows of the nearest lists that are nearest by their signs.
    fn scan(&mut self, model: &Model, targets: &[Target], effort: Effort) {
        let to = Turned { vector: &self.turned, signs: &self.signs };
        self.lists.find(model, model.blocks(), model.distance(), to, effort.lists);
        let size = self.scan_size(model, targets, effort);
        for at in 0..self.lists.near.len() {
            self.scan_list(self.lists.near[at], targets);
            self.rows.trim_sometimes(&size);
        }
        self.rows.trim(&size);
    }

    /// As [`Searcher::scan`], of rows that match, and on until enough of these were seen, the last half of them in vain:
    /// where what is near does not match, what does may be in any list.
    fn scan_filtered(&mut self, model: &Model, targets: &[Target], effort: Effort) {
        let rows: usize = targets.iter().map(|target| target.index.rows()).sum();
        let matching: usize = targets.iter().map(Target::matching).sum();
        let enough = effort.lists as f64 * rows as f64 / model.lists() as f64;
        let (mut seen, mut in_vain) = (0.0, 0.0);
        // So many if matches are spread evenly, and twice as many each time if they are not.
        let mut next = (effort.lists.saturating_mul(rows) / matching.max(1)).saturating_add(1);
        let to = Turned { vector: &self.turned, signs: &self.signs };
        self.lists.start(model, model.blocks(), to, model.lists());
        let mut size = None;
        let is_enough = |seen: f64, in_vain: f64| seen >= enough && in_vain >= 0.5 * enough;
        while !is_enough(seen, in_vain) {
            let to = Turned { vector: &self.turned, signs: &self.signs };
            if effort.lists == 0 || !self.lists.more(model, model.distance(), to, next) {
                break;
            }
            next = next.saturating_mul(2);
            let size = *size.get_or_insert_with(|| self.scan_size(model, targets, effort));
            for at in 0..self.lists.near.len() {
                let near = self.lists.near[at];
                let better = self.scan_list(near, targets);
                self.rows.trim_sometimes(&size);
                let matching: f64 = targets.iter().map(|target| target.matching_in(near.list)).sum();
                seen += matching;
                in_vain = if better { 0.0 } else { in_vain + matching };
                if is_enough(seen, in_vain) {
                    break;
                }
            }
        }
        let size = size.unwrap_or(Size {
            wanted: effort.wanted,
            least: effort.keep,
            most: effort.keep,
            margin: 0.0,
        });
        self.rows.trim(&size);
    }

    /// What the scan keeps. How wrong estimates are is taken from the rows of the nearest list that has some.
    fn scan_size(&self, model: &Model, targets: &[Target], effort: Effort) -> Size {
        let first_block = |near: &NearList| {
            let block = |target: &Target| {
                target.index.list(near.list).get(..block_bytes(model.padded())).map(mean_mul)
            };
            targets.iter().find_map(block).map(|mul| (*near, mul))
        };
        let error = self.lists.near.iter().find_map(first_block).map_or(0.0, |(near, mul)| {
            let apart = match model.distance() {
                Distance::Euclid => near.base,
                Distance::Dot => squared(&self.turned) + model.square(near.list) + 2.0 * near.base,
            };
            SIGN_ERROR * mul * apart.max(0.0).sqrt()
        });
        let Effort { wanted, keep, .. } = effort;
        Size { wanted, least: keep, most: keep.saturating_mul(MOST), margin: effort.doubt * error }
    }

    /// Finds rows of one list that match, and says whether one is among the nearest so far.
    fn scan_list(&mut self, near: NearList, targets: &[Target]) -> bool {
        let mut nearest = f32::INFINITY;
        for (target, first) in targets.iter().zip(&self.firsts) {
            let before = self.rows.found.len();
            let limit = self.rows.limit();
            self.signs.scan(target.index.list(near.list), near.base, limit, &mut self.rows.found);
            let mut kept = before;
            for at in before..self.rows.found.len() {
                let mut found = self.rows.found[at];
                // A place that is none can only come from damage.
                if (found.place as usize) < target.index.rows() && target.allows(found.place) {
                    found.place += first;
                    nearest = nearest.min(found.value);
                    self.rows.found[kept] = found;
                    kept += 1;
                }
            }
            self.rows.found.truncate(kept);
        }
        nearest < self.rows.bar()
    }

    /// Ranks what the scan found, which is in order of places, by finer codes.
    fn rank(&mut self, model: &Model, targets: &[Target], effort: Effort, out: &mut Vec<Candidate>) {
        self.levels.set(&self.turned);
        let length = squared(&self.turned);
        let base = match model.distance() {
            Distance::Euclid => length,
            Distance::Dot => 0.0,
        };
        let (mut target, mut sizes) = (0, 0.0);
        let firsts = &self.firsts;
        let code = |target: &mut usize, place: u32| {
            while firsts.get(*target + 1).is_some_and(|next| *next <= place) {
                *target += 1;
            }
            targets[*target].index.level(place - firsts[*target])
        };
        let (mut ahead, mut ahead_target) = (0, 0);
        let found = &mut self.rows.found;
        for at in 0..found.len() {
            while ahead < found.len().min(at + AHEAD) {
                prefetch(code(&mut ahead_target, found[ahead].place));
                ahead += 1;
            }
            let level = code(&mut target, found[at].place);
            let (code, factors) = level.split_at(level.len() - LEVEL_FACTORS);
            let factor = |bytes: &[u8]| bytes.first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
            let (add, mul) = (factor(factors), factor(&factors[4..]));
            sizes += mul.abs();
            found[at].value = base + add + mul * self.levels.product(code);
        }
        let error = LEVEL_ERROR * sizes / found.len().max(1) as f32 * length.sqrt();
        self.rows.trim(&Size {
            wanted: effort.wanted,
            least: effort.candidates,
            most: effort.candidates.saturating_mul(MOST),
            margin: effort.doubt * error,
        });
        self.rows.found.sort_unstable_by(|a, b| a.value.total_cmp(&b.value));
        out.clear();
        out.extend(self.rows.found.iter().map(|found| {
            let target = firsts.partition_point(|first| *first <= found.place) - 1;
            let row = targets[target].index.row(found.place - firsts[target]);
            Candidate { target: target as u32, row, estimate: found.value }
        }));
    }
}

fn squared(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum()
}
