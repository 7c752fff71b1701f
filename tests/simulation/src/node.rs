//! A machine, and the processes that live on it one after the other.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lodestone_ingest::{Ingest, IngestOptions, LogWriter, Reader, Updater};
use lodestone_manifest::{InstanceId, NodeId, ShardId, State};
use lodestone_meta::{
    BucketReader, Clock, Leader, LeaderOptions, LocalReplica, Meta, MetaError, ReaderOptions,
};
use lodestone_store::{Faults, Latency, RetryPolicy, Retrying, Simulated, Store};
use lodestone_types::{Error, Filter, PointId};
use lodestone_wal::SlotCache;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::HashSet;
use tokio::time::Instant;

use crate::gate::Gate;
use crate::model::is_even;
use crate::replica::Witnessed;
use crate::roaming::Roaming;
use crate::world::{Counts, World, say};

/// Nothing but a place for a process.
pub struct Node {
    pub index: usize,
    network: Arc<Simulated>,
    life: Mutex<Option<Arc<Life>>>,
}

/// A process from its start to its end.
pub struct Life {
    pub name: String,
    pub world: Arc<World>,
    pub gate: Arc<Gate>,
    store: Arc<dyn Store>,
    clock: Arc<Drifting>,
    replica: Arc<Witnessed>,
    /// Follows the bucket for as long as the process lives.
    pub reader: BucketReader,
    number: u64,
    rng: Mutex<SmallRng>,
    leader: Mutex<Option<Arc<Leader>>>,
    front: Mutex<Option<Arc<Front>>>,
    claiming: tokio::sync::Mutex<()>,
}

/// What clients talk to.
pub struct Front {
    pub updater: Updater,
    pub ingest: Arc<Ingest>,
    pub meta: Arc<dyn Meta>,
}

/// A clock that runs a little fast or slow.
#[derive(Debug)]
struct Drifting {
    start: Instant,
    rate: f64,
    offset: Duration,
}

impl Clock for Drifting {
    fn now(&self) -> Duration {
        self.offset + self.start.elapsed().mul_f64(self.rate)
    }
}

fn latency() -> Latency {
    let mut latency = Latency::s3();
    for quantiles in [&mut latency.get, &mut latency.put] {
        quantiles.p50 /= 4;
        quantiles.p99 /= 2;
    }
    latency.connect = Duration::from_millis(5);
    latency
}

impl Node {
    pub fn new(index: usize, world: &Arc<World>) -> Arc<Self> {
        let faults = Faults {
            timeout: world.profile.timeout,
            latest: world.profile.latest,
            ..Faults::evenly(world.profile.faults)
        };
        let network = Arc::new(Simulated::new(world.bucket.clone(), latency(), faults, world.seed()));
        Arc::new(Self { index, network, life: Mutex::default() })
    }

    /// Starts a process; there must be none.
    pub fn start(&self, world: &Arc<World>) {
        let mut rng = world.rng();
        let number = rng.random();
        let name = format!("n{}", self.index);
        let gate = Gate::new(name.clone(), world.clone(), self.network.clone(), rng.random());
        let policy = RetryPolicy {
            first_backoff: Duration::from_millis(20),
            max_backoff: Duration::from_secs(1),
            attempts: 8,
            deadline: Duration::from_secs(20),
        };
        let store: Arc<dyn Store> = Arc::new(Retrying::new(gate.clone(), policy, rng.random()));
        let clock = Drifting {
            start: Instant::now(),
            rate: rng.random_range(0.98..1.02),
            offset: Duration::from_secs(rng.random_range(10..100_000)),
        };
        let clock = Arc::new(clock);
        let leader = &world.profile.leader;
        let reading = ReaderOptions {
            trust: leader.lease.min(leader.gc_grace / 2),
            staleness: Duration::from_secs(1),
            patience: Duration::from_secs(60),
            rules: world.rules,
        };
        let slots = Arc::new(SlotCache::new(1 << 20));
        let reader = BucketReader::new(store.clone(), clock.clone(), slots, reading);
        let replica = Witnessed { name: name.clone(), world: world.clone(), inner: LocalReplica::default() };
        let life = Arc::new(Life {
            name,
            world: world.clone(),
            gate,
            store,
            clock,
            reader,
            replica: Arc::new(replica),
            number,
            rng: Mutex::new(rng),
            leader: Mutex::default(),
            front: Mutex::default(),
            claiming: tokio::sync::Mutex::default(),
        });
        say!(world, "{} started", life.name);
        if life.rng.lock().random() {
            let life = life.clone();
            tokio::spawn(async move { life.reader.begin().await });
        }
        if world.profile.roaming {
            let meta = Roaming::new(&life);
            *life.front.lock() = Some(life.open_front(meta));
        }
        *self.life.lock() = Some(life);
    }

    /// The process that lives here.
    pub fn life(&self) -> Option<Arc<Life>> {
        self.life.lock().clone()
    }

    /// Ends the process at once.
    pub fn kill(&self) {
        if let Some(life) = self.life.lock().take() {
            life.end();
        }
    }

