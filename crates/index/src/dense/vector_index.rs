//! The rows of one segment in the lists of a model.

use std::ops::Range;

use lodestone_kernels::block_bytes;

use super::Model;

/// Rows as codes, in lists.
///
/// A row has a *place*: where its level code is, in the order of first lists. Blocks of sign codes name places; a place has
/// a row.
#[derive(Debug)]
pub struct VectorIndex {
    /// Where each list's blocks begin, in blocks, and where the last one's end.
    pub(super) starts: Vec<u32>,
    /// See [`lodestone_kernels::SignQuery`].
    pub(super) blocks: Vec<u8>,
    /// Per place the code, then `add` and `mul`.
    pub(super) levels: Vec<u8>,
    /// The row of each place.
    pub(super) rows: Vec<u32>,
}

/// Bytes of the factors beside a level code.
pub(super) const LEVEL_FACTORS: usize = 8;

impl VectorIndex {
    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Bytes in memory, without the model.
    pub fn bytes(&self) -> usize {
        4 * self.starts.len() + self.blocks.len() + self.levels.len() + 4 * self.rows.len()
    }

    pub(super) fn list(&self, model: &Model, list: u32) -> &[u8] {
        let size = block_bytes(model.padded());
        &self.blocks
            [self.starts[list as usize] as usize * size..self.starts[list as usize + 1] as usize * size]
    }

    pub(super) fn level(&self, model: &Model, place: u32) -> &[u8] {
        let Range { start, end } = level_range(model, place as usize);
        &self.levels[start..end]
    }
}

pub(super) fn level_bytes(model: &Model) -> usize {
    model.level_bits().code_bytes(model.padded()) + LEVEL_FACTORS
}

fn level_range(model: &Model, place: usize) -> Range<usize> {
    let size = level_bytes(model);
    place * size..(place + 1) * size
}
