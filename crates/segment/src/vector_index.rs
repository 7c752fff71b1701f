//! The index of one vector as parts: the rows in lists, and the model that the lists are of. Several segments may name one
//! model part. Level codes are with the lists, or where searches go by signs alone, a part of their own, which only merges
//! bring into memory.

use bytes::Bytes;
use lodestone_index::dense::{
    Calibration, CentroidCodes, IndexSections, IndexShape, Model, ModelHeader, VectorIndex,
};
use lodestone_types::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::meta::{PartKind, PartMeta, SectionKind, SegmentMeta};
use crate::part::{ObjectWriter, PartBytes, PartDraft, SECTION_ALIGN, Sink, le_u32};
use crate::reader::Fetch;
use crate::row_tag::{RowTags, TagLayout};

/// What the manifest says of an index. Behind it is a [`TagLayout`], unless it was made before there were such.
#[derive(Serialize, Deserialize)]
struct IndexDetail {
    /// The checksum of the model's part, so that lists are not looked up in another one.
    model: u32,
    shape: IndexShape,
    head: Head,
}

/// What the manifest says of level codes that are a part of their own.
#[derive(Serialize, Deserialize)]
struct LevelsDetail {
    /// The checksum of the index's part, so that rows are not given the codes of others.
    index: u32,
}

/// What the manifest says of a model. Behind it are [`ModelMeasures`], whether its searches go by signs alone, and the decay, as far as
/// there were such things when it was made.
#[derive(Serialize, Deserialize)]
struct ModelDetail {
    header: ModelHeader,
    head: Head,
}

/// What was measured of a model's rows.
#[derive(Serialize, Deserialize)]
struct ModelMeasures {
    calibration: Calibration,
    row_length: f32,
}

/// The bytes at the start of a part that a search of a far index reads first, filling included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub length: u64,
    /// CRC-32C.
    pub checksum: u32,
}

impl Head {
    /// Of a part that begins with these sections.
    fn of(sections: &[&[u8]]) -> Self {
        let (mut length, mut checksum) = (0, 0);
        for section in sections {
            let filled = (section.len() as u64).next_multiple_of(SECTION_ALIGN);
            checksum = crc32c::crc32c_append(checksum, section);
            checksum = crc32c::crc32c_append(checksum, &vec![0; filled as usize - section.len()]);
            length += filled;
        }
        Self { length, checksum }
    }
}

impl<S: Sink> ObjectWriter<S> {
    /// Adds the model of the vectors called `name`.
    pub fn add_model(&mut self, name: &str, model: &Model) -> Result<PartMeta> {
        let (header, mean, centroids) = (model.header(), model.mean_bytes(), CentroidCodes::of(model));
        let codes = centroids.bytes().to_vec();
        self.add(PartDraft {
            kind: PartKind::Model(name.to_owned()),
            entries: header.rows,
            detail: detail(&(
                ModelDetail { header, head: Head::of(&[&mean, &codes]) },
                ModelMeasures { calibration: header.calibration, row_length: header.row_length },
                header.signs_alone,
                header.decay,
                header.spill_cost,
            ))?,
            sections: vec![
                (SectionKind::MEAN, mean.into()),
                (section_of(&centroids), codes.into()),
                (SectionKind::CENTROIDS, model.centroid_bytes().to_vec().into()),
            ],
        })
    }

    /// Adds the index of the vectors called `name`, whose lists are of the model in `model`. `tags` are of its rows. The index's
    /// own part comes first, and then its level codes, if searches go by signs alone.
    pub fn add_vector_index(
        &mut self,
        name: &str,
        index: VectorIndex,
        model: &PartMeta,
        tags: &RowTags,
    ) -> Result<Vec<PartMeta>> {
        tags.check(index.sections().rows.as_chunks().0.iter().map(|row| u32::from_le_bytes(*row)))?;
        let layout = tags.layout();
        let index = index.tagged(layout.bytes(), &|row, out| tags.write(row, &layout, out));
        let (shape, entries, size) = (index.shape(), index.rows() as u64, index.entry_bytes());
        let IndexSections { lists, blocks, levels, rows } = index.sections();
        let levels = levels.ok_or_else(|| Error::internal("an index is written without its level codes"))?;
        let checksums = list_checksums(&lists, &levels, size);
        let head = Head::of(&[&lists, &checksums]);
        let mut draft = PartDraft {
            kind: PartKind::VectorIndex(name.to_owned()),
            entries,
            detail: detail(&(IndexDetail { model: model.checksum, shape, head }, layout))?,
            sections: vec![
                (SectionKind::CLUSTERS, lists),
                (SectionKind::LIST_CHECKSUMS, checksums.into()),
                (SectionKind::PERMUTATION, rows),
                (SectionKind::CODES, blocks),
            ],
        };
        let levels = (SectionKind::LEVELS, levels);
        if !model.model_header()?.signs_alone {
            draft.sections.push(levels);
            return Ok(vec![self.add(draft)?]);
        }
        let index = self.add(draft)?;
        let levels = self.add(PartDraft {
            kind: PartKind::LevelCodes(name.to_owned()),
            entries,
            detail: detail(&LevelsDetail { index: index.checksum })?,
            sections: vec![levels],
        })?;
        Ok(vec![index, levels])
    }
}

