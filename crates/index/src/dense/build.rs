//! Puts rows into the lists of a model: rows as vectors, and rows that indexes of the same model have already.

use rayon::prelude::*;

use super::assign::Assigner;
use super::layout::{Entry, Inputs, List, Origin};
use super::{Distance, Model, VectorIndex};

/// How rows are put into lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// Whether each row goes into a second list too.
    pub spill: bool,
}

/// An index whose rows go into another one.
#[derive(Debug, Clone, Copy)]
pub struct MergeInput<'a> {
    /// Of the same model.
    pub index: &'a VectorIndex,
    /// For each row of its segment the row that it becomes, [`GONE`] where it stays behind. No two become one.
    pub rows: &'a [u32],
}

/// No row.
pub const GONE: u32 = u32::MAX;

/// Rows that one task assigns.
const TASK_ROWS: usize = 512;
/// Turned vectors are kept between assigning and coding where they are no more than this: most indexes are of few rows.
const KEPT_BYTES: usize = 256 << 20;

/// Indexes `count` vectors, which `row` writes out by number, as the rows that `name` gives them.
pub fn build(
    model: &Model,
    count: usize,
    row: &(dyn Fn(usize, &mut [f32]) + Sync),
    name: &dyn Fn(u32) -> u32,
    options: BuildOptions,
) -> VectorIndex {
    merge(model, &[], count, row, name, options)
}

/// As [`build`], with the rows of `inputs` beside the vectors: their codes are copied, as they do not depend on where a
/// row is. What comes out is, byte for byte, what [`build`] would make of the vectors of all rows.
///
/// # Panics
/// If an input does not [fit](VectorIndex::fits) the model.
pub fn merge(
    model: &Model,
    inputs: &[MergeInput],
    count: usize,
    row: &(dyn Fn(usize, &mut [f32]) + Sync),
    name: &dyn Fn(u32) -> u32,
    options: BuildOptions,
) -> VectorIndex {
    assert!(inputs.iter().all(|input| input.index.fits(model)), "an index of another model");
    let mut lists = vec![List::default(); model.lists()];
    let mut turned =
        vec![0.0; if 4 * count * model.padded() <= KEPT_BYTES { count * model.padded() } else { 0 }];
    let assigned = assign(model, count, row, &mut turned, options);
    for (number, (first, second)) in assigned.into_iter().enumerate() {
        let entry = Entry { row: name(number as u32), origin: Origin::New(number as u32) };
        lists[first as usize].first.push(entry);
        if let Some(second) = second {
            lists[second as usize].second.push(entry);
        }
    }
    let spilled = options.spill || inputs.iter().any(|input| input.index.shape().spilled);
    let inputs = Inputs { model, old: inputs, new: row, turned: &turned, spilled };
    lists.par_iter_mut().enumerate().for_each(|(number, list)| {
        inputs.collect(number as u32, list);
        // Whatever the order in which they come, the index is the same.
        list.first.sort_unstable_by_key(|entry| entry.row);
        list.second.sort_unstable_by_key(|entry| entry.row);
    });
    inputs.write(lists)
}

/// The lists of each vector. Writes all of them, turned, to `kept`, if that has room.
fn assign(
    model: &Model,
    count: usize,
    row: &(dyn Fn(usize, &mut [f32]) + Sync),
    kept: &mut [f32],
    options: BuildOptions,
) -> Vec<(u32, Option<u32>)> {
    if count == 0 {
        return Vec::new();
    }
    let blocks = model.blocks_for(Distance::Euclid);
    let mut lists = vec![(0, None); count];
    let mut places: Vec<&mut [f32]> = kept.chunks_mut(TASK_ROWS * model.padded()).collect();
    places.resize_with(count.div_ceil(TASK_ROWS), Default::default);
    lists.par_chunks_mut(TASK_ROWS).zip(places).enumerate().for_each(|(task, (lists, kept))| {
        let mut assigner = Assigner::new(model, &blocks);
        let (mut vector, mut turned) = (vec![0.0; model.dim()], vec![0.0; model.padded()]);
        for (i, lists) in lists.iter_mut().enumerate() {
            row(task * TASK_ROWS + i, &mut vector);
            model.turn_row(&mut vector, &mut turned);
            let (first, second) = assigner.assign(&turned);
            *lists = (first, second.filter(|_| options.spill));
            if let Some(place) = kept.chunks_exact_mut(model.padded()).nth(i) {
                place.copy_from_slice(&turned);
            }
        }
    });
    lists
}
