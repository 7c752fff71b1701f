//! Level codes of an index once more, in the order of a field ([`RowOrder`]), so that what a filter on that field leaves of a far segment
//! lies together. Which row is where follows from the field's index, which who asks such a filter has in any case.

use bytes::Bytes;
use lodestone_index::dense::ColdQuery;
use lodestone_index::{FieldIndexReader, RareValues, is_principal};
use lodestone_types::{Error, JsonPath, Result, Stretch};
use serde::{Deserialize, Serialize};

use crate::far::FarCandidate;
use crate::far_rows::RowBlocks;
use crate::meta::{PartKind, PartMeta, SectionKind, SegmentMeta};
use crate::part::{ObjectWriter, PartBytes, Sink};
use crate::reader::SegmentReader;
use crate::row_tag::TagLayout;

/// Entries that are written at once.
const WRITTEN: usize = 1024;

/// Of which rows a field has such codes, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// All, by their least values ([`FieldIndexReader::rows_by_value`]): of a field [that most searches ask for](is_principal).
    ByValue,
    /// Those of its rare values ([`FieldIndexReader::rows_of_rare`]): of any other field.
    Rare(RareValues),
}

impl RowOrder {
    /// Its number where it is stored.
    fn code(self) -> u8 {
        match self {
            Self::ByValue => 1,
            Self::Rare(_) => 2,
        }
    }

    fn rows(self, field: &FieldIndexReader, rows: u32) -> Result<Option<Vec<u32>>> {
        match self {
            Self::ByValue => field.rows_by_value(rows),
            Self::Rare(values) => field.rows_of_rare(rows, values),
        }
    }
}

/// The rows of a segment that get codes in the order of a field, one after the other.
#[derive(Debug)]
pub struct OrderedRows {
    path: JsonPath,
    order: RowOrder,
    rows: Vec<u32>,
}

impl OrderedRows {
    /// Their number.
    pub fn count(&self) -> u32 {
        self.rows.len() as u32
    }
}

/// What the manifest says of such codes: what they are of, so that rows are not taken for others. For rare values, what these are follows.
#[derive(PartialEq, Serialize, Deserialize)]
struct OrderedDetail {
    /// [`RowOrder::code`].
    order: u8,
    /// The checksum of the part of the index of vectors.
    index: u32,
    /// The checksum of the part of the field's index.
    field: u32,
}

impl SegmentMeta {
    /// The codes of the vectors called `vector` in the order of a field, if there are any, they are of the indexes that the segment has
    /// now, and of all rows just if the field is one [that most searches ask for](is_principal). They may be of no rows.
    pub fn ordered_codes(&self, vector: &str, path: &JsonPath) -> Option<&PartMeta> {
        self.ordered_part(vector, path).map(|(part, _)| part)
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

    fn ordered_part(&self, vector: &str, path: &JsonPath) -> Option<(&PartMeta, RowOrder)> {
        let part = self.part(&PartKind::OrderedCodes { vector: vector.to_owned(), path: path.clone() })?;
        let (is_of, rest): (OrderedDetail, _) = postcard::take_from_bytes(&part.detail).ok()?;
        let order = match self.is_principal(path)? {
            true => RowOrder::ByValue,
            false => RowOrder::Rare(postcard::from_bytes(rest).ok()?),
        };
        (Some(is_of) == self.ordered_detail(vector, path, order)).then_some((part, order))
    }

    fn ordered_detail(&self, vector: &str, path: &JsonPath, order: RowOrder) -> Option<OrderedDetail> {
        let index = self.part(&PartKind::VectorIndex(vector.to_owned()))?;
        let (field, _) = self.field_index(path)?;
        Some(OrderedDetail { order: order.code(), index: index.checksum, field: field.checksum })
    }

    /// Whether most searches ask for the field, by the index that the segment has.
    fn is_principal(&self, path: &JsonPath) -> Option<bool> {
        self.field_index(path).map(|(_, how)| is_principal(how))
    }
}

/// The level codes of an index as they are stored, each with what it is of.
#[derive(Debug)]
pub struct StoredCodes {
    entries: Bytes,
    tags: TagLayout,
}

impl StoredCodes {
    /// The same by row of `segment`, whose they are; an error if not each has one. Takes a processor for a while.
    pub fn by_row(&self, segment: &SegmentMeta) -> Result<CodesByRow> {
        let (entry_bytes, places) = self.places(segment.rows as usize).ok_or_else(|| {
            Error::damaged(format!(
                "an index of vectors in segment {} does not have each row once",
                segment.id
            ))
        })?;
        Ok(CodesByRow { entries: self.entries.clone(), entry_bytes, places })
    }

