//! The byte layout that all kinds share: a header, a table of blobs, the blobs.
//!
//! ```text
//! "LDFX" | version u16 | kind u8 | blobs u8 | rows u32 | (tag u32, offset u64, length u64) per blob | blobs
//! ```
//!
//! Numbers are little-endian, offsets count from the start of the section.

use bytes::Bytes;
use lodestone_types::{Error, FieldIndexKind, Result};

use crate::codec::damaged;

const MAGIC: &[u8; 4] = b"LDFX";
const VERSION: u16 = 1;
const HEADER: usize = 12;
const ENTRY: usize = 20;

/// What a blob holds. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Blob {
    Params = 0,
    CountNone = 1,
    CountOne = 2,
    CountMany = 3,
    Null = 4,
    Held = 5,
    Loose = 6,
    Foreign = 7,
    Terms = 16,
    TermBlocks = 17,
    Postings = 18,
    Positions = 19,
    DistinctRows = 20,
    DistinctCounts = 21,
    Keys = 32,
    Rows = 33,
    ByRow = 34,
    Zones = 35,
    Cells = 48,
    Lons = 49,
    Lats = 50,
}

fn kind_code(kind: FieldIndexKind) -> u8 {
    match kind {
        FieldIndexKind::Keyword => 0,
        FieldIndexKind::Integer => 1,
        FieldIndexKind::Float => 2,
        FieldIndexKind::Bool => 3,
        FieldIndexKind::Datetime => 4,
        FieldIndexKind::Uuid => 5,
        FieldIndexKind::Geo => 6,
        FieldIndexKind::Text => 7,
    }
}

fn kind_of(code: u8) -> Option<FieldIndexKind> {
    use FieldIndexKind::{Bool, Datetime, Float, Geo, Integer, Keyword, Text, Uuid};
    [Keyword, Integer, Float, Bool, Datetime, Uuid, Geo, Text].get(usize::from(code)).copied()
}

/// Puts a section together.
pub(super) struct SectionWriter {
    kind: FieldIndexKind,
    rows: u32,
    blobs: Vec<(Blob, Vec<u8>)>,
}

impl SectionWriter {
    pub(super) fn new(kind: FieldIndexKind, rows: u32) -> Self {
        Self { kind, rows, blobs: Vec::new() }
    }

    pub(super) fn put(&mut self, blob: Blob, bytes: Vec<u8>) {
        self.blobs.push((blob, bytes));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut offset = HEADER + ENTRY * self.blobs.len();
        let total = offset + self.blobs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let mut out = Vec::with_capacity(total);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.push(kind_code(self.kind));
        out.push(self.blobs.len() as u8);
        out.extend_from_slice(&self.rows.to_le_bytes());
        for (blob, bytes) in &self.blobs {
            out.extend_from_slice(&(*blob as u32).to_le_bytes());
            out.extend_from_slice(&(offset as u64).to_le_bytes());
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            offset += bytes.len();
        }
        for (_, bytes) in &self.blobs {
            out.extend_from_slice(bytes);
        }
        out
    }
}

/// A section whose header and table are sound.
pub(super) struct Section {
    kind: FieldIndexKind,
    rows: u32,
    blobs: Vec<(u32, Bytes)>,
}

impl Section {
    pub(super) fn open(bytes: Bytes) -> Result<Self> {
        let header: &[u8; HEADER] =
            bytes.first_chunk().ok_or_else(|| damaged("it is shorter than its header"))?;
        if &header[..4] != MAGIC {
            return Err(damaged("it does not begin like one"));
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        if version != VERSION {
            return Err(Error::unsupported(format!(
                "payload index of format version {version}; this program reads version {VERSION}"
            )));
        }
        let kind = kind_of(header[6]).ok_or_else(|| damaged("its kind is unknown"))?;
        let rows = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let table = bytes
            .get(HEADER..HEADER + ENTRY * usize::from(header[7]))
            .ok_or_else(|| damaged("its table is cut off"))?;
        let entries = table.as_chunks::<ENTRY>().0.iter();
        let blobs = entries.map(|entry| Self::blob(&bytes, entry)).collect::<Result<_>>()?;
        Ok(Self { kind, rows, blobs })
    }

    fn blob(bytes: &Bytes, entry: &[u8; ENTRY]) -> Result<(u32, Bytes)> {
        let number = |at: usize| {
            let raw: [u8; 8] = std::array::from_fn(|i| entry[at + i]);
            usize::try_from(u64::from_le_bytes(raw)).map_err(|_| damaged("an offset is too large"))
        };
        let tag = u32::from_le_bytes(std::array::from_fn(|i| entry[i]));
        let (offset, len) = (number(4)?, number(12)?);
        let end = offset.checked_add(len).filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| damaged("a blob lies outside"))?;
        Ok((tag, bytes.slice(offset..end)))
    }

    pub(super) fn kind(&self) -> FieldIndexKind {
        self.kind
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn get(&self, blob: Blob) -> Result<Bytes> {
        let found = self.blobs.iter().find(|(tag, _)| *tag == blob as u32);
        found.map(|(_, bytes)| bytes.clone()).ok_or_else(|| damaged("a blob is missing"))
    }

    pub(super) fn text(&self, blob: Blob) -> Result<String> {
        String::from_utf8(self.get(blob)?.into()).map_err(|_| damaged("its parameters are no text"))
    }
}