/// The section that has such codes.
fn section_of(centroids: &CentroidCodes) -> SectionKind {
    match centroids {
        CentroidCodes::Levels(_) => SectionKind::CENTROID_LEVELS,
        CentroidCodes::Signs(_) => SectionKind::CENTROID_SIGNS,
    }
}

impl SegmentMeta {
    /// The same segment with these parts of an index in the place of those that it has of the same vectors.
    pub fn with_index(&self, parts: &[PartMeta]) -> Self {
        let of_index = |part: &PartMeta| match &part.kind {
            PartKind::VectorIndex(name) => Some(PartKind::LevelCodes(name.clone())),
            _ => None,
        };
        let without =
            parts.iter().filter_map(of_index).fold(self.clone(), |meta, kind| meta.without_part(&kind));
        parts.iter().fold(without, |meta, part| meta.with_part(part.clone()))
    }

    /// Bytes of the level codes of the vectors called `name`, with what stands beside them.
    pub fn code_bytes(&self, name: &str) -> Result<u64> {
        Ok(self.levels_part(name)?.section(SectionKind::LEVELS)?.length)
    }

    /// The part that has the level codes of the index of the vectors called `name`.
    pub(crate) fn levels_part(&self, name: &str) -> Result<&PartMeta> {
        let (index, levels) = (PartKind::VectorIndex(name.to_owned()), PartKind::LevelCodes(name.to_owned()));
        let index = self.part(&index).ok_or_else(|| self.lacks(&index))?;
        if index.has(SectionKind::LEVELS) {
            return Ok(index);
        }
        let part = self.part(&levels).ok_or_else(|| self.lacks(&levels))?;
        let LevelsDetail { index: expected } =
            postcard::from_bytes(&part.detail).map_err(|_| part.unreadable())?;
        if expected != index.checksum {
            return Err(part.damaged("it is of another index"));
        }
        Ok(part)
    }

    pub(crate) fn lacks(&self, kind: &PartKind) -> Error {
        Error::damaged(format!("the manifest knows no part {kind} of segment {}", self.id))
    }
}

/// The CRC-32C of each list's entries, of `size` bytes each; `lists` says where they begin.
fn list_checksums(lists: &[u8], levels: &[u8], size: usize) -> Vec<u8> {
    let places: Vec<usize> =
        lists.as_chunks::<8>().0.iter().map(|entry| le_u32(&entry[4..]) as usize).collect();
    let entries = places.windows(2).map(|pair| &levels[pair[0] * size..pair[1] * size]);
    entries.flat_map(|entries| crc32c::crc32c(entries).to_le_bytes()).collect()
}

/// An index and which model it is of.
pub(crate) struct OpenIndex {
    pub index: VectorIndex,
    pub model: u32,
}

impl PartMeta {
    /// What a model's part says of the model without its bytes.
    pub fn model_header(&self) -> Result<ModelHeader> {
        Ok(self.model_detail()?.header)
    }

    /// What an index's part says of the index without its bytes.
    pub fn index_shape(&self) -> Result<IndexShape> {
        Ok(self.index_detail()?.shape)
    }

    /// The checksum of the model's part that an index is of.
    pub(crate) fn index_model(&self) -> Result<u32> {
        Ok(self.index_detail()?.model)
    }

    /// How the tags of an index are stored.
    pub(crate) fn tag_layout(&self) -> Result<TagLayout> {
        let rest = &mut self.detail.as_slice();
        let IndexDetail { shape, .. } = self.next(rest)?.ok_or_else(|| self.unreadable())?;
        let layout = self.next(rest)?.or_else(|| TagLayout::of_before(shape.tag_bytes));
        let fits = |layout: &TagLayout| layout.is_possible() && layout.bytes() == shape.tag_bytes as usize;
        layout.filter(fits).ok_or_else(|| self.unreadable())
    }

