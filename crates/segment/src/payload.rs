//! Payloads as JSON texts in blocks of about 32 KiB, each compressed by itself, in the order of rows: a page
//! of a scroll unpacks one or two blocks, an export all of them one after another, in parallel if it likes.
//!
//! An unpacked block is the end of each of its texts (4 bytes each) and then the texts. The table has, for
//! each block, 16 bytes: first row, unpacked size, end of its packed bytes.

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use lodestone_types::{Error, Payload, Result};
use zstd::bulk::{Compressor, Decompressor};

use crate::meta::{PartKind, PartMeta, SectionKind};
use crate::part::{self, PartBytes, PartOnDisk, PartWriter, Section, Sink, damaged, le_u32, le_u64};
use crate::vectors::DiskPart;

const BLOCK_BYTES: usize = 32 << 10;
/// What has fewer bytes is packed with the block that follows, unless both have more than that.
const SMALL: usize = BLOCK_BYTES / 4;
const JOINED: usize = 2 * BLOCK_BYTES;
const LEVEL: i32 = 3;
/// Where a frame has its flags, and the one that says that a checksum ends it (RFC 8878, section 3.1.1.1.1).
const ZSTD_DESCRIPTOR: usize = 4;
const ZSTD_CHECKSUM: u8 = 1 << 2;
const ENTRY: usize = 16;
/// No payload is larger, so no block has to be believed that claims to be.
const MAX_TEXT: usize = 256 << 20;
const MAX_BLOCK: usize = MAX_TEXT + 3 * BLOCK_BYTES;

pub(crate) struct PayloadWriter {
    compressor: Compressor<'static>,
    rows: u32,
    first_row: u32,
    ends: Vec<u8>,
    texts: Vec<u8>,
    /// Packed ones that are in no part yet.
    blocks: Vec<u8>,
    /// Where the last packed one ends.
    end: u64,
    table: Vec<u8>,
}

impl PayloadWriter {
    pub fn new() -> Result<Self> {
        let mut compressor =
            Compressor::new(LEVEL).map_err(|e| Error::internal(format!("no compressor: {e}")))?;
        // A block that is read by itself has no other checksum.
        compressor
            .include_checksum(true)
            .map_err(|e| Error::internal(format!("no checksums of payloads: {e}")))?;
        Ok(Self {
            compressor,
            rows: 0,
            first_row: 0,
            ends: Vec::new(),
            texts: Vec::new(),
            blocks: Vec::new(),
            end: 0,
            table: Vec::new(),
        })
    }

