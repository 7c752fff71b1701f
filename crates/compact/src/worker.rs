//! Watches the state and runs what is due: one job per shard and lane at a time, few at once, and nothing while nothing changes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imbl::ordmap::DiffItem;
use lodestone_manifest::{Collection, Rewrite, SegmentId, Shard, ShardId, State};
use lodestone_meta::{Consistency, Job, Meta, SystemLog};
use lodestone_segment::PartKind;
use lodestone_shard::{Cancel, Snapshot, Views};
use lodestone_store::Store;
use lodestone_types::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::folded_index::Source;
use crate::output::{self, Landed, in_background};
use crate::plan::{self, CompactOptions, IndexTask, Task};
use crate::resting::Resting;
use crate::vector_index::{self, Built};
use crate::{builders, fold, merge, reindex};

/// How long a shard rests after a job failed; twice as long after each further failure.
const REST: Duration = Duration::from_millis(500);
/// The longest rest.
const MAX_REST: Duration = Duration::from_secs(60);

/// How much was done, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Folds that landed.
    pub folds: AtomicU64,
    /// Merges that landed.
    pub merges: AtomicU64,
    /// Builds of payload indexes that landed.
    pub reindexes: AtomicU64,
    /// Builds of vector indexes that landed.
    pub indexes: AtomicU64,
    /// Jobs that were overtaken and planned again.
    pub stale: AtomicU64,
    /// Jobs that failed.
    pub failures: AtomicU64,
}

/// What does not wait for what: an index of vectors takes long, changes no rows, and must not hold up folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    /// Folds, merges and payload indexes.
    Rows,
    /// Vector indexes.
    Vectors,
}

/// Runs what is due.
pub struct Compactor {
    meta: Arc<dyn Meta>,
    log: Arc<dyn SystemLog>,
    store: Arc<dyn Store>,
    views: Arc<Views>,
    options: CompactOptions,
    /// Jobs under way, waiting, or resting after a failure.
    busy: Mutex<HashSet<(ShardId, Lane)>>,
    /// Since when shards rest.
    resting: Mutex<Resting>,
    /// Folds do not wait for merges, which may take long: writes stop when folds do not keep up.
    folds: Semaphore,
    others: Semaphore,
    /// Each takes all processors, so one at a time.
    indexes: Semaphore,
    jobs: u32,
    stopping: Cancel,
    counters: Counters,
}

