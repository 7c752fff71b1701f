//! What the bytes of a part are held to. They need not be in memory together: the end of a part says what its blocks should be, and
//! is checked first.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use lodestone_types::{Error, ErrorKind, Result, Stretch};

use crate::meta::{PartKind, PartMeta, SectionKind, SectionMeta};
use crate::part::{
    BLOCK_BYTES, PIECE, PartBytes, SECTION_ALIGN, Section, damaged, le_u32, read_trailer, section_place,
};
use crate::reader::{ReadAt, SegmentReader, range_of};
use crate::vectors::VectorColumn;

/// Bytes of a piece that is fetched to be checked, and how many are fetched side by side.
const FETCHED_PIECE: u64 = 8 << 20;
const FETCHES_AT_ONCE: usize = 4;

/// Sections and where they lie, filling included.
type Places = Vec<(SectionMeta, Range<u64>)>;

/// The checksums of a part, and where its sections lie, filling included, once both were found to be those of the manifest.
pub(crate) struct PartCheck {
    meta: PartMeta,
    sections: Places,
    /// Of each block of all sections.
    checksums: Vec<u8>,
}

impl PartCheck {
    /// Where the end of a part lies: its checksums, table and trailer.
    pub fn end_of(meta: &PartMeta) -> Result<Range<u64>> {
        PartBytes::check_readable(meta)?;
        Ok(layout(meta)?.1.offset..meta.length)
    }

    /// Of the part with this end.
    pub fn new(meta: &PartMeta, end: &[u8]) -> Result<Self> {
        let (sections, checksums) = layout(meta)?;
        let blocks: u64 = sections.iter().map(|(_, range)| blocks_in(range)).sum();
        let length = usize::try_from(checksums.length).ok().filter(|_| checksums.length == blocks * 4);
        let checksums = length.and_then(|length| end.get(..length)).ok_or_else(|| {
            damaged(meta, "section checksums: it does not lie within the part or has a wrong length")
        })?;
        if crc32c::crc32c(checksums) != meta.checksum {
            return Err(damaged(meta, "section checksums: they are not those the manifest knows"));
        }
        let table = read_trailer(meta, end)?;
        if table != (PartMeta { object: String::new(), offset: 0, length: 0, ..meta.clone() }) {
            return Err(damaged(meta, "its own table is not the one in the manifest"));
        }
        Ok(Self { meta: meta.clone(), sections, checksums: checksums.to_vec() })
    }

    pub fn meta(&self) -> &PartMeta {
        &self.meta
    }

    pub fn into_meta(self) -> PartMeta {
        self.meta
    }

    /// The section of `kind` and where it lies, filling included, if the part has one.
    pub fn section(&self, kind: SectionKind) -> Option<&(SectionMeta, Range<u64>)> {
        self.sections.iter().find(|(section, _)| section.kind == kind)
    }

    /// All sections in pieces that can be checked, none of them larger than `most` bytes, which are whole blocks.
    pub fn pieces(&self, most: u64) -> impl Iterator<Item = Range<u64>> {
        let pieces = move |range: &Range<u64>| {
            let end = range.end;
            range.clone().step_by(most as usize).map(move |start| start..end.min(start + most))
        };
        self.sections.iter().flat_map(move |(_, range)| pieces(range))
    }

    /// Compares the bytes of a piece with its checksums. It begins with a block, and ends with one or its section.
    pub fn check(&self, piece: &Range<u64>, bytes: &[u8]) -> Result<()> {
        let expected = piece.end - piece.start;
        if bytes.len() as u64 != expected {
            return Err(damaged(&self.meta, format!("{} bytes of {expected} are there", bytes.len())));
        }
        let mut first = 0;
        for (section, range) in &self.sections {
            if range.contains(&piece.start) {
                first += (piece.start - range.start) / BLOCK_BYTES as u64;
                return self.check_blocks(section.kind, first as usize, piece.start, bytes);
            }
            first += blocks_in(range);
        }
        Ok(())
    }

    fn check_blocks(&self, kind: SectionKind, first: usize, at: u64, bytes: &[u8]) -> Result<()> {
        let expected = self.checksums.chunks_exact(4).map(le_u32).skip(first);
        for (number, (block, expected)) in bytes.chunks(BLOCK_BYTES).zip(expected).enumerate() {
            if crc32c::crc32c(block) != expected {
                let (length, at) = (block.len(), at + (number * BLOCK_BYTES) as u64);
                let what = format!("section {kind}: the checksum of the {length} bytes at {at} is wrong");
                return Err(damaged(&self.meta, what));
            }
        }
        Ok(())
    }
}

/// Compares the part that a file begins with with its checksums, a piece at a time. Blocks until it is read; what is wrong with it is
/// [`io::ErrorKind::InvalidData`].
pub(crate) fn check_file(meta: &PartMeta, read_at: &ReadAt, there: u64) -> io::Result<()> {
    let read = |range: &Range<u64>, bytes: &mut Vec<u8>| {
        bytes.resize((range.end - range.start) as usize, 0);
        read_at(bytes, range.start)
    };
    let end = PartCheck::end_of(meta).map_err(damage)?;
    if there < meta.length {
        return Err(damage(damaged(meta, format!("{there} bytes of {} are there", meta.length))));
    }
    let (mut bytes, mut stretch) = (Vec::new(), Stretch::begin());
    read(&end, &mut bytes)?;
    let check = PartCheck::new(meta, &bytes).map_err(damage)?;
    for piece in check.pieces(PIECE) {
        read(&piece, &mut bytes)?;
        check.check(&piece, &bytes).map_err(damage)?;
        stretch.give_way();
    }
    Ok(())
}

