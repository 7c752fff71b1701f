//! A segment whose bytes are far away, read a little at a time: what a search needs of a vector index, of single vectors and of
//! single blocks of payloads, each checked by itself. [`lodestone_index::dense::ColdQuery`] says which.

use std::ops::Range;

use bytes::Bytes;
use futures::future::join_all;
use lodestone_index::dense::{CentroidCodes, ColdQuery, ListPlaces, Outline};
use lodestone_types::{Error, Result};

use crate::meta::{PartKind, PartMeta, SectionKind, SectionMeta};
use crate::part::{PartBytes, SECTION_ALIGN, Section, le_u32};
use crate::payload::{PayloadBlock, PayloadTable};
use crate::reader::SegmentReader;
use crate::row_tag::{RowTag, TagLayout};
use crate::schema::VectorSpec;

/// Vectors and payload blocks that are no farther apart than this are read together: a request takes longer than so many bytes.
const JOIN_BYTES: u64 = 32 << 10;

/// The index of one vector, of which only the beginning is here.
#[derive(Debug)]
pub struct FarIndex {
    /// The one that has the level codes.
    object: String,
    /// Where each list's level codes are, in places.
    places: ListPlaces,
    /// The checksum of each list's entries, with the place it begins at.
    lists: Vec<(u32, u32)>,
    rows: u32,
    /// What it takes to know that.
    head_bytes: u64,
    entry_bytes: u64,
    tags: TagLayout,
    /// Where the entries begin in the object.
    entries: u64,
}

/// Where the vectors of a name lie in the bucket.
#[derive(Debug)]
pub struct VectorPlaces {
    object: String,
    start: u64,
    row_bytes: u64,
    count: u32,
}

/// A row that may be near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FarCandidate {
    /// How far it seems; less is nearer.
    pub estimate: f32,
    /// What it is.
    pub tag: RowTag,
}

/// The payloads of a segment, of which only the table is here.
#[derive(Debug)]
pub struct FarPayloads {
    object: String,
    start: u64,
    table: PayloadTable,
}

impl SegmentReader {
    /// How the model of the vectors called `name` sees queries. One request.
    pub async fn outline(&self, name: &str) -> Result<Outline> {
        let part = self.far_part(&PartKind::Model(name.to_owned()))?;
        let head = self.head(part).await?;
        let mean = head.section(part, SectionKind::MEAN)?;
        let (kind, coded): (_, fn(Bytes) -> CentroidCodes) = match part.has(SectionKind::CENTROID_LEVELS) {
            true => (SectionKind::CENTROID_LEVELS, CentroidCodes::Levels),
            false => (SectionKind::CENTROID_SIGNS, CentroidCodes::Signs),
        };
        let codes = head.section(part, kind)?;
        let centroids = coded(codes.bytes.clone());
        Outline::open(part.model_header()?, &mean.bytes, centroids).map_err(|e| codes.damaged(e))
    }

    /// Bytes that [`SegmentReader::outline`] reads.
    pub fn outline_bytes(&self, name: &str) -> Result<u64> {
        Ok(self.far_part(&PartKind::Model(name.to_owned()))?.head()?.length)
    }

    /// Whether the vectors called `name` have an index.
    pub fn has_far_index(&self, name: &str) -> bool {
        let meta = self.meta();
        let model = meta.part(&PartKind::Model(name.to_owned()));
        model.is_some() && meta.part(&PartKind::VectorIndex(name.to_owned())).is_some()
    }

