//! Single rows of a segment whose bytes are far away, where little of it is wanted: the blocks that vectors lie in, each checked by its
//! own checksum. Payloads have blocks of their own ([`SegmentReader::far_payload_texts`]).

use std::ops::Range;

use bytes::Bytes;
use lodestone_types::{Error, Result};

use crate::meta::{PartKind, SectionKind};
use crate::part::{BLOCK_BYTES, SECTION_ALIGN, le_u32};
use crate::reader::SegmentReader;

/// How many times the bytes of its rows a part has to have, so that reading these alone is worth it.
const WORTH_IT: u64 = 4;

/// The vectors of one name, of which only the checksums are here.
#[derive(Debug)]
pub struct FarVectors {
    object: String,
    /// Where they begin and end in the object, filling included.
    bytes: Range<u64>,
    row_bytes: u64,
    checksums: Bytes,
}

impl SegmentReader {
    /// Whether the part of this kind is not loaded, and so much larger than this many rows that they had better be read alone.
    pub fn is_worth_reading_alone(&self, kind: &PartKind, rows: usize) -> bool {
        let Some(part) = self.meta().part(kind).filter(|_| !self.is_loaded(kind)) else { return false };
        // Where not all rows have a vector, only the whole part tells where one is.
        let has_all = !matches!(kind, PartKind::Vector(_)) || part.entries == u64::from(self.rows());
        has_all && part.length / WORTH_IT > rows as u64 * BLOCK_BYTES as u64
    }

    /// What the vectors called `name` are checked by. One request.
    pub async fn far_vectors(&self, name: &str) -> Result<FarVectors> {
        let part = self.far_part(&PartKind::Vector(name.to_owned()))?;
        let (raw, checksums) = (part.section(SectionKind::RAW)?, part.section(SectionKind::CHECKSUMS)?);
        let filled = raw.length.next_multiple_of(SECTION_ALIGN);
        let blocks = filled.div_ceil(BLOCK_BYTES as u64);
        let fits = raw.offset == 0 && checksums.length / 4 >= blocks && part.entries > 0;
        let row_bytes = raw.length.checked_div(part.entries).filter(|bytes| fits && *bytes > 0);
        let row_bytes = row_bytes.ok_or_else(|| part.damaged("its sections are not where they should be"))?;
        let start = part.offset + checksums.offset;
        let range = start..start + checksums.length;
        let checksums = self.source().fetch_checked(&part.object, range, part.checksum).await?;
        Ok(FarVectors {
            object: part.object.clone(),
            bytes: part.offset..part.offset + filled,
            row_bytes,
            checksums,
        })
    }

    /// The vectors of these rows in their stored form, in the same order, where all rows have one. One request for neighbours.
    pub async fn far_row_vectors(&self, vectors: &FarVectors, rows: &[u32]) -> Result<Vec<Bytes>> {
        let blocks: Vec<Range<u64>> = rows.iter().map(|row| vectors.blocks_of(*row)).collect();
        let fetched = self.fetch_together(&vectors.object, &blocks).await;
        let wanted = rows.iter().zip(&blocks).zip(fetched);
        wanted.map(|((row, blocks), bytes)| vectors.row(*row, blocks.start, &bytes?)).collect()
    }
}

impl FarVectors {
    /// The bytes of the object that hold a row, in whole blocks.
    fn blocks_of(&self, row: u32) -> Range<u64> {
        let block = BLOCK_BYTES as u64;
        let start = u64::from(row) * self.row_bytes;
        let end = (start + self.row_bytes).next_multiple_of(block) + self.bytes.start;
        self.bytes.start + start / block * block..end.min(self.bytes.end)
    }

    /// A row, from the blocks at `start` that hold it.
    fn row(&self, row: u32, start: u64, blocks: &Bytes) -> Result<Bytes> {
        let first = ((start - self.bytes.start) / BLOCK_BYTES as u64) as usize;
        let expected = self.checksums.chunks_exact(4).map(le_u32).skip(first);
        if !blocks.chunks(BLOCK_BYTES).map(crc32c::crc32c).zip(expected).all(|(is, expected)| is == expected)
        {
            return Err(Error::damaged(format!(
                "damaged data in object '{}': the vectors at {start} do not have their checksum",
                self.object
            )));
        }
        let at =
            (self.bytes.start + u64::from(row) * self.row_bytes).checked_sub(start).map(|at| at as usize);
        let range = at.map(|at| at..at + self.row_bytes as usize).filter(|range| range.end <= blocks.len());
        let range =
            range.ok_or_else(|| Error::internal(format!("'{}' has no vector of row {row}", self.object)))?;
        Ok(blocks.slice(range))
    }
}
