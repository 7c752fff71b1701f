//! Payload indexes made or dropped on live data: new parts beside the old ones.

use std::collections::BTreeMap;

use lodestone_manifest::{Rewrite, SegmentEntry, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{ObjectWriter, PartKind, SegmentMeta, SegmentReader};
use lodestone_types::{FieldIndex, JsonPath, Result};
use lodestone_wal::keys;

use crate::Objects;

/// Brings a segment's payload indexes in line with the collection's. The payloads of `reader` are loaded. Takes a
/// processor for a while.
pub fn reindex(
    reader: &SegmentReader,
    entry: &SegmentEntry,
    build: &BTreeMap<JsonPath, FieldIndex>,
    drop: &[JsonPath],
    shard: ShardId,
    job: &Job,
    objects: &Objects,
) -> Result<Rewrite> {
    let mut meta = without_indexes(reader.meta(), drop);
    let key = keys::part(job.epoch, job.id, "idx", 0);
    let mut object = ObjectWriter::new(&key);
    for (path, index) in build {
        meta = meta.with_part(object.add_field_index(reader, path, index)?);
    }
    if !build.is_empty() {
        objects.put(key, object.finish())?;
    }
    Ok(Rewrite {
        epoch: job.epoch,
        shard,
        read: vec![(entry.id, entry.revision)],
        remove: Vec::new(),
        put: vec![meta.to_entry(entry.revision + 1)?],
        fold: None,
    })
}

fn without_indexes(meta: &SegmentMeta, drop: &[JsonPath]) -> SegmentMeta {
    let dropped = |kind: &&PartKind| matches!(kind, PartKind::FieldIndex { path, .. } if drop.contains(path));
    let kinds: Vec<&PartKind> = meta.parts.iter().map(|part| &part.kind).filter(dropped).collect();
    kinds.into_iter().fold(meta.clone(), |meta, kind| meta.without_part(kind))
}
