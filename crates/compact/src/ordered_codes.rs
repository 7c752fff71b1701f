//! Codes of a segment in the order of a field, made on live data: a part beside the old ones.

use lodestone_manifest::{Rewrite, SegmentEntry, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{PartMeta, SegmentMeta, SegmentReader, StoredCodes};
use lodestone_types::Result;
use lodestone_wal::keys;

use crate::Objects;
use crate::landing::with_parts;
use crate::plan::OrderTask;

/// Writes the codes of a segment, `codes`, in the order of a field, whose index is loaded. Takes a processor for a while.
pub fn write(
    reader: &SegmentReader,
    codes: &StoredCodes,
    task: &OrderTask,
    job: &Job,
    objects: &Objects,
) -> Result<PartMeta> {
    let mut object = objects.begin(keys::part(job.epoch, job.id, "ord", 0));
    let part = object.add_ordered_codes(reader, &task.vector, &task.path, codes)?;
    object.into_sink().end()?;
    Ok(part)
}

/// Gives them to the segment as it is now; `None` where it has other indexes meanwhile.
pub fn add(
    entry: &SegmentEntry,
    part: &PartMeta,
    task: &OrderTask,
    shard: ShardId,
    job: &Job,
) -> Result<Option<Rewrite>> {
    let meta = SegmentMeta::from_entry(entry)?.with_part(part.clone());
    if meta.ordered_codes(&task.vector, &task.path).is_none() {
        return Ok(None);
    }
    with_parts(entry, &meta, shard, job).map(Some)
}