    /// The beginning of the index of the vectors called `name`. One request.
    pub async fn far_index(&self, name: &str) -> Result<FarIndex> {
        let part = self.far_part(&PartKind::VectorIndex(name.to_owned()))?;
        let head = self.head(part).await?;
        let shape = part.index_shape()?;
        if part.index_model()? != self.far_part(&PartKind::Model(name.to_owned()))?.checksum {
            return Err(part.damaged("it is of another model"));
        }
        let lists = head.section(part, SectionKind::CLUSTERS)?;
        let checksums = head.section(part, SectionKind::LIST_CHECKSUMS)?;
        let places = ListPlaces::open(&lists.bytes, shape.rows).map_err(|e| lists.damaged(e))?;
        let levels_part = self.meta().levels_part(name)?;
        PartBytes::check_readable(levels_part)?;
        let levels = levels_part.section(SectionKind::LEVELS)?;
        let entry_bytes = levels.length / u64::from(shape.rows.max(1));
        if entry_bytes * u64::from(shape.rows) != levels.length
            || checksums.bytes.len() + 4 != lists.bytes.len() / 2
            || self.vector_places(name)?.count != shape.rows
        {
            return Err(lists.damaged(format!("it is not of {} rows", shape.rows)));
        }
        let starts = lists.bytes.as_chunks::<8>().0.iter().map(|entry| le_u32(&entry[4..]));
        Ok(FarIndex {
            object: levels_part.object.clone(),
            lists: starts.zip(checksums.bytes.chunks_exact(4).map(le_u32)).collect(),
            places,
            rows: shape.rows,
            head_bytes: part.head()?.length,
            entry_bytes,
            tags: part.tag_layout()?,
            entries: levels_part.offset + levels.offset,
        })
    }

    /// The beginning of the payloads. One request.
    pub async fn far_payloads(&self) -> Result<FarPayloads> {
        let part = self.far_part(&PartKind::Payload)?;
        let (blocks, table) =
            (part.section(SectionKind::PAYLOAD_BLOCKS)?, part.section(SectionKind::PAYLOAD_TABLE)?);
        let checksum = part.detail.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let checksum = checksum.ok_or_else(|| part.damaged("the manifest has no checksum of its table"))?;
        let start = part.offset + table.offset;
        let bytes = self.source().fetch_checked(&part.object, start..start + table.length, checksum).await?;
        let place = format!("object '{}', payload table at {start}", part.object);
        let table = PayloadTable::open(Section::new(bytes, &place), self.rows(), blocks.length)?;
        Ok(FarPayloads { object: part.object.clone(), start: part.offset + blocks.offset, table })
    }

    /// The rows whose codes are in these places, with their estimates. The places are those of whole lists; one request.
    pub async fn far_candidates(
        &self,
        index: &FarIndex,
        query: &ColdQuery,
        places: Range<u32>,
    ) -> Result<Vec<FarCandidate>> {
        let bytes = self.source().fetch_once(&index.object, index.bytes_of(&places)).await?;
        index.check(&places, &bytes)?;
        let known = self.ranked(query, &bytes, index.entry_bytes as usize, index.tags, index.rows);
        let known: Option<Vec<FarCandidate>> = known.collect();
        known.ok_or_else(|| index.damaged(&places, "an entry does not say which row it is of"))
    }

