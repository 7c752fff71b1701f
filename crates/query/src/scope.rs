use std::sync::Arc;

use futures::future::try_join_all;
use lodestone_manifest::{ShardId, State};
use lodestone_shard::{FarRows, Found, PayloadPicker, Selection, ShardSchema, ShardView, Views};
use lodestone_types::{Error, Filter, Result, VectorSelector};

use crate::hydration::Hydration;

/// The views of a collection's shards, all at least as fresh as one state.
#[derive(Clone)]
pub(crate) struct Scope {
    pub shards: Arc<[ShardId]>,
    pub views: Arc<[ShardView]>,
    /// Bytes of vectors up to which a segment is searched without an index by those who want indexes only.
    pub unindexed_bytes: u64,
    /// Brings here what is read from the bucket row by row; `None` where that is not wanted.
    hydration: Option<Arc<Hydration>>,
}

impl Scope {
    /// Of the collection called `name` at `state`, or later.
    pub async fn open(
        views: &Views,
        state: &State,
        name: &str,
        hydration: Option<Arc<Hydration>>,
    ) -> Result<Self> {
        let collection = state.collection(name).ok_or_else(|| Error::no_collection(name))?;
        let shards: Arc<[ShardId]> = collection.shards().collect();
        let views = try_join_all(shards.iter().map(|shard| views.snapshot(state, *shard)))
            .await?
            .into_iter()
            .map(|snapshot| snapshot.view)
            .collect();
        let unindexed_bytes = collection.config.optimizers.indexing_bytes().unwrap_or(u64::MAX);
        Ok(Self { shards, views, unindexed_bytes, hydration })
    }

    /// The same without these segments of each shard.
    pub fn without(&self, segments: &[Vec<usize>]) -> Self {
        let views = self.views.iter().zip(segments).map(|(view, segments)| view.without(segments));
        Self {
            shards: self.shards.clone(),
            views: views.collect(),
            unindexed_bytes: self.unindexed_bytes,
            hydration: self.hydration.clone(),
        }
    }

    /// What the selectors show of these rows, each with its shard: of each shard what had to be read row by row.
    pub async fn load_records(
        &self,
        found: impl Iterator<Item = (usize, Found)>,
        payload: &Arc<PayloadPicker>,
        vectors: &VectorSelector,
    ) -> Result<Vec<FarRows>> {
        let mut by_shard: Vec<Vec<Found>> = vec![Vec::new(); self.views.len()];
        found.for_each(|(shard, row)| by_shard[shard].push(row));
        let loading = self.views.iter().zip(&by_shard);
        let loading = loading.map(|(view, rows)| view.load_records(rows, payload, vectors));
        let far = try_join_all(loading).await?;
        if let Some(hydration) = &self.hydration {
            let views = self.shards.iter().zip(self.views.iter()).zip(&far);
            for ((shard, view), _) in views.filter(|(_, far)| !far.is_empty()) {
                let (payload, vectors) = (payload.clone(), vectors.clone());
                let bring = |view: ShardView| async move { view.hydrate_rows(&payload, &vectors).await };
                hydration.begin((*shard, None), view, bring);
            }
        }
        Ok(far)
    }

    /// Settings; the same in every shard.
    pub fn schema(&self) -> Result<&Arc<ShardSchema>> {
        self.views.first().map(ShardView::schema).ok_or_else(|| Error::internal("a collection has no shards"))
    }

    /// What `filter` selects in each shard, loaded.
    pub async fn select(&self, filter: Option<&Filter>) -> Result<Vec<Selection>> {
        let selections: Vec<Selection> = self.views.iter().map(|view| Selection::new(view, filter)).collect();
        try_join_all(selections.iter().map(Selection::load)).await?;
        Ok(selections)
    }
}