    pub fn push(&mut self, text: &[u8]) -> Result<()> {
        if text.len() > MAX_TEXT {
            return Err(Error::invalid(format!("a payload of {} bytes is too large to store", text.len())));
        }
        self.add_text(text);
        if self.texts.len() + self.ends.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    fn add_text(&mut self, text: &[u8]) {
        self.texts.extend_from_slice(text);
        self.ends.extend_from_slice(&(self.texts.len() as u32).to_le_bytes());
        self.rows += 1;
    }

    /// Takes a [ready](PackedBlock::is_ready) block as it is for the next rows; what was pushed before becomes a block of its own. Only if that
    /// is small are both packed as one: else a row that comes between two such blocks would be a block for ever.
    pub fn push_block(&mut self, block: &PackedBlock) -> Result<()> {
        let pending = self.texts.len() + self.ends.len();
        if (1..SMALL).contains(&pending) && pending + block.texts.size() <= JOINED {
            for row in block.texts.rows() {
                self.add_text(block.texts.get(row).unwrap_or_default());
            }
            return self.flush();
        }
        self.flush()?;
        self.rows += block.texts.rows as u32;
        self.add_block(&block.packed, block.texts.size());
        Ok(())
    }

    /// Moves packed blocks into the part once there are some to move.
    pub fn drain<S: Sink>(&mut self, part: &mut PartWriter<'_, S>) -> Result<()> {
        if self.blocks.len() >= part::BLOCK_BYTES {
            part.write(SectionKind::PAYLOAD_BLOCKS, &self.blocks)?;
            self.blocks.clear();
        }
        Ok(())
    }

    /// The part, into which what is left goes.
    pub fn finish<S: Sink>(mut self, mut part: PartWriter<'_, S>) -> Result<PartMeta> {
        self.flush()?;
        part.write(SectionKind::PAYLOAD_BLOCKS, &self.blocks)?;
        part.write(SectionKind::PAYLOAD_TABLE, &self.table)?;
        let detail = crc32c::crc32c(&self.table).to_le_bytes().to_vec();
        part.finish(PartKind::Payload, self.rows.into(), detail)
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows == self.first_row {
            return Ok(());
        }
        self.ends.append(&mut self.texts);
        let packed = self.compressor.compress(&self.ends);
        let packed = packed.map_err(|e| Error::internal(format!("compressing payloads failed: {e}")))?;
        self.add_block(&packed, self.ends.len());
        self.ends.clear();
        Ok(())
    }

    /// Adds a packed block of the rows that are in none, which takes `size` bytes unpacked.
    fn add_block(&mut self, packed: &[u8], size: usize) {
        self.blocks.extend_from_slice(packed);
        self.end += packed.len() as u64;
        self.table.extend_from_slice(&self.first_row.to_le_bytes());
        self.table.extend_from_slice(&(size as u32).to_le_bytes());
        self.table.extend_from_slice(&self.end.to_le_bytes());
        self.first_row = self.rows;
    }
}

/// Where the blocks of a payload part are.
#[derive(Debug, Clone)]
pub(crate) struct PayloadTable {
    rows: u32,
    entries: Section,
}

/// The loaded payload part of a segment. Blocks are unpacked on demand; whoever reads many rows keeps them.
#[derive(Debug)]
pub struct PayloadColumn {
    blocks: Blocks,
    /// Where they are, for errors.
    place: String,
    table: PayloadTable,
}

#[derive(Debug)]
enum Blocks {
    Memory(Bytes),
    /// The part, and where the blocks begin in it.
    Disk(Box<dyn DiskPart>, u64),
}

impl PayloadTable {
    /// The table of a segment of `rows` rows, whose blocks take `bytes`.
    pub fn open(entries: Section, rows: u32, bytes: u64) -> Result<Self> {
        let table = Self { rows, entries };
        let count = table.block_count();
        if !table.entries.bytes.len().is_multiple_of(ENTRY) || (count == 0) != (rows == 0) {
            return Err(table.entries.damaged("its length does not fit the number of rows"));
        }
        let (mut row, mut end) = (0, 0);
        for block in 0..count {
            let entry = table.entry(block);
            let follows = if block == 0 { entry.first_row == 0 } else { entry.first_row > row };
            let fits = entry.first_row < rows && entry.end >= end && entry.size as usize <= MAX_BLOCK;
            if !follows || !fits {
                return Err(table.entries.damaged(format!("its block {block} is impossible")));
            }
            (row, end) = (entry.first_row, entry.end);
        }
        if end != bytes {
            return Err(table.entries.damaged("it does not end with the last block"));
        }
        Ok(table)
    }

    /// Bytes of a block, packed, on average.
    pub fn mean_block(&self) -> u64 {
        let count = self.block_count();
        if count == 0 { 0 } else { self.entry(count - 1).end.div_ceil(count as u64) }
    }

    fn block_count(&self) -> usize {
        self.entries.bytes.len() / ENTRY
    }

    fn block_rows(&self, block: usize) -> Range<u32> {
        let first = |block| if block < self.block_count() { self.entry(block).first_row } else { self.rows };
        first(block)..first(block.saturating_add(1))
    }

    /// The block that holds `row`; `None` past the end.
    pub fn block_of(&self, row: u32) -> Option<usize> {
        if row >= self.rows {
            return None;
        }
        let (mut low, mut high) = (0, self.block_count());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.entry(middle).first_row <= row { low = middle } else { high = middle }
        }
        Some(low)
    }

