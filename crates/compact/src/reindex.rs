//! Payload indexes made or dropped on live data: new parts beside the old ones.

use std::collections::BTreeMap;

use lodestone_manifest::{Rewrite, SegmentEntry, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{PartKind, PartMeta, SegmentMeta, SegmentReader};
use lodestone_types::{FieldIndex, JsonPath, Result};
use lodestone_wal::keys;

use crate::Objects;
use crate::landing::with_parts;

/// Makes payload indexes of a segment, whose payloads are loaded. Takes a processor for a while.
pub fn build(
    reader: &SegmentReader,
    indexes: &BTreeMap<JsonPath, FieldIndex>,
    job: &Job,
    objects: &Objects,
) -> Result<Vec<PartMeta>> {
    if indexes.is_empty() {
        return Ok(Vec::new());
    }
    let mut object = objects.begin(keys::part(job.epoch, job.id, "idx", 0));
    let parts = indexes.iter().map(|(path, index)| object.add_field_index(reader, path, index));
    let parts = parts.collect::<Result<_>>()?;
    object.into_sink().end()?;
    Ok(parts)
}

/// Gives a segment as it is now the indexes that were built, and takes those of `drop` from it.
pub fn replace(
    entry: &SegmentEntry,
    built: &[PartMeta],
    drop: &[JsonPath],
    shard: ShardId,
    job: &Job,
) -> Result<Rewrite> {
    let meta = without_indexes(&SegmentMeta::from_entry(entry)?, drop);
    let meta = built.iter().fold(meta, |meta, part| meta.with_part(part.clone())).without_outdated_orders();
    with_parts(entry, &meta, shard, job)
}

fn without_indexes(meta: &SegmentMeta, drop: &[JsonPath]) -> SegmentMeta {
    let dropped = |kind: &&PartKind| matches!(kind, PartKind::FieldIndex { path, .. } if drop.contains(path));
    let kinds: Vec<&PartKind> = meta.parts.iter().map(|part| &part.kind).filter(dropped).collect();
    kinds.into_iter().fold(meta.clone(), |meta, kind| meta.without_part(kind))
}
