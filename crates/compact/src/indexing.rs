//! The job that gives a segment an index of its vectors: given up when it is of no use any more, and out of the way of searches where
//! these find as much without it.

use std::future::{pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::{Rewrite, ShardId, State};
use lodestone_meta::Job;
use lodestone_segment::{PartKind, SegmentReader};
use lodestone_shard::Cancel;
use lodestone_types::{Error, Result};

use crate::builders::{self, Niceness};
use crate::jobs::entry_of;
use crate::landing::Landed;
use crate::output;
use crate::plan::{self, CompactOptions, IndexTask, Purpose};
use crate::vector_index::{self, Attempt, Built};
use crate::worker::{Compactor, Lane, known};

/// How long an index may take, for each component of its vectors, with what nobody else wants of the processors: some thirty times as long
/// as with all of them. Where they are always wanted it would never be done, and searches never be quicker.
const PATIENCE_NANOS: u64 = 2_500;

/// What an index is made of: ids and vectors of the segment are loaded, and the model of the other, if there is one.
#[derive(Clone)]
struct Inputs {
    reader: SegmentReader,
    model_of: Option<SegmentReader>,
}

/// How an index is built.
struct Manner {
    /// Of how many tries of its job.
    number: u32,
    niceness: Niceness,
    patience: Option<Duration>,
}

/// How a build came out.
enum Outcome {
    Built(Built),
    /// It is of no use any more.
    Unwanted,
    /// It took too long.
    Late,
}

impl Compactor {
    /// Builds one vector index.
    pub(crate) async fn index(
        &self,
        state: &State,
        shard: ShardId,
        task: &IndexTask,
        purpose: Purpose,
        job: &Arc<Job>,
    ) -> Result<Landed> {
        let Some(inputs) = self.index_inputs(state, shard, task).await? else { return Ok(Landed::Stale) };
        let mut urgent = Manner { number: 0, niceness: Niceness::Rebuild, patience: None };
        // One of those that are needed at a time, and one of the others beside it.
        let mut permit = None;
        if purpose == Purpose::Refinement {
            let patience = Some(patience(&inputs.reader, task)?);
            let idle = Manner { number: 0, niceness: Niceness::Refine, patience };
            match self.build(inputs.clone(), shard, task, job, idle).await? {
                Outcome::Built(built) => return self.land_index(&built, shard, task, job).await,
                Outcome::Unwanted => return Ok(Landed::Stale),
                Outcome::Late => {}
            }
            tracing::info!(%shard, segment = %task.segment, "an index had too little of the processors: it is begun again");
            permit = self.permit(Lane::Vectors).await?;
            urgent.number = 1;
        }
        let outcome = self.build(inputs, shard, task, job, urgent).await?;
        drop(permit);
        match outcome {
            Outcome::Built(built) => self.land_index(&built, shard, task, job).await,
            Outcome::Unwanted | Outcome::Late => Ok(Landed::Stale),
        }
    }

    /// `None` if a segment that it takes is gone. No more of the shard is held on to: an index may take long.
    async fn index_inputs(&self, state: &State, shard: ShardId, task: &IndexTask) -> Result<Option<Inputs>> {
        let view = self.views().snapshot(state, shard).await?.view;
        let of = |id| view.segments().find(|reader| reader.meta().id == id).cloned();
        let Some(reader) = of(task.segment) else { return Ok(None) };
        reader.load(&[PartKind::Ids, PartKind::Vector(task.vector.clone())]).await?;
        let Some((id, _)) = &task.model else { return Ok(Some(Inputs { reader, model_of: None })) };
        let Some(other) = of(*id) else { return Ok(None) };
        other.load(&[PartKind::Model(task.vector.clone())]).await?;
        Ok(Some(Inputs { reader, model_of: Some(other) }))
    }

    async fn build(
        &self,
        inputs: Inputs,
        shard: ShardId,
        task: &IndexTask,
        job: &Arc<Job>,
        manner: Manner,
    ) -> Result<Outcome> {
        let Manner { number, niceness, patience } = manner;
        let given_up = Cancel::default();
        let building = {
            let (task, job, progress) = (task.clone(), job.clone(), self.counters().progress.clone());
            let (given_up, stopping) = (given_up.clone(), self.stopping().clone());
            let wanted = move || given_up.check().and_then(|()| stopping.check()).is_ok();
            output::write(self.store(), move |objects| {
                builders::build(niceness, task.threads, || {
                    let attempt = Attempt { job: &job, number };
                    let Inputs { reader, model_of } = &inputs;
                    let model_of = model_of.as_ref();
                    vector_index::build_index(reader, model_of, &task, attempt, &progress, &wanted, objects)
                })
            })
        };
        let mut building = pin!(building);
        let outcome = tokio::select! {
            built = &mut building => return built.map(Outcome::Built),
            () = self.until_unwanted(shard, task) => Outcome::Unwanted,
            () = at_most(patience) => Outcome::Late,
        };
        given_up.cancel();
        // Until this is over, it has its threads and its memory.
        Ok(building.await.map_or_else(
            |error| {
                tracing::debug!(%error, %shard, segment = %task.segment, "an index is given up");
                outcome
            },
            Outcome::Built,
        ))
    }

    /// Waits until the index would not land any more; for ever where nobody tells.
    async fn until_unwanted(&self, shard: ShardId, task: &IndexTask) {
        let mut states = self.meta().watch();
        loop {
            let is_wanted = is_wanted(&states.borrow_and_update().clone(), shard, task, self.options());
            // What cannot be read says nothing about the index: landing will tell.
            if matches!(is_wanted, Ok(false)) {
                return;
            }
            if states.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    async fn land_index(
        &self,
        built: &Built,
        shard: ShardId,
        task: &IndexTask,
        job: &Arc<Job>,
    ) -> Result<Landed> {
        self.land_on_latest(shard, move |state, _| {
            ready(put_index(&state, shard, task, self.options(), built, job))
        })
        .await
    }
}

fn patience(reader: &SegmentReader, task: &IndexTask) -> Result<Duration> {
    let column = reader
        .vector(&task.vector)?
        .ok_or_else(|| Error::internal("a segment without vectors is to be indexed"))?;
    let components = column.len() as u64 * column.dim() as u64;
    Ok(Duration::from_nanos(components.saturating_mul(PATIENCE_NANOS)))
}

async fn at_most(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => pending().await,
    }
}

fn is_wanted(state: &State, shard: ShardId, task: &IndexTask, options: &CompactOptions) -> Result<bool> {
    match known(state, shard) {
        Some((collection, manifest)) => plan::is_index_wanted(task, collection, manifest, options),
        None => Ok(false),
    }
}

/// The rewrite that gives a segment its index, if it is still wanted there and the model is still there.
fn put_index(
    state: &State,
    shard: ShardId,
    task: &IndexTask,
    options: &CompactOptions,
    built: &Built,
    job: &Arc<Job>,
) -> Result<Option<Rewrite>> {
    if !is_wanted(state, shard, task, options)? {
        return Ok(None);
    }
    let Some((_, manifest)) = known(state, shard) else { return Ok(None) };
    let Some(segment) = entry_of(manifest, task.segment) else { return Ok(None) };
    let model_of = match built.is_model_shared {
        true => plan::segment_of(&built.parts[0], manifest)?,
        false => None,
    };
    if built.is_model_shared && model_of.is_none() {
        return Ok(None);
    }
    vector_index::add_index(segment, model_of, &built.parts, shard, job).map(Some)
}
