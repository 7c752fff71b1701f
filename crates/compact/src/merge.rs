//! Several segments become one, without what was deleted. While that is done rows may be deleted from them and indexes may come:
//! what was deleted meanwhile is deleted from the new segment when it takes their place.

use std::collections::BTreeMap;

use lodestone_index::dense::GONE;
use lodestone_manifest::{Rewrite, SegmentEntry, SegmentId, Shard, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{MergeInput, PartKind, PartMeta, RowTags, SegmentMeta, SegmentReader};
use lodestone_shard::ShardSchema;
use lodestone_types::Result;
use lodestone_wal::keys;
use roaring::RoaringBitmap;

use crate::plan::{self, Indexed};
use crate::{Objects, merged_index};

/// What a merge reads of a segment, beside its rows: the indexes of these vectors.
pub fn index_parts(indexed: &BTreeMap<String, Indexed>) -> Vec<PartKind> {
    let parts = |name: &String| {
        [PartKind::Model, PartKind::VectorIndex, PartKind::LevelCodes].map(|kind| kind(name.clone()))
    };
    indexed.keys().flat_map(parts).collect()
}

/// A segment made of others.
pub struct Merged {
    /// Which, and for each of their rows the one that it has become.
    inputs: Vec<(SegmentId, Vec<u32>)>,
    /// `None` if no row was left.
    segment: Option<SegmentMeta>,
}

/// Merges the segments, whose rows and [`index_parts`] are loaded. Vectors in `indexed` are indexed at once where there are
/// as many of them as it says and codes can be taken over. Takes a processor for a while.
pub fn merge(
    readers: &[SegmentReader],
    schema: &ShardSchema,
    indexed: &BTreeMap<String, Indexed>,
    job: &Job,
    objects: &Objects,
) -> Result<Merged> {
    let nothing = RoaringBitmap::new();
    let segments: Vec<MergeInput> =
        readers.iter().map(|reader| MergeInput { reader, drop: &nothing }).collect();
    let mut object = objects.begin(keys::part(job.epoch, job.id, "seg", 0));
    let id = SegmentId::new(job.epoch, job.id, 0);
    let merged = lodestone_segment::merge(&segments, schema.segment(), &mut object, id)?;
    let ids = readers.iter().map(|reader| reader.meta().id);
    let mut segment = merged.segment;
    if segment.rows == 0 {
        return Ok(Merged { inputs: ids.zip(merged.rows).collect(), segment: None });
    }
    object.into_sink().end()?;
    for (number, (name, wanted)) in (0..).zip(indexed) {
        let sources: Vec<_> = readers.iter().zip(&merged.rows).collect();
        let Some(plan) = merged_index::plan(&sources, name, *wanted)? else { continue };
        let mut object = objects.begin(keys::part(job.epoch, job.id, "vec", number));
        let index = plan.merge(schema.vector(name)?)?;
        let becomes = sources.iter().map(|(reader, rows)| (*reader, Some(rows.as_slice())));
        let tags = RowTags::of(&becomes.collect::<Vec<_>>(), name)?;
        let parts = object.add_vector_index(name, index, plan.model_part(), &tags)?;
        object.into_sink().end()?;
        segment = segment.with_part(plan.model_part().clone()).with_index(&parts);
    }
    Ok(Merged { inputs: ids.zip(merged.rows).collect(), segment: Some(segment) })
}

impl Merged {
    /// The segments that it is made of.
    pub fn inputs(&self) -> impl Iterator<Item = SegmentId> {
        self.inputs.iter().map(|(id, _)| *id)
    }

    /// The rows of the segment that were deleted from what it is made of after that was read. `now`: the same segments as they
    /// are, in the same order, their deletes loaded.
    pub fn deleted_since(&self, now: &[SegmentReader]) -> Result<RoaringBitmap> {
        let mut deleted = RoaringBitmap::new();
        for ((_, rows), reader) in self.inputs.iter().zip(now) {
            let becomes = reader.deletes()?.iter().filter_map(|row| rows.get(row as usize));
            deleted.extend(becomes.filter(|row| **row != GONE));
        }
        Ok(deleted)
    }

    /// Puts the segment, of which the rows in `deletes` are deleted, in the place of what it is made of. `None` if `shard` has not
    /// all of that any more, or names a model that it needs no more.
    pub fn rewrite(
        &self,
        manifest: &Shard,
        deletes: Option<PartMeta>,
        shard: ShardId,
        job: &Job,
    ) -> Result<Option<Rewrite>> {
        let mut read: Vec<&SegmentEntry> = Vec::new();
        for id in self.inputs() {
            let Some(entry) = manifest.segments.iter().find(|entry| entry.id == id) else { return Ok(None) };
            read.push(entry);
        }
        // Were no segment left that names the model, it might be gone.
        let models = self.segment.iter().flat_map(|meta| &meta.parts);
        for model in models.filter(|part| matches!(part.kind, PartKind::Model(_))) {
            let Some(entry) = plan::segment_of(model, manifest)? else { return Ok(None) };
            read.push(entry);
        }
        let segment = self
            .segment
            .clone()
            .map(|meta| deletes.into_iter().fold(meta, |meta, part| meta.with_part(part)));
        Ok(Some(Rewrite {
            epoch: job.epoch,
            shard,
            read: read.into_iter().map(|entry| (entry.id, entry.revision)).collect(),
            remove: self.inputs().collect(),
            put: segment.map(|meta| meta.to_entry(0)).transpose()?.into_iter().collect(),
            fold: None,
        }))
    }
}
