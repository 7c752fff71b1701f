//! The dense vectors of one name: the rows that have one, one after another, as configured (f32, f16 or u8,
//! little endian). Where some rows have none, a bitmap says which do, and a row's rank in it is its slot.

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use lodestone_types::{Datatype, Error, Result};
use roaring::RoaringBitmap;

use crate::bitmap;
use crate::meta::{PartKind, PartMeta, SectionKind};
use crate::part::{BLOCK_BYTES, PartBytes, PartOnDisk, PartWriter, Section, Sink, damaged};
use crate::schema::VectorSpec;

/// Bytes that are read at once where vectors are read in a row.
const RUN_BYTES: usize = 1 << 20;
/// Slots that may be passed over in a row.
const NEAR_SLOTS: u32 = 8;

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

    /// Moves vectors into the part once there are some to move.
    pub fn drain<S: Sink>(&mut self, part: &mut PartWriter<'_, S>) -> Result<()> {
        if self.raw.len() >= BLOCK_BYTES {
            part.write(SectionKind::RAW, &self.raw)?;
            self.raw.clear();
        }
        Ok(())
    }

    /// The part of a segment of `rows` rows, into which what is left goes.
    pub fn finish<S: Sink>(self, mut part: PartWriter<'_, S>, name: &str, rows: u32) -> Result<PartMeta> {
        part.write(SectionKind::RAW, &self.raw)?;
        let entries = self.present.len();
        if entries != u64::from(rows) {
            part.write(SectionKind::PRESENCE, &bitmap::encode(&self.present)?)?;
        }
        let detail = postcard::to_stdvec(&self.spec).map_err(|e| Error::internal(e.to_string()))?;
        part.finish(PartKind::Vector(name.to_owned()), entries, detail)
    }
}

/// A part where it is kept as a file, to be read here and there without bringing all of it into memory. What is read is checked.
/// An error of kind [`LostCopy`](lodestone_types::ErrorKind::LostCopy) says that the file is gone or damaged: loading it once more
/// brings another one.
pub trait DiskPart: Debug + Send + Sync {
    /// Whether it could not be read, and has to be brought here again.
    fn is_lost(&self) -> bool;

    /// Goes on with a part that was brought here again: from its file, or from `bytes` where there is none. It stays lost where
    /// there is neither.
    fn renew(&self, bytes: Option<Bytes>);

    /// All of it, if it is in memory; `on_disk` if the collection says that it lives on disk. May change from one call to the next.
    /// What may be in memory is brought there, meanwhile if it is large.
    fn memory(&self, on_disk: bool) -> Result<Option<Bytes>>;

    /// The same, and blocks until it is where it is to be.
    fn settle(&self, on_disk: bool) -> Result<()>;

    /// Lets go of the memory that it takes, or is about to take, if it can be read from disk; whether there was some to let go.
    fn leave_memory(&self) -> bool;

    /// All of it, if it is in memory already.
    fn peek(&self) -> Option<Bytes>;

    /// All of it, in memory for as long as the caller keeps it. Blocks until it is there.
    fn read_all(&self) -> Result<Bytes>;

    /// Appends the bytes of `ranges`, counted from the start of the part, to `out`, one range after another. Blocks until
    /// all are there.
    fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> Result<()>;
}

/// The loaded vectors of one name. A **slot** is a vector's place among those that are there.
#[derive(Debug)]
pub struct VectorColumn {
    spec: VectorSpec,
    rows: u32,
    /// How many there are.
    len: usize,
    raw: Raw,
    present: Option<RoaringBitmap>,
}

#[derive(Debug)]
enum Raw {
    Memory(Bytes),
    /// The part, and where the raw vectors are in it.
    Disk(Box<dyn DiskPart>, Range<u64>),
}

/// Where the vectors of a column are to be read now.
#[derive(Debug, Clone)]
pub enum Vectors<'a> {
    /// All, one after another, by slot.
    Memory(Bytes),
    /// Single ones and runs, from disk.
    Disk(ColumnOnDisk<'a>),
}

