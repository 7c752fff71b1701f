//! From rows that know their lists to the bytes of an index.

use lodestone_kernels::{BLOCK_ROWS, block_bytes, copy_row, empty_block};
use rayon::prelude::*;

use super::build::{GONE, MergeInput};
use super::code::level_bytes;
use super::coded::Coded;
use super::vector_index::ListStart;
use super::{Model, VectorIndex};

/// A row on its way into a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub row: u32,
    pub origin: Origin,
}

/// Where the codes of a row come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// From an index: its number among the inputs, the row's number among those of its blocks, and its place.
    Old { input: u32, at: u32, place: u32 },
    /// From the vector of this number, which was coded just now.
    New(u32),
}

/// The rows of a list: those that it is the first one for, and the others.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    pub first: Vec<Entry>,
    pub second: Vec<Entry>,
}

/// What an index is made of.
pub(super) struct Inputs<'a> {
    pub model: &'a Model,
    pub old: &'a [MergeInput<'a>],
    pub new: &'a Coded,
    /// Whether all rows are in a second list too.
    pub spilled: bool,
}

impl Inputs<'_> {
    /// Adds to `list` the rows that the old indexes have in it.
    pub fn collect(&self, number: u32, list: &mut List) {
        for (i, input) in self.old.iter().enumerate() {
            let firsts = input.index.places(number);
            for (at, place) in input.index.list_rows(number) {
                // A place that is none can only come from damage.
                if place as usize >= input.index.rows() {
                    continue;
                }
                let row = input.rows.get(input.index.row(place) as usize).copied().unwrap_or(GONE);
                if row == GONE {
                    continue;
                }
                let entry = Entry { row, origin: Origin::Old { input: i as u32, at, place } };
                if firsts.contains(&place) { list.first.push(entry) } else { list.second.push(entry) }
            }
        }
    }

    /// The index of all rows.
    pub fn write(&self, mut lists: Vec<List>) -> VectorIndex {
        let firsts: Vec<Entry> = lists.iter().flat_map(|list| &list.first).copied().collect();
        let rows: Vec<u32> = firsts.iter().map(|entry| entry.row).collect();
        let mut places = vec![GONE; rows.iter().max().map_or(0, |row| *row as usize + 1)];
        rows.iter().enumerate().for_each(|(place, row)| places[*row as usize] = place as u32);
        let place = |row: u32| places.get(row as usize).copied().unwrap_or(GONE);
        let mut end = ListStart { block: 0, place: 0 };
        let mut starts = vec![end];
        for list in &mut lists {
            // A row without a first list can only come from damage.
            list.second.retain(|entry| place(entry.row) != GONE);
            end.block += (list.first.len() + list.second.len()).div_ceil(BLOCK_ROWS) as u32;
            end.place += list.first.len() as u32;
            starts.push(end);
        }
        let blocks: Vec<Vec<u8>> = lists.par_iter().map(|list| self.blocks(list, &place)).collect();
        let size = level_bytes(self.model.level_bits(), self.model.padded());
        let mut codes = vec![0; firsts.len() * size];
        codes.par_chunks_mut(size).zip(&firsts).for_each(|(code, entry)| {
            code.copy_from_slice(self.level(entry.origin));
        });
        VectorIndex::new(self.model, starts, blocks.concat(), codes, &rows, self.spilled)
    }

    /// The blocks of a list.
    fn blocks(&self, list: &List, place: &impl Fn(u32) -> u32) -> Vec<u8> {
        let padded = self.model.padded();
        let entries: Vec<(&Entry, bool)> = list
            .first
            .iter()
            .map(|entry| (entry, true))
            .chain(list.second.iter().map(|entry| (entry, false)))
            .collect();
        let mut blocks = Vec::with_capacity(entries.len().div_ceil(BLOCK_ROWS) * block_bytes(padded));
        for some in entries.chunks(BLOCK_ROWS) {
            let mut block = empty_block(padded);
            for (i, (entry, is_first)) in some.iter().enumerate() {
                let from = match entry.origin {
                    Origin::Old { input, at, .. } => self.old[input as usize].index.block_row(at),
                    Origin::New(number) => self.new.block_row(number, *is_first),
                };
                copy_row(from, (&mut block, i), place(entry.row));
            }
            blocks.extend(block);
        }
        blocks
    }

    /// The level code and the factors of a row.
    fn level(&self, origin: Origin) -> &[u8] {
        match origin {
            Origin::Old { input, place, .. } => self.old[input as usize].index.level(place),
            Origin::New(number) => self.new.level(number),
        }
    }
}
