//! The dense vectors of one name: the rows that have one, one after another, as configured (f32, f16 or u8,
//! little endian). Where some rows have none, a bitmap says which do, and a row's rank in it is its slot.

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use lodestone_types::{Datatype, Error, Result};
use roaring::RoaringBitmap;

use crate::bitmap;
use crate::meta::{PartKind, SectionKind};
use crate::part::{PartBytes, PartDraft};
use crate::schema::VectorSpec;

pub(crate) struct VectorWriter {
    spec: VectorSpec,
    raw: Vec<u8>,
    present: RoaringBitmap,
}

impl VectorWriter {
    pub fn new(spec: VectorSpec) -> Self {
        Self { spec, raw: Vec::new(), present: RoaringBitmap::new() }
    }

    pub fn spec(&self) -> VectorSpec {
        self.spec
    }

    /// Adds the vector of `row`, which has the right length.
    pub fn push(&mut self, row: u32, vector: &[u8]) -> Result<()> {
        if !self.present.insert(row) {
            return Err(Error::internal(format!("row {row} has two vectors of one name")));
        }
        self.raw.extend_from_slice(vector);
        Ok(())
    }

    pub fn finish(self, name: &str, rows: u32) -> Result<PartDraft> {
        let entries = self.present.len();
        let mut sections = vec![(SectionKind::RAW, self.raw)];
        if entries != u64::from(rows) {
            sections.push((SectionKind::PRESENCE, bitmap::encode(&self.present)?));
        }
        let detail = postcard::to_stdvec(&self.spec).map_err(|e| Error::internal(e.to_string()))?;
        Ok(PartDraft { kind: PartKind::Vector(name.to_owned()), entries, detail, sections })
    }
}

/// A part of vectors where it is kept, to be read here and there without bringing all of it into memory.
pub trait DiskPart: Debug + Send + Sync {
    /// Whether single vectors are to be read from here now rather than from memory; `wanted` if the collection says that
    /// they live on disk. May change from one call to the next.
    fn is_in_use(&self, wanted: bool) -> bool;

    /// Appends the bytes of `ranges`, counted from the start of the part, to `out`, one range after another. Blocks until
    /// all are there.
    fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> Result<()>;

    /// Lets go of memory that was taken by reading all of the part.
    fn forget_map(&self);
}

/// The loaded vectors of one name. A **slot** is a vector's place among those that are there.
#[derive(Debug)]
pub struct VectorColumn {
    spec: VectorSpec,
    rows: u32,
    raw: Bytes,
    /// Where the raw vectors begin in the part.
    offset: u64,
    present: Option<RoaringBitmap>,
    disk: Option<Box<dyn DiskPart>>,
}

impl VectorColumn {
    pub(crate) fn open(part: &PartBytes, disk: Option<Box<dyn DiskPart>>, rows: u32) -> Result<Self> {
        let spec: VectorSpec = postcard::from_bytes(&part.meta().detail)
            .map_err(|_| part.damaged("what the manifest says about it cannot be read"))?;
        let entries = part.meta().entries;
        let present = match part.find(SectionKind::PRESENCE) {
            Some(section) => Some(bitmap::decode(&section, entries, rows)?),
            None if entries == u64::from(rows) => None,
            None => return Err(part.damaged("section presence is missing")),
        };
        let raw = part.section(SectionKind::RAW)?;
        let expected = (spec.row_bytes() as u64).checked_mul(entries);
        if spec.dim == 0 || expected != Some(raw.bytes.len() as u64) {
            return Err(raw.damaged(format!("it does not hold {entries} vectors of {} dimensions", spec.dim)));
        }
        let offset = part.meta().sections.iter().find(|s| s.kind == SectionKind::RAW).map_or(0, |s| s.offset);
        Ok(Self { spec, rows, raw: raw.bytes, offset, present, disk })
    }

    /// The shape of a vector.
    pub fn spec(&self) -> VectorSpec {
        self.spec
    }

    /// Components per vector.
    pub fn dim(&self) -> usize {
        self.spec.dim as usize
    }

    /// How each component is stored.
    pub fn datatype(&self) -> Datatype {
        self.spec.datatype
    }

    /// Vectors that are there.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.raw.len() / self.spec.row_bytes()
    }

    /// All vectors, one after another, by slot.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Where the vectors are on disk, if single ones are to be read from there now; `wanted` if the collection says that
    /// they live there. Otherwise they are read in memory, as whole runs of them always are.
    pub fn on_disk(&self, wanted: bool) -> Option<ColumnOnDisk<'_>> {
        let disk = self.disk.as_deref().filter(|disk| disk.is_in_use(wanted))?;
        Some(ColumnOnDisk { column: self, disk })
    }

    /// The rows that have a vector, in ascending order of slots; `None` if all have, and then a slot is a row.
    pub fn present(&self) -> Option<&RoaringBitmap> {
        self.present.as_ref()
    }

    /// The slot of `row`; `None` if it has no vector.
    pub fn row_to_slot(&self, row: u32) -> Option<u32> {
        match &self.present {
            None => (row < self.rows).then_some(row),
            Some(present) => present.contains(row).then(|| present.rank(row) as u32 - 1),
        }
    }

    /// The row of `slot`; `None` past the end.
    pub fn slot_to_row(&self, slot: u32) -> Option<u32> {
        match &self.present {
            None => (slot < self.rows).then_some(slot),
            Some(present) => present.select(slot),
        }
    }

    /// The stored form of the vector of `row`, if it has one.
    pub fn row(&self, row: u32) -> Option<&[u8]> {
        let size = self.spec.row_bytes();
        let start = self.row_to_slot(row)? as usize * size;
        self.raw.get(start..start + size)
    }
}

/// The vectors of one name as they lie on disk.
#[derive(Debug, Clone, Copy)]
pub struct ColumnOnDisk<'a> {
    column: &'a VectorColumn,
    disk: &'a dyn DiskPart,
}

impl ColumnOnDisk<'_> {
    /// Appends the vectors in these slots to `out`, one after another. Blocks until all are there.
    ///
    /// # Panics
    /// If a slot is past the end.
    pub fn read(&self, slots: &[u32], out: &mut Vec<u8>) -> Result<()> {
        let size = self.column.spec.row_bytes() as u64;
        let range = |slot: &u32| {
            assert!((*slot as usize) < self.column.len(), "slot {slot} of {}", self.column.len());
            let start = self.column.offset + u64::from(*slot) * size;
            start..start + size
        };
        let ranges: Vec<Range<u64>> = slots.iter().map(range).collect();
        out.reserve(slots.len() * size as usize);
        self.disk.read_many(&ranges, out)
    }

    /// Lets go of memory that was taken by reading all vectors through it.
    pub fn forget_map(&self) {
        self.disk.forget_map();
    }
}
