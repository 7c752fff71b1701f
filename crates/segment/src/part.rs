//! How sections become a part, parts an object, and how bytes from the bucket become sections again.
//!
//! ```text
//! object   part │ part │ part          each begins at a multiple of 4 KiB
//! part     section │ ... │ section │ checksums │ table │ trailer
//! ```
//!
//! Sections are filled up with zeros to 4 KiB. Every 64 KiB block of a section, filling included, has a
//! crc32c in the checksums section, whose own is in the manifest. The table is the part's [`PartMeta`] once
//! more, so that an object explains itself; the trailer guards the part from its checksums on.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lodestone_types::{Error, Result};

use crate::check::PartCheck;
use crate::meta::{PartKind, PartMeta, SectionKind, SectionMeta};
use crate::vectors::DiskPart;

/// Sections and parts begin at multiples of this many bytes.
pub const SECTION_ALIGN: u64 = 4 << 10;
/// There is one checksum for so many bytes of a section.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Bytes that are checked at once.
pub(crate) const PIECE: u64 = 1 << 20;
/// The version of every part written today, and the only one read.
pub(crate) const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"LODEPART";
/// Length of the table, length of the part, checksum, magic.
const TRAILER: usize = 4 + 8 + 4 + 8;

/// Takes the bytes of an object in the order in which it is made, so that nobody has all of them in memory.
pub trait Sink {
    /// Takes what comes next.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Puts parts one after another into one object.
#[derive(Debug)]
pub struct ObjectWriter<S = Vec<u8>> {
    key: String,
    sink: S,
    length: u64,
}

impl ObjectWriter {
    /// An empty object that will have the key `key`, in memory.
    pub fn new(key: impl Into<String>) -> Self {
        Self::to(key, Vec::new())
    }

    /// The object.
    pub fn finish(self) -> Bytes {
        self.sink.into()
    }
}

impl<S: Sink> ObjectWriter<S> {
    /// An empty object that will have the key `key` and goes to `sink`.
    pub fn to(key: impl Into<String>, sink: S) -> Self {
        Self { key: key.into(), sink, length: 0 }
    }

    /// What has all of the object now.
    pub fn into_sink(self) -> S {
        self.sink
    }

    /// Adds a part of `sections`, in this order.
    pub(crate) fn add(&mut self, draft: PartDraft) -> Result<PartMeta> {
        let mut part = self.begin()?;
        for (kind, content) in draft.sections {
            part.write(kind, &content)?;
        }
        part.finish(draft.kind, draft.entries, draft.detail)
    }

