//! The rows that may be nearest to a query.

use lodestone_kernels::{Estimate, LevelQuery, SignQuery, prefetch};

use super::model::{ListFinder, cut};
use super::vector_index::LEVEL_FACTORS;
use super::{Distance, Model, VectorIndex};

/// How much a search does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Lists to scan.
    pub lists: usize,
    /// Rows that the scan hands to the finer codes.
    pub keep: usize,
    /// Candidates that are handed out.
    pub candidates: usize,
}

/// A row that may be near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Which.
    pub row: u32,
    /// Its distance by its code, up to a constant of the query; less is nearer.
    pub estimate: f32,
}

/// Searches indexes of one model; keeps its memory between queries.
#[derive(Debug)]
pub struct Searcher {
    centred: Vec<f32>,
    turned: Vec<f32>,
    signs: SignQuery,
    levels: LevelQuery,
    lists: ListFinder,
    found: Vec<Estimate>,
}

/// Rows whose codes are on their way while one is compared.
const AHEAD: usize = 8;

impl Searcher {
    /// A searcher for indexes of `model`.
    pub fn new(model: &Model) -> Self {
        Self {
            centred: Vec::new(),
            turned: vec![0.0; model.padded()],
            signs: SignQuery::new(model.padded()),
            levels: LevelQuery::new(model.padded(), model.level_bits()),
            lists: ListFinder::default(),
            found: Vec::new(),
        }
    }

    /// Writes candidates to `out`, likely ones first. Only rows that `allowed` says yes to.
    pub fn search(
        &mut self,
        model: &Model,
        index: &VectorIndex,
        query: &[f32],
        effort: Effort,
        allowed: Option<&dyn Fn(u32) -> bool>,
        out: &mut Vec<Candidate>,
    ) {
        model.turn_query(query, &mut self.centred, &mut self.turned);
        self.signs.set(&self.turned);
        self.lists.find(model, model.blocks(), model.distance(), &self.signs, &self.turned, effort.lists);
        self.scan(model, index, effort.keep, allowed);
        self.rank(model, index, effort.candidates, out);
    }

    /// The rows of the lists found that are nearest by their signs.
    fn scan(
        &mut self,
        model: &Model,
        index: &VectorIndex,
        keep: usize,
        allowed: Option<&dyn Fn(u32) -> bool>,
    ) {
        self.found.clear();
        let mut limit = f32::INFINITY;
        for near in &self.lists.near {
            let before = self.found.len();
            self.signs.scan(index.list(model, near.list), near.base, limit, &mut self.found);
            if let Some(allowed) = allowed {
                let mut kept = before;
                for at in before..self.found.len() {
                    if allowed(index.rows[self.found[at].place as usize]) {
                        self.found[kept] = self.found[at];
                        kept += 1;
                    }
                }
                self.found.truncate(kept);
            }
            limit = cut(&mut self.found, keep, 2 * keep).unwrap_or(limit);
        }
        cut(&mut self.found, keep, keep);
        // A row in two of the lists was found twice.
        self.found.sort_unstable_by_key(|found| found.place);
        self.found.dedup_by_key(|found| found.place);
    }

    /// Ranks what the scan found by finer codes.
    fn rank(&mut self, model: &Model, index: &VectorIndex, candidates: usize, out: &mut Vec<Candidate>) {
        self.levels.set(&self.turned);
        let base = match model.distance() {
            Distance::Euclid => self.turned.iter().map(|x| x * x).sum(),
            Distance::Dot => 0.0,
        };
        self.found.iter().take(AHEAD).for_each(|found| prefetch(index.level(model, found.place)));
        for at in 0..self.found.len() {
            if let Some(ahead) = self.found.get(at + AHEAD) {
                prefetch(index.level(model, ahead.place));
            }
            let found = &mut self.found[at];
            let (code, factors) = {
                let level = index.level(model, found.place);
                level.split_at(level.len() - LEVEL_FACTORS)
            };
            let [add, mul] = [&factors[..4], &factors[4..]]
                .map(|bytes| bytes.first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes)));
            found.value = base + add + mul * self.levels.product(code);
        }
        cut(&mut self.found, candidates, candidates);
        self.found.sort_unstable_by(|a, b| a.value.total_cmp(&b.value));
        out.clear();
        let found = self.found.iter();
        out.extend(found.map(|f| Candidate { row: index.rows[f.place as usize], estimate: f.value }));
    }
}
