//! Rows that know their lists and have their codes, before they are laid out.

use lodestone_kernels::{BLOCK_ROWS, block_bytes, empty_block, put_row};
use lodestone_types::Stretch;
use rayon::prelude::*;

use super::assign::{Assigned, Assigner, Second};
use super::code::{level_bytes, put_level, sign_factors};
use super::{BuildOptions, Distance, Model, Rows};

/// Rows that one task reads and codes: a multiple of the rows of a block.
const TASK_ROWS: usize = 16 * BLOCK_ROWS;

/// Codes of rows by number.
pub(super) struct Coded {
    lists: Vec<Lists>,
    block: usize,
    /// Blocks of codes that refer to the rows' first lists, and to their second ones; the latter empty where there are none.
    firsts: Vec<u8>,
    seconds: Vec<u8>,
    /// Level codes with their factors.
    levels: Vec<u8>,
}

/// The list of a row, and the second one if it is in two.
type Lists = (u32, Option<u32>);

/// The codes of some rows as they are made.
struct Places<'a> {
    lists: &'a mut [Lists],
    firsts: &'a mut [u8],
    seconds: &'a mut [u8],
    levels: &'a mut [u8],
}

impl Coded {
    /// Reads `count` rows, each once, and codes them.
    pub fn of(model: &Model, count: usize, rows: &dyn Rows, options: BuildOptions) -> Self {
        let block = block_bytes(model.padded());
        let level = level_bytes(model.level_bits(), model.padded());
        let empty = empty_block(model.padded()).repeat(count.div_ceil(BLOCK_ROWS));
        let spills = options.spill || model.header().spill_cost > 0.0;
        let mut coded = Self {
            lists: vec![(0, None); count],
            block,
            seconds: if spills { empty.clone() } else { Vec::new() },
            firsts: empty,
            levels: vec![0; count * level],
        };
        if count == 0 {
            return coded;
        }
        let of_centroids = model.blocks_for(Distance::Euclid);
        let blocks = TASK_ROWS / BLOCK_ROWS * block;
        let mut seconds: Vec<&mut [u8]> = coded.seconds.chunks_mut(blocks).collect();
        seconds.resize_with(count.div_ceil(TASK_ROWS), Default::default);
        let tasks = coded.lists.par_chunks_mut(TASK_ROWS).zip(coded.firsts.par_chunks_mut(blocks));
        let tasks = tasks.zip(seconds).zip(coded.levels.par_chunks_mut(TASK_ROWS * level)).enumerate();
        tasks.for_each(|(task, (((lists, firsts), seconds), levels))| {
            if !rows.is_wanted() {
                return;
            }
            let first = (task * TASK_ROWS) as u32;
            let numbers: Vec<u32> = (first..first + lists.len() as u32).collect();
            let mut vectors = vec![0.0; numbers.len() * model.dim()];
            rows.write(&numbers, &mut vectors);
            Places { lists, firsts, seconds, levels }.fill(model, &of_centroids, &mut vectors, options);
        });
        coded
    }

    /// The lists of each row.
    pub fn lists(&self) -> &[Lists] {
        &self.lists
    }

    /// The code of a row that refers to its first or its second list: a block, and its place there.
    pub fn block_row(&self, number: u32, is_first: bool) -> (&[u8], usize) {
        let blocks = if is_first { &self.firsts } else { &self.seconds };
        let (block, row) = (number as usize / BLOCK_ROWS, number as usize % BLOCK_ROWS);
        (&blocks[block * self.block..(block + 1) * self.block], row)
    }

    /// The level code of a row and its factors.
    pub fn level(&self, number: u32) -> &[u8] {
        let size = self.levels.len() / self.lists.len();
        &self.levels[number as usize * size..(number as usize + 1) * size]
    }
}

impl Places<'_> {
    /// Codes rows one after another, whose vectors are changed by it.
    fn fill(self, model: &Model, of_centroids: &[u8], vectors: &mut [f32], options: BuildOptions) {
        let goes_there = |second: &Second| options.spill || second.cost < model.header().spill_cost;
        let mut assigner = Assigner::new(model, of_centroids);
        let (mut turned, mut residual) = (vec![0.0; model.padded()], vec![0.0; model.padded()]);
        let (mut found, mut code) = (Vec::new(), Vec::new());
        let mut stretch = Stretch::begin();
        let rows = vectors
            .chunks_exact_mut(model.dim())
            .zip(self.levels.chunks_exact_mut(level_bytes(model.level_bits(), model.padded())));
        for (i, ((vector, level), lists)) in rows.zip(self.lists).enumerate() {
            stretch.give_way();
            model.turn_row(vector, &mut turned);
            let Assigned { first, second } = assigner.assign(&turned);
            let second = second.filter(goes_there).map(|second| second.list);
            *lists = (first, second);
            put(model, first, &turned, &mut residual, self.firsts, i);
            if let Some(second) = second {
                put(model, second, &turned, &mut residual, self.seconds, i);
            }
            code.clear();
            put_level(model.distance(), model.level_bits(), &turned, &mut found, &mut code);
            level.copy_from_slice(&code);
        }
    }
}

/// Writes the code of a turned row as one of `list`. Its place in the index is not known yet.
fn put(model: &Model, list: u32, turned: &[f32], residual: &mut [f32], blocks: &mut [u8], row: usize) {
    let centroid = model.centroid(list as usize);
    residual.iter_mut().zip(turned).zip(&centroid).for_each(|((r, x), c)| *r = x - c);
    let factors = sign_factors(model.distance(), residual, &centroid);
    let size = block_bytes(model.padded());
    let block = &mut blocks[row / BLOCK_ROWS * size..][..size];
    put_row(block, row % BLOCK_ROWS, residual, factors.add, factors.mul, 0);
}
