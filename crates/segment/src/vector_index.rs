//! The index of one vector as two parts: the rows in lists, and the model that the lists are of. Several segments may
//! name one model part.

use bytes::Bytes;
use lodestone_index::dense::{IndexSections, IndexShape, Model, ModelHeader, VectorIndex};
use lodestone_types::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::meta::{PartKind, PartMeta, SectionKind};
use crate::part::{ObjectWriter, PartBytes, PartDraft};

/// What the manifest says of an index.
#[derive(Serialize, Deserialize)]
struct IndexDetail {
    /// The checksum of the model's part, so that lists are not looked up in another one.
    model: u32,
    shape: IndexShape,
}

impl ObjectWriter {
    /// Adds the model of the vectors called `name`.
    pub fn add_model(&mut self, name: &str, model: &Model) -> Result<PartMeta> {
        self.add(PartDraft {
            kind: PartKind::Model(name.to_owned()),
            entries: model.header().rows,
            detail: detail(&model.header())?,
            sections: vec![
                (SectionKind::MEAN, model.mean_bytes()),
                (SectionKind::CENTROIDS, model.centroid_bytes().to_vec()),
            ],
        })
    }

    /// Adds the index of the vectors called `name`, whose lists are of the model in `model`.
    pub fn add_vector_index(
        &mut self,
        name: &str,
        index: &VectorIndex,
        model: &PartMeta,
    ) -> Result<PartMeta> {
        let IndexSections { lists, blocks, levels, rows } = index.sections();
        self.add(PartDraft {
            kind: PartKind::VectorIndex(name.to_owned()),
            entries: index.rows() as u64,
            detail: detail(&IndexDetail { model: model.checksum, shape: index.shape() })?,
            sections: vec![
                (SectionKind::CLUSTERS, lists.into()),
                (SectionKind::PERMUTATION, rows.into()),
                (SectionKind::CODES, blocks.into()),
                (SectionKind::LEVELS, levels.into()),
            ],
        })
    }
}

/// An index and which model it is of.
pub(crate) struct OpenIndex {
    pub index: VectorIndex,
    pub model: u32,
}

impl PartMeta {
    /// What a model's part says of the model without its bytes.
    pub fn model_header(&self) -> Result<ModelHeader> {
        postcard::from_bytes(&self.detail).map_err(|_| self.unreadable())
    }

    /// What an index's part says of the index without its bytes.
    pub fn index_shape(&self) -> Result<IndexShape> {
        let detail: IndexDetail = postcard::from_bytes(&self.detail).map_err(|_| self.unreadable())?;
        Ok(detail.shape)
    }

    fn unreadable(&self) -> Error {
        Error::damaged(format!(
            "what the manifest says about part {} of '{}' cannot be read",
            self.kind, self.object
        ))
    }
}

pub(crate) fn open_model(part: &PartBytes) -> Result<Model> {
    let header: ModelHeader = read_detail(part)?;
    let (mean, centroids) = (part.section(SectionKind::MEAN)?, part.section(SectionKind::CENTROIDS)?);
    Model::open(header, &mean.bytes, centroids.bytes).map_err(|e| part.damaged(e))
}

pub(crate) fn open_index(part: &PartBytes, rows: u32) -> Result<OpenIndex> {
    let IndexDetail { model, shape } = read_detail(part)?;
    let section = |kind| -> Result<Bytes> { Ok(part.section(kind)?.bytes) };
    let sections = IndexSections {
        lists: section(SectionKind::CLUSTERS)?,
        blocks: section(SectionKind::CODES)?,
        levels: section(SectionKind::LEVELS)?,
        rows: section(SectionKind::PERMUTATION)?,
    };
    let index = VectorIndex::open(shape, sections, rows).map_err(|e| part.damaged(e))?;
    Ok(OpenIndex { index, model })
}

fn detail(detail: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(detail).map_err(|e| Error::internal(e.to_string()))
}

fn read_detail<T: DeserializeOwned>(part: &PartBytes) -> Result<T> {
    postcard::from_bytes(&part.meta().detail)
        .map_err(|_| part.damaged("what the manifest says about it cannot be read"))
}
