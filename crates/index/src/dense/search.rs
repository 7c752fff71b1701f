//! The rows that may be nearest to a query.

use lodestone_kernels::{Estimate, LevelBits, LevelQuery, SignQuery, block_bytes, mean_mul, prefetch};

use super::code::{Factors, dot, parts_of_level};
use super::lists::{ListFinder, NearList, Turned};
use super::shortlist::{Shortlist, Size};
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
    /// A bit for each row, the lowest first; rows beyond the end are none.
    fn bits(&self) -> Vec<u64>;
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

    /// Adds the places of rows that match, ascending and counted from `first` on.
    fn find_matching(&self, first: u32, found: &mut Vec<Estimate>) {
        const AT_ONCE: usize = 64;
        let place = |place: usize| Estimate { value: 0.0, place: first + place as u32 };
        let Some(bits) = self.filter.map(Filter::bits) else {
            return found.extend((0..self.index.rows()).map(place));
        };
        let mut some = [place(0); AT_ONCE];
        for (chunk, rows) in self.index.row_numbers().chunks(AT_ONCE).enumerate() {
            let mut matching = 0;
            for (at, row) in rows.iter().enumerate() {
                let row = u32::from_le_bytes(*row);
                let matches = bits.get(row as usize / 64).map_or(0, |word| word >> (row % 64) & 1);
                // Overwritten by the next one if it does not match: a branch would be guessed wrong too often.
                some[matching] = place(chunk * AT_ONCE + at);
                matching += matches as usize;
            }
            found.extend_from_slice(&some[..matching]);
        }
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
    /// Bytes of the blocks after which rows are dropped that have no chance.
    some_blocks: usize,
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
/// Blocks of a list after which rows are dropped that have no chance.
const SOME: usize = 2;
/// Rows of a list that are looked at to tell how many of it match.
const SAMPLE: u32 = 8;
/// Rows are kept in doubt up to so many times as many as are kept in any case.
const MOST: usize = 64;
/// The standard error of a sign code's estimate, of the query's distance to the centroid times `mul`: the sine of the
/// angle between a vector and its signs (RaBitQ: arXiv 2405.12497, theorem 3.2, with a cosine of 0.8).
const SIGN_ERROR: f32 = 0.6;
/// The same of a level code, of the length of the query times `mul`: what a step of a third of the spread leaves.
const LEVEL_ERROR: f32 = 0.35;
/// The same of codes of 8 bits, whose steps are a tenth as wide.
const FINE_LEVEL_ERROR: f32 = 0.035;

impl Searcher {
    /// A searcher for indexes of `model`.
    pub fn new(model: &Model) -> Self {
        Self {
            some_blocks: SOME * block_bytes(model.padded()),
            centred: Vec::new(),
            turned: vec![0.0; model.padded()],
            signs: SignQuery::new(model.padded()),
            levels: LevelQuery::new(model.padded(), model.level_bits()),
            lists: ListFinder::default(),
            rows: Shortlist::default(),
            firsts: Vec::new(),
        }
    }

    /// Writes candidates of all targets to `out`, in no order.
    ///
    /// # Panics
    /// If the targets have more rows than a `u32` counts, or lack the level codes that the model's searches go by.
    pub fn search(
        &mut self,
        model: &Model,
        targets: &[Target],
        query: &[f32],
        effort: Effort,
        out: &mut Vec<Candidate>,
    ) {
        let scale = self.begin(model, targets, query);
        self.signs.set(&self.turned);
        let scanned = if targets.iter().all(|target| target.filter.is_none()) {
            self.scan(model, targets, effort)
        } else {
            self.scan_filtered(model, targets, effort)
        };
        self.rows.trim(&scanned);
        // A row in two of the lists was found twice.
        self.rows.forget_repeated();
        if model.header().signs_alone {
            let least = effort.candidates;
            self.rows.trim(&Size { least, most: least.saturating_mul(MOST), ..scanned });
        } else {
            self.rank(model, targets, effort);
        }
        self.hand_out(targets, scale, out);
    }

    /// As [`Searcher::search`], by the finer codes of all rows that match: for filters that leave few rows in each list.
    ///
    /// # Panics
    /// If the targets have more rows than a `u32` counts, or lack level codes.
    pub fn rank_all(
        &mut self,
        model: &Model,
        targets: &[Target],
        query: &[f32],
        effort: Effort,
        out: &mut Vec<Candidate>,
    ) {
        let scale = self.begin(model, targets, query);
        for (target, first) in targets.iter().zip(&self.firsts) {
            target.find_matching(*first, &mut self.rows.found);
        }
        self.rank(model, targets, effort);
        self.hand_out(targets, scale, out);
    }

    /// Forgets the last query and takes this one. What estimates are to be divided by.
    fn begin(&mut self, model: &Model, targets: &[Target], query: &[f32]) -> f32 {
        self.firsts.clear();
        let mut rows: u32 = 0;
        for target in targets {
            self.firsts.push(rows);
            rows = rows.checked_add(target.index.rows() as u32).expect("targets of less than 2^32 rows");
        }
        model.turn_query(query, &mut self.centred, &mut self.turned);
        let scale = model.query_scale(&self.turned);
        self.turned.iter_mut().for_each(|x| *x *= scale);
        self.rows.clear();
        scale
    }

    /// Finds the rows of the nearest lists that are nearest by their signs, and says how many of these are to be kept.
    fn scan(&mut self, model: &Model, targets: &[Target], effort: Effort) -> Size {
        let to = Turned::new(&self.turned, &self.signs);
        self.lists.find(model, model.blocks(), model.distance(), to, effort.lists);
        let size = self.scan_size(model, targets, effort);
        for at in 0..self.lists.near.len() {
            self.scan_list(at, targets, &size);
        }
        size
    }

    /// As [`Searcher::scan`], of rows that match, and on until enough of these were seen, the last half of them in vain:
    /// where what is near does not match, what does may be in any list.
    fn scan_filtered(&mut self, model: &Model, targets: &[Target], effort: Effort) -> Size {
        let rows: usize = targets.iter().map(|target| target.index.rows()).sum();
        let matching: usize = targets.iter().map(Target::matching).sum();
        let enough = effort.lists as f64 * rows as f64 / model.lists() as f64;
        let (mut seen, mut in_vain) = (0.0, 0.0);
        // So many if matches are spread evenly, and twice as many each time if they are not.
        let mut next = (effort.lists.saturating_mul(rows) / matching.max(1)).saturating_add(1);
        let to = Turned::new(&self.turned, &self.signs);
        self.lists.start(model, model.blocks(), to, model.lists());
        let mut size = None;
        let is_enough = |seen: f64, in_vain: f64| seen >= enough && in_vain >= 0.5 * enough;
        while !is_enough(seen, in_vain) {
            let to = Turned::new(&self.turned, &self.signs);
            if effort.lists == 0 || !self.lists.more(model, model.distance(), to, next) {
                break;
            }
            next = next.saturating_mul(2);
            let size = *size.get_or_insert_with(|| self.scan_size(model, targets, effort));
            for at in 0..self.lists.near.len() {
                let near = self.lists.near[at];
                let better = self.scan_list(at, targets, &size);
                let matching: f64 = targets.iter().map(|target| target.matching_in(near.list)).sum();
                seen += matching;
                in_vain = if better { 0.0 } else { in_vain + matching };
                if is_enough(seen, in_vain) {
                    break;
                }
            }
        }
        let Effort { wanted, keep, .. } = effort;
        size.unwrap_or(Size { wanted, least: keep, most: keep, margin: 0.0 })
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
                Distance::Dot => dot(&self.turned, &self.turned) + model.square(near.list) + 2.0 * near.base,
            };
            SIGN_ERROR * mul * apart.max(0.0).sqrt()
        });
        let Effort { wanted, keep, .. } = effort;
        Size { wanted, least: keep, most: keep.saturating_mul(MOST), margin: effort.doubt * error }
    }

    /// Finds rows of one of the near lists that match, and says whether one is among the nearest so far.
    fn scan_list(&mut self, at: usize, targets: &[Target], size: &Size) -> bool {
        let (near, then, bar) = (self.lists.near[at], self.lists.near.get(at + 1), self.rows.bar());
        let mut nearest = f32::INFINITY;
        for (i, (target, first)) in targets.iter().zip(&self.firsts).enumerate() {
            let next: &[u8] = match (targets.get(i + 1), then) {
                (Some(other), _) => other.index.list(near.list),
                (None, Some(then)) => targets[0].index.list(then.list),
                (None, None) => &[],
            };
            let mut rest = target.index.list(near.list);
            while !rest.is_empty() {
                // An odd one first, so that the last ones bring the beginning of the next list.
                let (some, others) = rest.split_at(match rest.len() % self.some_blocks {
                    0 => self.some_blocks,
                    odd => odd,
                });
                rest = others;
                let next = if rest.is_empty() { next } else { rest };
                let (before, limit) = (self.rows.found.len(), self.rows.limit());
                self.signs.scan(some, next, near.base, limit, &mut self.rows.found);
                nearest = nearest.min(sift(&mut self.rows.found, before, target, *first));
                self.rows.trim_sometimes(size);
            }
        }
        nearest < bar
    }

    /// Ranks what the scan found by finer codes.
    fn rank(&mut self, model: &Model, targets: &[Target], effort: Effort) {
        self.levels.set(&self.turned);
        let length = dot(&self.turned, &self.turned);
        let base = match model.distance() {
            Distance::Euclid => length,
            Distance::Dot => 0.0,
        };
        let firsts = &self.firsts;
        let level = |place: u32| {
            let (target, place) = placed(firsts, place);
            targets[target].index.level(place)
        };
        let found = &mut self.rows.found;
        found.iter().take(AHEAD).for_each(|found| prefetch(level(found.place)));
        let mut sizes = 0.0;
        for at in 0..found.len() {
            if let Some(ahead) = found.get(at + AHEAD) {
                prefetch(level(ahead.place));
            }
            let (code, Factors { add, mul }) = parts_of_level(level(found[at].place));
            let value = base + add + mul * self.levels.product(code);
            // Of rows so long that their squares are none of `f32`, codes say nothing; they must not displace others.
            found[at].value = if value.is_finite() { value } else { f32::INFINITY };
            sizes += if mul.is_finite() { mul.abs() } else { 0.0 };
        }
        let level_error = match model.level_bits() {
            LevelBits::Four => LEVEL_ERROR,
            LevelBits::Eight => FINE_LEVEL_ERROR,
        };
        let error = level_error * sizes / found.len().max(1) as f32 * length.sqrt();
        self.rows.trim(&Size {
            wanted: effort.wanted,
            least: effort.candidates,
            most: effort.candidates.saturating_mul(MOST),
            margin: effort.doubt * error,
        });
    }

    /// What is left.
    fn hand_out(&self, targets: &[Target], scale: f32, out: &mut Vec<Candidate>) {
        out.clear();
        out.extend(self.rows.found.iter().map(|found| {
            let (target, place) = placed(&self.firsts, found.place);
            let row = targets[target].index.row(place);
            Candidate { target: target as u32, row, estimate: found.value / scale }
        }));
    }
}

/// The target of a place, and its place there. `firsts`: the first place of each target.
fn placed(firsts: &[u32], place: u32) -> (usize, u32) {
    let target = firsts.partition_point(|first| *first <= place) - 1;
    (target, place - firsts[target])
}

/// Leaves of what was found, from the number `before` on, the rows of `target` that match, and counts their places from
/// its first one on. The nearest estimate among them.
fn sift(found: &mut Vec<Estimate>, before: usize, target: &Target, first: u32) -> f32 {
    let (mut kept, mut nearest) = (before, f32::INFINITY);
    for at in before..found.len() {
        let Estimate { value, place } = found[at];
        // A place that is none can only come from damage.
        if (place as usize) < target.index.rows() && target.allows(place) {
            found[kept] = Estimate { value, place: place + first };
            nearest = nearest.min(value);
            kept += 1;
        }
    }
    found.truncate(kept);
    nearest
}
