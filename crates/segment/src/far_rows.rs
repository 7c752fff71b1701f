//! Single rows of a segment whose bytes are far away, where little of it is wanted: the blocks that vectors lie in, or codes in the order of a
//! field, each checked by its own checksum. Payloads have blocks of their own ([`SegmentReader::far_payload_texts`]).

use std::ops::{Range, RangeInclusive};

use bytes::Bytes;
use lodestone_types::{Error, Result};

use crate::meta::{PartKind, PartMeta, SectionKind};
use crate::part::{BLOCK_BYTES, SECTION_ALIGN, le_u32};
use crate::reader::SegmentReader;

/// How many times the bytes of its rows a part has to have, so that reading these alone is worth it.
const WORTH_IT: u64 = 4;

/// Bytes that one request for a run of rows asks for at most, about.
const RUN_BYTES: u64 = 1 << 20;
/// Rows with no more than so many bytes between their blocks are read by one request, which takes longer than these.
const BETWEEN: u64 = BLOCK_BYTES as u64;

/// Where something of rows is, of each as many bytes: in blocks, each of which has a checksum.
#[derive(Debug, Clone)]
pub struct RowBlocks {
    object: String,
    /// Where they begin and end in the object, filling included.
    bytes: Range<u64>,
    row_bytes: u64,
    rows: u32,
    /// Where their checksums are in the object, and the checksum of these.
    checksums: Range<u64>,
    checksum: u32,
}

/// What such blocks are checked by.
#[derive(Debug)]
pub struct RowChecks {
    blocks: RowBlocks,
    checksums: Bytes,
}

/// Rows that one request reads, and the blocks that hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRun {
    /// The first and the last row, or their places, if they lie in another order.
    pub rows: RangeInclusive<u32>,
    /// In the object.
    bytes: Range<u64>,
}

impl RowRun {
    /// Bytes that are read.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }
}

impl SegmentReader {
    /// Whether the part of this kind is not loaded, and so much larger than this many rows that they had better be read alone.
    pub fn is_worth_reading_alone(&self, kind: &PartKind, rows: usize) -> bool {
        let Some(part) = self.meta().part(kind).filter(|_| !self.is_loaded(kind)) else { return false };
        // Where not all rows have a vector, only the whole part tells where one is.
        let has_all = !matches!(kind, PartKind::Vector(_)) || part.entries == u64::from(self.rows());
        has_all && part.length / WORTH_IT > rows as u64 * BLOCK_BYTES as u64
    }

    /// Where the vectors called `name` are; `None` if there are rows without one. No request.
    pub fn vector_blocks(&self, name: &str) -> Result<Option<RowBlocks>> {
        let part = self.far_part(&PartKind::Vector(name.to_owned()))?;
        if part.entries != u64::from(self.rows()) {
            return Ok(None);
        }
        self.row_blocks(part, SectionKind::RAW).map(Some)
    }

    /// Where the entries are in the first section of a part, which has as many bytes of each.
    pub(crate) fn row_blocks(&self, part: &PartMeta, kind: SectionKind) -> Result<RowBlocks> {
        let (section, checksums) = (part.section(kind)?, part.section(SectionKind::CHECKSUMS)?);
        let filled = section.length.next_multiple_of(SECTION_ALIGN);
        let blocks = filled.div_ceil(BLOCK_BYTES as u64);
        let rows = u32::try_from(part.entries).ok().filter(|rows| *rows <= self.rows()).unwrap_or_default();
        let fits = section.offset == 0
            && checksums.length / 4 >= blocks
            && section.length.is_multiple_of(rows.max(1).into());
        let row_bytes = section.length.checked_div(rows.into()).filter(|bytes| fits && *bytes > 0);
        let row_bytes = row_bytes.ok_or_else(|| part.damaged("its sections are not where they should be"))?;
        let start = part.offset + checksums.offset;
        Ok(RowBlocks {
            object: part.object.clone(),
            bytes: part.offset..part.offset + filled,
            row_bytes,
            rows,
            checksums: start..start + checksums.length,
            checksum: part.checksum,
        })
    }

    /// What these blocks are checked by. One request.
    pub async fn row_checks(&self, blocks: &RowBlocks) -> Result<RowChecks> {
        let RowBlocks { object, checksums, checksum, .. } = blocks;
        let checksums = self.source().fetch_checked(object, checksums.clone(), *checksum).await?;
        Ok(RowChecks { blocks: blocks.clone(), checksums })
    }

