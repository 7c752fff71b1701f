//! Into which lists a row goes.
//!
//! Every row is in the list of its nearest centroid. Rows on the border of a list are easily missed, so each may be in one
//! more: one that is near too, and whose residual points elsewhere, so that a query that is misled by one is not misled by
//! the other (SOAR: Sun et al., arXiv 2404.00774, section 3).

use lodestone_kernels::SignQuery;

use super::code::dot;
use super::lists::{ListFinder, Turned};
use super::model::{Distance, Model};

/// Lists among which the second one is chosen.
const CHOICES: usize = 12;
/// How much a residual counts that is parallel to the first one.
const PARALLEL: f32 = 1.0;

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
    pub fn assign(&mut self, turned: &[f32]) -> (u32, Option<u32>) {
        self.signs.set(turned);
        let (model, count) = (self.model, CHOICES.min(self.model.lists()));
        let to = Turned::new(turned, &self.signs);
        self.finder.find(model, self.blocks, Distance::Euclid, to, count);
        let Some((first, others)) = self.finder.near.split_first() else { return (0, None) };
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
        (first.list, costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, list)| list))
    }
}
