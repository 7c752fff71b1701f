//! Several segments become one, without what was deleted.

use lodestone_manifest::{Rewrite, SegmentEntry, SegmentId, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{MergeInput, SegmentReader, SegmentSchema};
use lodestone_types::Result;
use lodestone_wal::keys;
use roaring::RoaringBitmap;

use crate::Objects;

/// Merges the segments, whose parts are loaded. Takes a processor for a while.
pub fn merge(
    inputs: &[(SegmentReader, SegmentEntry)],
    schema: &SegmentSchema,
    shard: ShardId,
    job: &Job,
    objects: &Objects,
) -> Result<Rewrite> {
    let nothing = RoaringBitmap::new();
    let segments: Vec<MergeInput> =
        inputs.iter().map(|(reader, _)| MergeInput { reader, drop: &nothing }).collect();
    let writer = lodestone_segment::merge(&segments, schema)?;
    let mut put = Vec::new();
    if writer.rows() > 0 {
        let key = keys::part(job.epoch, job.id, "seg", 0);
        let (bytes, meta) = writer.finish(&key, SegmentId::new(job.epoch, job.id, 0))?;
        put.push(meta.to_entry(0)?);
        objects.put(key, bytes)?;
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
