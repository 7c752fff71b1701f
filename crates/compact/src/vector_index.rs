//! The index of a segment's vectors, built on live data.

use std::sync::Arc;

use lodestone_index::dense::{self, BuildOptions, Model, TrainOptions, build};
use lodestone_kernels::{LevelBits, Metric, decode, normalize};
use lodestone_manifest::{Rewrite, SegmentEntry, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{ObjectWriter, PartMeta, SegmentMeta, SegmentReader};
use lodestone_shard::{element_of, metric_of};
use lodestone_types::{Error, Result};
use lodestone_wal::keys;

use crate::Objects;
use crate::plan::IndexTask;

/// Rows of a list, on average: short lists cost more to find and less to read. Measured, see `docs/0004-vector-index.md`.
const LIST_ROWS: usize = 50;
/// The same of a small index: fewer centroids, and fewer places left empty. With rows in one list only, that brings what
/// has to be in memory under a fifth of the vectors, and lists have as many rows as where each is in two.
const SMALL_LIST_ROWS: usize = 100;
/// Rows a model learns from, at most: what they take in memory is turned `f32`.
const SAMPLE_BYTES: usize = 1 << 30;

/// Any will do; the same rows give the same index.
const SEED: u64 = 0x10de_5704;

/// Builds the index, hands over the object that holds it, and returns its parts. The vectors of `reader` are loaded, and
/// of `model_of` the model, if the task names one. Takes all processors for a while.
pub fn build_index(
    reader: &SegmentReader,
    model_of: Option<&SegmentReader>,
    task: &IndexTask,
    job: &Job,
    objects: &Objects,
) -> Result<Vec<PartMeta>> {
    let name = &task.vector;
    let column =
        reader.vector(name)?.ok_or_else(|| Error::internal("a segment without vectors is to be indexed"))?;
    let (dim, element) = (column.spec().dim as usize, element_of(column.spec().datatype));
    let metric = metric_of(task.distance);
    let size = column.spec().row_bytes();
    let write = |slot: usize, out: &mut [f32]| {
        let mut vector = Vec::with_capacity(dim);
        decode(element, &column.raw()[slot * size..(slot + 1) * size], &mut vector);
        // Bytes are stored as they came.
        if metric == Metric::Cosine {
            normalize(&mut vector);
        }
        out.copy_from_slice(&vector);
    };
    let key = keys::part(job.epoch, job.id, "vec", 0);
    let mut object = ObjectWriter::new(&key);
    let made;
    let (model, model_part) = match (model_of, &task.model) {
        (Some(other), Some((_, part))) => {
            let model =
                other.model(name)?.ok_or_else(|| Error::internal("the model that was planned is gone"))?;
            (model, part.clone())
        }
        _ => {
            let options = TrainOptions {
                distance: match metric {
                    Metric::Dot | Metric::Cosine => dense::Distance::Dot,
                    Metric::Euclid | Metric::Manhattan => dense::Distance::Euclid,
                },
                list_rows: if task.small { SMALL_LIST_ROWS } else { LIST_ROWS },
                sample_rows: SAMPLE_BYTES / (4 * dim),
                level_bits: LevelBits::Four,
                seed: SEED,
            };
            made = Model::train(dim, column.len(), &write, options);
            let part = object.add_model(name, &made)?;
            (&made, part)
        }
    };
    let row = |slot: u32| column.slot_to_row(slot).unwrap_or_default();
    let index = build(model, column.len(), &write, &row, BuildOptions { spill: !task.small });
    let index_part = object.add_vector_index(name, &index, &model_part)?;
    objects.put(key, object.finish())?;
    if task.small
        && let Some(disk) = column.on_disk(true)
    {
        // Building took all vectors into memory.
        disk.forget_map();
    }
    Ok(vec![model_part, index_part])
}

/// Gives a segment its index, as it is now: rows may have been deleted since the index was begun, but they are the same
/// rows.
pub fn add_index(
    entry: &SegmentEntry,
    model_of: Option<&SegmentEntry>,
    parts: &[PartMeta],
    shard: ShardId,
    job: &Arc<Job>,
) -> Result<Rewrite> {
    let meta = parts.iter().fold(SegmentMeta::from_entry(entry)?, |meta, part| meta.with_part(part.clone()));
    // Were the segment gone that the model is of, so might be the model.
    let read = [Some(entry), model_of.filter(|other| other.id != entry.id)];
    Ok(Rewrite {
        epoch: job.epoch,
        shard,
        read: read.into_iter().flatten().map(|entry| (entry.id, entry.revision)).collect(),
        remove: Vec::new(),
        put: vec![meta.to_entry(entry.revision + 1)?],
        fold: None,
    })
}