    /// Where a block lies among the bytes of all.
    pub fn place(&self, block: usize) -> Range<u64> {
        let start = block.checked_sub(1).map_or(0, |before| self.entry(before).end);
        start..self.entry(block).end
    }

    /// Unpacks a block from its bytes; says what is wrong with them otherwise.
    pub fn unpack(&self, block: usize, packed: &[u8]) -> std::result::Result<PayloadBlock, String> {
        let bytes = unpack(packed, self.entry(block).size as usize)
            .map_err(|e| format!("block {block} cannot be unpacked: {e}"))?;
        PayloadBlock::open(self.block_rows(block), bytes)
            .ok_or_else(|| format!("block {block} does not hold the rows it should"))
    }

    fn entry(&self, block: usize) -> Entry {
        let entry = &self.entries.bytes[block * ENTRY..][..ENTRY];
        Entry { first_row: le_u32(entry), size: le_u32(&entry[4..]), end: le_u64(&entry[8..]) }
    }
}

impl PayloadColumn {
    pub(crate) fn open(part: &PartBytes, rows: u32) -> Result<Self> {
        if part.meta().entries != u64::from(rows) {
            return Err(part.damaged(format!("it is not of a segment of {rows} rows")));
        }
        let blocks = part.section(SectionKind::PAYLOAD_BLOCKS)?;
        let table = part.section(SectionKind::PAYLOAD_TABLE)?;
        let table = PayloadTable::open(table, rows, blocks.bytes.len() as u64)?;
        let place = part.section_place(SectionKind::PAYLOAD_BLOCKS);
        Ok(Self { blocks: Blocks::Memory(blocks.bytes), place, table })
    }

    /// Of a part that stays on disk: blocks are read when they are wanted.
    pub(crate) fn open_on_disk(part: PartOnDisk, rows: u32) -> Result<Self> {
        let blocks = part.place(SectionKind::PAYLOAD_BLOCKS)?;
        let place = part.section_place(SectionKind::PAYLOAD_BLOCKS);
        let table = part.find(SectionKind::PAYLOAD_TABLE)?;
        let (meta, disk) = part.into_disk();
        let table = table.filter(|_| meta.entries == u64::from(rows));
        let table = table.ok_or_else(|| {
            damaged(&meta, format!("it is not of a segment of {rows} rows, or has no table"))
        })?;
        let table = PayloadTable::open(table, rows, blocks.end - blocks.start)?;
        Ok(Self { blocks: Blocks::Disk(disk, blocks.start), place, table })
    }

    /// The file that it is read from, if it is.
    pub(crate) fn disk(&self) -> Option<&dyn DiskPart> {
        match &self.blocks {
            Blocks::Memory(_) => None,
            Blocks::Disk(disk, _) => Some(&**disk),
        }
    }

    /// How many blocks there are.
    pub fn block_count(&self) -> usize {
        self.table.block_count()
    }

    /// The rows of a block; empty past the end.
    pub fn block_rows(&self, block: usize) -> Range<u32> {
        self.table.block_rows(block)
    }

    /// The block that holds `row`; `None` past the end.
    pub fn block_of(&self, row: u32) -> Option<usize> {
        self.table.block_of(row)
    }

    /// Unpacks a block.
    pub fn block(&self, block: usize) -> Result<PayloadBlock> {
        self.packed(block).map(|block| block.texts)
    }

