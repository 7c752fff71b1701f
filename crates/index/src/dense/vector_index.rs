//! The rows of one segment in the lists of a model.

use bytes::Bytes;
use lodestone_kernels::{BLOCK_ROWS, LEVEL_DIM_STEP, LevelBits, MAX_DIM, block_bytes, block_rows, row_mul};
use lodestone_types::Stretch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Model;
use super::code::level_bytes;

/// Rows as codes, in lists.
///
/// A row has a *place*: where its level code is, in the order of first lists. Blocks of sign codes name places; a place has
/// a row.
#[derive(Debug, Clone)]
pub struct VectorIndex {
    shape: IndexShape,
    level_bits: LevelBits,
    /// Where each list's blocks begin, in blocks, and where the last one's end; the same in places.
    starts: Vec<ListStart>,
    /// See [`lodestone_kernels::SignQuery`].
    blocks: Bytes,
    /// Per place the code, then `add` and `mul`, then the tag; `None` where they are not in memory.
    levels: Option<Bytes>,
    /// The row of each place.
    rows: Bytes,
}

/// What of an index is not in its sections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IndexShape {
    /// Components of a code.
    pub padded: u32,
    /// Bits of a level code per component, 4 or 8.
    pub level_bits: u8,
    /// Lists.
    pub lists: u32,
    /// Rows, each of which has a place.
    pub rows: u32,
    /// Whether all rows are in a second list too, not only a few.
    pub spilled: bool,
    /// How far rows are from their nearest centroid, on average and but for a factor that is the same for all indexes of
    /// a model.
    pub spread: f32,
    /// Bytes that follow each level code and say what its row is; nothing here looks at them.
    pub tag_bytes: u32,
}

/// Where a list begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListStart {
    pub block: u32,
    pub place: u32,
}

/// The sections of an index in their stored form, little-endian.
#[derive(Debug, Clone)]
pub struct IndexSections {
    /// For each list, and once more for the end: its first block and its first place, 4 bytes each.
    pub lists: Bytes,
    /// The blocks of the lists, one list after another; see [`lodestone_kernels::SignQuery`].
    pub blocks: Bytes,
    /// For each place its level code, then two `f32`, then its tag. Searches by signs alone do without.
    pub levels: Option<Bytes>,
    /// For each place its row, 4 bytes.
    pub rows: Bytes,
}

/// Bytes, and level codes, that are copied at a stretch.
const COPIED_BYTES: usize = 256 << 10;
const COPIED_CODES: usize = 1024;

impl VectorIndex {
    pub(super) fn new(
        model: &Model,
        starts: Vec<ListStart>,
        blocks: Vec<u8>,
        levels: Vec<u8>,
        rows: &[u32],
        spilled: bool,
    ) -> Self {
        let shape = IndexShape {
            padded: model.padded() as u32,
            level_bits: model.level_bits().bits(),
            lists: model.lists() as u32,
            rows: rows.len() as u32,
            spilled,
            spread: 0.0,
            tag_bytes: 0,
        };
        let mut index = Self {
            shape,
            level_bits: model.level_bits(),
            starts,
            blocks: blocks.into(),
            levels: Some(levels.into()),
            rows: rows.iter().flat_map(|row| row.to_le_bytes()).collect(),
        };
        index.shape.spread = index.spread();
        index
    }

    /// See [`IndexShape::spread`]. What stretches the signs of a residual to its length is, the residual being turned at
    /// random, proportional to that length, up to some percent.
    fn spread(&self) -> f32 {
        let mut sum = 0.0;
        for list in 0..self.shape.lists {
            let firsts = self.places(list);
            for (at, _) in self.list_rows(list).filter(|(_, place)| firsts.contains(place)) {
                let (block, row) = self.block_row(at);
                let size = row_mul(block, row).abs();
                // That of a row whose square is none of `f32` would hide all others.
                sum += if size.is_finite() { f64::from(size) } else { 0.0 };
            }
        }
        (sum / f64::from(self.shape.rows.max(1))) as f32
    }

