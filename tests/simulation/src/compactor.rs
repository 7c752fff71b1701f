//! Folds tails, so that collection has something to remove, and gives segments indexes meanwhile.

use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::{CatalogError, Rewrite, SegmentEntry, SegmentId, Shard, ShardId, State, SystemOp};
use lodestone_meta::bucket::{self, Created};
use lodestone_meta::{Consistency, Job, SystemLog};
use lodestone_wal::keys;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::sleep;

use crate::contents::{Rows, encode_part};
use crate::node::{Front, Life};
use crate::world::{Counts, World, say};

pub struct Compactor {
    world: Arc<World>,
    rng: SmallRng,
}

impl Compactor {
    pub fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), rng: world.rng() }
    }

    /// Folds and indexes until the run is over.
    pub async fn run(mut self) {
        let Some(every) = self.world.profile.folds.clone() else { return };
        while !self.world.is_over() {
            sleep(Duration::from_millis(self.rng.random_range(every.clone()))).await;
            let Some((life, front)) = self.choose() else { continue };
            let hold = Duration::from_millis(self.rng.random_range(self.world.profile.fold_hold.clone()));
            let world = self.world.clone();
            let roll = self.rng.random();
            let folds = self.rng.random_ratio(2, 3);
            // Jobs overlap: one that waits does not hold up the others.
            tokio::spawn(async move {
                if folds {
                    fold(&world, &life, &front, hold, roll).await;
                } else {
                    index(&world, &life, &front, hold, roll).await;
                }
            });
        }
    }

    fn choose(&mut self) -> Option<(Arc<Life>, Arc<Front>)> {
        let mut open = fronts(&self.world);
        if open.is_empty() {
            return None;
        }
        let chosen = self.rng.random_range(0..open.len());
        Some(open.swap_remove(chosen))
    }
}

fn fronts(world: &World) -> Vec<(Arc<Life>, Arc<Front>)> {
    let nodes = world.nodes.lock();
    let open = |life: Arc<Life>| life.front().map(|front| (life, front));
    nodes.iter().filter_map(|node| node.life().and_then(open)).collect()
}

async fn fold(world: &Arc<World>, life: &Arc<Life>, front: &Arc<Front>, hold: Duration, roll: u64) {
    let prepared = life.call(prepare(world, life, front, roll)).await.flatten();
    let Some((job, rewrite)) = prepared else { return };
    life.call(sleep(hold)).await;
    // The process may have lost its leader meanwhile and found another; it proposes what it has.
    let Some(front) = life.front() else { return };
    let shard = rewrite.shard;
    let epoch = job.epoch;
    let proposed = life.call(front.ingest.propose(vec![SystemOp::Rewrite(rewrite)])).await;
    drop(job);
    match proposed {
        Some(Ok(outcomes)) => match outcomes.first() {
            Some(Ok(_)) => {
                say!(world, "{} folded shard {shard} under epoch {epoch}", life.name);
                Counts::add(&world.counts.folds);
            }
            Some(Err(CatalogError::Stale(why))) => say!(world, "{} fold refused: {why}", life.name),
            other => say!(world, "{} fold: {other:?}", life.name),
        },
        Some(Err(e)) => say!(world, "{} fold failed: {e}", life.name),
        None => {}
    }
}

async fn prepare(
    world: &Arc<World>,
    life: &Arc<Life>,
    front: &Arc<Front>,
    roll: u64,
) -> Option<(Job, Rewrite)> {
    let job = front.meta.begin_job().await.ok()?;
    let state = front.meta.read(Consistency::Eventual).await.ok()?;
    let shard = choose_shard(&state, roll)?;
    let manifest = state.shards.get(&shard)?;
    // What is missing here, readers will notice: this state may be an old one.
    let rows = world.contents.shard(&state, shard).ok()?;
    let key = keys::part(job.epoch, job.id, "seg", 0);
    let bytes = encode_part(&rows);
    let Ok(Created::Yes) = bucket::create(life.store().as_ref(), &key, &bytes).await else { return None };
    let segment = SegmentEntry {
        id: SegmentId::new(job.epoch, job.id, 0),
        revision: 0,
        rows: rows.len() as u32,
        deleted: 0,
        bytes: bytes.len() as u64,
        objects: vec![key],
        meta: bytes::Bytes::new(),
    };
    let rewrite = Rewrite {
        epoch: job.epoch,
        shard,
        read: manifest.segments.iter().map(|s| (s.id, s.revision)).collect(),
        remove: manifest.segments.iter().map(|s| s.id).collect(),
        put: vec![segment],
        fold: Some((manifest.folded, state.slot)),
    };
    Some((job, rewrite))
}

fn choose_shard(state: &State, roll: u64) -> Option<ShardId> {
    let long: Vec<ShardId> =
        state.shards.iter().filter(|(_, shard)| shard.tail.len() >= 3).map(|(id, _)| *id).collect();
    (!long.is_empty()).then(|| long[roll as usize % long.len()])
}

/// Builds an index on a segment as it was, and gives it to the segment as it is when the index is done.
async fn index(world: &Arc<World>, life: &Arc<Life>, front: &Arc<Front>, hold: Duration, roll: u64) {
    let Some((job, shard, segment, key)) = life.call(build(life, front, roll)).await.flatten() else {
        return;
    };
    life.call(sleep(hold)).await;
    let Some(front) = life.front() else { return };
    let Some(Ok(state)) = life.call(front.meta.read(Consistency::Strong)).await else { return };
    let Some(manifest) = state.shards.get(&shard) else { return };
    let Some(entry) = manifest.segments.iter().find(|entry| entry.id == segment) else { return };
    let mut indexed = entry.clone();
    indexed.revision += 1;
    indexed.objects.push(key);
    let rewrite = Rewrite {
        epoch: job.epoch,
        shard,
        read: vec![(entry.id, entry.revision)],
        remove: Vec::new(),
        put: vec![indexed],
        fold: None,
    };
    let proposed = life.call(front.ingest.propose(vec![SystemOp::Rewrite(rewrite)])).await;
    drop(job);
    if let Some(Ok(outcomes)) = proposed
        && let Some(Ok(_)) = outcomes.first()
    {
        say!(world, "{} indexed segment {segment} of shard {shard}", life.name);
        Counts::add(&world.counts.indexes);
    }
}

async fn build(life: &Arc<Life>, front: &Arc<Front>, roll: u64) -> Option<(Job, ShardId, SegmentId, String)> {
    let job = front.meta.begin_job().await.ok()?;
    let state = front.meta.read(Consistency::Eventual).await.ok()?;
    let all = |(id, shard): (&ShardId, &Arc<Shard>)| {
        let id = *id;
        shard.segments.iter().map(move |segment| (id, segment.id)).collect::<Vec<_>>()
    };
    let segments: Vec<(ShardId, SegmentId)> = state.shards.iter().flat_map(all).collect();
    let (shard, segment) = *segments.get(roll as usize % segments.len().max(1))?;
    let key = keys::part(job.epoch, job.id, "vec", 0);
    // An index holds no rows of its own.
    let bytes = encode_part(&Rows::new());
    let Ok(Created::Yes) = bucket::create(life.store().as_ref(), &key, &bytes).await else { return None };
    Some((job, shard, segment, key))
}
