//! The index of a segment's vectors, built on live data.

use std::sync::Arc;
use std::time::Instant;

use lodestone_index::dense::{
    self, BuildOptions, Calibration, HeldOut, Model, ModelHeader, Rows, TrainOptions, VectorIndex, build,
};
use lodestone_kernels::{LEVEL_DIM_STEP, Metric};
use lodestone_manifest::{Rewrite, SegmentEntry, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{PartMeta, RowTags, SegmentMeta, SegmentReader};
use lodestone_shard::{VectorShape, element_of, metric_of, search_effort};
use lodestone_types::{Error, Result};
use lodestone_wal::keys;
use tracing::{debug, info};

use crate::Objects;
use crate::column_rows::ColumnRows;
use crate::landing::with_parts;
use crate::plan::{Codes, IndexTask};
use crate::progress::{Building, Counted, Progress};

/// Rows of a list, on average: short lists cost more to find, and have more empty places. Measured, see
/// `docs/0004-vector-index.md`.
const LIST_ROWS: usize = 100;
/// Rows a model learns from, at most: what they take in memory is turned and padded `f32`.
const SAMPLE_BYTES: usize = 1 << 30;

/// Where a search for ten rows compares more vectors than this, because codes leave so many in doubt, finer codes are tried.
const IN_DOUBT: f64 = 300.0;

/// Any will do; the same rows give the same index.
const SEED: u64 = 0x10de_5704;

/// An index that was built.
pub struct Built {
    /// The parts of the model and of the index, in this order.
    pub parts: Vec<PartMeta>,
    /// Whether the model is one that segments of the shard have already.
    pub is_model_shared: bool,
}

/// One try of a job, whose objects have names of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub job: &'a Job,
    pub number: u32,
}

impl Attempt<'_> {
    fn key(self, kind: &str) -> String {
        keys::part(self.job.epoch, self.job.id, kind, self.number)
    }
}

/// Builds the index, hands over the objects that hold it, and returns its parts. Ids and vectors of `reader` are loaded,
/// and of `model_of` the model, if the task names one; where rows have moved away from that, another one is made. Takes all
/// processors for a while, and fails once it is not `wanted` any more.
pub(crate) fn build_index(
    reader: &SegmentReader,
    model_of: Option<&SegmentReader>,
    task: &IndexTask,
    attempt: Attempt,
    progress: &Arc<Progress>,
    wanted: &(dyn Fn() -> bool + Sync),
    objects: &Objects,
) -> Result<Built> {
    let name = &task.vector;
    let column =
        reader.vector(name)?.ok_or_else(|| Error::internal("a segment without vectors is to be indexed"))?;
    let shape = VectorShape {
        dim: column.dim(),
        metric: metric_of(task.distance),
        element: element_of(column.datatype()),
        on_disk: task.on_disk,
        full_scan_bytes: 0,
    };
    let vectors = ColumnRows::new(&[column], shape, |slot| (0, slot)).while_wanted(wanted);
    let row = |slot: u32| column.slot_to_row(slot).unwrap_or_default();
    let (begun, building) = (Instant::now(), progress.begin(column.len() as u64));
    info!(vectors = name, rows = column.len(), "an index is being built");
    let mut shared = None;
    if let (Some(other), Some((_, part))) = (model_of, &task.model) {
        let model =
            other.model(name)?.ok_or_else(|| Error::internal("the model that was planned is gone"))?;
        let rows = Counted { rows: &vectors, building: &building };
        let index = build(model, column.len(), &rows, &row, BuildOptions { spill: !task.codes.small });
        vectors.check()?;
        if !model.header().is_outdated(&index.shape()) {
            shared = Some((part.clone(), index));
        }
    }
    let is_model_shared = shared.is_some();
    let (model, index) = match shared {
        Some(shared) => shared,
        None => {
            let (model, index) = learn(shape, task.codes, column.len(), &vectors, &row, &building)?;
            // In an object of its own: later segments name the model when this index is long gone.
            let mut object = objects.begin(attempt.key("model"));
            let part = object.add_model(name, &model)?;
            object.into_sink().end()?;
            (part, index)
        }
    };
    let mut object = objects.begin(attempt.key("vec"));
    let tags = RowTags::of(&[(reader, None)], name)?;
    let index = object.add_vector_index(name, index, &model, &tags)?;
    object.into_sink().end()?;
    let seconds = begun.elapsed().as_secs_f32();
    info!(vectors = name, rows = column.len(), seconds, is_model_shared, "an index was built");
    Ok(Built { parts: [vec![model], index].concat(), is_model_shared })
}

