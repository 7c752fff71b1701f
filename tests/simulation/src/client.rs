//! A client: writes and reads through any node, and tells the model what it heard.

use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::{Slot, State};
use lodestone_meta::recover::recover;
use lodestone_meta::{Consistency, Meta, MetaError};
use lodestone_types::{ErrorKind, Filter, Point, PointId, PointSelector, UpdateMode, UpdateOp, WriteOptions};
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::{Instant, sleep};

use crate::contents::{Token, payload};
use crate::model::{COLLECTIONS, Kind};
use crate::node::{Front, Life};
use crate::world::{Counts, World, say};

/// Names of the collections of a run.
pub const NAMES: [&str; COLLECTIONS] = ["a", "b"];
const IDS: u64 = 8;

pub struct Client {
    world: Arc<World>,
    name: usize,
    rng: SmallRng,
    // The process it read from last, and up to where.
    last: Option<(Arc<Life>, Slot)>,
}

impl Client {
    pub fn new(world: &Arc<World>, name: usize) -> Self {
        Self { world: world.clone(), name, rng: world.rng(), last: None }
    }

    /// Writes and reads until the run is over.
    pub async fn run(mut self) {
        while !self.world.is_over() {
            let think = self.rng.random_range(self.world.profile.think.clone());
            sleep(Duration::from_millis(think)).await;
            self.act().await;
        }
    }

    async fn act(&mut self) {
        let mix = self.world.profile.mix;
        let collection = self.rng.random_range(0..COLLECTIONS);
        let mut left = self
            .rng
            .random_range(0..mix.write + mix.insert + mix.patch + mix.read + mix.eventual + mix.leaderless);
        let mut falls = |weight: u32| {
            let here = left < weight;
            left = left.wrapping_sub(weight);
            here
        };
        if falls(mix.write) {
            self.write(collection, Kind::Blind).await;
        } else if falls(mix.insert) {
            self.write(collection, Kind::Insert).await;
        } else if falls(mix.patch) {
            self.write(collection, Kind::PatchEven).await;
        } else if falls(mix.read) {
            self.read(collection, Consistency::Strong).await;
        } else if falls(mix.eventual) {
            self.read(collection, Consistency::Eventual).await;
        } else {
            self.leaderless(collection).await;
        }
    }

    fn choose(&mut self) -> Option<(Arc<Life>, Arc<Front>)> {
        let mut open: Vec<(Arc<Life>, Arc<Front>)> = Vec::new();
        for node in self.world.nodes.lock().iter() {
            if let Some(life) = node.life()
                && let Some(front) = life.front()
            {
                open.push((life, front));
            }
        }
        if open.is_empty() {
            return None;
        }
        let chosen = self.rng.random_range(0..open.len());
        Some(open.swap_remove(chosen))
    }

    /// One write; whether it was acknowledged.
    pub async fn write(&mut self, collection: usize, kind: Kind) -> bool {
        let Some((life, front)) = self.choose() else {
            sleep(Duration::from_millis(50)).await;
            return false;
        };
        let ids = self.ids(kind);
        let token = self.world.model.lock().begin(collection, ids.clone(), kind);
        let padding = if self.rng.random_bool(self.world.profile.large) { 400 } else { 0 };
        let op = operation(kind, &ids, token, padding);
        let impatient = !self.world.is_calm() && self.rng.random_bool(self.world.profile.impatient);
        let patience = if impatient { self.rng.random_range(10..400) } else { 5_000 };
        let timeout = (impatient || self.world.is_calm()).then(|| Duration::from_millis(patience));
        let options = WriteOptions { wait: true, timeout, ..WriteOptions::default() };
        say!(
            self.world,
            "c{} sends {kind:?} {token} to {} {ids:?} of {}",
            self.name,
            life.name,
            NAMES[collection]
        );
        let answer = life.call(front.updater.apply(NAMES[collection], op, options)).await;
        self.heard(token, answer)
    }

    fn heard(
        &self,
        token: Token,
        answer: Option<lodestone_types::Result<lodestone_types::UpdateResult>>,
    ) -> bool {
        let (world, counts) = (&self.world, &self.world.counts);
        let verdict = match answer {
            Some(Ok(done)) => {
                say!(world, "c{} acknowledged {token} at {}", self.name, done.operation_id);
                Counts::add(&counts.acked);
                let verdict = world.model.lock().acked(token, Slot(done.operation_id));
                self.judge(verdict);
                return true;
            }
            None => {
                say!(world, "c{} heard nothing of {token}", self.name);
                Counts::add(&counts.unknown);
                Ok(())
            }
            Some(Err(e)) if matches!(e.kind, ErrorKind::OutcomeUnknown | ErrorKind::Timeout) => {
                say!(world, "c{} does not know of {token}: {e}", self.name);
                Counts::add(&counts.unknown);
                Ok(())
            }
            Some(Err(e)) => {
                say!(world, "c{} refused {token}: {:?} {e}", self.name, e.kind);
                Counts::add(&counts.failed);
                world.model.lock().refused(token, &e.message)
            }
        };
        self.judge(verdict);
        false
    }

