//! What stands beside a row's code in a vector index, so that a search that read the code needs to look up nothing
//! else before it reads the vector and the payload: whose row it is, where it is, and how its vector is checked.
//!
//! Row, slot of the vector, CRC-32C of the vector's bytes (4), LSN and id: little-endian numbers, each column in as few bytes as the
//! rows of the index need, which the manifest says ([`TagLayout`]). Where ids are UUIDs, they take a byte that says whether it is
//! one, and 16 bytes.

use lodestone_index::dense::GONE;
use lodestone_types::{Error, PointId, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::part::{le_u32, le_u64};
use crate::reader::SegmentReader;

const CHECKSUM: usize = 4;
/// An id where there are UUIDs.
const ANY_ID: usize = 17;
/// Bytes of a tag that builds wrote which wrote no layout, where ids are numbers, and where there are UUIDs.
const BEFORE: [u32; 2] = [28, 37];

/// What is known of a row beside its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowTag {
    /// In its segment.
    pub row: u32,
    /// Of the vector.
    pub slot: u32,
    /// CRC-32C of the vector's bytes.
    pub checksum: u32,
    /// Of the row's last change.
    pub lsn: u64,
    /// Whose row it is.
    pub id: PointId,
}

impl RowTag {
    /// Of a row with this vector; its slot is known when all are.
    pub fn new(row: u32, id: PointId, lsn: u64, vector: &[u8]) -> Self {
        Self { row, slot: 0, checksum: crc32c::crc32c(vector), lsn, id }
    }
}

/// Numbers that are stored as what they are more than the least of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Column {
    least: u64,
    /// Of each.
    bytes: u8,
}

impl Column {
    /// For these numbers.
    fn of(numbers: impl Iterator<Item = u64>) -> Self {
        let (least, most) = numbers.fold((u64::MAX, 0), |(least, most), n| (n.min(least), n.max(most)));
        let bits = 64 - most.saturating_sub(least).leading_zeros();
        Self { least: if least > most { 0 } else { least }, bytes: bits.div_ceil(8) as u8 }
    }

    fn put(self, number: u64, out: &mut &mut [u8]) {
        let (own, rest) = std::mem::take(out).split_at_mut(self.bytes.into());
        own.copy_from_slice(&number.wrapping_sub(self.least).to_le_bytes()[..own.len()]);
        *out = rest;
    }

    fn take(self, from: &mut &[u8]) -> Option<u64> {
        let mut number = [0; 8];
        number[..self.bytes.into()].copy_from_slice(from.split_off(..self.bytes.into())?);
        self.least.checked_add(u64::from_le_bytes(number))
    }
}

/// How the tags of one index are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagLayout {
    row: Column,
    /// None where a slot is its row.
    slot: Option<Column>,
    lsn: Column,
    /// None where there are UUIDs.
    number: Option<Column>,
}

