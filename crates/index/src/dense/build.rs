//! Puts rows into the lists of a model.

use lodestone_kernels::{BLOCK_ROWS, block_bytes, empty_block, pack_levels, put_row};
use rayon::prelude::*;

use super::assign::Assigner;
use super::code::{levels, sign_factors};
use super::vector_index::{LEVEL_FACTORS, ListStart};
use super::{Distance, Model, VectorIndex};

/// How rows are put into lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// Whether each row goes into a second list too.
    pub spill: bool,
}

/// Rows that one task assigns.
const TASK_ROWS: usize = 512;

/// Indexes `count` vectors, which `row` writes out by number, as the rows that `name` gives them.
pub fn build(
    model: &Model,
    count: usize,
    row: &(dyn Fn(usize, &mut [f32]) + Sync),
    name: &dyn Fn(u32) -> u32,
    options: BuildOptions,
) -> VectorIndex {
    let assigned = assign(model, count, row, options);
    let mut lists = vec![(Vec::new(), Vec::new()); model.lists()];
    for (row, (first, second)) in assigned.into_iter().enumerate() {
        lists[first as usize].0.push(row as u32);
        if let Some(second) = second {
            lists[second as usize].1.push(row as u32);
        }
    }
    let rows: Vec<u32> = lists.iter().flat_map(|(first, _)| first).copied().collect();
    let mut places = vec![0; count];
    rows.iter().enumerate().for_each(|(place, row)| places[*row as usize] = place as u32);
    let turn = |number: u32, scratch: &mut Vec<f32>, turned: &mut [f32]| {
        scratch.resize(model.dim(), 0.0);
        row(number as usize, scratch);
        model.turn_row(scratch, turned);
    };
    let mut end = ListStart { block: 0, place: 0 };
    let mut starts = vec![end];
    for (first, second) in &lists {
        end.block += (first.len() + second.len()).div_ceil(BLOCK_ROWS) as u32;
        end.place += first.len() as u32;
        starts.push(end);
    }
    let size = block_bytes(model.padded());
    let blocks: Vec<Vec<u8>> = lists
        .par_iter()
        .enumerate()
        .map_init(Vec::new, |scratch, (list, (first, second))| {
            let centroid = model.centroid(list);
            let mut turned = vec![0.0; model.padded()];
            let rows: Vec<u32> = first.iter().chain(second).copied().collect();
            let mut blocks = Vec::with_capacity(rows.len().div_ceil(BLOCK_ROWS) * size);
            for some in rows.chunks(BLOCK_ROWS) {
                let mut block = empty_block(model.padded());
                for (i, row) in some.iter().enumerate() {
                    turn(*row, scratch, &mut turned);
                    turned.iter_mut().zip(&centroid).for_each(|(x, c)| *x -= c);
                    let factors = sign_factors(model.distance(), &turned, &centroid);
                    put_row(&mut block, i, &turned, factors.add, factors.mul, places[*row as usize]);
                }
                blocks.extend(block);
            }
            blocks
        })
        .collect();
    let level = model.level_bits().code_bytes(model.padded()) + LEVEL_FACTORS;
    let mut codes = vec![0; count * level];
    codes.par_chunks_mut(level).zip(&rows).for_each_init(
        || (Vec::new(), vec![0.0; model.padded()], Vec::new(), Vec::new()),
        |(scratch, turned, found, code), (out, row)| {
            turn(*row, scratch, turned);
            let factors = levels(model.distance(), model.level_bits(), turned, found);
            code.clear();
            pack_levels(model.level_bits(), found, code);
            code.extend(factors.add.to_le_bytes());
            code.extend(factors.mul.to_le_bytes());
            out.copy_from_slice(code);
        },
    );
    let rows: Vec<u32> = rows.into_iter().map(name).collect();
    VectorIndex::new(model, starts, blocks.concat(), codes, &rows, options.spill)
}

fn assign(
    model: &Model,
    count: usize,
    row: &(dyn Fn(usize, &mut [f32]) + Sync),
    options: BuildOptions,
) -> Vec<(u32, Option<u32>)> {
    let blocks = model.blocks_for(Distance::Euclid);
    let tasks = (0..count.div_ceil(TASK_ROWS)).into_par_iter();
    tasks
        .flat_map_iter(|task| {
            let mut assigner = Assigner::new(model, &blocks);
            let (mut vector, mut turned) = (vec![0.0; model.dim()], vec![0.0; model.padded()]);
            let numbers = task * TASK_ROWS..count.min((task + 1) * TASK_ROWS);
            let assign = numbers.map(move |number| {
                row(number, &mut vector);
                model.turn_row(&mut vector, &mut turned);
                let (first, second) = assigner.assign(&turned);
                (first, second.filter(|_| options.spill))
            });
            assign.collect::<Vec<_>>()
        })
        .collect()
}
