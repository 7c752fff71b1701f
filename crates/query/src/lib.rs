//! Answers reads: search, scroll, count and retrieve over the shards of a collection, at the state that the read's
//! consistency asks for.
//!
//! - [`Query`]: one read from start to end
//! - [`search`]: the nearest points
//! - [`pages`]: points by id, by value, at random; counts
//! - [`far`]: the nearest points of segments that are still in the bucket; [`hydration`] brings them here meanwhile
//! - [`warm`]: collections that are brought here before they are searched, and those that stay
//! - [`limits`]: answers of what can be read where not all may be
//! - [`fresh`]: a strong read begins with what is known, while it is confirmed
//! - [`scope`]: the collection and the views of its shards that one read sees

mod far;
mod fresh;
mod hydration;
mod limits;
mod pages;
mod scope;
mod search;
mod warm;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::{ShardId, Slot, State};
use lodestone_meta::{Consistency, Meta};
use lodestone_shard::{Allowance, Cancel, FarBudget, Selection, Views, limited, on_pool};
use lodestone_store::{Stage, stage};
use lodestone_types::{
    AtLimit, CountRequest, Error, ErrorKind, Filter, PointId, QueryRequest, ReadOptions, Record, Result,
    RetrieveRequest, ScoredPoint, ScrollPage, ScrollRequest,
};
use parking_lot::Mutex;
use rand::RngCore;

use crate::hydration::Hydration;
use crate::limits::as_far;
use crate::scope::Scope;
pub use crate::warm::Pins;

/// How long a read may take unless it asks for less.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a read begins anew because something that it needed was collected, or lost here.
const FRESH_STARTS: u32 = 3;

/// How reads of data go about it that is not here yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryOptions {
    /// What a search may ask of the bucket where segments are still there.
    pub far: FarBudget,
    /// Whether such segments are brought here in the background.
    pub hydrate: bool,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { far: FarBudget::default(), hydrate: true }
    }
}

/// Answers reads.
pub struct Query {
    meta: Arc<dyn Meta>,
    views: Arc<Views>,
    random: Mutex<Box<dyn RngCore + Send>>,
    options: QueryOptions,
    hydration: Arc<Hydration>,
    pins: Mutex<warm::Noted>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").finish_non_exhaustive()
    }
}

impl Query {
    /// Reads what `meta` knows through `views`. `random` draws samples.
    pub fn new(
        meta: Arc<dyn Meta>,
        views: Arc<Views>,
        random: Box<dyn RngCore + Send>,
        options: QueryOptions,
    ) -> Self {
        let hydration = Arc::new(Hydration::new(views.clone()));
        Self { meta, views, random: Mutex::new(random), options, hydration, pins: Mutex::default() }
    }