impl TagLayout {
    /// The shortest for these tags.
    fn of<'a>(tags: impl Iterator<Item = &'a RowTag> + Clone) -> Self {
        let column = |number: fn(&RowTag) -> u64| Column::of(tags.clone().map(number));
        let has_all = tags.clone().all(|tag| tag.slot == tag.row);
        let numbers = tags.clone().all(|tag| matches!(tag.id, PointId::Num(_)));
        let number = |tag: &RowTag| if let PointId::Num(number) = tag.id { number } else { 0 };
        let mut layout = Self {
            row: column(|tag| tag.row.into()),
            slot: (!has_all).then(|| column(|tag| tag.slot.into())),
            lsn: column(|tag| tag.lsn),
            number: numbers.then(|| column(number)),
        };
        // Or builds of before would take them for theirs.
        if BEFORE.contains(&(layout.bytes() as u32)) {
            layout.row.bytes += 1;
        }
        layout
    }

    /// Of tags of so many bytes that were written without one; `None` if none were.
    pub(crate) fn of_before(tag_bytes: u32) -> Option<Self> {
        let column = |bytes| Column { least: 0, bytes };
        let number = match BEFORE.iter().position(|bytes| *bytes == tag_bytes)? {
            0 => Some(column(8)),
            _ => None,
        };
        Some(Self { row: column(4), slot: Some(column(4)), lsn: column(8), number })
    }

    /// Of each tag.
    pub(crate) fn bytes(&self) -> usize {
        let of = |column: &Column| usize::from(column.bytes);
        let id = self.number.as_ref().map_or(ANY_ID, of);
        of(&self.row) + self.slot.as_ref().map_or(0, of) + CHECKSUM + of(&self.lsn) + id
    }

    /// Whether there can be such columns.
    pub(crate) fn is_possible(&self) -> bool {
        let columns = [Some(self.row), self.slot, Some(self.lsn), self.number];
        columns.iter().flatten().all(|column| column.bytes <= 8)
    }

    /// From the stored form; `None` if that is not one.
    pub(crate) fn decode(&self, mut bytes: &[u8]) -> Option<RowTag> {
        if bytes.len() != self.bytes() {
            return None;
        }
        let from = &mut bytes;
        let row = u32::try_from(self.row.take(from)?).ok()?;
        let slot = match self.slot {
            Some(column) => u32::try_from(column.take(from)?).ok()?,
            None => row,
        };
        let checksum = le_u32(from.split_off(..CHECKSUM)?);
        let lsn = self.lsn.take(from)?;
        let id = match (self.number, *from) {
            (Some(column), _) => PointId::Num(column.take(from)?),
            (None, [0, id @ ..]) => PointId::Num(le_u64(id)),
            (None, [_, id @ ..]) => PointId::Uuid(Uuid::from_slice(id).ok()?),
            (None, []) => return None,
        };
        Some(RowTag { row, slot, checksum, lsn, id })
    }

    fn encode(&self, tag: &RowTag, mut out: &mut [u8]) {
        let out = &mut out;
        self.row.put(tag.row.into(), out);
        if let Some(column) = self.slot {
            column.put(tag.slot.into(), out);
        }
        let (checksum, rest) = std::mem::take(out).split_at_mut(CHECKSUM);
        checksum.copy_from_slice(&tag.checksum.to_le_bytes());
        *out = rest;
        self.lsn.put(tag.lsn, out);
        match (self.number, tag.id) {
            (Some(column), PointId::Num(number)) => column.put(number, out),
            (_, PointId::Num(number)) => out[1..9].copy_from_slice(&number.to_le_bytes()),
            (_, PointId::Uuid(uuid)) => {
                out[0] = 1;
                out[1..ANY_ID].copy_from_slice(uuid.as_bytes());
            }
        }
    }
}

/// The tags of a segment's rows that have a vector.
#[derive(Debug, Default)]
pub struct RowTags {
    /// By row.
    tags: Vec<Option<RowTag>>,
}

impl RowTags {
    /// Those of the rows with a vector called `name` of one segment, or of the one that several are merged into: then each
    /// comes with the rows that its rows become. Needs ids and vectors.
    pub fn of(sources: &[(&SegmentReader, Option<&[u32]>)], name: &str) -> Result<Self> {
        let mut tags = Vec::new();
        for (reader, becomes) in sources {
            let Some(column) = reader.vector(name)? else { continue };
            let mut vectors = column.reader();
            for old in 0..reader.rows() {
                let row = becomes.map_or(old, |rows| rows.get(old as usize).copied().unwrap_or(GONE));
                if row == GONE {
                    continue;
                }
                let Some(vector) = vectors.row(old)? else { continue };
                tags.push(RowTag::new(row, reader.id(old)?, reader.lsn(old)?, &vector));
            }
        }
        Ok(tags.into_iter().collect())
    }

    /// How they are stored.
    pub(crate) fn layout(&self) -> TagLayout {
        TagLayout::of(self.tags.iter().flatten())
    }

    /// Writes the tag of `row`.
    pub(crate) fn write(&self, row: u32, layout: &TagLayout, out: &mut [u8]) {
        if let Some(Some(tag)) = self.tags.get(row as usize) {
            layout.encode(tag, out);
        }
    }

    /// Refuses an index that has rows without a tag.
    pub(crate) fn check(&self, rows: impl IntoIterator<Item = u32>) -> Result<()> {
        let lacks = |row: &u32| !matches!(self.tags.get(*row as usize), Some(Some(_)));
        match rows.into_iter().find(lacks) {
            Some(row) => Err(Error::internal(format!("row {row} is in an index and has no vector"))),
            None => Ok(()),
        }
    }
}