    /// A block as it is stored, unpacked too, which tells whether it is whole.
    pub(crate) fn packed(&self, block: usize) -> Result<PackedBlock> {
        if self.block_rows(block).is_empty() {
            return Err(Error::internal(format!("there is no payload block {block}")));
        }
        let place = self.table.place(block);
        let packed = match &self.blocks {
            Blocks::Memory(bytes) => bytes.slice(place.start as usize..place.end as usize),
            Blocks::Disk(disk, start) => {
                let mut packed = Vec::with_capacity((place.end - place.start) as usize);
                let place = start + place.start..start + place.end;
                disk.read_many(std::slice::from_ref(&place), &mut packed)?;
                packed.into()
            }
        };
        let texts = self.table.unpack(block, &packed).map_err(|what| self.damaged(what))?;
        Ok(PackedBlock { packed, texts })
    }

    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::damaged(format!("damaged data in {}: {what}", self.place))
    }

    /// Unpacks all blocks in the order of rows.
    pub fn blocks(&self) -> impl Iterator<Item = Result<PayloadBlock>> {
        (0..self.block_count()).map(|block| self.block(block))
    }

    /// The JSON text of one row, for which its whole block is unpacked.
    pub fn bytes(&self, row: u32) -> Result<Bytes> {
        let block = self.block_of(row).ok_or_else(|| no_row(row))?;
        self.block(block)?.bytes(row).ok_or_else(|| no_row(row))
    }

    /// The payload of one row, for which its whole block is unpacked.
    pub fn payload(&self, row: u32) -> Result<Payload> {
        self.parse(row, &self.bytes(row)?)
    }

    /// The payload whose text is `text`, as it was in `row`.
    pub fn parse(&self, row: u32, text: &[u8]) -> Result<Payload> {
        serde_json::from_slice(text)
            .map_err(|e| self.damaged(format!("the payload of row {row} is no JSON object: {e}")))
    }
}

/// Unpacks at most `size` bytes. Each thread keeps one decompressor: making it takes longer than a small block.
fn unpack(packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    thread_local!(static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) });
    UNPACKER.with_borrow_mut(|kept| {
        let unpacker = match kept {
            Some(unpacker) => unpacker,
            None => kept.insert(Decompressor::new()?),
        };
        unpacker.decompress(packed, size)
    })
}

struct Entry {
    first_row: u32,
    size: u32,
    end: u64,
}

fn no_row(row: u32) -> Error {
    Error::internal(format!("the segment has no row {row}"))
}

/// A block with its stored form, which could be unpacked.
#[derive(Debug)]
pub(crate) struct PackedBlock {
    packed: Bytes,
    pub texts: PayloadBlock,
}

impl PackedBlock {
    /// Whether a writer may take it over: it is long enough, and has a checksum of its own, which those of the first builds lack.
    pub fn is_ready(&self) -> bool {
        let has_checksum = self.packed.get(ZSTD_DESCRIPTOR).is_some_and(|flags| flags & ZSTD_CHECKSUM != 0);
        has_checksum && self.texts.size() >= BLOCK_BYTES
    }
}

/// An unpacked block of payload texts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PayloadBlock {
    first_row: u32,
    rows: usize,
    /// Ends, then texts.
    bytes: Bytes,
}

impl PayloadBlock {
    fn open(rows: Range<u32>, bytes: Vec<u8>) -> Option<Self> {
        let count = rows.len();
        let texts = bytes.len().checked_sub(count.checked_mul(4)?)?;
        let block = Self { first_row: rows.start, rows: count, bytes: bytes.into() };
        let ascending = (0..=count).map(|i| block.end(i)).is_sorted();
        (ascending && block.end(count) == texts).then_some(block)
    }

    /// The rows it holds.
    pub fn rows(&self) -> Range<u32> {
        self.first_row..self.first_row + self.rows as u32
    }

    /// The JSON text of a row of this block.
    pub fn get(&self, row: u32) -> Option<&[u8]> {
        self.range(row).map(|range| &self.bytes[range])
    }

    /// The JSON text of a row of this block; keeps the block in memory.
    pub fn bytes(&self, row: u32) -> Option<Bytes> {
        self.range(row).map(|range| self.bytes.slice(range))
    }

    /// How much memory it takes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn range(&self, row: u32) -> Option<Range<usize>> {
        let at = row.checked_sub(self.first_row)? as usize;
        let texts = self.rows * 4;
        (at < self.rows).then(|| texts + self.end(at)..texts + self.end(at + 1))
    }

    /// Where the first `count` texts end.
    fn end(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| le_u32(&self.bytes[last * 4..]) as usize)
    }
}