    /// What entries say that have come, of which there are so many in all; `None` of one that says nothing.
    pub(crate) fn ranked<'a>(
        &self,
        query: &'a ColdQuery,
        entries: &'a [u8],
        entry_bytes: usize,
        tags: TagLayout,
        count: u32,
    ) -> impl Iterator<Item = Option<FarCandidate>> + use<'a> {
        let rows = self.rows();
        query.rank(entries, entry_bytes).map(move |(estimate, tag)| {
            let tag = tags.decode(tag).filter(|tag| tag.row < rows && tag.slot < count);
            tag.map(|tag| FarCandidate { estimate, tag })
        })
    }

    /// The vectors of these rows in their stored form, in the same order. One request for neighbours; where it fails, they fail.
    pub async fn far_vector_bytes(&self, places: &VectorPlaces, rows: &[RowTag]) -> Vec<Result<Bytes>> {
        let object = &places.object;
        let vectors = self.fetch_together(object, &places.ranges(rows)).await;
        let checked = rows.iter().zip(vectors).map(|(tag, vector)| match vector {
            Ok(vector) if crc32c::crc32c(&vector) != tag.checksum => Err(Error::damaged(format!(
                "damaged data in object '{object}': the vector of point {} does not have its checksum",
                tag.id
            ))),
            other => other,
        });
        checked.collect()
    }

    /// The JSON texts of the payloads of these rows, in the same order. One request for blocks next to each other; where it
    /// fails, their rows fail.
    pub async fn far_payload_texts(
        &self,
        payloads: &FarPayloads,
        rows: &[u32],
    ) -> Result<Vec<Result<Bytes>>> {
        let of_rows = payloads.blocks_of(rows)?;
        let mut numbers = of_rows.clone();
        numbers.sort_unstable();
        numbers.dedup();
        let packed = self.fetch_together(&payloads.object, &payloads.ranges(&numbers)).await;
        let unpack = |(number, packed): (&usize, Result<Bytes>)| {
            let damaged = |e| Error::damaged(format!("damaged data in object '{}': {e}", payloads.object));
            payloads.table.unpack(*number, &packed?).map_err(damaged)
        };
        let blocks: Vec<Result<PayloadBlock>> = numbers.iter().zip(packed).map(unpack).collect();
        let text = |(row, block): (&u32, &usize)| {
            let at = numbers.partition_point(|number| number < block);
            let block = blocks[at].as_ref().map_err(Error::clone)?;
            block.bytes(*row).ok_or_else(|| payloads.no_row(*row))
        };
        Ok(rows.iter().zip(&of_rows).map(text).collect())
    }

    /// How many requests [`SegmentReader::far_vector_bytes`] makes, and [`SegmentReader::far_payload_texts`] with them if there are
    /// `payloads`, and for how many bytes.
    pub fn far_row_cost(
        &self,
        places: &VectorPlaces,
        payloads: Option<&FarPayloads>,
        rows: &[RowTag],
    ) -> Result<(usize, u64)> {
        let mut asked = joined(&places.ranges(rows));
        if let Some(payloads) = payloads {
            let blocks = payloads.blocks_of(&rows.iter().map(|tag| tag.row).collect::<Vec<_>>())?;
            asked.extend(joined(&payloads.ranges(&blocks)));
        }
        Ok((asked.len(), asked.iter().map(|range| range.end - range.start).sum()))
    }

    /// The bytes of these ranges of an object, in the same order; those near each other by one request.
    pub(crate) async fn fetch_together(&self, object: &str, ranges: &[Range<u64>]) -> Vec<Result<Bytes>> {
        let joined = joined(ranges);
        let fetches = joined.iter().map(|range| self.source().fetch_once(object, range.clone()));
        let fetched = join_all(fetches).await;
        let bytes = ranges.iter().map(|range| {
            let at = joined.partition_point(|joined| joined.end < range.end);
            let start = (range.start - joined[at].start) as usize;
            let end = start + (range.end - range.start) as usize;
            fetched[at].as_ref().map(|bytes| bytes.slice(start..end)).map_err(Error::clone)
        });
        bytes.collect()
    }

    pub(crate) fn far_part(&self, kind: &PartKind) -> Result<&PartMeta> {
        let part = self.meta().part(kind).ok_or_else(|| self.meta().lacks(kind))?;
        PartBytes::check_readable(part)?;
        Ok(part)
    }

    async fn head(&self, part: &PartMeta) -> Result<HeadBytes> {
        let head = part.head()?;
        let range = part.offset..part.offset.saturating_add(head.length);
        Ok(HeadBytes(self.source().fetch_checked(&part.object, range, head.checksum).await?))
    }

    /// Where the vectors called `name` lie. No request.
    pub fn vector_places(&self, name: &str) -> Result<VectorPlaces> {
        let part = self.far_part(&PartKind::Vector(name.to_owned()))?;
        let spec: VectorSpec = postcard::from_bytes(&part.detail)
            .map_err(|_| part.damaged("what the manifest says about it cannot be read"))?;
        let raw = part.section(SectionKind::RAW)?;
        let row_bytes = spec.row_bytes() as u64;
        let is_of = |count: &u32| row_bytes.checked_mul(u64::from(*count)) == Some(raw.length);
        let count = u32::try_from(part.entries).ok().filter(is_of);
        let count = count.ok_or_else(|| part.damaged("it does not hold as many vectors as it should"))?;
        Ok(VectorPlaces { object: part.object.clone(), start: part.offset + raw.offset, row_bytes, count })
    }
}

impl VectorPlaces {
    fn ranges(&self, rows: &[RowTag]) -> Vec<Range<u64>> {
        let range = |tag: &RowTag| {
            let start = self.start + u64::from(tag.slot) * self.row_bytes;
            start..start + self.row_bytes
        };
        rows.iter().map(range).collect()
    }
}

impl FarPayloads {
    /// Bytes of one block, on average.
    pub fn mean_block(&self) -> u64 {
        self.table.mean_block()
    }

    fn blocks_of(&self, rows: &[u32]) -> Result<Vec<usize>> {
        rows.iter().map(|row| self.table.block_of(*row).ok_or_else(|| self.no_row(*row))).collect()
    }