    /// The index that was stored as these; says what is wrong with them otherwise. All its rows are below `row_bound`.
    pub fn open(shape: IndexShape, sections: IndexSections, row_bound: u32) -> Result<Self, String> {
        let IndexSections { lists, blocks, levels, rows } = sections;
        let level_bits = LevelBits::of(shape.level_bits)
            .ok_or_else(|| format!("codes of {} bits are not known", shape.level_bits))?;
        let starts: Vec<ListStart> = lists
            .as_chunks::<8>()
            .0
            .iter()
            .map(|[a, b, c, d, e, f, g, h]| ListStart {
                block: u32::from_le_bytes([*a, *b, *c, *d]),
                place: u32::from_le_bytes([*e, *f, *g, *h]),
            })
            .collect();
        let ends = starts.last().map(|end| (end.block as usize, end.place));
        let in_order = starts.is_sorted_by(|a, b| a.block <= b.block && a.place <= b.place);
        if lists.len() != 8 * (shape.lists as usize + 1)
            || !in_order
            || ends.is_none_or(|(_, p)| p != shape.rows)
        {
            return Err("its lists make no sense".into());
        }
        let (padded, count) = (shape.padded as usize, shape.rows as usize);
        let fits = padded <= MAX_DIM.next_multiple_of(LEVEL_DIM_STEP)
            && ends.is_some_and(|(end, _)| blocks.len() == end * block_bytes(padded))
            && rows.len() == 4 * count;
        if !fits {
            return Err(format!("its sections do not hold {count} rows"));
        }
        let mut index = Self { shape, level_bits, starts, blocks, levels: None, rows };
        if let Some(levels) = levels {
            index = index.with_levels(levels)?;
        }
        match (0..shape.rows).map(|place| index.row(place)).find(|row| *row >= row_bound) {
            Some(row) => Err(format!("it has row {row} of {row_bound}")),
            None => Ok(index),
        }
    }

    /// The stored form.
    pub fn sections(&self) -> IndexSections {
        let starts = self.starts.iter();
        IndexSections {
            lists: starts.flat_map(|s| [s.block, s.place]).flat_map(u32::to_le_bytes).collect(),
            blocks: self.blocks.clone(),
            levels: self.levels.clone(),
            rows: self.rows.clone(),
        }
    }

    /// The same index with `bytes` beside each level code, which `write` fills in for a row. Level codes are in memory.
    pub fn tagged(&self, bytes: usize, write: &(dyn Fn(u32, &mut [u8]) + Sync)) -> Self {
        let code = level_bytes(self.level_bits, self.shape.padded as usize);
        let mut levels = vec![0; self.rows() * (code + bytes)];
        levels.par_chunks_mut(code + bytes).zip(0..self.shape.rows).for_each(|(entry, place)| {
            let (level, tag) = entry.split_at_mut(code);
            level.copy_from_slice(self.level(place));
            write(self.row(place), tag);
        });
        Self {
            shape: IndexShape { tag_bytes: bytes as u32, ..self.shape },
            levels: Some(levels.into()),
            ..self.clone()
        }
    }

    /// The same index without what is beside its level codes, so that the stored form of all of it can go: in memory of a
    /// length that `hold` makes, and has filled.
    pub fn untagged<E>(
        &self,
        hold: impl FnOnce(usize, &mut dyn FnMut(&mut [u8])) -> Result<Bytes, E>,
    ) -> Result<Self, E> {
        let (stored, code) = (self.entry_bytes(), self.entry_bytes() - self.shape.tag_bytes as usize);
        let levels: &[u8] = self.levels.as_deref().unwrap_or_default();
        let lengths = [self.blocks.len(), self.rows.len(), levels.len() / stored * code];
        let held = hold(lengths.iter().sum(), &mut |place| {
            let (blocks, place) = place.split_at_mut(lengths[0]);
            let (rows, codes) = place.split_at_mut(lengths[1]);
            let mut stretch = Stretch::begin();
            for (copy, some) in blocks.chunks_mut(COPIED_BYTES).zip(self.blocks.chunks(COPIED_BYTES)) {
                copy.copy_from_slice(some);
                stretch.give_way();
            }
            rows.copy_from_slice(&self.rows);
            let copies = codes.chunks_mut(COPIED_CODES * code).zip(levels.chunks(COPIED_CODES * stored));
            for (copies, entries) in copies {
                for (copy, entry) in copies.chunks_exact_mut(code).zip(entries.chunks_exact(stored)) {
                    copy.copy_from_slice(&entry[..code]);
                }
                stretch.give_way();
            }
        })?;
        let rows_end = lengths[0] + lengths[1];
        Ok(Self {
            shape: IndexShape { tag_bytes: 0, ..self.shape },
            starts: self.starts.clone(),
            blocks: held.slice(..lengths[0]),
            rows: held.slice(lengths[0]..rows_end),
            levels: self.levels.as_ref().map(|_| held.slice(rows_end..)),
            ..*self
        })
    }