impl std::fmt::Debug for Compactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compactor").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Compactor {
    /// `jobs`: how many folds may run at once, and how many other jobs.
    pub fn new(
        meta: Arc<dyn Meta>,
        log: Arc<dyn SystemLog>,
        store: Arc<dyn Store>,
        views: Arc<Views>,
        options: CompactOptions,
        jobs: u32,
    ) -> Arc<Self> {
        let jobs = jobs.max(1);
        Arc::new(Self {
            meta,
            log,
            store,
            views,
            options,
            busy: Mutex::default(),
            resting: Mutex::default(),
            folds: Semaphore::new(jobs as usize),
            others: Semaphore::new(jobs as usize),
            indexes: Semaphore::new(1),
            jobs,
            stopping: Cancel::default(),
            counters: Counters::default(),
        })
    }

    /// Starts nothing more, and waits for what is under way, at most for `limit`. What is left then does no harm: what
    /// it proposes after the leader has stopped is refused, and what it wrote is collected later.
    pub async fn stop(&self, limit: Duration) {
        self.stopping.cancel();
        let ended = async {
            let _ = tokio::join!(
                self.folds.acquire_many(self.jobs),
                self.others.acquire_many(self.jobs),
                self.indexes.acquire()
            );
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::info!("a job is left unfinished; it will be done again");
        }
    }

    /// As [`Compactor::stop`], without waiting.
    pub fn abandon(&self) {
        self.stopping.cancel();
    }

    /// Lets what is under way end, and nothing begin until the permits are dropped.
    pub(crate) async fn pause(&self) -> Result<[SemaphorePermit<'_>; 3]> {
        let stopping = |_| Error::unavailable("stopping");
        // One after the other: two who take them in different orders would wait for each other.
        let folds = self.folds.acquire_many(self.jobs).await.map_err(stopping)?;
        let others = self.others.acquire_many(self.jobs).await.map_err(stopping)?;
        let indexes = self.indexes.acquire().await.map_err(stopping)?;
        Ok([folds, others, indexes])
    }

    pub(crate) fn options(&self) -> &CompactOptions {
        &self.options
    }

    pub(crate) fn meta(&self) -> &dyn Meta {
        self.meta.as_ref()
    }

    pub(crate) fn log(&self) -> &dyn SystemLog {
        self.log.as_ref()
    }

    pub(crate) fn views(&self) -> &Views {
        &self.views
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(crate) fn stopping(&self) -> &Cancel {
        &self.stopping
    }

    fn is_stopping(&self) -> bool {
        self.stopping.check().is_err()
    }

    /// How much was done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Runs until the state is no longer watched, which is when the leader is gone. Dropping the future stops planning;
    /// jobs under way end by themselves.
    pub async fn run(self: Arc<Self>) {
        let mut states = self.meta.watch();
        let (again, mut retry) = mpsc::unbounded_channel::<ShardId>();
        let mut last = Arc::new(State::default());
        loop {
            let state = states.borrow_and_update().clone();
            for (shard, change) in changed_shards(&last, &state) {
                self.resting.lock().note(shard, state.shards.get(&shard).map(|s| &**s), Instant::now());
                if change == Change::Shape || self.is_fold_due(&state, shard) {
                    self.start_if_due(&state, shard, &again);
                }
            }
            // Where the state never rests, nothing else would be looked at below.
            while let Ok(shard) = retry.try_recv() {
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
                () = self.someone_rested() => {
                    let state = states.borrow().clone();
                    while let Some(shard) = self.pop_rested() {
                        self.start_if_due(&state, shard, &again);
                    }
                }
            }
        }
    }

    /// Waits until a shard has rested long enough; for ever if none will, unless something changes.
    async fn someone_rested(&self) {
        let next = self.resting.lock().next(self.options.idle).filter(|_| !self.options.idle.is_zero());
        match next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    fn pop_rested(&self) -> Option<ShardId> {
        self.resting.lock().pop(self.options.idle, Instant::now())
    }

    /// How long nothing was written to a shard where that makes something due, as far as this process has seen.
    pub fn rested(&self, shard: ShardId) -> Duration {
        self.resting.lock().rested(shard, Instant::now())
    }

    fn start_if_due(self: &Arc<Self>, state: &State, shard: ShardId, again: &mpsc::UnboundedSender<ShardId>) {
        for lane in [Lane::Rows, Lane::Vectors] {
            if self.is_stopping() || self.busy.lock().contains(&(shard, lane)) {
                continue;
            }
            match self.is_due(state, shard, lane) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    tracing::error!(%error, %shard, "cannot plan");
                    continue;
                }
            }
            self.busy.lock().insert((shard, lane));
            let (this, again) = (self.clone(), again.clone());
            tokio::spawn(async move {
                this.run_until_done(shard, lane).await;
                this.busy.lock().remove(&(shard, lane));
                // More may have become due meanwhile. A closed channel means that nobody plans any more.
                let _ = again.send(shard);
            });
        }
    }

    fn is_fold_due(&self, state: &State, shard: ShardId) -> bool {
        state.shards.get(&shard).is_some_and(|manifest| plan::is_fold_due(manifest, &self.options))
    }

    fn is_due(&self, state: &State, shard: ShardId, lane: Lane) -> Result<bool> {
        Ok(match lane {
            Lane::Rows => self.due(state, shard)?.is_some(),
            Lane::Vectors => self.index_due(state, shard)?.is_some(),
        })
    }

    fn due(&self, state: &State, shard: ShardId) -> Result<Option<Task>> {
        let Some((collection, manifest)) = known(state, shard) else { return Ok(None) };
        plan::due(collection, manifest, self.rested(shard), &self.options)
    }

    fn index_due(&self, state: &State, shard: ShardId) -> Result<Option<IndexTask>> {
        let Some((collection, manifest)) = known(state, shard) else { return Ok(None) };
        plan::index_due(collection, manifest, self.rested(shard), &self.options)
    }

    /// Runs one job, again and again where it fails.
    async fn run_until_done(&self, shard: ShardId, lane: Lane) {
        let mut rest = REST;
        loop {
            let done = match lane {
                Lane::Rows => self.run_one(shard).await,
                Lane::Vectors => self.index_one(shard).await,
            };
            let Err(error) = done else { return };
            if self.is_stopping() {
                return;
            }
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, %shard, ?rest, "a job failed; trying again");
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(MAX_REST);
        }
    }

    async fn run_one(&self, shard: ShardId) -> Result<()> {
        let known = self.meta.read(Consistency::Eventual).await?;
        let lane = match self.due(&known, shard)? {
            None => return Ok(()),
            Some(Task::Fold { .. }) => &self.folds,
            Some(Task::Merge { .. } | Task::Reindex { .. }) => &self.others,
        };
        let _permit = lane.acquire().await.map_err(|_| Error::unavailable("stopping"))?;
        if self.is_stopping() {
            return Ok(());
        }
        let job = Arc::new(self.meta.begin_job().await?);
        let state = self.meta.read(Consistency::Eventual).await?;
        let Some(task) = self.due(&state, shard)? else { return Ok(()) };
        let snapshot = self.views.snapshot(&state, shard).await?;
        let Some(rewrite) = self.rewrite(snapshot, &task, shard, job.clone()).await? else { return Ok(()) };
        let landed = self.land(shard, rewrite).await?;
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

    /// Builds one vector index.
    async fn index_one(&self, shard: ShardId) -> Result<()> {
        let _permit = self.indexes.acquire().await.map_err(|_| Error::unavailable("stopping"))?;
        if self.is_stopping() {
            return Ok(());
        }
        let job = Arc::new(self.meta.begin_job().await?);
        let state = self.meta.read(Consistency::Eventual).await?;
        let Some(task) = self.index_due(&state, shard)? else { return Ok(()) };
        let view = self.views.snapshot(&state, shard).await?.view;
        let of = |id: SegmentId| view.segments().find(|reader| reader.meta().id == id).cloned();
        let Some(reader) = of(task.segment) else { return Ok(()) };
        reader.load(&[PartKind::Ids, PartKind::Vector(task.vector.clone())]).await?;
        let model_of = match &task.model {
            Some((id, _)) => {
                let Some(other) = of(*id) else { return Ok(()) };
                other.load(&[PartKind::Model(task.vector.clone())]).await?;
                Some(other)
            }
            None => None,
        };
        let (begun, wanted, building) = (Instant::now(), task.clone(), job.clone());
        let built = output::write(self.store.as_ref(), move |objects| {
            builders::build(wanted.threads, || {
                vector_index::build_index(&reader, model_of.as_ref(), &wanted, &building, objects)
            })
        })
        .await?;
        let landed = self.land_index(shard, &task, &built, &job).await?;
        let counter = match landed {
            Landed::Yes => &self.counters.indexes,
            Landed::Stale => &self.counters.stale,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%shard, ?landed, took = ?begun.elapsed(), vector = task.vector, "index built");
        Ok(())
    }

    /// Rows may be deleted from the segment while its index is built; that is no reason to build it again.
    async fn land_index(
        &self,
        shard: ShardId,
        task: &IndexTask,
        built: &Built,
        job: &Arc<Job>,
    ) -> Result<Landed> {
        const TRIES: u32 = 10;
        let model = &built.parts[0];
        for _ in 0..TRIES {
            let state = self.meta.read(Consistency::Strong).await?;
            let Some((_, manifest)) = known(&state, shard) else { return Ok(Landed::Stale) };
            let segment = manifest.segments.iter().find(|entry| entry.id == task.segment);
            let Some(segment) = segment else { return Ok(Landed::Stale) };
            let model_of = if built.is_model_shared {
                let Some(other) = plan::segment_of(model, manifest)? else { return Ok(Landed::Stale) };
                Some(other)
            } else {
                None
            };
            let rewrite = vector_index::add_index(segment, model_of, &built.parts, shard, job)?;
            if self.land(shard, rewrite).await? == Landed::Yes {
                return Ok(Landed::Yes);
            }
        }
        Ok(Landed::Stale)
    }

    /// Proposes a rewrite once what it brings is near: the reads that come after would wait for it.
    async fn land(&self, shard: ShardId, rewrite: Rewrite) -> Result<Landed> {
        if let Err(error) = self.views.prepare(shard, &rewrite.put).await {
            tracing::debug!(%error, %shard, "the parts of a job are loaded later");
        }
        output::land(rewrite, self.log.as_ref()).await
    }

    /// The models by which a fold indexes what it writes.
    async fn fold_sources(&self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let Snapshot { manifest, view, collection, .. } = snapshot;
        let mut sources = Vec::new();
        for plan in plan::fold_indexes(collection, manifest, &self.options)? {
            let Some(reader) = view.segments().find(|reader| reader.meta().id == plan.model_of) else {
                continue;
            };
            reader.load(&[PartKind::Model(plan.vector.clone())]).await?;
            sources.push(Source::new(plan, reader.clone()));
        }
        Ok(sources)
    }

    /// Loads what the task reads, does it, and writes what it makes. `None` if the view has moved on so that the task
    /// makes no sense any more.
    async fn rewrite(
        &self,
        snapshot: Snapshot,
        task: &Task,
        shard: ShardId,
        job: Arc<Job>,
    ) -> Result<Option<Rewrite>> {
        let store = self.store.as_ref();
        let Snapshot { manifest, view, collection, .. } = &snapshot;
        let rewrite = match task {
            Task::Fold { to } => {
                let (to, manifest, cancel) = (*to, manifest.clone(), self.stopping.clone());
                let segment_bytes = self.options.fold_segment_bytes;
                if to <= manifest.folded || to > manifest.lsn {
                    return Ok(None);
                }
                // Who is behind leaves the index to its own job.
                let sources = match is_behind(&manifest, &self.options) {
                    true => Vec::new(),
                    false => self.fold_sources(&snapshot).await?,
                };
                let view = in_background(move || snapshot.view_at(to)).await?;
                view.load_for_fold().await?;
                output::write(store, move |objects| {
                    builders::build(1, || {
                        fold::fold(
                            &view,
                            &manifest,
                            to,
                            shard,
                            &job,
                            segment_bytes,
                            &sources,
                            &cancel,
                            objects,
                        )
                    })
                })
                .await?
            }
            Task::Merge { segments } => {
                let indexed = plan::indexed_from(collection, &self.options)?;
                let index_parts = merge::index_parts(&indexed);
                let mut inputs = Vec::new();
                for (reader, entry) in view.segments().zip(&manifest.segments) {
                    if segments.contains(&entry.id) {
                        reader.load_rows().await?;
                        reader.load(&index_parts).await?;
                        inputs.push((reader.clone(), entry.clone()));
                    }
                }
                if inputs.len() != segments.len() {
                    return Ok(None);
                }
                let schema = view.schema().clone();
                output::write(store, move |objects| {
                    builders::build(0, || merge::merge(&inputs, &schema, &indexed, shard, &job, objects))
                })
                .await?
            }
            Task::Reindex { segment, build, drop } => {
                let found = view.segments().zip(&manifest.segments).find(|(_, entry)| entry.id == *segment);
                let Some((reader, entry)) = found else { return Ok(None) };
                reader.load(&[PartKind::Payload]).await?;
                let (reader, entry) = (reader.clone(), entry.clone());
                let (build, drop) = (build.clone(), drop.clone());
                output::write(store, move |objects| {
                    reindex::reindex(&reader, &entry, &build, &drop, shard, &job, objects)
                })
                .await?
            }
        };
        Ok(Some(rewrite))
    }
}

