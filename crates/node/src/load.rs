//! Bulk load into the store of this process: points become segments without having been in the log.

use std::collections::BTreeMap;

use lodestone_ingest::{encode, validate};
use lodestone_manifest::{Collection, ShardId};
use lodestone_types::{CollectionStatus, Error, Point, Result, UpdateMode, UpdateOp};
use lodestone_wal::Row;

use crate::Node;
use crate::engine::NodeEngine;

impl Node {
    /// Makes points part of a collection, whole or not at all in each shard; those with the same id are replaced. When this returns they are in
    /// the bucket. They are written once, as segments, and never to the log. Nothing else may write to the collection meanwhile:
    /// this is for a process that serves nobody.
    pub async fn load(&self, collection: &str, points: Vec<Point>) -> Result<()> {
        self.engine.load(collection, points).await
    }

    /// Whether no segment of a collection waits for an index or, by the settings, for being merged.
    pub async fn is_settled(&self, collection: &str) -> Result<bool> {
        Ok(self.engine().collection(collection).await?.status == CollectionStatus::Green)
    }
}

impl NodeEngine {
    async fn load(&self, name: &str, points: Vec<Point>) -> Result<()> {
        let compactor = &self.writing()?.compactor;
        let (_, collection) = self.find(name).await?;
        let shards = tokio::task::spawn_blocking(move || by_shard(&collection, points))
            .await
            .map_err(|e| Error::internal(format!("a load was broken off: {e}")))??;
        for (shard, rows) in shards {
            compactor.load(shard, rows).await?;
        }
        Ok(())
    }
}

/// Points as rows in their stored form, checked.
fn by_shard(collection: &Collection, points: Vec<Point>) -> Result<BTreeMap<ShardId, Vec<Row>>> {
    let upsert = UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert };
    validate::operation(collection, &upsert)?;
    let UpdateOp::Upsert { points, .. } = upsert else { return Ok(BTreeMap::new()) };
    let encoder = encode::Encoder::new(collection);
    let mut shards: BTreeMap<ShardId, Vec<Row>> = BTreeMap::new();
    for point in points {
        shards.entry(encode::shard_of(collection, point.id)).or_default().push(encoder.row(point)?);
    }
    Ok(shards)
}
