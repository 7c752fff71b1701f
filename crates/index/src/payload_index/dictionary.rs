//! A sorted dictionary from terms to postings, read in place.
//!
//! Terms stand in blocks of 32: the first of a block in full, the others without what they share with the one
//! before. A column with the start of each block is searched by halving. Unlike an automaton it can be fetched in
//! ranges, and damaged bytes end a search instead of leading it astray.
//!
//! ```text
//! entry    = shared length, suffix length, suffix, rows, posting [, positions]
//! posting  = the row itself if there is one, else offset and length of a bitmap
//! positions = where they begin; per row their number and the distances between them
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use lodestone_types::Result;
use roaring::RoaringBitmap;

use super::section::{Blob, Section, SectionWriter};
use crate::codec::{Column, Reader, bitmap_bytes, damaged, put_varint, read_bitmap};

const BLOCK: usize = 32;

/// The rows of a term, ascending, and per row its ascending positions where they are kept.
#[derive(Debug, Default)]
pub(super) struct Posting {
    rows: Vec<u32>,
    positions: Vec<Vec<u32>>,
}

impl Posting {
    /// Adds a row; the same row may come again right after.
    pub(super) fn add(&mut self, row: u32) {
        if self.rows.last() != Some(&row) {
            self.rows.push(row);
        }
    }

    /// Whether `row` is the last that was added.
    pub(super) fn ends_with(&self, row: u32) -> bool {
        self.rows.last() == Some(&row)
    }

    /// Adds a position in a row; positions of a row come in ascending order.
    pub(super) fn add_at(&mut self, row: u32, position: u32) {
        let before = self.rows.len();
        self.add(row);
        if self.rows.len() > before {
            self.positions.push(Vec::new());
        }
        if let Some(positions) = self.positions.last_mut()
            && positions.last() != Some(&position)
        {
            positions.push(position);
        }
    }
}

pub(super) fn write(terms: &BTreeMap<Vec<u8>, Posting>, with_positions: bool, writer: &mut SectionWriter) {
    let (mut entries, mut blocks, mut postings, mut positions) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut previous: &[u8] = &[];
    for (i, (term, posting)) in terms.iter().enumerate() {
        if i % BLOCK == 0 {
            blocks.extend_from_slice(&(entries.len() as u64).to_le_bytes());
            previous = &[];
        }
        let shared = previous.iter().zip(term).take_while(|(a, b)| a == b).count();
        put_varint(&mut entries, shared as u64);
        put_varint(&mut entries, (term.len() - shared) as u64);
        entries.extend_from_slice(&term[shared..]);
        put_posting(posting, &mut entries, &mut postings);
        if with_positions {
            put_varint(&mut entries, positions.len() as u64);
            put_positions(posting, &mut positions);
        }
        previous = term;
    }
    writer.put(Blob::Terms, entries);
    writer.put(Blob::TermBlocks, blocks);
    writer.put(Blob::Postings, postings);
    writer.put(Blob::Positions, positions);
}

fn put_posting(posting: &Posting, entries: &mut Vec<u8>, postings: &mut Vec<u8>) {
    put_varint(entries, posting.rows.len() as u64);
    if let [row] = posting.rows[..] {
        put_varint(entries, u64::from(row));
        return;
    }
    let bytes = bitmap_bytes(posting.rows.iter().copied().collect());
    put_varint(entries, postings.len() as u64);
    put_varint(entries, bytes.len() as u64);
    postings.extend_from_slice(&bytes);
}

