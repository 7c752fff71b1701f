//! One user operation from start to end.
//!
//! What is addressed by id is *blind*: it commutes with every read and goes straight into a window. What depends on
//! other data (a filter, a condition) is resolved to ids first, under the gates of its shards, and refused by the
//! leader if another node has reserved there since; after two refusals its slot is reserved first (rule 2).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lodestone_manifest::{Applied, Collection, Refused, ShardId, SliceRequest, Slot, State};
use lodestone_meta::{Consistency, Meta, MetaError};
use lodestone_types::{
    Error, Filter, Point, PointId, PointSelector, Result, UpdateMode, UpdateOp, UpdateResult, UpdateStatus,
    VectorUpdate, WriteOptions,
};
use lodestone_wal::{Delta, ObjectBuilder, Op, encode_slice};

use crate::encode::{self, Encoder};
use crate::gate::Gates;
use crate::{Ingest, ShardWrite, Stage, Write, validate};

/// What resolving an operation needs to read, at a given state.
#[async_trait]
pub trait Reader: Send + Sync {
    /// The ids in `shard` that match.
    async fn matching(&self, state: &Arc<State>, shard: ShardId, filter: &Filter) -> Result<Vec<PointId>>;

    /// Those of `ids` that exist in `shard`.
    async fn existing(&self, state: &Arc<State>, shard: ShardId, ids: &[PointId])
    -> Result<HashSet<PointId>>;
}

/// Operations by shard.
type Ops = BTreeMap<ShardId, Vec<Op>>;

/// Applies user operations. One that has begun runs to its end even if the caller goes away: until it is decided, it
/// holds the gates of its shards against operations that could not see it.
pub struct Updater {
    inner: Arc<Inner>,
}

struct Inner {
    meta: Arc<dyn Meta>,
    ingest: Arc<Ingest>,
    reader: Arc<dyn Reader>,
    gates: Gates,
    tail_limit: u64,
}

impl std::fmt::Debug for Updater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Updater").finish_non_exhaustive()
    }
}

impl Updater {
    /// `tail_limit`: unfolded bytes of a shard above which writes are asked to come back later.
    pub fn new(ingest: Arc<Ingest>, reader: Arc<dyn Reader>, tail_limit: u64) -> Self {
        let meta = ingest.writer().meta().clone();
        Self { inner: Arc::new(Inner { meta, ingest, reader, gates: Gates::default(), tail_limit }) }
    }

    /// Applies `op` whole or not at all.
    pub async fn apply(&self, collection: &str, op: UpdateOp, options: WriteOptions) -> Result<UpdateResult> {
        let (inner, name) = (self.inner.clone(), collection.to_owned());
        let work = tokio::spawn(async move { inner.apply(&name, op).await });
        let done = match options.timeout {
            None => work.await,
            Some(limit) => match tokio::time::timeout(limit, work).await {
                Ok(done) => done,
                Err(_) => {
                    return Err(Error::outcome_unknown(format!(
                        "the write was not decided within {} s; it may still be applied: read, or send the same write again",
                        limit.as_secs_f32()
                    )));
                }
            },
        };
        done.unwrap_or_else(|e| Err(Error::outcome_unknown(format!("the write broke off: {e}"))))
    }
}

impl Inner {
    async fn apply(&self, name: &str, op: UpdateOp) -> Result<UpdateResult> {
        let stages = self.ingest.writer().stages();
        let (state, collection) = stages.wait(Stage::Check, 1, self.check(name, &op)).await?;
        let slot = if is_blind(&op) {
            let slices = stages.run(Stage::Encode, || blind(&collection, op).map(slices))?;
            self.write_blind(name, slices).await?
        } else {
            self.write_resolved(name, &collection, op).await?
        };
        let slot = slot.unwrap_or(state.slot);
        Ok(UpdateResult { operation_id: slot.0, status: UpdateStatus::Completed })
    }

    /// The collection called `name`, if `op` is right for it and it can take writes now.
    async fn check(&self, name: &str, op: &UpdateOp) -> Result<(Arc<State>, Arc<Collection>)> {
        let (state, collection) = self.find(name).await?;
        validate::operation(&collection, op)?;
        self.check_tail(&state, &collection)?;
        Ok((state, collection))
    }

