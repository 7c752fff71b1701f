//! Watches the state and runs what is due: one job per shard and lane at a time, few at once, and nothing while nothing changes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imbl::ordmap::DiffItem;
use lodestone_manifest::{Collection, Shard, ShardId, Slot, State};
use lodestone_meta::{Consistency, Job, Meta, SystemLog};
use lodestone_shard::{Cancel, Views};
use lodestone_store::Store;
use lodestone_types::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::failures::{About, Failures};
use crate::landing::{Landed, Turns};
use crate::plan::{self, Aside, CompactOptions, IndexTask, Kind, Purpose, Task};
use crate::progress::Progress;
use crate::resting::Resting;

/// How much was done, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Folds that landed.
    pub folds: AtomicU64,
    /// Merges that landed.
    pub merges: AtomicU64,
    /// Builds of payload indexes that landed.
    pub reindexes: AtomicU64,
    /// Codes in the order of fields that landed, those of one segment at once.
    pub orders: AtomicU64,
    /// Builds of vector indexes that landed.
    pub indexes: AtomicU64,
    /// Jobs that were overtaken and planned again.
    pub stale: AtomicU64,
    /// Jobs that failed.
    pub failures: AtomicU64,
    /// How far vector indexes have come.
    pub progress: Arc<Progress>,
}

/// What does not wait for what: writes are refused when folds do not keep up, and all else may take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Folds.
    Tail,
    /// Merges, payload indexes, and codes in the order of these.
    Segments,
    /// Vector indexes.
    Vectors,
    /// Vector indexes by which searches are only quicker: while searches come without pause they take very long.
    Refinements,
}