    fn ranges(&self, blocks: &[usize]) -> Vec<Range<u64>> {
        let place = |block: &usize| {
            let place = self.table.place(*block);
            self.start + place.start..self.start + place.end
        };
        blocks.iter().map(place).collect()
    }

    fn no_row(&self, row: u32) -> Error {
        Error::internal(format!("the payloads in '{}' have no row {row}", self.object))
    }
}

impl FarIndex {
    /// Which places its lists have.
    pub fn places(&self) -> &ListPlaces {
        &self.places
    }

    /// Bytes of the beginning of the index.
    pub fn head_bytes(&self) -> u64 {
        self.head_bytes
    }

    /// Bytes of one place.
    pub fn entry_bytes(&self) -> u64 {
        self.entry_bytes
    }

    /// Rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    fn bytes_of(&self, places: &Range<u32>) -> Range<u64> {
        let at = |place: u32| self.entries + u64::from(place) * self.entry_bytes;
        at(places.start)..at(places.end)
    }

    /// Compares the entries of whole lists with the lists' checksums.
    fn check(&self, places: &Range<u32>, bytes: &[u8]) -> Result<()> {
        let expected = self.bytes_of(places);
        if bytes.len() as u64 != expected.end - expected.start {
            return Err(self.damaged(places, "fewer bytes came than are there"));
        }
        let first = self.lists.partition_point(|(start, _)| *start < places.start);
        let lists = self.lists[first..].iter().take_while(|(start, _)| *start < places.end);
        for (number, (start, checksum)) in (first..).zip(lists) {
            let end = self.lists.get(number + 1).map_or(self.rows, |(next, _)| *next);
            let at = |place: u32| (u64::from(place - places.start) * self.entry_bytes) as usize;
            let entries = (end <= places.end).then(|| &bytes[at(*start)..at(end)]);
            if entries.map(crc32c::crc32c) != Some(*checksum) {
                return Err(self.damaged(places, &format!("list {number} does not have its checksum")));
            }
        }
        Ok(())
    }

    fn damaged(&self, places: &Range<u32>, what: &str) -> Error {
        Error::damaged(format!(
            "damaged data in object '{}', level codes {}..{}: {what}",
            self.object, places.start, places.end
        ))
    }
}

/// The checked beginning of a part.
struct HeadBytes(Bytes);

impl HeadBytes {
    fn section(&self, part: &PartMeta, kind: SectionKind) -> Result<Section> {
        let section = part.section(kind)?;
        let end = section.offset.checked_add(section.length).filter(|end| *end <= self.0.len() as u64);
        let end = end.ok_or_else(|| part.damaged("its first sections are not where they should be"))?;
        let bytes = self.0.slice(section.offset as usize..end as usize);
        Ok(Section::new(bytes, &format!("object '{}', part {}, section {kind}", part.object, part.kind)))
    }
}

impl PartMeta {
    /// Where a section lies, which every part of this kind has.
    pub(crate) fn section(&self, kind: SectionKind) -> Result<SectionMeta> {
        let found = self.sections.iter().find(|section| section.kind == kind).copied();
        let fits = |section: &SectionMeta| {
            let end = section.offset.checked_add(section.length)?.checked_add(SECTION_ALIGN)?;
            (section.offset <= self.length && end <= self.length.checked_add(SECTION_ALIGN)?).then_some(())
        };
        let there = self.offset.checked_add(self.length).is_some();
        found
            .filter(|section| there && fits(section).is_some())
            .ok_or_else(|| self.damaged(&format!("section {kind} is missing")))
    }

    pub(crate) fn damaged(&self, what: &str) -> Error {
        Error::damaged(format!("damaged data in object '{}', part {}: {what}", self.object, self.kind))
    }
}

/// The same bytes in fewer ranges, ascending.
fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(JOIN_BYTES) => {
                last.end = last.end.max(range.end)
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_read_together() {
        let far = 2 * JOIN_BYTES;
        let ranges = [far + 10..far + 20, 0..10, 5..8, 10 + JOIN_BYTES..12 + JOIN_BYTES];
        assert_eq!(joined(&ranges[..3]), vec![0..10, far + 10..far + 20]);
        let all = joined(&ranges);
        assert_eq!((all.len(), all[0].clone()), (1, 0..far + 20));
    }
}