fn put_positions(posting: &Posting, out: &mut Vec<u8>) {
    for positions in &posting.positions {
        put_varint(out, positions.len() as u64);
        let mut previous = 0;
        for position in positions {
            put_varint(out, u64::from(position - previous));
            previous = *position;
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Dictionary {
    entries: Bytes,
    blocks: Column<8>,
    postings: Bytes,
    positions: Bytes,
    with_positions: bool,
}

/// Where the rows of a term are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TermEntry {
    /// How many rows have it.
    pub(super) count: u64,
    place: Place,
    positions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Row(u32),
    Bitmap { offset: usize, len: usize },
}

impl TermEntry {
    /// The row, if only one has the term.
    pub(super) fn only_row(&self) -> Option<u32> {
        match self.place {
            Place::Row(row) => Some(row),
            Place::Bitmap { .. } => None,
        }
    }
}

impl Dictionary {
    pub(super) fn open(section: &Section, with_positions: bool) -> Result<Self> {
        Ok(Self {
            entries: section.get(Blob::Terms)?,
            blocks: Column::open(section.get(Blob::TermBlocks)?)?,
            postings: section.get(Blob::Postings)?,
            positions: section.get(Blob::Positions)?,
            with_positions,
        })
    }

    /// The entry of `term`, if any row has it.
    pub(super) fn find(&self, term: &[u8]) -> Result<Option<TermEntry>> {
        let mut failed = None;
        let after = self.blocks.partition(0..self.blocks.len(), |_, block| {
            match self.block(block).and_then(|mut r| first_term(&mut r)) {
                Ok(first) => first <= term,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let Some(block) = after.checked_sub(1) else { return Ok(None) };
        self.find_in_block(block, term)
    }

    /// Calls `each` with the entries of all terms, in their order.
    pub(super) fn each(&self, mut each: impl FnMut(TermEntry) -> Result<()>) -> Result<()> {
        for block in 0..self.blocks.len() {
            let mut reader = self.block(block)?;
            while !reader.is_empty() {
                reader.varint_usize()?;
                let len = reader.varint_usize()?;
                reader.take(len)?;
                each(self.entry(&mut reader)?)?;
            }
        }
        Ok(())
    }

    fn find_in_block(&self, block: usize, wanted: &[u8]) -> Result<Option<TermEntry>> {
        let mut reader = self.block(block)?;
        let mut term = Vec::new();
        while !reader.is_empty() {
            let shared = reader.varint_usize()?;
            let len = reader.varint_usize()?;
            if shared > term.len() {
                return Err(damaged("a term shares more than there is"));
            }
            term.truncate(shared);
            term.extend_from_slice(reader.take(len)?);
            let entry = self.entry(&mut reader)?;
            if term == wanted {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn entry(&self, reader: &mut Reader<'_>) -> Result<TermEntry> {
        let count = reader.varint()?;
        let place = if count == 1 {
            Place::Row(reader.varint_u32()?)
        } else {
            Place::Bitmap { offset: reader.varint_usize()?, len: reader.varint_usize()? }
        };
        let positions = if self.with_positions { reader.varint_usize()? } else { 0 };
        Ok(TermEntry { count, place, positions })
    }

    fn block(&self, block: usize) -> Result<Reader<'_>> {
        let start = self.blocks.get(block);
        let end = if block + 1 < self.blocks.len() {
            self.blocks.get(block + 1)
        } else {
            self.entries.len() as u64
        };
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(start, end)| self.entries.get(start..end));
        bytes.map(Reader::new).ok_or_else(|| damaged("a block of terms lies outside"))
    }

    /// The rows that have the term.
    pub(super) fn rows(&self, entry: &TermEntry) -> Result<RoaringBitmap> {
        match entry.place {
            Place::Row(row) => Ok(RoaringBitmap::from_iter([row])),
            Place::Bitmap { offset, len } => {
                let bytes = offset.checked_add(len).and_then(|end| self.postings.get(offset..end));
                read_bitmap(bytes.ok_or_else(|| damaged("a posting lies outside"))?)
            }
        }
    }

    /// Calls `each` with the positions of the term in each of its rows that is in `wanted`, ascending.
    pub(super) fn positions(
        &self,
        entry: &TermEntry,
        wanted: &RoaringBitmap,
        mut each: impl FnMut(u32, Vec<u32>),
    ) -> Result<()> {
        let bytes = self.positions.get(entry.positions..).ok_or_else(|| damaged("positions lie outside"))?;
        let mut reader = Reader::new(bytes);
        for row in self.rows(entry)? {
            let count = reader.varint_usize()?;
            let is_wanted = wanted.contains(row);
            let (mut position, mut positions) = (0_u32, Vec::new());
            for _ in 0..count {
                position = position.saturating_add(reader.varint_u32()?);
                if is_wanted {
                    positions.push(position);
                }
            }
            if is_wanted {
                each(row, positions);
            }
        }
        Ok(())
    }
}

fn first_term<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8]> {
    if reader.varint()? != 0 {
        return Err(damaged("a block of terms does not begin with a whole one"));
    }
    let len = reader.varint_usize()?;
    reader.take(len)
}