/// Makes a model of vectors, whose calibration is measured, and their index. Where such codes leave too many rows in doubt, it has
/// finer ones. `row`: the row of a number.
fn learn<P: Fn(u32) -> (usize, u32) + Sync>(
    shape: VectorShape,
    codes: Codes,
    count: usize,
    vectors: &ColumnRows<'_, P>,
    row: &(dyn Fn(u32) -> u32 + Sync),
    building: &Building,
) -> Result<(Model, VectorIndex)> {
    let (options, spill) = (train_options(&shape, codes), !codes.small);
    let build = |model: &Model, rows: &dyn Rows| {
        vectors.check()?;
        building.begin_again();
        let index = build(model, count, &Counted { rows, building }, row, BuildOptions { spill });
        vectors.check()?;
        Ok::<_, Error>(index)
    };
    // Cosines are products: these rows have unit length.
    let metric = if shape.metric == Metric::Cosine { Metric::Dot } else { shape.metric };
    let held_out = HeldOut::new(shape.dim, count, vectors, metric);
    let calibrate = |model: &Model, index: &VectorIndex| {
        let header = model.header();
        held_out.calibrate(model, index, row, &|limit, calibration| {
            search_effort(limit, None, spill, &ModelHeader { calibration, ..header }, header.rows)
        })
    };
    let mut model = Model::train(shape.dim, count, vectors, options);
    model.note_signs_alone(codes.signs_alone);
    let mut index = build(&model, &held_out)?;
    let mut measured = calibrate(&model, &index);
    debug!(?measured, rows = count, "a model was calibrated");
    // No code says more of sums of differences.
    if measured.candidates > IN_DOUBT
        && shape.metric != Metric::Manhattan
        && let Some(codes) = codes.finer()
    {
        let mut finer = model.with_level_bits(codes.level_bits);
        finer.note_signs_alone(codes.signs_alone);
        let has_other_bits = finer.level_bits() != model.level_bits();
        if has_other_bits {
            // One index in memory at a time.
            drop(index);
            index = build(&finer, vectors)?;
        }
        let of_finer = calibrate(&finer, &index);
        debug!(measured = ?of_finer, "the same with finer codes");
        if of_finer.candidates < measured.candidates / 2.0 {
            model = finer;
            measured.calibration = Calibration { finer: true, ..of_finer.calibration };
        } else if has_other_bits {
            index = build(&model, vectors)?;
        }
    }
    let calibration = measured.calibration;
    if calibration != Calibration::default() {
        info!(?calibration, rows = count, "searches of these vectors have to do more than usual");
    }
    model.note_spread(&index);
    model.note_calibration(calibration);
    model.note_decay(held_out.decay(&model, &index, row));
    Ok((model, index))
}

fn train_options(shape: &VectorShape, codes: Codes) -> TrainOptions {
    TrainOptions {
        distance: match shape.metric {
            Metric::Dot | Metric::Cosine => dense::Distance::Dot,
            // What is near by sums of differences is near by their squares, or calibration makes searches look at more.
            Metric::Euclid | Metric::Manhattan => dense::Distance::Euclid,
        },
        list_rows: LIST_ROWS,
        sample_rows: SAMPLE_BYTES / (4 * shape.dim.next_multiple_of(LEVEL_DIM_STEP)),
        level_bits: codes.level_bits,
        seed: SEED,
    }
}

/// Gives a segment its index, as it is now: rows may have been deleted since the index was begun, but they are the same
/// rows. `model_of`: a segment that names the model, if it is shared.
pub fn add_index(
    entry: &SegmentEntry,
    model_of: Option<&SegmentEntry>,
    parts: &[PartMeta],
    shard: ShardId,
    job: &Arc<Job>,
) -> Result<Rewrite> {
    let meta = SegmentMeta::from_entry(entry)?.with_index(parts).without_outdated_orders();
    // Were no segment left that names the model, it might be gone.
    let read = [Some(entry), model_of.filter(|other| other.id != entry.id)];
    let read = read.into_iter().flatten().map(|entry| (entry.id, entry.revision)).collect();
    Ok(Rewrite { read, ..with_parts(entry, &meta, shard, job)? })
}