/// Whether folds do not keep up with writes: the tail has twice the size that makes one due.
fn is_behind(shard: &Shard, options: &CompactOptions) -> bool {
    shard.tail_rows >= 2 * options.fold_rows || shard.tail_bytes >= 2 * options.fold_bytes
}

fn known(state: &State, shard: ShardId) -> Option<(&Collection, &Shard)> {
    Some((state.collections.get(&shard.collection())?, state.shards.get(&shard)?))
}

/// What of a shard is not as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Only its tail.
    Tail,
    /// Its segments, or the settings of its collection.
    Shape,
}

fn changed_shards(old: &State, new: &State) -> BTreeMap<ShardId, Change> {
    let shards = old.shards.diff(&new.shards).map(|item| match item {
        DiffItem::Add(id, _) | DiffItem::Remove(id, _) => (*id, Change::Shape),
        DiffItem::Update { old: (_, old), new: (id, new) } => (*id, change(old, new)),
    });
    let mut changed: BTreeMap<ShardId, Change> = shards.collect();
    for item in old.collections.diff(&new.collections) {
        if let DiffItem::Add(_, collection) | DiffItem::Update { new: (_, collection), .. } = item {
            changed.extend(collection.shards().map(|shard| (shard, Change::Shape)));
        }
    }
    changed
}

fn change(old: &Shard, new: &Shard) -> Change {
    let segments = |shard: &Shard| shard.segments.iter().map(|s| (s.id, s.revision)).collect::<Vec<_>>();
    if segments(old) == segments(new) { Change::Tail } else { Change::Shape }
}
