//! Several segments become one, without what was deleted.

use std::collections::BTreeMap;

use lodestone_manifest::{Rewrite, SegmentEntry, SegmentId, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{MergeInput, ObjectWriter, PartKind, RowTags, SegmentReader};
use lodestone_shard::ShardSchema;
use lodestone_types::Result;
use lodestone_wal::keys;
use roaring::RoaringBitmap;

use crate::plan::Indexed;
use crate::{Objects, merged_index};

/// What a merge reads of a segment, beside its rows: the indexes of these vectors.
pub fn index_parts(indexed: &BTreeMap<String, Indexed>) -> Vec<PartKind> {
    let parts = |name: &String| {
        [PartKind::Model, PartKind::VectorIndex, PartKind::LevelCodes].map(|kind| kind(name.clone()))
    };
    indexed.keys().flat_map(parts).collect()
}

/// Merges the segments, whose rows and [`index_parts`] are loaded. Vectors in `indexed` are indexed at once where there are
/// as many of them as it says and codes can be taken over. Takes a processor for a while.
pub fn merge(
    inputs: &[(SegmentReader, SegmentEntry)],
    schema: &ShardSchema,
    indexed: &BTreeMap<String, Indexed>,
    shard: ShardId,
    job: &Job,
    objects: &Objects,
) -> Result<Rewrite> {
    let nothing = RoaringBitmap::new();
    let segments: Vec<MergeInput> =
        inputs.iter().map(|(reader, _)| MergeInput { reader, drop: &nothing }).collect();
    let merged = lodestone_segment::merge(&segments, schema.segment())?;
    let mut put = Vec::new();
    if merged.writer.rows() > 0 {
        let key = keys::part(job.epoch, job.id, "seg", 0);
        let (bytes, mut meta) = merged.writer.finish(&key, SegmentId::new(job.epoch, job.id, 0))?;
        objects.put(key, bytes)?;
        for (number, (name, wanted)) in (0..).zip(indexed) {
            let sources: Vec<_> = inputs.iter().map(|(reader, _)| reader).zip(&merged.rows).collect();
            let shape = schema.vector(name)?;
            let Some(plan) = merged_index::plan(&sources, name, *wanted)? else { continue };
            let key = keys::part(job.epoch, job.id, "vec", number);
            let mut object = ObjectWriter::new(&key);
            let index = plan.merge(shape)?;
            let becomes = sources.iter().map(|(reader, rows)| (*reader, Some(rows.as_slice())));
            let tags = RowTags::of(&becomes.collect::<Vec<_>>(), name)?;
            let parts = object.add_vector_index(name, &index, plan.model_part(), &tags)?;
            objects.put(key, object.finish())?;
            meta = meta.with_part(plan.model_part().clone()).with_index(&parts);
        }
        put.push(meta.to_entry(0)?);
    }
    Ok(Rewrite {
        epoch: job.epoch,
        shard,
        read: inputs.iter().map(|(_, entry)| (entry.id, entry.revision)).collect(),
        remove: inputs.iter().map(|(_, entry)| entry.id).collect(),
        put,
        fold: None,
    })
}
