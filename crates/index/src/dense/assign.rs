//! Into which lists a row goes.
//!
//! Every row is in the list of its nearest centroid. Rows on the border of a list are easily missed, so each may be in one
//! more: one that is near too, and whose residual points elsewhere, so that a query that is misled by one is not misled by
//! the other (SOAR: Sun et al., arXiv 2404.00774, section 3). Where memory counts, only those rows are for which that one is hardly
//! worse than the first: they gain most.

use lodestone_kernels::SignQuery;
use rayon::prelude::*;

use super::code::dot;
use super::lists::{ListFinder, Turned};
use super::model::{Distance, Model};

/// Lists among which the second one is chosen.
const CHOICES: usize = 12;
/// How much a residual counts that is parallel to the first one.
const PARALLEL: f32 = 1.0;
/// The share of rows that go into a second list where not all do. Of wordnet-minilm these are scanned for a recall@10 of 0.95 and 0.99, in
/// lists of 100 rows: 6,600 and 25,700 rows if there are none in two, 4,560 and 17,880 with a fifth, 3,600 and 12,200 if all are (`docs/0004-vector-index.md`).
const SPILLED_SHARE: f32 = 0.2;
/// Rows that say what a second list costs.
const COST_ROWS: usize = 4096;

/// The lists of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Assigned {
    pub first: u32,
    /// Another one, if there is one.
    pub second: Option<Second>,
}

/// A second list for a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Second {
    pub list: u32,
    /// What it costs to have the row there, in squared distances of the row to its first centroid: 1 where both are as good.
    pub cost: f32,
}

/// What a second list may cost at most, so that a fifth of such rows have one; 0 if that cannot be told, so that none has. `turned`: rows of
/// the model, one after another.
pub(super) fn spill_cost(model: &Model, turned: &[f32]) -> f32 {
    let rows = turned.len() / model.padded();
    let step = rows.div_ceil(COST_ROWS).max(1);
    let blocks = model.blocks_for(Distance::Euclid);
    let cost = |assigner: &mut Assigner, row: &[f32]| Some(assigner.assign(row).second?.cost);
    let costs = turned.par_chunks_exact(model.padded()).step_by(step);
    let mut costs: Vec<f32> = costs
        .map_init(|| Assigner::new(model, &blocks), cost)
        .flatten()
        .filter(|cost| cost.is_finite())
        .collect();
    let at = (costs.len() as f32 * SPILLED_SHARE) as usize;
    if at >= costs.len() {
        return 0.0;
    }
    *costs.select_nth_unstable_by(at, f32::total_cmp).1
}

/// Assigns rows of one model; keeps its memory between them.
pub(super) struct Assigner<'a> {
    model: &'a Model,
    blocks: &'a [u8],
    signs: SignQuery,
    finder: ListFinder,
}

impl<'a> Assigner<'a> {
    /// `blocks`: of the centroids, for [`Distance::Euclid`].
    pub fn new(model: &'a Model, blocks: &'a [u8]) -> Self {
        Self { model, blocks, signs: SignQuery::new(model.padded()), finder: ListFinder::default() }
    }

    /// The list of a turned row, and a second one if there is another.
    pub fn assign(&mut self, turned: &[f32]) -> Assigned {
        self.signs.set(turned);
        let (model, count) = (self.model, CHOICES.min(self.model.lists()));
        let to = Turned::new(turned, &self.signs);
        self.finder.find(model, self.blocks, Distance::Euclid, to, count);
        let Some((first, others)) = self.finder.near.split_first() else {
            return Assigned { first: 0, second: None };
        };
        let centroid = model.centroid(first.list as usize);
        let residual: Vec<f32> = turned.iter().zip(&centroid).map(|(x, c)| x - c).collect();
        let of_row = dot(turned, &residual);
        let length = first.base.max(f32::MIN_POSITIVE);
        let cost = |list: u32, squared: f32| {
            // Of what is left after the other centroid is taken off, with what the first one leaves.
            let common = of_row - model.product(list as usize, &residual);
            squared + PARALLEL * common * common / length
        };
        let costs = others.iter().map(|near| (cost(near.list, near.base), near.list));
        let second = costs.min_by(|a, b| a.0.total_cmp(&b.0));
        // What is rounded may be below zero.
        let second = second.map(|(cost, list)| Second { list, cost: (cost / length).max(0.0) });
        Assigned { first: first.list, second }
    }
}

#[cfg(test)]
mod tests {
    use lodestone_kernels::LevelBits;

    use super::*;
    use crate::dense::rotation::split_mix;
    use crate::dense::{BuildOptions, TrainOptions, build};

    const DIM: usize = 24;
    const ROWS: usize = 6000;

    /// In how many lists rows are, on average; and what a second one may cost.
    fn lists_of_a_row(row: impl Fn(usize, &mut [f32]) + Sync, spill: bool) -> (f64, f32) {
        let options = TrainOptions {
            distance: Distance::Euclid,
            list_rows: 50,
            sample_rows: ROWS,
            level_bits: LevelBits::Four,
            seed: 1,
        };
        let model = Model::train(DIM, ROWS, &row, options);
        let index = build(&model, ROWS, &row, &|row| row, BuildOptions { spill });
        let places = (0..model.lists() as u32).map(|list| index.list_rows(list).count()).sum::<usize>();
        (places as f64 / ROWS as f64, model.header().spill_cost)
    }

    #[test]
    fn a_fifth_of_the_rows_or_all_are_in_two_lists() {
        let random = |i: usize, row: &mut [f32]| {
            let mut seed = i as u64;
            row.iter_mut().for_each(|x| *x = split_mix(&mut seed) as f32 / u64::MAX as f32);
        };
        let (lists, cost) = lists_of_a_row(random, false);
        assert!((1.15..1.25).contains(&lists) && cost > 1.0, "{lists}, {cost}");
        assert_eq!(lists_of_a_row(random, true).0, 2.0);
    }

    #[test]
    fn rows_that_are_all_the_same_are_in_one_list() {
        assert_eq!(lists_of_a_row(|_, row| row.fill(1.0), false), (1.0, 0.0));
    }
}
