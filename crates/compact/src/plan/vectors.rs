//! Which segment gets an index of its vectors next.

use lodestone_manifest::{Collection, SegmentEntry, SegmentId, Shard};
use lodestone_segment::{PartKind, PartMeta, SegmentMeta};
use lodestone_types::{Distance, Result, VectorParams};

use super::{CompactOptions, merge_due};

/// A model that was made for so many times fewer rows is made anew.
const OUTGROWN: u64 = 4;

/// An index to build over the vectors of one name in one segment.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexTask {
    /// The segment.
    pub segment: SegmentId,
    /// The name of the vectors.
    pub vector: String,
    /// How they are compared.
    pub distance: Distance,
    /// Whether it is to be small rather than fast: vectors that live on disk are there to save memory.
    pub small: bool,
    /// Threads to build with; 0 is automatic.
    pub threads: usize,
    /// A segment of the shard whose model suits this one too, and the model's part; otherwise one is made.
    pub model: Option<(SegmentId, PartMeta)>,
}

/// The index that is due first, if any.
pub fn index_due(
    collection: &Collection,
    shard: &Shard,
    options: &CompactOptions,
) -> Result<Option<IndexTask>> {
    let Some(threshold) = collection.config.optimizers.indexing_bytes() else { return Ok(None) };
    let merging = merge_due(shard, options).unwrap_or_default();
    let indexed =
        collection.config.params.vectors.iter().filter(|(_, vector)| is_indexed(collection, vector));
    for (name, vector) in indexed {
        for entry in shard.segments.iter().filter(|entry| !merging.contains(&entry.id)) {
            let meta = SegmentMeta::from_entry(entry)?;
            if meta.part(&PartKind::VectorIndex(name.clone())).is_some() {
                continue;
            }
            let rows = meta.part(&PartKind::Vector(name.clone())).map_or(0, |part| part.entries);
            if rows >= options.index_rows && rows * vector.size * 4 >= threshold {
                return Ok(Some(IndexTask {
                    segment: entry.id,
                    vector: name.clone(),
                    distance: vector.distance,
                    small: vector.on_disk == Some(true),
                    threads: threads(collection, vector),
                    model: model_for(name, rows, &shard.segments)?,
                }));
            }
        }
    }
    Ok(None)
}

/// How many vectors of a shard's segments have an index, deleted ones left out as far as the manifest knows.
pub fn indexed_vectors(shard: &Shard) -> Result<u64> {
    let mut count = 0;
    for entry in &shard.segments {
        let meta = SegmentMeta::from_entry(entry)?;
        let indexes = meta.parts.iter().filter(|part| matches!(part.kind, PartKind::VectorIndex(_)));
        count += indexes.map(|part| part.entries.saturating_sub(entry.deleted.into())).sum::<u64>();
    }
    Ok(count)
}

/// Users turn indexing off by a graph without links. Sums of differences have no index.
fn is_indexed(collection: &Collection, vector: &VectorParams) -> bool {
    let links = vector.hnsw.and_then(|hnsw| hnsw.m).or(collection.config.hnsw.m);
    vector.distance != Distance::Manhattan && links != Some(0)
}

fn threads(collection: &Collection, vector: &VectorParams) -> usize {
    let own = vector.hnsw.and_then(|hnsw| hnsw.max_indexing_threads);
    own.or(collection.config.hnsw.max_indexing_threads).map_or(0, |threads| threads.min(1024) as usize)
}

/// The model of the shard that was made for most rows, if this segment has not outgrown it.
fn model_for(name: &str, rows: u64, segments: &[SegmentEntry]) -> Result<Option<(SegmentId, PartMeta)>> {
    let mut best: Option<(SegmentId, PartMeta)> = None;
    for entry in segments {
        let meta = SegmentMeta::from_entry(entry)?;
        let Some(part) = meta.part(&PartKind::Model(name.to_owned())) else { continue };
        if part.entries * OUTGROWN >= rows
            && best.as_ref().is_none_or(|(_, known)| known.entries < part.entries)
        {
            best = Some((entry.id, part.clone()));
        }
    }
    Ok(best)
}