    /// Begins a part, to be written section by section.
    pub(crate) fn begin(&mut self) -> Result<PartWriter<'_, S>> {
        self.fill()?;
        Ok(PartWriter {
            start: self.length,
            object: self,
            sections: Vec::new(),
            checksums: Vec::new(),
            block: Block::default(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Fills up with zeros to where a section may begin.
    fn fill(&mut self) -> Result<()> {
        self.write(filling(self.length))
    }
}

/// A part on its way into an object.
pub(crate) struct PartWriter<'a, S> {
    object: &'a mut ObjectWriter<S>,
    start: u64,
    sections: Vec<SectionMeta>,
    /// Of the blocks that are full, of all sections.
    checksums: Vec<u8>,
    block: Block,
}

/// The last block of the section that is being written.
#[derive(Default)]
struct Block {
    length: usize,
    checksum: u32,
}

impl<S: Sink> PartWriter<'_, S> {
    /// Adds bytes to the section of `kind`, which begins with them if another one was written before.
    pub fn write(&mut self, kind: SectionKind, bytes: &[u8]) -> Result<()> {
        if self.sections.last().is_none_or(|section| section.kind != kind) {
            self.end_section()?;
            self.sections.push(SectionMeta { kind, offset: self.object.length - self.start, length: 0 });
        }
        if let Some(section) = self.sections.last_mut() {
            section.length += bytes.len() as u64;
        }
        self.append(bytes)
    }

    /// The part, which ends where the next one may begin, so that an object can be read from its end.
    pub fn finish(mut self, kind: PartKind, entries: u64, detail: Vec<u8>) -> Result<PartMeta> {
        self.end_section()?;
        let Self { object, start, mut sections, checksums: mut tail, .. } = self;
        let checksum = crc32c::crc32c(&tail);
        let before = object.length - start;
        let length = tail.len() as u64;
        sections.push(SectionMeta { kind: SectionKind::CHECKSUMS, offset: before, length });
        let meta = PartMeta {
            kind,
            // Where a part is says its place in the manifest, not the part: it may be copied.
            object: String::new(),
            offset: 0,
            length: 0,
            version: VERSION,
            entries,
            detail,
            sections,
            checksum,
        };
        let table = encode(&meta)?;
        let table_length =
            u32::try_from(table.len()).map_err(|_| Error::internal("a part's table is too large"))?;
        let content = before + length + (table.len() + TRAILER) as u64;
        let length = content.next_multiple_of(SECTION_ALIGN);
        tail.resize(tail.len() + (length - content) as usize, 0);
        tail.extend_from_slice(&table);
        tail.extend_from_slice(&table_length.to_le_bytes());
        tail.extend_from_slice(&length.to_le_bytes());
        tail.extend_from_slice(&crc32c::crc32c(&tail).to_le_bytes());
        tail.extend_from_slice(MAGIC);
        object.write(&tail)?;
        Ok(PartMeta { object: object.key.clone(), offset: start, length, ..meta })
    }

    fn end_section(&mut self) -> Result<()> {
        self.append(filling(self.object.length))?;
        self.end_block();
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.object.write(bytes)?;
        while !bytes.is_empty() {
            let (of_block, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.length));
            self.block.checksum = crc32c::crc32c_append(self.block.checksum, of_block);
            self.block.length += of_block.len();
            if self.block.length == BLOCK_BYTES {
                self.end_block();
            }
            bytes = rest;
        }
        Ok(())
    }

    fn end_block(&mut self) {
        if self.block.length > 0 {
            self.checksums.extend_from_slice(&self.block.checksum.to_le_bytes());
            self.block = Block::default();
        }
    }
}

/// The zeros between `length` bytes and where a section may begin.
fn filling(length: u64) -> &'static [u8] {
    const ZEROS: [u8; SECTION_ALIGN as usize] = [0; SECTION_ALIGN as usize];
    &ZEROS[..(length.next_multiple_of(SECTION_ALIGN) - length) as usize]
}

/// A part before it has a place.
pub(crate) struct PartDraft {
    pub kind: PartKind,
    pub entries: u64,
    pub detail: Vec<u8>,
    pub sections: Vec<(SectionKind, Bytes)>,
}

/// The verified bytes of a part.
pub(crate) struct PartBytes {
    meta: PartMeta,
    bytes: Bytes,
}

impl PartBytes {
    /// Refuses parts this build cannot read, before anything is fetched.
    pub fn check_readable(meta: &PartMeta) -> Result<()> {
        if let PartKind::Unknown { .. } = meta.kind {
            return Err(damaged(meta, "this version of Lodestone does not know such parts"));
        }
        if meta.version != VERSION {
            return Err(damaged(
                meta,
                format!("its format has version {}, this build reads version {VERSION}", meta.version),
            ));
        }
        Ok(())
    }

    /// Compares `bytes` with everything `meta` and the part itself say about them.
    pub fn verify(meta: &PartMeta, bytes: Bytes) -> Result<Self> {
        let end = PartCheck::end_of(meta)?;
        if bytes.len() as u64 != meta.length {
            return Err(damaged(meta, format!("{} bytes of {} are there", bytes.len(), meta.length)));
        }
        let check = PartCheck::new(meta, &bytes[end.start as usize..])?;
        for piece in check.pieces(PIECE) {
            check.check(&piece, &bytes[piece.start as usize..piece.end as usize])?;
        }
        Ok(Self { meta: meta.clone(), bytes })
    }

    pub fn meta(&self) -> &PartMeta {
        &self.meta
    }

    /// The section of `kind`, if the part has one.
    pub fn find(&self, kind: SectionKind) -> Option<Section> {
        let section = self.meta.sections.iter().find(|s| s.kind == kind)?;
        let start = section.offset as usize;
        let bytes = self.bytes.slice(start..start + section.length as usize);
        Some(Section::new(bytes, &self.section_place(kind)))
    }

