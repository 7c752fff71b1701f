//! Answers reads: search, scroll, count and retrieve over the shards of a collection, at the state that the read's
//! consistency asks for.
//!
//! - [`Query`]: one read from start to end
//! - [`search`]: the nearest points
//! - [`pages`]: points by id, by value, at random; counts
//! - [`scope`]: the collection and the views of its shards that one read sees

mod pages;
mod scope;
mod search;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::{ShardId, State};
use lodestone_meta::Meta;
use lodestone_shard::{Cancel, Selection, Views, on_pool};
use lodestone_types::{
    CountRequest, Error, Filter, PointId, QueryRequest, ReadOptions, Record, Result, RetrieveRequest,
    ScoredPoint, ScrollPage, ScrollRequest,
};
use parking_lot::Mutex;
use rand::RngCore;

use crate::scope::Scope;

/// How long a read may take unless it asks for less.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers reads.
pub struct Query {
    meta: Arc<dyn Meta>,
    views: Arc<Views>,
    random: Mutex<Box<dyn RngCore + Send>>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").finish_non_exhaustive()
    }
}

impl Query {
    /// Reads what `meta` knows through `views`. `random` draws samples.
    pub fn new(meta: Arc<dyn Meta>, views: Arc<Views>, random: Box<dyn RngCore + Send>) -> Self {
        Self { meta, views, random: Mutex::new(random) }
    }

    /// The nearest points, a list per request.
    pub async fn query(
        &self,
        collection: &str,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>> {
        let seed = self.random.lock().next_u64();
        in_time(options, |cancel| async move {
            let scope = self.scope(collection, options).await?;
            search::search(self, &scope, requests, options, seed, &cancel).await
        })
        .await
    }

    /// One page of points.
    pub async fn scroll(
        &self,
        collection: &str,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage> {
        in_time(options, |cancel| async move {
            let scope = self.scope(collection, options).await?;
            pages::scroll(&scope, request, &cancel).await
        })
        .await
    }

    /// How many points match; always exact.
    pub async fn count(&self, collection: &str, request: CountRequest, options: ReadOptions) -> Result<u64> {
        in_time(options, |cancel| async move {
            let scope = self.scope(collection, options).await?;
            pages::count(&scope, request.filter.as_ref(), &cancel).await
        })
        .await
    }

    /// Points by id, in the order asked, each once.
    pub async fn retrieve(
        &self,
        collection: &str,
        request: RetrieveRequest,
        options: ReadOptions,
    ) -> Result<Vec<Record>> {
        in_time(options, |_| async move {
            let scope = self.scope(collection, options).await?;
            pages::retrieve(&scope, request).await
        })
        .await
    }

    /// The ids in `shard` at `state` that match.
    pub async fn matching(
        &self,
        state: &Arc<State>,
        shard: ShardId,
        filter: &Filter,
    ) -> Result<Vec<PointId>> {
        let snapshot = self.views.snapshot(state, shard).await?;
        let selection = Selection::new(&snapshot.view, Some(filter));
        selection.load().await?;
        let found = on_pool(move || selection.all(&Cancel::default())).await??;
        Ok(found.into_iter().map(|found| found.id).collect())
    }

    /// Those of `ids` that exist in `shard` at `state`.
    pub async fn existing(
        &self,
        state: &Arc<State>,
        shard: ShardId,
        ids: &[PointId],
    ) -> Result<HashSet<PointId>> {
        let snapshot = self.views.snapshot(state, shard).await?;
        snapshot.view.load_masks().await?;
        Ok(snapshot.view.find_all(ids)?.into_iter().map(|found| found.id).collect())
    }

    async fn scope(&self, collection: &str, options: ReadOptions) -> Result<Scope> {
        Scope::open(self.meta.as_ref(), &self.views, collection, options.consistency).await
    }
}

/// Stops the work, on all threads, when the time is up or nobody waits any more.
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
    let limit = options.timeout.unwrap_or(DEFAULT_TIMEOUT).min(DEFAULT_TIMEOUT);
    match tokio::time::timeout(limit, work(cancel.0.clone())).await {
        Ok(result) => result,
        Err(_) => Err(Error::timeout(format!(
            "the read took longer than {} s; narrow it, or allow more time",
            limit.as_secs_f32()
        ))),
    }
}