fn damage(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.message)
}

fn blocks_in(section: &Range<u64>) -> u64 {
    (section.end - section.start).div_ceil(BLOCK_BYTES as u64)
}

/// Where the sections of a part lie, filling included, and its checksums, once that was found possible.
fn layout(meta: &PartMeta) -> Result<(Places, SectionMeta)> {
    let wrong = |section: &SectionMeta| {
        damaged(meta, format!("section {}: it cannot lie where the manifest says", section.kind))
    };
    let Some((checksums, sections)) = meta.sections.split_last() else {
        return Err(damaged(meta, "the manifest knows no sections of it"));
    };
    let mut at = 0u64;
    let mut found = Vec::with_capacity(sections.len());
    for section in sections {
        let end = section.length.checked_next_multiple_of(SECTION_ALIGN).and_then(|l| at.checked_add(l));
        let end = end.filter(|e| section.offset == at && *e <= meta.length).ok_or_else(|| wrong(section))?;
        found.push((*section, at..end));
        at = end;
    }
    if checksums.kind != SectionKind::CHECKSUMS || checksums.offset != at {
        return Err(wrong(checksums));
    }
    Ok((found, *checksums))
}

impl SegmentReader {
    /// Compares all parts with their checksums and opens them, without keeping what was read. Of vectors, level codes and payloads
    /// only pieces are in memory.
    pub async fn check(&self) -> Result<()> {
        for part in &self.meta().parts {
            PartBytes::check_readable(part)?;
            match &part.kind {
                PartKind::Vector(_) => self.check_vectors(part).await?,
                PartKind::Payload => {
                    self.check_in_pieces(part).await?;
                    self.far_payloads().await?;
                }
                PartKind::LevelCodes(_) | PartKind::OrderedCodes { .. } => {
                    drop(self.check_in_pieces(part).await?)
                }
                _ => drop(self.fetch_checked_part(part).await?),
            }
        }
        Ok(())
    }

    async fn check_vectors(&self, part: &PartMeta) -> Result<()> {
        let check = self.check_in_pieces(part).await?;
        let length = part.section(SectionKind::RAW)?.length;
        let Some((section, range)) = check.section(SectionKind::PRESENCE) else {
            return VectorColumn::shape(part, None, self.rows(), length).map(drop);
        };
        let open = |mut bytes: Bytes| {
            check.check(range, &bytes)?;
            bytes.truncate(section.length as usize);
            let present = Section::new(bytes, &section_place(part, section.kind));
            VectorColumn::shape(part, Some(present), self.rows(), length).map(drop)
        };
        self.fetch_sound(part, range, open).await
    }

    /// A section of a part, checked; only its own bytes are in memory.
    pub(crate) async fn checked_section(&self, part: &PartMeta, kind: SectionKind) -> Result<Bytes> {
        let check = self.part_check(part).await?;
        let section =
            check.section(kind).ok_or_else(|| damaged(part, format!("section {kind} is missing")))?;
        let (SectionMeta { length, .. }, place) = section.clone();
        let pieces = place.clone().step_by(FETCHED_PIECE as usize);
        let pieces: Vec<_> = pieces.map(|start| start..place.end.min(start + FETCHED_PIECE)).collect();
        let fetches = pieces
            .iter()
            .map(|piece| self.fetch_sound(part, piece, |bytes| check.check(piece, &bytes).map(|()| bytes)));
        let mut pieces = stream::iter(fetches.collect::<Vec<_>>()).buffered(FETCHES_AT_ONCE);
        let mut all = Vec::with_capacity((place.end - place.start) as usize);
        while let Some(piece) = pieces.try_next().await? {
            all.extend_from_slice(&piece);
        }
        all.truncate(length as usize);
        Ok(all.into())
    }

    async fn part_check(&self, part: &PartMeta) -> Result<PartCheck> {
        let end = PartCheck::end_of(part)?;
        self.fetch_sound(part, &end, |bytes| PartCheck::new(part, &bytes)).await
    }

    async fn check_in_pieces(&self, part: &PartMeta) -> Result<PartCheck> {
        let check = self.part_check(part).await?;
        let pieces: Vec<Range<u64>> = check.pieces(FETCHED_PIECE).collect();
        let checks = pieces.iter().map(|piece| self.fetch_sound(part, piece, |b| check.check(piece, &b)));
        let checks: Vec<_> = checks.collect();
        stream::iter(checks).buffer_unordered(FETCHES_AT_ONCE).try_collect::<()>().await?;
        Ok(check)
    }

    /// Fetches what lies there in a part, once more if `open` finds it damaged.
    async fn fetch_sound<T>(
        &self,
        part: &PartMeta,
        place: &Range<u64>,
        open: impl Fn(Bytes) -> Result<T>,
    ) -> Result<T> {
        let start = range_of(part)?.start;
        let range = start + place.start..start + place.end;
        match open(self.source().fetch_once(&part.object, range.clone()).await?) {
            Err(error) if error.kind == ErrorKind::Damaged => {
                open(self.source().fetch_again(&part.object, range).await?)
            }
            opened => opened,
        }
    }
}