    fn judge(&self, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.world.violated(what);
        }
    }

    fn ids(&mut self, kind: Kind) -> Vec<u64> {
        if kind == Kind::PatchEven {
            return Vec::new();
        }
        let count = self.rng.random_range(1..=3);
        // Inserts reach beyond what blind writes create.
        let most = if kind == Kind::Insert { IDS * 4 } else { IDS };
        let mut ids: Vec<u64> = (0..count).map(|_| self.rng.random_range(0..most)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// One read through a node; whether it was answered.
    pub async fn read(&mut self, collection: usize, consistency: Consistency) -> bool {
        let Some((life, front)) = self.choose() else {
            sleep(Duration::from_millis(50)).await;
            return false;
        };
        let required = self.world.model.lock().required();
        let began = Instant::now();
        let meta = front.meta.clone();
        let state = match life.call(async move { meta.read(consistency).await }).await {
            Some(Ok(state)) => state,
            Some(Err(e)) => {
                say!(self.world, "c{} cannot read: {e}", self.name);
                if matches!(e, MetaError::Damaged(_) | MetaError::Violation(_)) {
                    self.world.violated(format!("a read failed: {e}"));
                }
                return false;
            }
            None => return false,
        };
        Counts::add(&self.world.counts.reads);
        say!(self.world, "c{} reads {} at {} ({consistency:?})", self.name, life.name, state.slot);
        self.monotonic(&life, &state, front.meta.as_ref());
        if consistency == Consistency::Strong {
            self.compare(collection, &state, began, required);
        }
        true
    }

    /// Within a process, a client's reads never go back. Across processes only acknowledged writes are promised.
    fn monotonic(&mut self, life: &Arc<Life>, state: &State, _: &dyn lodestone_meta::Meta) {
        if self.world.profile.roaming {
            return;
        }
        if let Some((before, slot)) = &self.last
            && Arc::ptr_eq(before, life)
            && state.slot < *slot
        {
            self.world
                .violated(format!("a client read {} at slot {slot} and then at {}", life.name, state.slot));
        }
        self.last = Some((life.clone(), state.slot));
    }

    /// One strong read of the bucket alone: by a reader that follows it, or by one that has just come.
    async fn leaderless(&mut self, collection: usize) {
        let (chosen, follows) = {
            let nodes = self.world.nodes.lock();
            let index = self.rng.random_range(0..nodes.len());
            (nodes[index].life(), self.rng.random_bool(0.7))
        };
        let Some(life) = chosen else { return };
        let required = self.world.model.lock().required();
        let began = Instant::now();
        let read = async {
            if follows {
                return life.reader.read(Consistency::Strong).await;
            }
            recover(life.store(), self.world.rules).await.map(|recovered| Arc::new(recovered.state))
        };
        match life.call(read).await {
            Some(Ok(state)) => {
                Counts::add(&self.world.counts.leaderless);
                say!(self.world, "c{} reads the bucket from {} at {}", self.name, life.name, state.slot);
                self.world.witness("a reader without a leader", &state);
                self.compare(collection, &state, began, required);
            }
            Some(Err(e @ (MetaError::Damaged(_) | MetaError::Violation(_)))) => {
                self.world.violated(format!("a reader without a leader: {e}"));
            }
            _ => {}
        }
    }

    fn compare(&self, collection: usize, state: &State, began: Instant, required: Slot) {
        if state.slot < required {
            let what =
                format!("stale: a strong read is at slot {}, slot {required} was acknowledged", state.slot);
            self.world.violated(what);
            return;
        }
        let Some(found) = state.collection(NAMES[collection]) else { return };
        match self.world.contents.collection(state, found) {
            Ok(rows) => self.judge(self.world.model.lock().read(collection, state.slot, &rows)),
            // A read that took longer than the grace has to start again.
            Err(_) if began.elapsed() > self.longest_read() => {}
            Err(what) => self.world.violated(format!("at slot {}: {what}", state.slot)),
        }
    }

    fn longest_read(&self) -> Duration {
        let leader = &self.world.profile.leader;
        leader.gc_grace.saturating_sub(leader.lease).mul_f64(0.9)
    }
}

fn operation(kind: Kind, ids: &[u64], token: Token, padding: usize) -> UpdateOp {
    let payload = payload(token, padding);
    if kind == Kind::PatchEven {
        let points = PointSelector::Filter(Filter::default());
        return UpdateOp::SetPayload { payload, key: None, points };
    }
    let point =
        |id: &u64| Point { id: PointId::Num(*id), vectors: Default::default(), payload: payload.clone() };
    let mode = if kind == Kind::Insert { UpdateMode::InsertOnly } else { UpdateMode::Upsert };
    UpdateOp::Upsert { points: ids.iter().map(point).collect(), condition: None, mode }
}
