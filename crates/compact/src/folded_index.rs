//! The index of a segment that a fold writes, by a model that the shard has already.
//!
//! Without it, whoever searches would compare all rows of each new segment until its turn comes to be indexed, which may be long
//! while another index is built. To code some thousand rows costs a fold little; to learn a model is left to the job that is made
//! for it.

use bytes::Bytes;
use lodestone_index::dense::{BuildOptions, Model, build};
use lodestone_meta::Job;
use lodestone_segment::{PartMeta, RowTag, RowTags, SegmentReader};
use lodestone_shard::{FoldedRow, VectorShape};
use lodestone_types::{Error, Result};
use lodestone_wal::keys;

use crate::Objects;
use crate::column_rows::decode_row;
use crate::plan::FoldIndex;

/// What the vectors of one name are indexed by.
pub struct Source {
    plan: FoldIndex,
    /// A segment that names the model.
    reader: SegmentReader,
}

/// Indexes the vectors of one name of the segment that is being written.
pub struct Indexer<'a> {
    plan: &'a FoldIndex,
    model: &'a Model,
    shape: VectorShape,
    /// Of each vector its row and its bytes.
    vectors: Vec<(u32, Bytes)>,
    tags: Vec<RowTag>,
}

impl Source {
    /// `reader`: the segment that the plan names, with its model loaded.
    pub fn new(plan: FoldIndex, reader: SegmentReader) -> Self {
        Self { plan, reader }
    }

    /// The name of the vectors.
    pub fn vector(&self) -> &str {
        &self.plan.vector
    }

    /// Begins with a segment without rows.
    pub fn indexer(&self, shape: VectorShape) -> Result<Indexer<'_>> {
        let model = self.reader.model(&self.plan.vector)?;
        let model = model.ok_or_else(|| Error::internal("the model that was planned is gone"))?;
        Ok(Indexer { plan: &self.plan, model, shape, vectors: Vec::new(), tags: Vec::new() })
    }
}

impl Indexer<'_> {
    /// Takes note of the next row of the segment.
    pub fn push(&mut self, number: u32, row: &FoldedRow) {
        let Some((_, bytes)) = row.vectors.iter().find(|(name, _)| **name == *self.plan.vector) else {
            return;
        };
        self.vectors.push((number, bytes.clone()));
        self.tags.push(RowTag::new(number, row.id, row.lsn, bytes));
    }

    /// The parts of the model and of the index, in this order; `None` where there are too few vectors for one. Takes a while.
    pub fn finish(self, job: &Job, object: u32, objects: &Objects) -> Result<Option<Vec<PartMeta>>> {
        if (self.vectors.len() as u64) < self.plan.indexed.least {
            return Ok(None);
        }
        let row = |number: usize, out: &mut [f32]| decode_row(&self.shape, &self.vectors[number].1, out);
        let name = |number: u32| self.vectors[number as usize].0;
        let options = BuildOptions { spill: !self.plan.indexed.codes.small };
        let index = build(self.model, self.vectors.len(), &row, &name, options);
        let tags: RowTags = self.tags.into_iter().collect();
        let mut object = objects.begin(keys::part(job.epoch, job.id, "vec", object));
        let mut parts = vec![self.plan.model.clone()];
        parts.extend(object.add_vector_index(&self.plan.vector, index, &self.plan.model, &tags)?);
        object.into_sink().end()?;
        Ok(Some(parts))
    }
}