    /// Bytes of each, and the place of each row; `None` if not each row has one.
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

/// The level codes of all rows.
#[derive(Debug)]
pub struct CodesByRow {
    entries: Bytes,
    entry_bytes: usize,
    places: Vec<u32>,
}

impl CodesByRow {
    fn of(&self, row: u32) -> &[u8] {
        let start = self.places[row as usize] as usize * self.entry_bytes;
        &self.entries[start..start + self.entry_bytes]
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

    /// How many rows each rare value of a field has, whose index is loaded, ascending; no matter how many `rows` may be taken.
    pub fn rare_counts(&self, path: &JsonPath, rare: RareValues) -> Result<Vec<u64>> {
        let counts = self.field_index(path)?.map(|field| field.rare_counts(rare)).transpose()?;
        Ok(counts.flatten().unwrap_or_default())
    }

    /// The rows that get codes in this order of a field, whose index is loaded. Takes a processor for a while.
    pub fn rows_in_order(&self, path: &JsonPath, order: RowOrder) -> Result<OrderedRows> {
        let lacks = || Error::internal(format!("segment {} has no order of {path}", self.meta().id));
        let field = self.field_index(path)?.ok_or_else(lacks)?;
        let rows = order.rows(field, self.rows())?.ok_or_else(lacks)?;
        Ok(OrderedRows { path: path.clone(), order, rows })
    }

    /// Where the codes of the vectors called `vector` are in the order of a field; `None` if there are none. No request.
    pub fn ordered_blocks(&self, vector: &str, path: &JsonPath) -> Result<Option<RowBlocks>> {
        let part = self.meta().ordered_codes(vector, path).filter(|part| part.entries > 0);
        let Some(part) = part else { return Ok(None) };
        PartBytes::check_readable(part)?;
        self.row_blocks(part, SectionKind::LEVELS).map(Some)
    }

    /// Of which rows these codes are, one after the other. The field's index is loaded. Takes a processor for a while.
    pub fn ordered_rows(&self, vector: &str, path: &JsonPath) -> Result<Option<Vec<u32>>> {
        let Some((part, order)) = self.meta().ordered_part(vector, path) else { return Ok(None) };
        let rows = self.rows_in_order(path, order)?.rows;
        match rows.len() as u64 == part.entries {
            true => Ok(Some(rows)),
            false => Err(part.damaged(&format!("the index of {path} tells of {} rows", rows.len()))),
        }
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
    /// Adds codes of the vectors called `vector`, which all rows of the segment have, in an order: a part without any where there are no
    /// rows, for which there need not be `codes`.
    pub fn add_ordered_codes(
        &mut self,
        segment: &SegmentMeta,
        vector: &str,
        ordered: &OrderedRows,
        codes: Option<&CodesByRow>,
    ) -> Result<PartMeta> {
        let OrderedRows { path, order, rows } = ordered;
        let detail = segment.ordered_detail(vector, path, *order);
        let detail = detail
            .ok_or_else(|| Error::internal(format!("segment {} has no order of {path}", segment.id)))?;
        let unwritable = |e: postcard::Error| Error::internal(e.to_string());
        let mut stored = postcard::to_stdvec(&detail).map_err(unwritable)?;
        if let RowOrder::Rare(values) = order {
            stored = postcard::to_extend(values, stored).map_err(unwritable)?;
        }
        let (mut part, mut some, mut stretch) = (self.begin()?, Vec::new(), Stretch::begin());
        for rows in rows.chunks(WRITTEN) {
            let codes = codes.ok_or_else(|| Error::internal("codes of rows were not read"))?;
            some.clear();
            rows.iter().for_each(|row| some.extend_from_slice(codes.of(*row)));
            part.write(SectionKind::LEVELS, &some)?;
            stretch.give_way();
        }
        let kind = PartKind::OrderedCodes { vector: vector.to_owned(), path: path.clone() };
        part.finish(kind, rows.len() as u64, stored)
    }
}