impl VectorColumn {
    /// Of a part that is in memory.
    pub(crate) fn open(part: &PartBytes, rows: u32) -> Result<Self> {
        let present = part.find(SectionKind::PRESENCE);
        let raw = part.section(SectionKind::RAW)?;
        let length = raw.bytes.len() as u64;
        Self::new(part.meta(), present, rows, length, Raw::Memory(raw.bytes))
    }

    /// Of a part that stays on disk.
    pub(crate) fn open_on_disk(part: PartOnDisk, rows: u32) -> Result<Self> {
        let present = part.find(SectionKind::PRESENCE)?;
        let place = part.place(SectionKind::RAW)?;
        let (meta, disk) = part.into_disk();
        let length = place.end - place.start;
        Self::new(&meta, present, rows, length, Raw::Disk(disk, place))
    }

    fn new(meta: &PartMeta, present: Option<Section>, rows: u32, length: u64, raw: Raw) -> Result<Self> {
        let (spec, present) = Self::shape(meta, present, rows, length)?;
        Ok(Self { spec, rows, len: (length / spec.row_bytes() as u64) as usize, raw, present })
    }

    /// What vectors a part holds, of which rows, if they can be those of `rows` rows and take `length` bytes.
    pub(crate) fn shape(
        meta: &PartMeta,
        present: Option<Section>,
        rows: u32,
        length: u64,
    ) -> Result<(VectorSpec, Option<RoaringBitmap>)> {
        let spec: VectorSpec = postcard::from_bytes(&meta.detail)
            .map_err(|_| damaged(meta, "what the manifest says about it cannot be read"))?;
        let entries = meta.entries;
        let present = match present {
            Some(section) => Some(bitmap::decode(&section, entries, rows)?),
            None if entries == u64::from(rows) => None,
            None => return Err(damaged(meta, "section presence is missing")),
        };
        if spec.dim == 0 || (spec.row_bytes() as u64).checked_mul(entries) != Some(length) {
            let why = format!("it does not hold {entries} vectors of {} dimensions", spec.dim);
            return Err(damaged(meta, why));
        }
        Ok((spec, present))
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
        self.len
    }

    /// Where the vectors are to be read now; `on_disk` if the collection says that they live on disk.
    pub fn vectors(&self, on_disk: bool) -> Result<Vectors<'_>> {
        Ok(match &self.raw {
            Raw::Memory(bytes) => Vectors::Memory(bytes.clone()),
            Raw::Disk(disk, place) => match disk.memory(on_disk)? {
                Some(part) => Vectors::Memory(slice(&part, place)),
                None => Vectors::Disk(ColumnOnDisk { column: self, disk: disk.as_ref(), start: place.start }),
            },
        })
    }

    /// Waits until the vectors are where they are to be. Blocks.
    pub fn settle(&self, on_disk: bool) -> Result<()> {
        self.disk().map_or(Ok(()), |disk| disk.settle(on_disk))
    }

    /// Where the vectors can be read now, without anything being moved for it.
    pub fn at_hand(&self) -> Vectors<'_> {
        match &self.raw {
            Raw::Memory(bytes) => Vectors::Memory(bytes.clone()),
            Raw::Disk(disk, place) => match disk.peek() {
                Some(part) => Vectors::Memory(slice(&part, place)),
                None => Vectors::Disk(ColumnOnDisk { column: self, disk: disk.as_ref(), start: place.start }),
            },
        }
    }

    /// All vectors, one after another, by slot; in memory for as long as the caller keeps them. May block.
    pub fn all(&self) -> Result<Bytes> {
        match &self.raw {
            Raw::Memory(bytes) => Ok(bytes.clone()),
            Raw::Disk(disk, place) => Ok(slice(&disk.read_all()?, place)),
        }
    }

    /// Reads single vectors, and many in a row without asking the disk for each.
    pub fn reader(&self) -> VectorReader<'_> {
        let (bytes, disk) = match self.at_hand() {
            Vectors::Memory(bytes) => (bytes, None),
            Vectors::Disk(disk) => (Bytes::new(), Some(disk)),
        };
        VectorReader { column: self, bytes, disk, first: 0, last: None }
    }

    /// The file that it is read from, if it is.
    pub(crate) fn disk(&self) -> Option<&dyn DiskPart> {
        match &self.raw {
            Raw::Memory(_) => None,
            Raw::Disk(disk, _) => Some(&**disk),
        }
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
}

