//! What stands beside a row's code in a vector index, so that a search that read the code needs to look up nothing
//! else before it reads the vector and the payload: whose row it is, where it is, and how its vector is checked.
//!
//! Little-endian: row (4), slot of the vector (4), CRC-32C of the vector's bytes (4), LSN (8), id. An id that is a number
//! takes 8 bytes in a segment that has no others; otherwise a byte that says whether it is a UUID (1), and 16 bytes.

use lodestone_index::dense::GONE;
use lodestone_types::{Error, PointId, Result};
use uuid::Uuid;

use crate::part::{le_u32, le_u64};
use crate::reader::SegmentReader;

const FIXED: usize = 4 + 4 + 4 + 8;
const NUMBER: usize = FIXED + 8;
const ANY: usize = FIXED + 17;

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

    /// From its stored form; `None` if that has a length that tags do not have.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (fixed, id) = bytes.split_at_checked(FIXED)?;
        let id = match (bytes.len(), id) {
            (NUMBER, id) => PointId::Num(le_u64(id)),
            (ANY, [0, id @ ..]) => PointId::Num(le_u64(id)),
            (ANY, [_, id @ ..]) => PointId::Uuid(Uuid::from_slice(id).ok()?),
            _ => return None,
        };
        Some(Self {
            row: le_u32(fixed),
            slot: le_u32(&fixed[4..]),
            checksum: le_u32(&fixed[8..]),
            lsn: le_u64(&fixed[12..]),
            id,
        })
    }

    fn encode(&self, out: &mut [u8]) {
        let (fixed, id) = out.split_at_mut(FIXED);
        fixed[..4].copy_from_slice(&self.row.to_le_bytes());
        fixed[4..8].copy_from_slice(&self.slot.to_le_bytes());
        fixed[8..12].copy_from_slice(&self.checksum.to_le_bytes());
        fixed[12..].copy_from_slice(&self.lsn.to_le_bytes());
        match (self.id, id) {
            (PointId::Num(number), id) if id.len() == 8 => id.copy_from_slice(&number.to_le_bytes()),
            (PointId::Num(number), id) => id[1..9].copy_from_slice(&number.to_le_bytes()),
            (PointId::Uuid(uuid), id) => {
                id[0] = 1;
                id[1..].copy_from_slice(uuid.as_bytes());
            }
        }
    }
}

/// The tags of a segment's rows that have a vector.
#[derive(Debug, Default)]
pub struct RowTags {
    /// By row.
    tags: Vec<Option<RowTag>>,
    any_uuid: bool,
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

    /// Bytes of the stored form of each.
    pub(crate) fn size(&self) -> usize {
        if self.any_uuid { ANY } else { NUMBER }
    }

    /// Writes the tag of `row`.
    pub(crate) fn write(&self, row: u32, out: &mut [u8]) {
        if let Some(Some(tag)) = self.tags.get(row as usize) {
            tag.encode(out);
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
        let (mut tags, mut any_uuid) = (Vec::new(), false);
        for tag in all {
            let at = tag.row as usize;
            if tags.len() <= at {
                tags.resize(at + 1, None);
            }
            any_uuid |= matches!(tag.id, PointId::Uuid(_));
            tags[at] = Some(tag);
        }
        for (slot, tag) in (0..).zip(tags.iter_mut().flatten()) {
            tag.slot = slot;
        }
        Self { tags, any_uuid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_back() {
        let tag = |row, id| RowTag { row, slot: row - 7, checksum: 0xdead_beef, lsn: u64::MAX - 1, id };
        for (ids, size) in [
            ([PointId::Num(u64::MAX), PointId::Num(0)], NUMBER),
            ([PointId::Num(3), PointId::Uuid(Uuid::from_u128(1 << 127 | 9))], ANY),
        ] {
            let expected = [tag(7, ids[0]), tag(8, ids[1])];
            let tags: RowTags = expected.into_iter().collect();
            for tag in expected {
                let mut bytes = vec![0; tags.size()];
                tags.write(tag.row, &mut bytes);
                assert_eq!((bytes.len(), RowTag::decode(&bytes)), (size, Some(tag)));
                assert_eq!(RowTag::decode(&bytes[1..]), None);
            }
            tags.check([7, 8]).unwrap();
            tags.check([7, 6]).unwrap_err();
        }
    }
}