    /// What an error about the section of `kind` says.
    pub fn section_place(&self, kind: SectionKind) -> String {
        section_place(&self.meta, kind)
    }

    /// The section of `kind`, which every part of this kind has.
    pub fn section(&self, kind: SectionKind) -> Result<Section> {
        self.find(kind).ok_or_else(|| self.damaged(format!("section {kind} is missing")))
    }

    pub fn damaged(&self, what: impl Display) -> Error {
        damaged(&self.meta, what)
    }
}

/// A part that stays on disk. Sections are held to their checksums when they are read whole.
pub(crate) struct PartOnDisk {
    disk: Box<dyn DiskPart>,
    check: PartCheck,
}

impl PartOnDisk {
    /// Reads what sections are checked by.
    pub fn open(meta: &PartMeta, disk: Box<dyn DiskPart>) -> Result<Self> {
        let mut end = Vec::new();
        disk.read_many(std::slice::from_ref(&PartCheck::end_of(meta)?), &mut end)?;
        Ok(Self { disk, check: PartCheck::new(meta, &end)? })
    }

    /// Where the section of `kind` is in the part.
    pub fn place(&self, kind: SectionKind) -> Result<Range<u64>> {
        let found = self.check.section(kind);
        let (section, range) =
            found.ok_or_else(|| damaged(self.check.meta(), format!("section {kind} is missing")))?;
        Ok(range.start..range.start + section.length)
    }

    /// The section of `kind`, if the part has one.
    pub fn find(&self, kind: SectionKind) -> Result<Option<Section>> {
        let Some((section, range)) = self.check.section(kind) else { return Ok(None) };
        let mut bytes = Vec::new();
        self.disk.read_many(std::slice::from_ref(range), &mut bytes)?;
        self.check.check(range, &bytes)?;
        bytes.truncate(section.length as usize);
        Ok(Some(Section::new(bytes.into(), &self.section_place(kind))))
    }

    /// What an error about the section of `kind` says.
    pub fn section_place(&self, kind: SectionKind) -> String {
        section_place(self.check.meta(), kind)
    }

    /// The file itself.
    pub fn into_disk(self) -> (PartMeta, Box<dyn DiskPart>) {
        (self.check.into_meta(), self.disk)
    }
}

/// The bytes of one section, and its place for the case that they make no sense.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub bytes: Bytes,
    place: Arc<str>,
}

impl Section {
    pub fn new(bytes: Bytes, place: &str) -> Self {
        Self { bytes, place: place.into() }
    }

    pub fn damaged(&self, what: impl Display) -> Error {
        Error::damaged(format!("damaged data in {}: {what}", self.place))
    }
}

/// The parts of a whole object, found from its own tables: what is left to go by where there is no manifest.
pub fn list_parts(key: &str, object: &[u8]) -> Result<Vec<PartMeta>> {
    let mut parts = Vec::new();
    let mut end = object.len();
    while end > 0 {
        let broken =
            |what: &str| Error::damaged(format!("damaged data in object '{key}', before byte {end}: {what}"));
        let trailer = end.checked_sub(TRAILER).map(|at| &object[at..end]);
        let trailer = trailer.filter(|t| t.ends_with(MAGIC)).ok_or_else(|| broken("no part ends here"))?;
        let length = le_u64(&trailer[4..12]);
        let start = usize::try_from(length).ok().filter(|l| *l >= TRAILER).and_then(|l| end.checked_sub(l));
        let start = start.ok_or_else(|| broken("the part's length is impossible"))?;
        let table = (le_u32(trailer) as usize).checked_add(TRAILER).and_then(|t| end.checked_sub(t));
        let table = table.filter(|at| *at >= start).ok_or_else(|| broken("the part's table does not fit"))?;
        let meta: PartMeta = postcard::from_bytes(&object[table..end - TRAILER])
            .map_err(|_| broken("the part's table cannot be read"))?;
        let meta = PartMeta { object: key.to_owned(), offset: start as u64, length, ..meta };
        let tail = meta.sections.last().and_then(|s| usize::try_from(s.offset).ok());
        let tail = tail
            .and_then(|t| object[start..end].get(t..))
            .ok_or_else(|| broken("the part's table makes no sense"))?;
        read_trailer(&meta, tail)?;
        parts.push(meta);
        end = start;
    }
    parts.reverse();
    Ok(parts)
}