    /// Nothing goes wrong any more on the way to the bucket.
    pub fn calm_down(&self) {
        self.network.set_faults(Faults::none());
    }

    /// Waits until what was still travelling has arrived.
    pub async fn settle(&self) {
        self.network.settle().await;
    }

    pub fn dissolve(&self) {
        self.kill();
    }
}

impl Life {
    fn end(&self) {
        self.gate.kill();
        self.leader.lock().take();
        self.front.lock().take();
    }

    fn open_front(&self, meta: Arc<dyn Meta>) -> Arc<Front> {
        let random = Box::new(SmallRng::seed_from_u64(self.rng.lock().random()));
        let slots = Arc::new(SlotCache::new(1 << 20));
        let rules = self.world.rules;
        let writer =
            LogWriter::new(meta.clone(), self.store.clone(), NodeId(self.number), slots, random, rules);
        let options = IngestOptions {
            window: Duration::from_millis(20),
            max_object: 300,
            max_in_flight: 8,
            ..IngestOptions::default()
        };
        let ingest = Ingest::start(writer, options);
        let updater = Updater::new(ingest.clone(), Arc::new(FilterReader(self.world.clone())), 1 << 20);
        Arc::new(Front { updater, ingest, meta })
    }

    /// Claims the bucket and leads until deposed. Returns once the claim has come out.
    pub async fn lead(self: &Arc<Self>) {
        let Ok(_one_at_a_time) = self.claiming.try_lock() else { return };
        if self.leader().is_some() {
            return;
        }
        say!(self.world, "{} claims", self.name);
        let options = LeaderOptions { rules: self.world.rules, ..self.world.profile.leader.clone() };
        let claim = Leader::start(
            self.store.clone(),
            self.clock.clone(),
            self.replica.clone(),
            InstanceId(u128::from(self.number)),
            &self.name,
            options,
        );
        let leader = tokio::select! {
            biased;
            () = self.gate.death() => return,
            leader = claim => leader,
        };
        match leader {
            Ok(leader) => {
                say!(self.world, "{} leads epoch {}", self.name, leader.epoch());
                Counts::add(&self.world.counts.claims);
                *self.leader.lock() = Some(leader.clone());
                if !self.world.profile.roaming {
                    *self.front.lock() = Some(self.open_front(leader.clone()));
                }
                tokio::spawn(self.clone().watch_over(leader));
            }
            Err(e @ (MetaError::Damaged(_) | MetaError::Violation(_))) => {
                self.world.violated(format!("{} cannot lead: {e}", self.name));
            }
            Err(e) => say!(self.world, "{} does not lead: {e}", self.name),
        }
    }

    async fn watch_over(self: Arc<Self>, leader: Arc<Leader>) {
        let weak = Arc::downgrade(&leader);
        let error = tokio::select! {
            biased;
            () = self.gate.death() => return,
            error = leader.failed() => error,
        };
        drop(leader);
        say!(self.world, "{} leads no more: {error}", self.name);
        if matches!(error, MetaError::Damaged(_) | MetaError::Violation(_)) {
            self.world.violated(format!("{} stopped: {error}", self.name));
        }
        let mut current = self.leader.lock();
        if current.as_ref().is_some_and(|l| weak.as_ptr() == Arc::as_ptr(l)) {
            *current = None;
            if !self.world.profile.roaming {
                *self.front.lock() = None;
            }
        }
    }

    /// Its leader, if it believes that it leads.
    pub fn leader(&self) -> Option<Arc<Leader>> {
        self.leader.lock().clone()
    }

    /// Where clients may ask.
    pub fn front(&self) -> Option<Arc<Front>> {
        self.front.lock().clone()
    }

    /// The process's way to the bucket.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// A request to this process from outside; `None` if it died before it answered.
    pub async fn call<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        let answered = async {
            self.gate.pass().await;
            let answer = request.await;
            self.gate.pass().await;
            answer
        };
        tokio::select! {
            biased;
            () = self.gate.death() => None,
            answer = answered => Some(answer),
        }
    }
}

/// Reads for conditions: every filter of the simulation asks for lists of even length.
struct FilterReader(Arc<World>);

#[async_trait]
impl Reader for FilterReader {
    async fn matching(&self, state: &Arc<State>, shard: ShardId, _: &Filter) -> Result<Vec<PointId>, Error> {
        let rows = self.0.contents.shard(state, shard).map_err(Error::unavailable)?;
        Ok(rows.iter().filter(|(_, list)| is_even(list)).map(|(id, _)| PointId::Num(*id)).collect())
    }

    async fn existing(
        &self,
        state: &Arc<State>,
        shard: ShardId,
        ids: &[PointId],
    ) -> Result<HashSet<PointId>, Error> {
        let rows = self.0.contents.shard(state, shard).map_err(Error::unavailable)?;
        let there = |id: &PointId| matches!(id, PointId::Num(n) if rows.contains_key(n));
        Ok(ids.iter().copied().filter(there).collect())
    }
}