/// Runs what is due.
pub struct Compactor {
    meta: Arc<dyn Meta>,
    log: Arc<dyn SystemLog>,
    store: Arc<dyn Store>,
    views: Arc<Views>,
    options: CompactOptions,
    /// Jobs under way, or waiting.
    busy: Mutex<HashSet<(ShardId, Lane)>>,
    /// Since when shards rest.
    resting: Mutex<Resting>,
    failures: Mutex<Failures>,
    turns: Turns,
    folds: Semaphore,
    /// Merges, payload indexes, and codes in the order of these.
    others: Semaphore,
    /// Each takes all processors, so one at a time.
    indexes: Semaphore,
    /// One at a time too, beside one that is needed.
    refinements: Semaphore,
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
            failures: Mutex::default(),
            turns: Turns::default(),
            folds: Semaphore::new(jobs as usize),
            others: Semaphore::new(jobs as usize),
            indexes: Semaphore::new(1),
            refinements: Semaphore::new(1),
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
                self.indexes.acquire(),
                self.refinements.acquire()
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
    pub(crate) async fn pause(&self) -> Result<[SemaphorePermit<'_>; 4]> {
        let stopping = |_| Error::unavailable("stopping");
        // One after the other: two who take them in different orders would wait for each other. First what may take longest: meanwhile
        // folds go on.
        let refinements = self.refinements.acquire().await.map_err(stopping)?;
        let folds = self.folds.acquire_many(self.jobs).await.map_err(stopping)?;
        let others = self.others.acquire_many(self.jobs).await.map_err(stopping)?;
        let indexes = self.indexes.acquire().await.map_err(stopping)?;
        Ok([refinements, folds, others, indexes])
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

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
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
        for lane in [Lane::Tail, Lane::Segments, Lane::Vectors, Lane::Refinements] {
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
                let rest = this.run_noting(shard, lane).await;
                this.busy.lock().remove(&(shard, lane));
                drop(this);
                // More may have become due meanwhile. A closed channel means that nobody plans any more.
                if again.send(shard).is_ok()
                    && let Some(rest) = rest
                {
                    tokio::time::sleep(rest).await;
                    let _ = again.send(shard);
                }
            });
        }
    }

    fn is_fold_due(&self, state: &State, shard: ShardId) -> bool {
        state.shards.get(&shard).is_some_and(|manifest| plan::is_fold_due(manifest, &self.options))
    }

    fn is_due(&self, state: &State, shard: ShardId, lane: Lane) -> Result<bool> {
        if self.failures.lock().rests(shard, lane, Instant::now()) {
            return Ok(false);
        }
        Ok(match lane {
            Lane::Tail => self.fold_due(state, shard).is_some(),
            Lane::Segments => self.due(state, shard)?.is_some(),
            Lane::Vectors => self.index_due(Purpose::Need, state, shard)?.is_some(),
            Lane::Refinements => self.index_due(Purpose::Refinement, state, shard)?.is_some(),
        })
    }

    pub(crate) fn fold_due(&self, state: &State, shard: ShardId) -> Option<Slot> {
        let (_, manifest) = known(state, shard)?;
        plan::fold_due(manifest, self.rested(shard), &self.options)
    }

    pub(crate) fn due(&self, state: &State, shard: ShardId) -> Result<Option<Task>> {
        let Some((collection, manifest)) = known(state, shard) else { return Ok(None) };
        plan::due(collection, manifest, self.rested(shard), &self.aside(shard), &self.options)
    }

    fn index_due(&self, purpose: Purpose, state: &State, shard: ShardId) -> Result<Option<IndexTask>> {
        let Some((collection, manifest)) = known(state, shard) else { return Ok(None) };
        let (rested, aside) = (self.rested(shard), self.aside(shard));
        plan::index_due(purpose, collection, manifest, rested, &aside, &self.options)
    }

    fn aside(&self, shard: ShardId) -> Aside {
        self.failures.lock().aside(shard, Instant::now())
    }

    /// Waits until one more job of `lane` may run; `None` where it was due but nothing is to begin any more.
    pub(crate) async fn permit(&self, lane: Lane) -> Result<Option<SemaphorePermit<'_>>> {
        let permits = match lane {
            Lane::Tail => &self.folds,
            Lane::Segments => &self.others,
            Lane::Vectors => &self.indexes,
            Lane::Refinements => &self.refinements,
        };
        let permit = permits.acquire().await.map_err(|_| Error::unavailable("stopping"))?;
        Ok((!self.is_stopping()).then_some(permit))
    }

    /// Runs one job, and takes note of what became of it. How long what it was about rests, if it failed.
    async fn run_noting(&self, shard: ShardId, lane: Lane) -> Option<Duration> {
        let mut about = About::Lane(lane);
        let done = self.run_one(shard, lane, &mut about).await;
        let Err(error) = done else {
            self.failures.lock().forget(shard, lane, &about);
            return None;
        };
        if self.is_stopping() {
            return None;
        }
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let rest = self.failures.lock().note(shard, about.clone(), Instant::now());
        tracing::warn!(%error, %shard, ?about, ?rest, "a job failed; it is tried again after a rest");
        Some(rest)
    }

    /// Runs the most urgent job of a lane, if there still is one when its turn has come; says what it is `about` as soon as that is known.
    async fn run_one(&self, shard: ShardId, lane: Lane, about: &mut About) -> Result<()> {
        let Some(_permit) = self.permit(lane).await? else { return Ok(()) };
        let _turn = if lane == Lane::Tail { Some(self.turns.wait(shard).await) } else { None };
        let job = Arc::new(self.meta.begin_job().await?);
        let state = self.meta.read(Consistency::Eventual).await?;
        let begun = Instant::now();
        let (landed, counter, name) = match lane {
            Lane::Tail => {
                let Some(to) = self.fold_due(&state, shard) else { return Ok(()) };
                (self.fold(&state, shard, to, &job).await?, &self.counters.folds, "fold")
            }
            Lane::Segments => {
                let Some(task) = self.due(&state, shard)? else { return Ok(()) };
                let (kind, segments) = task.about();
                *about = About::Segments(kind, segments);
                self.run_task(&state, shard, task, &job, about).await?
            }
            Lane::Vectors | Lane::Refinements => {
                let purpose = if lane == Lane::Vectors { Purpose::Need } else { Purpose::Refinement };
                let Some(task) = self.index_due(purpose, &state, shard)? else { return Ok(()) };
                *about = About::Segments(Kind::Index(task.vector.clone()), vec![task.segment]);
                (self.index(&state, shard, &task, purpose, &job).await?, &self.counters.indexes, "index")
            }
        };
        let counter = if landed == Landed::Yes { counter } else { &self.counters.stale };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%shard, ?landed, took = ?begun.elapsed(), name, "job done");
        Ok(())
    }

    async fn run_task(
        &self,
        state: &State,
        shard: ShardId,
        task: Task,
        job: &Arc<Job>,
        about: &mut About,
    ) -> Result<(Landed, &AtomicU64, &'static str)> {
        let counters = &self.counters;
        Ok(match task {
            Task::Merge { segments } => {
                (self.merge(state, shard, &segments, job, about).await?, &counters.merges, "merge")
            }
            Task::Reindex { segment, build, drop } => (
                self.reindex(state, shard, segment, build, &drop, job).await?,
                &counters.reindexes,
                "reindex",
            ),
            Task::Order(task) => (self.order(state, shard, &task, job).await?, &counters.orders, "order"),
        })
    }
}

pub(crate) fn known(state: &State, shard: ShardId) -> Option<(&Collection, &Shard)> {
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