    async fn find(&self, name: &str) -> Result<(Arc<State>, Arc<Collection>)> {
        let known = self.meta.read(Consistency::Eventual).await?;
        if let Some(collection) = known.collection(name) {
            return Ok((known.clone(), collection.clone()));
        }
        let fresh = self.meta.read(Consistency::Strong).await?;
        let collection = fresh.collection(name).cloned().ok_or_else(|| Error::no_collection(name))?;
        Ok((fresh, collection))
    }

    fn check_tail(&self, state: &State, collection: &Collection) -> Result<()> {
        let full = collection
            .shards()
            .filter_map(|id| state.shards.get(&id))
            .any(|shard| shard.tail_bytes > self.tail_limit);
        if full {
            return Err(Error::busy(
                format!(
                    "more than {} MiB are not folded into segments yet; send this write again later",
                    self.tail_limit >> 20
                ),
                Duration::from_secs(2),
            ));
        }
        Ok(())
    }

    async fn write_blind(&self, name: &str, slices: Vec<ShardWrite>) -> Result<Option<Slot>> {
        if slices.is_empty() {
            return Ok(None);
        }
        let shards: Vec<ShardId> = slices.iter().map(|slice| slice.shard).collect();
        let write = Write { slices, ..Write::default() };
        let _passing = self.ingest.writer().stages().wait(Stage::Gate, 1, self.gates.pass(&shards)).await;
        let written = self.ingest.write(write).await?;
        if written.slices.contains(&false) {
            return Err(Error::no_collection(name));
        }
        Ok(Some(written.slot))
    }

    async fn write_resolved(
        &self,
        name: &str,
        collection: &Arc<Collection>,
        op: UpdateOp,
    ) -> Result<Option<Slot>> {
        const REFUSALS: usize = 2;
        let shards = shards_read(collection, &op);
        let stages = self.ingest.writer().stages();
        let _alone = stages.wait(Stage::Gate, 1, self.gates.alone(&shards)).await;
        for _ in 0..REFUSALS {
            let resolving = async {
                let state = self.meta.read(Consistency::Strong).await?;
                let ops = self.resolve(&state, collection, &op).await?;
                Ok::<_, Error>((state.slot, slices(ops)))
            };
            let (slot, slices) = stages.wait(Stage::Resolve, 1, resolving).await?;
            if slices.is_empty() {
                return Ok(None);
            }
            let read = shards.iter().map(|shard| (*shard, slot)).collect();
            let write = Write { slices, system: Vec::new(), read };
            match self.ingest.write(write).await {
                Err(MetaError::Refused(Refused::Contended(_))) => {}
                Err(e) => return Err(e.into()),
                Ok(written) if written.slices.contains(&false) => return Err(Error::no_collection(name)),
                Ok(written) => return Ok(Some(written.slot)),
            }
        }
        self.write_reserved_first(&shards, collection, &op).await.map(Some)
    }

    /// Others write to the shard all the time: take a place in the order first, and read exactly what is before it.
    async fn write_reserved_first(
        &self,
        shards: &[ShardId],
        collection: &Arc<Collection>,
        op: &UpdateOp,
    ) -> Result<Slot> {
        let requests: Vec<SliceRequest> =
            shards.iter().map(|s| SliceRequest { shard: *s, unless_reserved_since: None }).collect();
        let resolve = |state: Arc<State>| async move {
            let ops = self.resolve(&state, collection, op).await?;
            let mut builder = ObjectBuilder::default();
            for write in slices(ops) {
                builder.push_slice(write.shard, write.rows, &write.slice);
            }
            Ok(builder)
        };
        match self.ingest.writer().write_resolved(&requests, resolve).await? {
            (slot, Applied::Committed { .. }) => Ok(slot),
            (slot, _) => Err(MetaError::Unknown(slot).into()),
        }
    }

