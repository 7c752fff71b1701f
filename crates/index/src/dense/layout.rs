//! From rows that know their lists to the bytes of an index.

use lodestone_kernels::{BLOCK_ROWS, block_bytes, copy_row, empty_block, pack_levels, put_row};
use rayon::prelude::*;

use super::build::{GONE, MergeInput};
use super::code::{levels, sign_factors};
use super::vector_index::{LEVEL_FACTORS, ListStart};
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
    /// From the vector of this number.
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
    /// Writes out a vector by its number.
    pub new: &'a (dyn Fn(usize, &mut [f32]) + Sync),
    /// All of them turned, or nothing.
    pub turned: &'a [f32],
    /// Whether rows are in a second list too.
    pub spilled: bool,
}

/// What turning a row needs.
struct Scratch {
    vector: Vec<f32>,
    turned: Vec<f32>,
    levels: Vec<u8>,
    code: Vec<u8>,
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
        let blocks: Vec<Vec<u8>> = lists
            .par_iter()
            .enumerate()
            .map_init(|| self.scratch(), |scratch, (number, list)| self.blocks(number, list, &place, scratch))
            .collect();
        let size = self.model.level_bits().code_bytes(self.model.padded()) + LEVEL_FACTORS;
        let mut codes = vec![0; firsts.len() * size];
        codes.par_chunks_mut(size).zip(&firsts).for_each_init(
            || self.scratch(),
            |scratch, (code, entry)| self.level(entry.origin, code, scratch),
        );
        VectorIndex::new(self.model, starts, blocks.concat(), codes, &rows, self.spilled)
    }

    fn scratch(&self) -> Scratch {
        let model = self.model;
        Scratch {
            vector: vec![0.0; model.dim()],
            turned: vec![0.0; model.padded()],
            levels: Vec::new(),
            code: Vec::new(),
        }
    }

    fn turn(&self, number: u32, scratch: &mut Scratch) {
        let padded = self.model.padded();
        let at = number as usize * padded;
        if let Some(turned) = self.turned.get(at..at + padded) {
            scratch.turned.copy_from_slice(turned);
            return;
        }
        (self.new)(number as usize, &mut scratch.vector);
        self.model.turn_row(&mut scratch.vector, &mut scratch.turned);
    }

    /// The blocks of a list.
    fn blocks(
        &self,
        number: usize,
        list: &List,
        place: &impl Fn(u32) -> u32,
        scratch: &mut Scratch,
    ) -> Vec<u8> {
        let (model, centroid) = (self.model, self.model.centroid(number));
        let entries: Vec<&Entry> = list.first.iter().chain(&list.second).collect();
        let size = block_bytes(model.padded());
        let mut blocks = Vec::with_capacity(entries.len().div_ceil(BLOCK_ROWS) * size);
        for some in entries.chunks(BLOCK_ROWS) {
            let mut block = empty_block(model.padded());
            for (i, entry) in some.iter().enumerate() {
                match entry.origin {
                    Origin::Old { input, at, .. } => {
                        let from = self.old[input as usize].index.block_row(at);
                        copy_row(from, (&mut block, i), place(entry.row));
                    }
                    Origin::New(number) => {
                        self.turn(number, scratch);
                        let residual = &mut scratch.turned;
                        residual.iter_mut().zip(&centroid).for_each(|(x, c)| *x -= c);
                        let factors = sign_factors(model.distance(), residual, &centroid);
                        put_row(&mut block, i, residual, factors.add, factors.mul, place(entry.row));
                    }
                }
            }
            blocks.extend(block);
        }
        blocks
    }

    /// The level code and the factors of a row.
    fn level(&self, origin: Origin, out: &mut [u8], scratch: &mut Scratch) {
        match origin {
            Origin::Old { input, place, .. } => {
                out.copy_from_slice(self.old[input as usize].index.level(place));
            }
            Origin::New(number) => {
                self.turn(number, scratch);
                let (model, Scratch { turned, levels: found, code, .. }) = (self.model, scratch);
                let factors = levels(model.distance(), model.level_bits(), turned, found);
                code.clear();
                pack_levels(model.level_bits(), found, code);
                code.extend(factors.add.to_le_bytes());
                code.extend(factors.mul.to_le_bytes());
                out.copy_from_slice(code);
            }
        }
    }
}
