//! The lists of a model by nearness to a vector.

use lodestone_kernels::{Element, Estimate, Metric, Scorer, SignQuery, block_bytes};

use super::code::dot;
use super::model::{Distance, Model};
use super::shortlist::nth;

/// Blocks of centroids after which those are dropped that are too far.
const SOME: usize = 4;

/// A list and how near its centroid is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NearList {
    pub list: u32,
    /// The base of estimates of its rows.
    pub base: f32,
}

/// Finds the lists nearest to a turned vector, some after others; keeps its memory between vectors.
#[derive(Debug, Default)]
pub(super) struct ListFinder {
    /// Lists by their sign codes; those up to `next` were handed out.
    found: Vec<Estimate>,
    next: usize,
    numbers: Vec<u32>,
    products: Vec<f32>,
    /// What was found last, nearest first.
    pub near: Vec<NearList>,
}

/// A turned vector and what is known about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turned<'a> {
    pub vector: &'a [f32],
    /// The same one.
    pub signs: &'a SignQuery,
    /// Its squared length.
    pub square: f32,
}

impl<'a> Turned<'a> {
    pub fn new(vector: &'a [f32], signs: &'a SignQuery) -> Self {
        Self { vector, signs, square: dot(vector, vector) }
    }
}

impl ListFinder {
    /// Finds the `count` nearest lists at once. `blocks` are codes of the centroids for `distance`.
    pub fn find(&mut self, model: &Model, blocks: &[u8], distance: Distance, to: Turned, count: usize) {
        // Signs tell roughly which are near; half as many again are looked at closely.
        let count = count.min(model.lists());
        let looked_at = (count + count / 2 + 8).min(model.lists());
        self.start(model, blocks, to, looked_at);
        self.more(model, distance, to, looked_at);
        self.near.truncate(count);
    }

    /// Begins to look for lists, of which at most `most` will be asked for.
    pub fn start(&mut self, model: &Model, blocks: &[u8], to: Turned, most: usize) {
        let (size, mut limit) = (block_bytes(model.padded()), f32::INFINITY);
        self.found.clear();
        self.next = 0;
        for at in (0..blocks.len()).step_by(SOME * size) {
            let (some, rest) = blocks[at..].split_at((SOME * size).min(blocks.len() - at));
            to.signs.scan(some, rest, 0.0, limit, &mut self.found);
            if most > 0 && self.found.len() > 2 * most {
                limit = nth(&mut self.found, most - 1);
                self.found.truncate(most);
            }
        }
    }

    /// Looks closely at the next `count` lists; false if there are no more.
    pub fn more(&mut self, model: &Model, distance: Distance, to: Turned, count: usize) -> bool {
        let rest = &mut self.found[self.next..];
        let count = count.min(rest.len());
        if 0 < count && count < rest.len() {
            nth(rest, count - 1);
        }
        self.numbers.clear();
        self.numbers.extend(rest[..count].iter().map(|found| found.place));
        self.next += count;
        self.products.resize(count, 0.0);
        let scorer = Scorer::new(to.vector, Metric::Dot, Element::F32);
        scorer.score_numbered(model.centroid_bytes(), &self.numbers, &mut self.products);
        let base = |list: u32, product: f32| match distance {
            Distance::Euclid => to.square + model.square(list) - 2.0 * product,
            Distance::Dot => -product,
        };
        self.near.clear();
        let lists = self.numbers.iter().zip(&self.products);
        self.near.extend(lists.map(|(list, product)| NearList { list: *list, base: base(*list, *product) }));
        self.near.sort_unstable_by(|a, b| a.base.total_cmp(&b.base));
        count > 0
    }
}
