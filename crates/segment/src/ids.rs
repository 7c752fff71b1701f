//! The point id and the LSN of each row. Rows are in the order of ids, so numbers come first, then UUIDs.

use bytes::Bytes;
use lodestone_types::{Error, PointId, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::meta::{PartKind, SectionKind};
use crate::packed::{PackedColumn, PackedWriter, partition_point};
use crate::part::{PartBytes, PartDraft};

const UUID_BYTES: usize = 16;

/// What the manifest says about an ids part.
#[derive(Serialize, Deserialize)]
struct Detail {
    numbers: u32,
    /// The first and the last id, for those who look for one in many segments.
    ends: Option<(PointId, PointId)>,
}

#[derive(Default)]
pub(crate) struct IdWriter {
    numbers: PackedWriter,
    number_count: u32,
    uuids: Vec<u8>,
    lsns: PackedWriter,
    ends: Option<(PointId, PointId)>,
}

impl IdWriter {
    /// Adds a row, whose id has to be greater than the one before.
    pub fn push(&mut self, id: PointId, lsn: u64) -> Result<()> {
        if let Some((_, last)) = self.ends
            && last >= id
        {
            return Err(Error::internal(format!(
                "segment rows must ascend by id, and {id} came after {last}"
            )));
        }
        self.ends = Some((self.ends.map_or(id, |(first, _)| first), id));
        match id {
            PointId::Num(number) => {
                self.numbers.push(number);
                self.number_count += 1;
            }
            PointId::Uuid(uuid) => self.uuids.extend_from_slice(uuid.as_bytes()),
        }
        self.lsns.push(lsn);
        Ok(())
    }

    pub fn finish(self, rows: u32) -> Result<PartDraft> {
        let detail = Detail { numbers: self.number_count, ends: self.ends };
        let detail = postcard::to_stdvec(&detail).map_err(|e| Error::internal(e.to_string()))?;
        let sections = vec![
            (SectionKind::NUMBERS, self.numbers.finish().into()),
            (SectionKind::UUIDS, self.uuids.into()),
            (SectionKind::LSNS, self.lsns.finish().into()),
        ];
        Ok(PartDraft { kind: PartKind::Ids, entries: rows.into(), detail, sections })
    }
}

/// The loaded ids part of a segment.
#[derive(Debug)]
pub struct IdColumn {
    numbers: PackedColumn,
    uuids: Bytes,
    lsns: PackedColumn,
}

impl IdColumn {
    pub(crate) fn open(part: &PartBytes, rows: u32) -> Result<Self> {
        let detail: Detail = postcard::from_bytes(&part.meta().detail)
            .map_err(|_| part.damaged("what the manifest says about it cannot be read"))?;
        if detail.numbers > rows || part.meta().entries != u64::from(rows) {
            return Err(part.damaged(format!("it is not of a segment of {rows} rows")));
        }
        let numbers_section = part.section(SectionKind::NUMBERS)?;
        let numbers = PackedColumn::open(&numbers_section, detail.numbers as usize)?;
        if !numbers.iter().is_sorted_by(|a, b| a < b) {
            return Err(numbers_section.damaged("its ids do not ascend"));
        }
        let uuids = part.section(SectionKind::UUIDS)?;
        if uuids.bytes.len() != (rows - detail.numbers) as usize * UUID_BYTES {
            return Err(uuids.damaged("its length does not fit the number of rows"));
        }
        if !uuids.bytes.chunks_exact(UUID_BYTES).is_sorted_by(|a, b| a < b) {
            return Err(uuids.damaged("its ids do not ascend"));
        }
        let lsns = PackedColumn::open(&part.section(SectionKind::LSNS)?, rows as usize)?;
        Ok(Self { numbers, uuids: uuids.bytes, lsns })
    }

    /// Rows.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u32 {
        self.lsns.len() as u32
    }

    /// The id of a row; `None` past the end.
    pub fn get(&self, row: u32) -> Option<PointId> {
        let row = row as usize;
        match row.checked_sub(self.numbers.len()) {
            None => self.numbers.get(row).map(PointId::Num),
            Some(at) => self.uuid(at).map(PointId::Uuid),
        }
    }

    /// The LSN of the last change of a row; `None` past the end.
    pub fn lsn(&self, row: u32) -> Option<u64> {
        self.lsns.get(row as usize)
    }

    /// The row of `id`.
    pub fn find(&self, id: PointId) -> Option<u32> {
        let row = self.lower_bound(id);
        (self.get(row) == Some(id)).then_some(row)
    }

    /// The first row whose id is not less than `id`; the number of rows if there is none.
    pub fn lower_bound(&self, id: PointId) -> u32 {
        let at = match id {
            PointId::Num(n) => self.numbers.lower_bound(n),
            PointId::Uuid(u) => {
                let uuids = self.uuids.len() / UUID_BYTES;
                self.numbers.len() + partition_point(0..uuids, |at| self.uuid(at).is_some_and(|v| v < u))
            }
        };
        at as u32
    }

    /// All ids, by row.
    pub fn iter(&self) -> impl Iterator<Item = PointId> {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    fn uuid(&self, at: usize) -> Option<Uuid> {
        let start = at.checked_mul(UUID_BYTES)?;
        Uuid::from_slice(self.uuids.get(start..start + UUID_BYTES)?).ok()
    }
}