    /// The physical operations of `op` at `state`.
    async fn resolve(&self, state: &Arc<State>, collection: &Arc<Collection>, op: &UpdateOp) -> Result<Ops> {
        match op {
            UpdateOp::Upsert { points, condition, mode } => {
                let points = self.upsertable(state, collection, points, condition.as_ref(), *mode).await?;
                blind(collection, UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert })
            }
            UpdateOp::UpdateVectors { points, condition: Some(condition) } => {
                let mut kept = Vec::new();
                for (shard, group) in grouped(collection, points, |p: &VectorUpdate| p.id) {
                    let matching =
                        self.matching_of(state, shard, condition, group.iter().map(|p| p.id)).await?;
                    kept.extend(group.into_iter().filter(|p| matching.contains(&p.id)).cloned());
                }
                blind(collection, UpdateOp::UpdateVectors { points: kept, condition: None })
            }
            UpdateOp::UpdateVectors { points, condition: None } => {
                blind(collection, UpdateOp::UpdateVectors { points: points.clone(), condition: None })
            }
            UpdateOp::Delete(s) => self.with_ids(state, collection, s, |ids| Ok(Op::Delete(ids))).await,
            UpdateOp::ClearPayload(s) => {
                self.with_ids(state, collection, s, |ids| Ok(Op::Patch { ids, delta: Delta::ClearPayload }))
                    .await
            }
            UpdateOp::SetPayload { points: s, .. }
            | UpdateOp::OverwritePayload { points: s, .. }
            | UpdateOp::DeletePayload { points: s, .. }
            | UpdateOp::DeleteVectors { points: s, .. } => {
                let delta = delta(op)?;
                self.with_ids(state, collection, s, |ids| Ok(Op::Patch { ids, delta: delta.clone() })).await
            }
        }
    }

    async fn with_ids(
        &self,
        state: &Arc<State>,
        collection: &Arc<Collection>,
        selector: &PointSelector,
        op: impl Fn(lodestone_wal::IdSet) -> Result<Op>,
    ) -> Result<Ops> {
        let by_shard = match selector {
            PointSelector::Ids(ids) => encode::by_shard(collection, ids.iter().copied()),
            PointSelector::Filter(filter) => {
                let mut found = BTreeMap::new();
                for shard in collection.shards() {
                    let ids = self.reader.matching(state, shard, filter).await?;
                    if !ids.is_empty() {
                        found.insert(shard, ids.into_iter().collect());
                    }
                }
                found
            }
        };
        by_shard.into_iter().map(|(shard, ids)| Ok((shard, vec![op(ids)?]))).collect()
    }

    async fn matching_of(
        &self,
        state: &Arc<State>,
        shard: ShardId,
        condition: &Filter,
        ids: impl Iterator<Item = PointId>,
    ) -> Result<HashSet<PointId>> {
        let these = lodestone_types::Condition::HasId(ids.collect());
        let filter = Filter {
            must: vec![these, lodestone_types::Condition::Filter(condition.clone())],
            ..Filter::default()
        };
        Ok(self.reader.matching(state, shard, &filter).await?.into_iter().collect())
    }

    /// The points of a conditional upsert that take effect. Of several with one id the last counts, as in an upsert.
    async fn upsertable(
        &self,
        state: &Arc<State>,
        collection: &Arc<Collection>,
        points: &[Point],
        condition: Option<&Filter>,
        mode: UpdateMode,
    ) -> Result<Vec<Point>> {
        let mut kept = Vec::new();
        for (shard, group) in grouped(collection, points, |p: &Point| p.id) {
            let ids: Vec<PointId> = group.iter().map(|p| p.id).collect();
            let existing = self.reader.existing(state, shard, &ids).await?;
            let matching = match condition {
                Some(condition) => self.matching_of(state, shard, condition, ids.into_iter()).await?,
                None => existing.clone(),
            };
            let applies = |p: &&Point| match (existing.contains(&p.id), mode) {
                (true, UpdateMode::InsertOnly) | (false, UpdateMode::UpdateOnly) => false,
                (true, _) => matching.contains(&p.id),
                (false, _) => true,
            };
            kept.extend(group.into_iter().filter(applies).cloned());
        }
        Ok(kept)
    }
}

fn grouped<'a, T>(
    collection: &Collection,
    rows: &'a [T],
    id: impl Fn(&T) -> PointId,
) -> BTreeMap<ShardId, Vec<&'a T>> {
    let mut groups: BTreeMap<ShardId, Vec<&T>> = BTreeMap::new();
    for row in rows {
        groups.entry(encode::shard_of(collection, id(row))).or_default().push(row);
    }
    groups
}