/// Slots are given in the order of rows.
impl FromIterator<RowTag> for RowTags {
    fn from_iter<I: IntoIterator<Item = RowTag>>(all: I) -> Self {
        let mut tags = Vec::new();
        for tag in all {
            let at = tag.row as usize;
            if tags.len() <= at {
                tags.resize(at + 1, None);
            }
            tags[at] = Some(tag);
        }
        for (slot, tag) in (0..).zip(tags.iter_mut().flatten()) {
            tag.slot = slot;
        }
        Self { tags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(row: u32, lsn: u64, id: PointId) -> RowTag {
        RowTag { row, slot: row, checksum: 0xdead_beef, lsn, id }
    }

    /// Bytes of each of these tags, which come back.
    fn stored(expected: &[RowTag]) -> usize {
        let tags: RowTags = expected.iter().copied().collect();
        let layout = tags.layout();
        assert!(layout.is_possible());
        let slots = expected.iter().zip(0..);
        for expected in slots.map(|(tag, slot)| RowTag { slot, ..*tag }) {
            let mut bytes = vec![0; layout.bytes()];
            tags.write(expected.row, &layout, &mut bytes);
            assert_eq!(layout.decode(&bytes), Some(expected));
            assert_eq!(layout.decode(&bytes[1..]), None);
        }
        layout.bytes()
    }

    #[test]
    fn tags_come_back_in_as_few_bytes_as_they_need() {
        let (low, high) = (PointId::Num(1 << 40), PointId::Num((1 << 40) + 255));
        assert_eq!(stored(&[tag(0, 900, low)]), 4, "the checksum alone");
        assert_eq!(stored(&[tag(0, 900, low), tag(1, 901, high)]), 1 + 4 + 1 + 1);
        assert_eq!(
            stored(&[tag(7, 900, low), tag(300, 900 + (1 << 16), high)]),
            2 + 1 + 4 + 3 + 1,
            "slots too"
        );
        let most = [tag(7, 0, PointId::Num(0)), tag(8, u64::MAX, PointId::Num(u64::MAX))];
        assert_eq!(stored(&most), 1 + 1 + 4 + 8 + 8);
        let uuid = PointId::Uuid(Uuid::from_u128(1 << 127 | 9));
        assert_eq!(stored(&[tag(0, 1, low), tag(1, 2, uuid)]), 1 + 4 + 1 + 17);
        assert_eq!(
            stored(&[tag(0, 1, low), tag(1 << 16, 1 << 24, uuid)]),
            3 + 1 + 4 + 4 + 17,
            "not 28, which were others"
        );
    }

    #[test]
    fn tags_of_before_are_read() {
        let number = TagLayout::of_before(28).unwrap();
        let any = TagLayout::of_before(37).unwrap();
        assert_eq!((number.bytes(), any.bytes(), TagLayout::of_before(29)), (28, 37, None));
        let mut bytes: Vec<u8> = [7u32, 5, 0xdead_beef].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend(900u64.to_le_bytes());
        let expected = |id| RowTag { slot: 5, ..tag(7, 900, id) };
        let with = |id: &[u8]| [&bytes[..], id].concat();
        assert_eq!(number.decode(&with(&3u64.to_le_bytes())), Some(expected(PointId::Num(3))));
        let id = [&[0, 3][..], &[0; 15]].concat();
        assert_eq!(any.decode(&with(&id)), Some(expected(PointId::Num(3))));
        let uuid = Uuid::from_u128(9);
        let id = [&[1][..], uuid.as_bytes()].concat();
        assert_eq!(any.decode(&with(&id)), Some(expected(PointId::Uuid(uuid))));
    }

    #[test]
    fn rows_without_a_tag_are_refused() {
        let tags: RowTags = [tag(7, 1, PointId::Num(1)), tag(8, 1, PointId::Num(2))].into_iter().collect();
        tags.check([7, 8]).unwrap();
        tags.check([7, 6]).unwrap_err();
    }
}