fn slice(part: &Bytes, place: &Range<u64>) -> Bytes {
    part.slice(place.start as usize..place.end as usize)
}

/// Reads vectors of one column, best in the order of slots.
#[derive(Debug)]
pub struct VectorReader<'a> {
    column: &'a VectorColumn,
    /// Vectors in memory, from the slot `first` on.
    bytes: Bytes,
    /// Where others come from.
    disk: Option<ColumnOnDisk<'a>>,
    first: u32,
    /// The slot that was read last.
    last: Option<u32>,
}

impl VectorReader<'_> {
    /// The stored form of the vector of `row`, if it has one.
    pub fn row(&mut self, row: u32) -> Result<Option<Bytes>> {
        self.column.row_to_slot(row).map(|slot| self.slot(slot)).transpose()
    }

    /// The stored form of the vector of `slot`.
    ///
    /// # Panics
    /// If `slot` is past the end.
    pub fn slot(&mut self, slot: u32) -> Result<Bytes> {
        let size = self.column.spec.row_bytes();
        if let Some(disk) = &self.disk {
            let held = self.first..self.first + (self.bytes.len() / size) as u32;
            if !held.contains(&slot) {
                let follows = self.last.is_some_and(|last| last < slot && slot - last <= NEAR_SLOTS);
                let count = if follows { (RUN_BYTES / size).max(1) } else { 1 };
                let end = (slot as usize + count).min(self.column.len).max(slot as usize + 1);
                let mut bytes = Vec::new();
                disk.read_runs(std::slice::from_ref(&(slot..end as u32)), &mut bytes)?;
                (self.bytes, self.first) = (bytes.into(), slot);
            }
            self.last = Some(slot);
        }
        let at = (slot - self.first) as usize * size;
        Ok(self.bytes.slice(at..at + size))
    }
}

/// The vectors of one name as they lie on disk.
#[derive(Debug, Clone, Copy)]
pub struct ColumnOnDisk<'a> {
    column: &'a VectorColumn,
    disk: &'a dyn DiskPart,
    /// Where the vectors begin in the part.
    start: u64,
}

impl ColumnOnDisk<'_> {
    /// Appends the vectors in these slots to `out`, one after another. Blocks until all are there.
    ///
    /// # Panics
    /// If a slot is past the end.
    pub fn read(&self, slots: &[u32], out: &mut Vec<u8>) -> Result<()> {
        let ranges: Vec<Range<u64>> = slots.iter().map(|slot| self.place(*slot..*slot + 1)).collect();
        out.reserve(slots.len() * self.column.spec.row_bytes());
        self.disk.read_many(&ranges, out)
    }

    /// Appends the vectors of all slots of these runs to `out`, one run after another. Blocks until all are there.
    ///
    /// # Panics
    /// If a slot is past the end.
    pub fn read_runs(&self, runs: &[Range<u32>], out: &mut Vec<u8>) -> Result<()> {
        let places: Vec<Range<u64>> = runs.iter().map(|run| self.place(run.clone())).collect();
        self.disk.read_many(&places, out)
    }

    fn place(&self, slots: Range<u32>) -> Range<u64> {
        assert!(slots.end as usize <= self.column.len, "slots {slots:?} of {}", self.column.len);
        let size = self.column.spec.row_bytes() as u64;
        self.start + u64::from(slots.start) * size..self.start + u64::from(slots.end) * size
    }
}