/// The shards whose content decides what `op` does: those of its points, or with a filter all, also those in which
/// nothing matches yet.
fn shards_read(collection: &Collection, op: &UpdateOp) -> Vec<ShardId> {
    let of =
        |ids: &mut dyn Iterator<Item = PointId>| ids.map(|id| encode::shard_of(collection, id)).collect();
    match op {
        UpdateOp::Upsert { points, .. } => of(&mut points.iter().map(|p| p.id)),
        UpdateOp::UpdateVectors { points, .. } => of(&mut points.iter().map(|p| p.id)),
        _ => collection.shards().collect(),
    }
}

fn is_blind(op: &UpdateOp) -> bool {
    match op {
        UpdateOp::Upsert { condition, mode, .. } => condition.is_none() && *mode == UpdateMode::Upsert,
        UpdateOp::UpdateVectors { condition, .. } => condition.is_none(),
        UpdateOp::Delete(points)
        | UpdateOp::ClearPayload(points)
        | UpdateOp::SetPayload { points, .. }
        | UpdateOp::OverwritePayload { points, .. }
        | UpdateOp::DeletePayload { points, .. }
        | UpdateOp::DeleteVectors { points, .. } => matches!(points, PointSelector::Ids(_)),
    }
}

fn delta(op: &UpdateOp) -> Result<Delta> {
    Ok(match op {
        UpdateOp::SetPayload { payload, key, .. } => {
            Delta::SetPayload { payload: encode::payload_bytes(payload)?, key: key.clone() }
        }
        UpdateOp::OverwritePayload { payload, .. } => {
            Delta::OverwritePayload(encode::payload_bytes(payload)?)
        }
        UpdateOp::DeletePayload { keys, .. } => Delta::DeletePayload(keys.clone()),
        UpdateOp::DeleteVectors { names, .. } => {
            Delta::RemoveVectors(names.iter().map(|name| Arc::from(name.as_str())).collect())
        }
        UpdateOp::ClearPayload(_) => Delta::ClearPayload,
        UpdateOp::Upsert { .. } | UpdateOp::UpdateVectors { .. } | UpdateOp::Delete(_) => {
            return Err(Error::internal("an operation on whole rows has no delta"));
        }
    })
}

/// The physical operations of an operation addressed by id.
fn blind(collection: &Collection, op: UpdateOp) -> Result<Ops> {
    let encoder = Encoder::new(collection);
    let ids = |selector: &PointSelector| match selector {
        PointSelector::Ids(ids) => Ok(encode::by_shard(collection, ids.iter().copied())),
        PointSelector::Filter(_) => Err(Error::internal("a filter must be resolved first")),
    };
    let per_shard = |selector: &PointSelector, op: &dyn Fn(lodestone_wal::IdSet) -> Op| -> Result<Ops> {
        Ok(ids(selector)?.into_iter().map(|(shard, ids)| (shard, vec![op(ids)])).collect())
    };
    match op {
        UpdateOp::Upsert { points, .. } => {
            let rows = points.into_iter().map(|p| encoder.row(p)).collect::<Result<Vec<_>>>()?;
            Ok(encode::rows_by_shard(collection, rows, |row| row.id, Op::Put))
        }
        UpdateOp::UpdateVectors { points, .. } => {
            let rows = points.into_iter().map(|p| encoder.vector_row(p)).collect::<Result<Vec<_>>>()?;
            Ok(encode::rows_by_shard(collection, rows, |row| row.id, Op::PutVectors))
        }
        UpdateOp::Delete(ref points) => per_shard(points, &Op::Delete),
        UpdateOp::ClearPayload(ref points)
        | UpdateOp::SetPayload { ref points, .. }
        | UpdateOp::OverwritePayload { ref points, .. }
        | UpdateOp::DeletePayload { ref points, .. }
        | UpdateOp::DeleteVectors { ref points, .. } => {
            let delta = delta(&op)?;
            per_shard(points, &|ids| Op::Patch { ids, delta: delta.clone() })
        }
    }
}

fn slices(ops: Ops) -> Vec<ShardWrite> {
    ops.into_iter()
        .map(|(shard, ops)| ShardWrite {
            shard,
            rows: ops.iter().map(Op::rows).sum(),
            slice: encode_slice(&ops).into(),
        })
        .collect()
}