    /// Bytes in memory once the part is loaded: of an index, tags are left out.
    pub fn loaded_bytes(&self) -> u64 {
        let tags = match &self.kind {
            PartKind::VectorIndex(_) if self.has(SectionKind::LEVELS) => {
                self.index_shape().map_or(0, |shape| u64::from(shape.tag_bytes) * u64::from(shape.rows))
            }
            _ => 0,
        };
        self.length.saturating_sub(tags)
    }

    /// What a search of a far index reads first of a model or an index.
    pub(crate) fn head(&self) -> Result<Head> {
        let head = match self.kind {
            PartKind::Model(_) => self.model_detail()?.head,
            _ => self.index_detail()?.head,
        };
        if head.length <= self.length { Ok(head) } else { Err(self.unreadable()) }
    }

    pub(crate) fn has(&self, kind: SectionKind) -> bool {
        self.sections.iter().any(|section| section.kind == kind)
    }

    fn model_detail(&self) -> Result<ModelDetail> {
        let rest = &mut self.detail.as_slice();
        let ModelDetail { mut header, head } = self.next(rest)?.ok_or_else(|| self.unreadable())?;
        if let Some(ModelMeasures { calibration, row_length }) = self.next(rest)? {
            // With a factor of 0 nothing would be found.
            if calibration.lists.min(calibration.keep).min(calibration.candidates) == 0 {
                return Err(self.unreadable());
            }
            (header.calibration, header.row_length) = (calibration, row_length);
        }
        header.signs_alone = self.next(rest)?.unwrap_or_default();
        header.decay = self.next(rest)?.flatten();
        if header.decay.is_some_and(|decay: f32| !decay.is_normal() || decay < 0.0) {
            return Err(self.unreadable());
        }
        header.spill_cost = self.next(rest)?.unwrap_or_default();
        if !header.spill_cost.is_finite() || header.spill_cost < 0.0 {
            return Err(self.unreadable());
        }
        Ok(ModelDetail { header, head })
    }

    /// What comes next in what the manifest says of a part; `None` at the end.
    fn next<'a, T: Deserialize<'a>>(&'a self, rest: &mut &'a [u8]) -> Result<Option<T>> {
        if rest.is_empty() {
            return Ok(None);
        }
        let next;
        (next, *rest) = postcard::take_from_bytes(rest).map_err(|_| self.unreadable())?;
        Ok(Some(next))
    }

    fn index_detail(&self) -> Result<IndexDetail> {
        postcard::from_bytes(&self.detail).map_err(|_| self.unreadable())
    }

    fn unreadable(&self) -> Error {
        Error::damaged(format!(
            "what the manifest says about part {} of '{}' cannot be read",
            self.kind, self.object
        ))
    }
}

pub(crate) fn open_model(part: &PartBytes) -> Result<Model> {
    let header = part.meta().model_header()?;
    let (mean, centroids) = (part.section(SectionKind::MEAN)?, part.section(SectionKind::CENTROIDS)?);
    Model::open(header, &mean.bytes, centroids.bytes).map_err(|e| part.damaged(e))
}

pub(crate) fn open_index(part: &PartBytes, rows: u32, fetch: &dyn Fetch) -> Result<OpenIndex> {
    let IndexDetail { model, shape, .. } = part.meta().index_detail()?;
    let section = |kind| -> Result<Bytes> { Ok(part.section(kind)?.bytes) };
    let levels = part.find(SectionKind::LEVELS).map(|section| section.bytes);
    let sections = IndexSections {
        lists: section(SectionKind::CLUSTERS)?,
        blocks: section(SectionKind::CODES)?,
        levels,
        rows: section(SectionKind::PERMUTATION)?,
    };
    let mut index = VectorIndex::open(shape, sections, rows).map_err(|e| part.damaged(e))?;
    // Tags are for searches that have nothing but ranges of the part. A merge writes them anew.
    if index.has_levels() && shape.tag_bytes > 0 {
        index = index.untagged(|length, fill| fetch.hold(length, fill))?;
    }
    Ok(OpenIndex { index, model })
}

fn detail(detail: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(detail).map_err(|e| Error::internal(e.to_string()))
}