/// Checks a part from its checksums to its end and gives its own table.
pub(crate) fn read_trailer(meta: &PartMeta, tail: &[u8]) -> Result<PartMeta> {
    let broken = |what: &str| damaged(meta, format!("its end: {what}"));
    let at = tail.len().checked_sub(TRAILER).ok_or_else(|| broken("it is too short"))?;
    let trailer = &tail[at..];
    if !trailer.ends_with(MAGIC) {
        return Err(broken("the mark of a part is missing"));
    }
    if le_u32(&trailer[12..]) != crc32c::crc32c(&tail[..at + 12]) {
        return Err(broken("the checksum is wrong"));
    }
    if le_u64(&trailer[4..]) != meta.length {
        return Err(broken("it is of a part of another length"));
    }
    let table = at.checked_sub(le_u32(trailer) as usize).ok_or_else(|| broken("the table does not fit"))?;
    postcard::from_bytes(&tail[table..at]).map_err(|_| broken("the table cannot be read"))
}

fn encode(meta: &PartMeta) -> Result<Vec<u8>> {
    postcard::to_stdvec(meta).map_err(|e| Error::internal(format!("a part's table has no stored form: {e}")))
}

pub(crate) fn section_place(meta: &PartMeta, kind: SectionKind) -> String {
    format!("{}, section {kind}", place(meta))
}

fn place(meta: &PartMeta) -> String {
    format!("object '{}', part {} at {}", meta.object, meta.kind, meta.offset)
}

pub(crate) fn damaged(meta: &PartMeta, what: impl Display) -> Error {
    Error::damaged(Cow::from(format!("damaged data in {}: {what}", place(meta))))
}

/// The little-endian number in the first 4 bytes; callers have made sure that they are there.
pub(crate) fn le_u32(bytes: &[u8]) -> u32 {
    bytes[..4].iter().rev().fold(0, |n, &b| n << 8 | u32::from(b))
}

/// The little-endian number in the first 8 bytes; callers have made sure that they are there.
pub(crate) fn le_u64(bytes: &[u8]) -> u64 {
    bytes[..8].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_part_is_the_same_however_it_is_written(
            lengths in prop::collection::vec(prop_oneof![0..10usize, 4090..4100usize, 65_530..65_540usize, 0..200_000usize], 1..4),
            piece in prop_oneof![1..9usize, 1000..70_000usize],
        ) {
            let kinds = [SectionKind::RAW, SectionKind::PRESENCE, SectionKind::CODES];
            let content = |(kind, length): (SectionKind, &usize)| {
                let bytes: Vec<u8> = (0..*length).map(|i| (i * 31 + i / 251) as u8).collect();
                (kind, Bytes::from(bytes))
            };
            let sections: Vec<(SectionKind, Bytes)> = kinds.into_iter().zip(&lengths).map(content).collect();
            let mut whole = ObjectWriter::new("k");
            let kind = || PartKind::Vector("v".into());
            let draft = PartDraft { kind: kind(), entries: 3, detail: vec![1], sections: sections.clone() };
            // Another part before it.
            whole.add(PartDraft { kind: PartKind::Ids, entries: 0, detail: vec![], sections: vec![] }).unwrap();
            let expected = whole.add(draft).unwrap();
            let mut pieces = ObjectWriter::new("k");
            pieces.add(PartDraft { kind: PartKind::Ids, entries: 0, detail: vec![], sections: vec![] }).unwrap();
            let mut part = pieces.begin().unwrap();
            for (kind, bytes) in &sections {
                part.write(*kind, &[]).unwrap();
                bytes.chunks(piece).for_each(|bytes| part.write(*kind, bytes).unwrap());
            }
            let meta = part.finish(kind(), 3, vec![1]).unwrap();
            prop_assert_eq!(&meta, &expected);
            let object = pieces.finish();
            prop_assert_eq!(&object, &whole.finish());
            prop_assert_eq!(list_parts("k", &object).unwrap().pop(), Some(meta.clone()));
            let part = PartBytes::verify(&meta, object.slice(meta.offset as usize..)).unwrap();
            for (kind, bytes) in sections {
                prop_assert_eq!(part.section(kind).unwrap().bytes, bytes);
            }
        }
    }
}