    /// The nearest points, a list per request.
    pub async fn query(
        &self,
        collection: &str,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>> {
        let seed = self.random.lock().next_u64();
        let requests = Arc::new(requests);
        let prepared = far::prepare(self, collection, &requests);
        let answer = self.read(collection, options, |scope, cancel| {
            let requests = requests.clone();
            async move { search::search(self, &scope, &requests, options, seed, &cancel).await }
        });
        limited(options.limits, async { futures::join!(prepared, answer).1 }).await
    }

    /// One page of points.
    pub async fn scroll(
        &self,
        collection: &str,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage> {
        let request = Arc::new(request);
        let answer = self.read(collection, options, |scope, cancel| {
            let request = request.clone();
            async move { pages::scroll(&scope, &request, &cancel).await }
        });
        limited(options.limits, answer).await
    }

    /// How many points match; always exact.
    pub async fn count(&self, collection: &str, request: CountRequest, options: ReadOptions) -> Result<u64> {
        let request = Arc::new(request);
        let answer = self.read(collection, options, |scope, cancel| {
            let request = request.clone();
            async move { pages::count(&scope, request.filter.as_ref(), &cancel).await }
        });
        limited(options.limits, answer).await
    }

    /// How many points a collection has; exact, and answered from the manifest alone for shards without a tail.
    pub async fn points(&self, collection: &str, options: ReadOptions) -> Result<u64> {
        let state = self.meta.read(Consistency::Strong).await?;
        let known = state.collection(collection).ok_or_else(|| Error::no_collection(collection))?;
        let shards: Vec<_> = known.shards().filter_map(|id| state.shards.get(&id)).collect();
        if shards.iter().any(|shard| !shard.tail.is_empty()) {
            return self.count(collection, CountRequest::default(), options).await;
        }
        let segments = shards.iter().flat_map(|shard| &shard.segments);
        Ok(segments.map(|segment| u64::from(segment.rows - segment.deleted)).sum())
    }

    /// Points by id, in the order asked, each once.
    pub async fn retrieve(
        &self,
        collection: &str,
        request: RetrieveRequest,
        options: ReadOptions,
    ) -> Result<Vec<Record>> {
        let request = Arc::new(request);
        let answer = self.read(collection, options, |scope, _| {
            let request = request.clone();
            async move { pages::retrieve(&scope, &request).await }
        });
        limited(options.limits, answer).await
    }

    /// The ids in `shard` that match, at `state` or later.
    pub async fn matching(
        &self,
        state: &Arc<State>,
        shard: ShardId,
        filter: &Filter,
    ) -> Result<Vec<PointId>> {
        self.at(state, |state| async move {
            let snapshot = self.views.snapshot(&state, shard).await?;
            let selection = Selection::new(&snapshot.view, Some(filter));
            selection.load().await?;
            let found = on_pool(move || selection.all(&Cancel::default())).await??;
            Ok(found.into_iter().map(|found| found.id).collect())
        })
        .await
    }

    /// Those of `ids` that exist in `shard`, at `state` or later.
    pub async fn existing(
        &self,
        state: &Arc<State>,
        shard: ShardId,
        ids: &[PointId],
    ) -> Result<HashSet<PointId>> {
        self.at(state, |state| async move {
            let snapshot = self.views.snapshot(&state, shard).await?;
            snapshot.view.load_masks().await?;
            Ok(snapshot.view.find_all(ids)?.into_iter().map(|found| found.id).collect())
        })
        .await
    }

    /// Runs `work` on a collection as fresh as asked, within the time allowed.
    async fn read<T, F>(
        &self,
        collection: &str,
        options: ReadOptions,
        work: impl Fn(Scope, Cancel) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        in_time(options, |cancel| async move {
            let mut begun = 0;
            loop {
                let slot = self.meta.watch().borrow().slot;
                let at = |state: Arc<State>| {
                    let (work, cancel) = (&work, cancel.clone());
                    async move {
                        if let Some(allowance) = Allowance::current() {
                            allowance.begin_anew();
                        }
                        let scope = self.open(&state, collection).await?;
                        as_far(scope, |scope| found_again(scope, |scope| work(scope, cancel.clone()))).await
                    }
                };
                match fresh::answer(self.meta.as_ref(), collection, options.consistency, at).await {
                    Err(e) if begun < FRESH_STARTS && self.may_pass(&e, slot).await => begun += 1,
                    done => return done,
                }
            }
        })
        .await
    }

    /// Runs `work` at `state`, or at a later one where an object that `state` names was collected.
    async fn at<T, F>(&self, state: &Arc<State>, work: impl Fn(Arc<State>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let (mut state, mut begun) = (state.clone(), 0);
        loop {
            let slot = state.slot;
            match work(state).await {
                Err(e) if begun < FRESH_STARTS && self.may_pass(&e, slot).await => begun += 1,
                done => return done,
            }
            state = self.meta.read(Consistency::Eventual).await?;
        }
    }

    /// Whether a read that met this error may do better: what was lost here is fetched when it is loaded again, and the state of
    /// `slot` may name an object that a later one does not. Asks for the newest state, which a process that only reads has not
    /// heard of by itself.
    async fn may_pass(&self, error: &Error, slot: Slot) -> bool {
        if error.kind == ErrorKind::LostCopy {
            return true;
        }
        error.kind == ErrorKind::Damaged
            && self.meta.read(Consistency::Strong).await.is_ok_and(|state| state.slot > slot)
    }

    /// A collection beside the one that is read, as fresh as asked.
    async fn scope(&self, collection: &str, options: ReadOptions) -> Result<Scope> {
        let open = |state: Arc<State>| async move { self.open(&state, collection).await };
        fresh::answer(self.meta.as_ref(), collection, options.consistency, open).await
    }

    async fn open(&self, state: &State, collection: &str) -> Result<Scope> {
        let hydration = self.options.hydrate.then(|| self.hydration.clone());
        stage(Stage::State, Scope::open(&self.views, state, collection, hydration)).await
    }
}

/// Does `work` on `scope`, and again where something that it read was lost here: its segments, which are the same, then fetch that
/// and hold on to it.
async fn found_again<T, F>(scope: Scope, work: impl Fn(Scope) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for _ in 0..FRESH_STARTS {
        match work(scope.clone()).await {
            Err(error) if error.kind == ErrorKind::LostCopy => {}
            done => return done,
        }
    }
    work(scope).await
}

/// Stops the work, on all threads, when the time is up or nobody waits any more. Where a part of the answer will do after
/// [`lodestone_types::Limits::max_time`], it ends by itself.
async fn in_time<T, F>(options: ReadOptions, work: impl FnOnce(Cancel) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    struct CancelOnDrop(Cancel);
    impl Drop for CancelOnDrop {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    let cancel = CancelOnDrop(Cancel::default());
    let at_limit = options.limits.max_time.filter(|_| options.limits.at_limit == AtLimit::Error);
    let limit = [options.timeout, at_limit].into_iter().flatten().fold(DEFAULT_TIMEOUT, Duration::min);
    match tokio::time::timeout(limit, work(cancel.0.clone())).await {
        Ok(result) => result,
        Err(_) => Err(Error::timeout(format!(
            "the read took longer than {} s; narrow it, or allow more time",
            limit.as_secs_f32()
        ))),
    }
}
