//! The level codes of an index once more, in the order of a field's values ([`FieldIndexReader::rows_by_value`]), so that what a filter on
//! that field leaves of a far segment lies together. Which row is where follows from the field's index, which who asks such a filter has in
//! any case.
//!
//! [`FieldIndexReader::rows_by_value`]: lodestone_index::FieldIndexReader::rows_by_value

use bytes::Bytes;
use lodestone_index::dense::ColdQuery;
use lodestone_index::is_principal;
use lodestone_types::{Error, JsonPath, Result, Stretch};
use serde::{Deserialize, Serialize};

use crate::far::FarCandidate;
use crate::far_rows::RowBlocks;
use crate::meta::{PartKind, PartMeta, SectionKind, SegmentMeta};
use crate::part::{ObjectWriter, PartBytes, Sink};
use crate::reader::SegmentReader;
use crate::row_tag::TagLayout;

/// Which order it is, were rows ever put in another one.
const ORDER: u8 = 1;

/// Entries that are written at once.
const WRITTEN: usize = 1024;

/// What the manifest says of such codes: what they are of, so that rows are not taken for others.
#[derive(PartialEq, Serialize, Deserialize)]
struct OrderedDetail {
    /// [`ORDER`].
    order: u8,
    /// The checksum of the part of the index of vectors.
    index: u32,
    /// The checksum of the part of the field's index.
    field: u32,
}

impl SegmentMeta {
    /// The codes of the vectors called `vector` in the order of a field, if there are any, they are of the indexes that the segment has
    /// now, and the field is one [that asks for them](is_principal).
    pub fn ordered_codes(&self, vector: &str, path: &JsonPath) -> Option<&PartMeta> {
        let part = self.part(&PartKind::OrderedCodes { vector: vector.to_owned(), path: path.clone() })?;
        let is_of: OrderedDetail = postcard::from_bytes(&part.detail).ok()?;
        (Some(is_of) == self.ordered_detail(vector, path)).then_some(part)
    }

    /// The same segment without such codes of indexes that it does not have any more.
    pub fn without_outdated_orders(&self) -> Self {
        let is_outdated = |part: &PartMeta| match &part.kind {
            PartKind::OrderedCodes { vector, path } => self.ordered_codes(vector, path).is_none(),
            _ => false,
        };
        let parts = self.parts.iter().filter(|part| !is_outdated(part)).cloned().collect();
        Self { parts, ..*self }
    }

    fn ordered_detail(&self, vector: &str, path: &JsonPath) -> Option<OrderedDetail> {
        let index = self.part(&PartKind::VectorIndex(vector.to_owned()))?;
        let (field, how) = self.field_index(path)?;
        is_principal(how).then_some(OrderedDetail {
            order: ORDER,
            index: index.checksum,
            field: field.checksum,
        })
    }
}

/// The level codes of an index as they are stored, each with what it is of.
#[derive(Debug)]
pub struct StoredCodes {
    entries: Bytes,
    tags: TagLayout,
}

impl StoredCodes {
    /// Bytes of each of so many, and the place of each row; `None` if not each row has one.
    fn places(&self, rows: usize) -> Option<(usize, Vec<u32>)> {
        let tag_bytes = self.tags.bytes();
        let entry_bytes = self.entries.len().checked_div(rows).filter(|bytes| *bytes > tag_bytes)?;
        let mut places = vec![u32::MAX; rows];
        for (place, entry) in (0..).zip(self.entries.chunks_exact(entry_bytes)) {
            let tag = self.tags.decode(&entry[entry_bytes - tag_bytes..])?;
            *places.get_mut(tag.row as usize)? = place;
        }
        (entry_bytes * rows == self.entries.len() && !places.contains(&u32::MAX))
            .then_some((entry_bytes, places))
    }
}

impl SegmentReader {
    /// The level codes of the vectors called `vector`, all of them in memory.
    pub async fn stored_codes(&self, vector: &str) -> Result<StoredCodes> {
        let entries = self.checked_section(self.meta().levels_part(vector)?, SectionKind::LEVELS).await?;
        Ok(StoredCodes { entries, tags: self.tag_layout(vector)? })
    }

    /// How what is said of rows beside the codes of the vectors called `vector` is stored.
    pub fn tag_layout(&self, vector: &str) -> Result<TagLayout> {
        self.far_part(&PartKind::VectorIndex(vector.to_owned()))?.tag_layout()
    }

    /// Where the codes of the vectors called `vector` are in the order of a field; `None` if there are none. No request.
    pub fn ordered_blocks(&self, vector: &str, path: &JsonPath) -> Result<Option<RowBlocks>> {
        let Some(part) = self.meta().ordered_codes(vector, path) else { return Ok(None) };
        PartBytes::check_readable(part)?;
        self.row_blocks(part, SectionKind::LEVELS).map(Some)
    }

    /// What one such code says, which is of `row`.
    pub fn ordered_candidate(
        &self,
        query: &ColdQuery,
        code: &[u8],
        tags: TagLayout,
        row: u32,
    ) -> Result<FarCandidate> {
        let said = self.ranked(query, code, code.len(), tags, self.rows()).next().flatten();
        said.filter(|candidate| candidate.tag.row == row).ok_or_else(|| {
            Error::damaged(format!(
                "a code of segment {} is not of row {row}, as its place says",
                self.meta().id
            ))
        })
    }
}

impl<S: Sink> ObjectWriter<S> {
    /// Adds codes of the vectors called `vector`, which all rows have, in the order of a field, whose index is loaded. Takes a processor
    /// for a while.
    pub fn add_ordered_codes(
        &mut self,
        reader: &SegmentReader,
        vector: &str,
        path: &JsonPath,
        codes: &StoredCodes,
    ) -> Result<PartMeta> {
        let lacks = || Error::internal(format!("segment {} has no order of {path}", reader.meta().id));
        let detail = reader.meta().ordered_detail(vector, path).ok_or_else(lacks)?;
        let detail = postcard::to_stdvec(&detail).map_err(|e| Error::internal(e.to_string()))?;
        let field = reader.field_index(path)?.ok_or_else(lacks)?;
        let rows = field.rows_by_value(reader.rows())?.ok_or_else(lacks)?;
        let (size, places) = codes.places(rows.len()).ok_or_else(|| {
            Error::damaged(format!("the index of '{vector}' in segment {} lacks rows", reader.meta().id))
        })?;
        let (mut part, mut some, mut stretch) = (self.begin()?, Vec::new(), Stretch::begin());
        for rows in rows.chunks(WRITTEN) {
            some.clear();
            for row in rows {
                let start = places[*row as usize] as usize * size;
                some.extend_from_slice(&codes.entries[start..start + size]);
            }
            part.write(SectionKind::LEVELS, &some)?;
            stretch.give_way();
        }
        part.finish(
            PartKind::OrderedCodes { vector: vector.to_owned(), path: path.clone() },
            reader.rows().into(),
            detail,
        )
    }
}
