//! Watches the state and runs what is due: one job per shard at a time, few at once, and nothing while nothing changes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imbl::ordmap::DiffItem;
use lodestone_manifest::{ShardId, State};
use lodestone_meta::{Consistency, Job, Meta, SystemLog};
use lodestone_shard::{Snapshot, Views};
use lodestone_store::Store;
use lodestone_types::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use crate::output::{Landed, Output};
use crate::plan::{self, CompactOptions, Task};
use crate::{fold, merge, reindex};

/// How long a shard rests after a job failed.
const REST: Duration = Duration::from_secs(1);

/// How much was done, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Folds that landed.
    pub folds: AtomicU64,
    /// Merges that landed.
    pub merges: AtomicU64,
    /// Index builds that landed.
    pub reindexes: AtomicU64,
    /// Jobs that were overtaken and planned again.
    pub stale: AtomicU64,
    /// Jobs that failed.
    pub failures: AtomicU64,
}

/// Runs what is due.
pub struct Compactor {
    meta: Arc<dyn Meta>,
    log: Arc<dyn SystemLog>,
    store: Arc<dyn Store>,
    views: Arc<Views>,
    options: CompactOptions,
    busy: Mutex<HashSet<ShardId>>,
    permits: Arc<Semaphore>,
    counters: Counters,
}

impl std::fmt::Debug for Compactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compactor").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Compactor {
    /// `jobs`: how many may run at once.
    pub fn new(
        meta: Arc<dyn Meta>,
        log: Arc<dyn SystemLog>,
        store: Arc<dyn Store>,
        views: Arc<Views>,
        options: CompactOptions,
        jobs: usize,
    ) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(jobs.max(1)));
        Arc::new(Self {
            meta,
            log,
            store,
            views,
            options,
            busy: Mutex::default(),
            permits,
            counters: Counters::default(),
        })
    }

    /// How much was done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// When work is due.
    pub fn options(&self) -> &CompactOptions {
        &self.options
    }

    /// Runs until the state is no longer watched, which is when the leader is gone. Dropping the future stops planning;
    /// jobs under way end by themselves.
    pub async fn run(self: Arc<Self>) {
        let mut states = self.meta.watch();
        let (again, mut retry) = mpsc::unbounded_channel::<ShardId>();
        let mut last = Arc::new(State::default());
        loop {
            let state = states.borrow_and_update().clone();
            let mut candidates = changed_shards(&last, &state);
            while let Ok(shard) = retry.try_recv() {
                candidates.insert(shard);
            }
            for shard in candidates {
                self.start_if_due(&state, shard, &again);
            }
            last = state;
            tokio::select! {
                biased;
                changed = states.changed() => if changed.is_err() { return },
                shard = retry.recv() => {
                    let Some(shard) = shard else { return };
                    let state = states.borrow().clone();
                    self.start_if_due(&state, shard, &again);
                }
            }
        }
    }

    fn start_if_due(self: &Arc<Self>, state: &State, shard: ShardId, again: &mpsc::UnboundedSender<ShardId>) {
        match self.due(state, shard) {
            Ok(None) => return,
            Ok(Some(_)) => {}
            Err(error) => {
                tracing::error!(%error, %shard, "cannot plan");
                return;
            }
        }
        if !self.busy.lock().insert(shard) {
            return;
        }
        let (this, again) = (self.clone(), again.clone());
        tokio::spawn(async move {
            let result = this.run_one(shard).await;
            this.busy.lock().remove(&shard);
            if let Err(error) = result {
                this.counters.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, %shard, "a job failed; trying again");
                tokio::time::sleep(REST).await;
            }
            // More may have become due meanwhile. A closed channel means that nobody plans any more.
            let _ = again.send(shard);
        });
    }

    fn due(&self, state: &State, shard: ShardId) -> Result<Option<Task>> {
        let (Some(manifest), Some(collection)) =
            (state.shards.get(&shard), state.collections.get(&shard.collection()))
        else {
            return Ok(None);
        };
        plan::due(collection, manifest, &self.options)
    }

    async fn run_one(&self, shard: ShardId) -> Result<()> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::unavailable("stopping"))?;
        let job = Arc::new(self.meta.begin_job().await?);
        let state = self.meta.read(Consistency::Eventual).await?;
        let Some(task) = self.due(&state, shard)? else { return Ok(()) };
        let snapshot = self.views.snapshot(&state, shard).await?;
        let output = self.output(snapshot, &task, shard, job.clone()).await?;
        let Some(output) = output else { return Ok(()) };
        let landed = output.land(self.store.as_ref(), self.log.as_ref()).await?;
        let counter = match (landed, &task) {
            (Landed::Stale, _) => &self.counters.stale,
            (Landed::Yes, Task::Fold { .. }) => &self.counters.folds,
            (Landed::Yes, Task::Merge { .. }) => &self.counters.merges,
            (Landed::Yes, Task::Reindex { .. }) => &self.counters.reindexes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%shard, ?landed, task = task.name(), "job done");
        drop(job);
        Ok(())
    }

    /// Loads what the task reads, and does it away from the threads that wait for I/O. `None` if the view has moved on
    /// so that the task makes no sense any more.
    async fn output(
        &self,
        snapshot: Snapshot,
        task: &Task,
        shard: ShardId,
        job: Arc<Job>,
    ) -> Result<Option<Output>> {
        let Snapshot { manifest, view, .. } = snapshot;
        match task {
            Task::Fold { .. } => {
                view.load_for_fold().await?;
                in_background(move || fold::fold(&view, &manifest, shard, &job)).await.map(Some)
            }
            Task::Merge { segments } => {
                let mut inputs = Vec::new();
                for (reader, entry) in view.segments().zip(&manifest.segments) {
                    if segments.contains(&entry.id) {
                        reader.load_all().await?;
                        inputs.push((reader.clone(), entry.clone()));
                    }
                }
                if inputs.len() != segments.len() {
                    return Ok(None);
                }
                in_background(move || merge::merge(&inputs, view.schema().segment(), shard, &job))
                    .await
                    .map(Some)
            }
            Task::Reindex { segment, build, drop } => {
                let found = view.segments().zip(&manifest.segments).find(|(_, entry)| entry.id == *segment);
                let Some((reader, entry)) = found else { return Ok(None) };
                reader.load(&[lodestone_segment::PartKind::Payload]).await?;
                let (reader, entry) = (reader.clone(), entry.clone());
                let (build, drop) = (build.clone(), drop.clone());
                let work = move || reindex::reindex(&reader, &entry, &build, &drop, shard, &job);
                in_background(work).await.map(Some)
            }
        }
    }
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal(format!("a job was broken off: {e}")))?
}

fn changed_shards(old: &State, new: &State) -> BTreeSet<ShardId> {
    let shards = old.shards.diff(&new.shards).filter_map(|item| match item {
        DiffItem::Add(id, _) | DiffItem::Update { new: (id, _), .. } => Some(*id),
        DiffItem::Remove(..) => None,
    });
    let collections = old.collections.diff(&new.collections).filter_map(|item| match item {
        DiffItem::Add(_, collection) | DiffItem::Update { new: (_, collection), .. } => {
            Some(collection.shards())
        }
        DiffItem::Remove(..) => None,
    });
    shards.chain(collections.flatten()).collect()
}