    /// The same index with its level codes; says what is wrong with them otherwise.
    pub fn with_levels(&self, levels: Bytes) -> Result<Self, String> {
        if self.entry_bytes().checked_mul(self.rows()) != Some(levels.len()) {
            return Err(format!("its level codes are not of {} rows", self.rows()));
        }
        Ok(Self { levels: Some(levels), ..self.clone() })
    }

    /// Whether its level codes are in memory. Merges need them, and so do searches, but for those by signs alone.
    pub fn has_levels(&self) -> bool {
        self.levels.is_some()
    }

    /// What of it is not in the sections.
    pub fn shape(&self) -> IndexShape {
        self.shape
    }

    /// Bytes of a level code with its factors and its tag.
    pub fn entry_bytes(&self) -> usize {
        level_bytes(self.level_bits, self.shape.padded as usize) + self.shape.tag_bytes as usize
    }

    /// Whether its lists are those of `model`, as far as can be told.
    pub fn fits(&self, model: &Model) -> bool {
        let IndexShape { padded, level_bits, lists, .. } = self.shape;
        (padded as usize, level_bits, lists as usize)
            == (model.padded(), model.level_bits().bits(), model.lists())
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.shape.rows as usize
    }

    /// Rows of a list on average, those included that are there for the second time.
    pub fn rows_per_list(&self) -> usize {
        self.blocks.len() / block_bytes(self.shape.padded as usize) * BLOCK_ROWS / self.starts.len().max(2)
    }

    /// Bytes in memory, without the model.
    pub fn bytes(&self) -> usize {
        let levels = self.levels.as_ref().map_or(0, Bytes::len);
        8 * self.starts.len() + self.blocks.len() + levels + self.rows.len()
    }

    /// The blocks of a list.
    pub(super) fn list(&self, list: u32) -> &[u8] {
        let size = block_bytes(self.shape.padded as usize);
        let (start, end) = (self.starts[list as usize], self.starts[list as usize + 1]);
        &self.blocks[start.block as usize * size..end.block as usize * size]
    }

    /// The rows of a list: their numbers among those of all blocks, and their places.
    pub(super) fn list_rows(&self, list: u32) -> impl Iterator<Item = (u32, u32)> {
        let first = self.starts[list as usize].block;
        let blocks = self.list(list).chunks_exact(block_bytes(self.shape.padded as usize));
        (first..).zip(blocks).flat_map(|(number, block)| {
            block_rows(block).map(move |(row, place)| (number * BLOCK_ROWS as u32 + row as u32, place))
        })
    }

    /// The block of a row by its number among those of all blocks, and its number in it.
    pub(super) fn block_row(&self, at: u32) -> (&[u8], usize) {
        let (block, size) = (at as usize / BLOCK_ROWS, block_bytes(self.shape.padded as usize));
        (&self.blocks[block * size..(block + 1) * size], at as usize % BLOCK_ROWS)
    }

    /// The places that a list was the first one for.
    pub(super) fn places(&self, list: u32) -> std::ops::Range<u32> {
        self.starts[list as usize].place..self.starts[list as usize + 1].place
    }

    /// The code and the two factors of a place.
    ///
    /// # Panics
    /// If level codes are not in memory.
    pub(super) fn level(&self, place: u32) -> &[u8] {
        let levels = self.levels.as_ref().expect("level codes are in memory");
        let start = place as usize * self.entry_bytes();
        &levels[start..start + self.entry_bytes() - self.shape.tag_bytes as usize]
    }

    /// The row of each place, little-endian.
    pub(super) fn row_numbers(&self) -> &[[u8; 4]] {
        self.rows.as_chunks().0
    }

    /// The row of a place.
    pub(super) fn row(&self, place: u32) -> u32 {
        let at = 4 * place as usize;
        self.rows[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}
