//! Puts rows into the lists of a model: rows as vectors, and rows that indexes of the same model have already.

use rayon::prelude::*;

use super::coded::Coded;
use super::layout::{Entry, Inputs, List, Origin};
use super::{Model, Rows, VectorIndex};

/// How rows are put into lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// Whether each row goes into a second list too; otherwise those do that [gain most](super::ModelHeader::spill_cost).
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

/// Indexes `count` vectors as the rows that `name` gives them. Each is read once. Beside what comes out, this takes as much memory again.
pub fn build(
    model: &Model,
    count: usize,
    rows: &dyn Rows,
    name: &dyn Fn(u32) -> u32,
    options: BuildOptions,
) -> VectorIndex {
    merge(model, &[], count, rows, name, options)
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
    rows: &dyn Rows,
    name: &dyn Fn(u32) -> u32,
    options: BuildOptions,
) -> VectorIndex {
    assert!(inputs.iter().all(|input| input.index.fits(model)), "an index of another model");
    let mut lists = vec![List::default(); model.lists()];
    let coded = Coded::of(model, count, rows, options);
    // Rows that nobody wants any more are not laid out.
    for (number, (first, second)) in (0..).zip(coded.lists()).take_while(|_| rows.is_wanted()) {
        let entry = Entry { row: name(number), origin: Origin::New(number) };
        lists[*first as usize].first.push(entry);
        if let Some(second) = second {
            lists[*second as usize].second.push(entry);
        }
    }
    let spilled = options.spill || inputs.iter().any(|input| input.index.shape().spilled);
    let inputs = Inputs { model, old: inputs, new: &coded, spilled };
    lists.par_iter_mut().enumerate().for_each(|(number, list)| {
        inputs.collect(number as u32, list);
        // Whatever the order in which they come, the index is the same.
        list.first.sort_unstable_by_key(|entry| entry.row);
        list.second.sort_unstable_by_key(|entry| entry.row);
    });
    inputs.write(lists)
}