    /// What the vectors called `name` are checked by. One request.
    ///
    /// # Errors
    /// If there are rows without such a vector.
    pub async fn vector_checks(&self, name: &str) -> Result<RowChecks> {
        let blocks = self.vector_blocks(name)?;
        let blocks = blocks.ok_or_else(|| Error::internal(format!("not every row has a vector '{name}'")))?;
        self.row_checks(&blocks).await
    }

    /// These rows, in the same order. One request for neighbours.
    pub async fn far_rows(&self, checks: &RowChecks, rows: &[u32]) -> Result<Vec<Bytes>> {
        let blocks: Vec<Range<u64>> = rows.iter().map(|row| checks.blocks.of(*row)).collect();
        let fetched = self.fetch_together(&checks.blocks.object, &blocks).await;
        let wanted = rows.iter().zip(&blocks).zip(fetched);
        let row = |((row, blocks), bytes): ((&u32, &Range<u64>), Result<Bytes>)| {
            let bytes = bytes?;
            checks.check(blocks.start, &bytes)?;
            checks.row(*row, blocks.start, &bytes)
        };
        wanted.map(row).collect()
    }

    /// The blocks of a run of rows as they are in the bucket. One request.
    pub async fn far_run(&self, blocks: &RowBlocks, run: &RowRun) -> Result<Bytes> {
        self.source().fetch_once(&blocks.object, run.bytes.clone()).await
    }
}

impl RowBlocks {
    /// The bytes of the object that hold a row, in whole blocks.
    fn of(&self, row: u32) -> Range<u64> {
        let block = BLOCK_BYTES as u64;
        let start = u64::from(row) * self.row_bytes;
        let end = (start + self.row_bytes).next_multiple_of(block) + self.bytes.start;
        self.bytes.start + start / block * block..end.min(self.bytes.end)
    }

    /// Which requests read these rows, which ascend.
    pub fn runs(&self, rows: impl IntoIterator<Item = u32>) -> Vec<RowRun> {
        let mut runs: Vec<RowRun> = Vec::new();
        for row in rows {
            let bytes = self.of(row);
            match runs.last_mut() {
                Some(run)
                    if bytes.end <= run.bytes.end
                        || run.bytes.end + BETWEEN >= bytes.start && run.len() < RUN_BYTES =>
                {
                    (run.rows, run.bytes.end) = (*run.rows.start()..=row, bytes.end);
                }
                _ => runs.push(RowRun { rows: row..=row, bytes }),
            }
        }
        runs
    }

    /// How many rows these are of.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// Bytes that it takes to check them.
    pub fn checksum_bytes(&self) -> u64 {
        self.checksums.end - self.checksums.start
    }
}

impl RowChecks {
    /// These rows of a run, whose `bytes` have come; they ascend.
    pub fn of_run(
        &self,
        run: &RowRun,
        bytes: &Bytes,
        rows: impl Iterator<Item = u32>,
    ) -> Result<Vec<(u32, Bytes)>> {
        self.check(run.bytes.start, bytes)?;
        rows.map(|row| Ok((row, self.row(row, run.bytes.start, bytes)?))).collect()
    }

    /// Refuses blocks from `start` on that are not what they should be.
    fn check(&self, start: u64, blocks: &Bytes) -> Result<()> {
        let first = ((start - self.blocks.bytes.start) / BLOCK_BYTES as u64) as usize;
        let expected = self.checksums.chunks_exact(4).map(le_u32).skip(first);
        if !blocks.chunks(BLOCK_BYTES).map(crc32c::crc32c).zip(expected).all(|(is, expected)| is == expected)
        {
            return Err(Error::damaged(format!(
                "damaged data in object '{}': the rows at {start} do not have their checksum",
                self.blocks.object
            )));
        }
        Ok(())
    }

    /// A row, from the blocks at `start` that hold it.
    fn row(&self, row: u32, start: u64, blocks: &Bytes) -> Result<Bytes> {
        let RowBlocks { object, bytes, row_bytes, rows, .. } = &self.blocks;
        let at = (bytes.start + u64::from(row) * row_bytes).checked_sub(start).map(|at| at as usize);
        let range = at.map(|at| at..at + *row_bytes as usize);
        let range = range.filter(|range| row < *rows && range.end <= blocks.len());
        let range = range.ok_or_else(|| Error::internal(format!("'{object}' has no row {row}")))?;
        Ok(blocks.slice(range))
    }
}
