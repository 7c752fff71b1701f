use std::sync::Arc;

use futures::future::try_join_all;
use lodestone_manifest::State;
use lodestone_shard::{Selection, ShardSchema, ShardView, Views};
use lodestone_types::{Error, Filter, Result};

/// The views of a collection's shards, all at least as fresh as one state.
pub(crate) struct Scope {
    pub views: Vec<ShardView>,
    /// Bytes of vectors up to which a segment is searched without an index by those who want indexes only.
    pub unindexed_bytes: u64,
}

impl Scope {
    /// Of the collection called `name` at `state`, or later.
    pub async fn open(views: &Views, state: &State, name: &str) -> Result<Self> {
        let collection = state.collection(name).ok_or_else(|| Error::no_collection(name))?;
        let shards = collection.shards().map(|shard| views.snapshot(state, shard));
        let views = try_join_all(shards).await?.into_iter().map(|snapshot| snapshot.view).collect();
        let unindexed_bytes = collection.config.optimizers.indexing_bytes().unwrap_or(u64::MAX);
        Ok(Self { views, unindexed_bytes })
    }

    /// The same without these segments of each shard.
    pub fn without(&self, segments: &[Vec<usize>]) -> Self {
        let views = self.views.iter().zip(segments).map(|(view, segments)| view.without(segments));
        Self { views: views.collect(), unindexed_bytes: self.unindexed_bytes }
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
