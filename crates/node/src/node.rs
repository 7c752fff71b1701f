//! The roles of one process over one store and one cache: all of them, or `query` alone.

use std::sync::Arc;
use std::time::Duration;

use lodestone_api::Engine;
use lodestone_compact::Compactor;
use lodestone_ingest::{Ingest, IngestOptions, LogWriter, Updater};
use lodestone_manifest::{InstanceId, NodeId, State};
use lodestone_meta::{
    Ahead, BootClock, BucketReader, Leader, LeaderOptions, Meta, RaftReplica, ReaderOptions, Rules,
};
use lodestone_query::Query;
use lodestone_shard::{VectorMemory, Views};
use lodestone_store::{
    Accounted, Backend, Metered, Metrics, OpenOptions, PartCache, RetryPolicy, Retrying, Store, probe,
    system_clock,
};
use lodestone_types::{Error, Result};
use lodestone_wal::SlotCache;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::engine::{NodeEngine, Writing};
use crate::{NodeOptions, Roles, StoreLocation, instance};

/// Bytes of slot objects kept in memory, so that the tail need not be read back.
const SLOT_CACHE_BYTES: usize = 64 << 20;
/// The id of the one voter.
const VOTER: u64 = 1;
/// How long what is under way may take to be decided at a stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// How long jobs under way may take to end at a stop.
const JOBS_LIMIT: Duration = Duration::from_secs(5);
/// How often it is looked at what is kept between reads.
const KEEP_ROUND: Duration = Duration::from_secs(5);
/// How often it is looked whether all is here that is pinned.
const PIN_ROUND: Duration = Duration::from_secs(1);
/// Rounds after which a view that nobody asked for is forgotten: ten minutes.
const IDLE_ROUNDS: u64 = 120;

/// A running node. Dropping it ends its work as a crash would: what was acknowledged is in the store, and the next
/// start recovers it. [`Node::shutdown`] is faster for who comes next.
pub struct Node {
    pub(crate) engine: Arc<NodeEngine>,
    // None where nothing is written.
    leader: Option<Arc<Leader>>,
    instance: InstanceId,
    background: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("leader", &self.leader).finish_non_exhaustive()
    }
}

/// What is kept near, for all roles of a process.
struct Near {
    parts: Arc<PartCache>,
    slots: Arc<SlotCache>,
    views: Arc<Views>,
}

impl Near {
    fn open(store: &Arc<dyn Store>, slots: Arc<SlotCache>, options: &NodeOptions) -> Self {
        let parts = Arc::new(PartCache::open(Some(options.local.join("parts")), options.cache.disk));
        let memory = options.memory();
        tracing::debug!(memory, reads = Backend::of_process().name(), "vectors");
        let vectors = Arc::new(VectorMemory::new(memory));
        let views = Arc::new(Views::new(store.clone(), parts.clone(), slots.clone(), vectors));
        Self { parts, slots, views }
    }

    fn query(&self, meta: &Arc<dyn Meta>, random: &mut StdRng, options: &NodeOptions) -> Arc<Query> {
        let random = Box::new(StdRng::from_rng(random));
        Arc::new(Query::new(meta.clone(), self.views.clone(), random, options.reading()))
    }
}

/// Opens the store that `options` name, with retries, counting into `metrics`.
pub fn open_store(options: &NodeOptions, metrics: Arc<Metrics>) -> Result<Arc<dyn Store>> {
    let open = OpenOptions {
        s3_endpoint: options.s3.endpoint.clone(),
        s3_region: options.s3.region.clone(),
        ..OpenOptions::default()
    };
    let url = match &options.store {
        StoreLocation::Directory(dir) => dir
            .to_str()
            .ok_or_else(|| Error::bad_request(format!("the store's path {} is not UTF-8", dir.display())))?
            .to_owned(),
        s3 @ StoreLocation::S3 { .. } => s3.to_string(),
    };
    let store = lodestone_store::open(&url, &open)?;
    let metered = Arc::new(Metered::new(store, metrics));
    let accounted = Arc::new(Accounted::new(metered));
    Ok(Arc::new(Retrying::new(accounted, RetryPolicy::default(), StdRng::from_os_rng().random())))
}

impl Node {
    /// Starts the roles that `options` name. With all of them it claims the store, and anything that held it before is
    /// fenced when this returns; as `query` alone it writes nothing.
    pub async fn start(options: NodeOptions) -> Result<Self> {
        if let (Roles::Query, StoreLocation::Directory(dir)) = (options.roles, &options.store)
            && !dir.is_dir()
        {
            return Err(Error::not_found(format!(
                "there is no directory {}; a process that only reads does not make one",
                dir.display()
            )));
        }
        let metrics = Arc::new(Metrics::default());
        let store = open_store(&options, metrics.clone())?;
        Self::start_on(store, metrics, options).await
    }

    /// As [`Node::start`], on a store that is open already: `options.store` is not looked at. `metrics` are reported as
    /// the store's.
    pub async fn start_on(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        options: NodeOptions,
    ) -> Result<Self> {
        match options.roles {
            Roles::All => Self::lead(store, metrics, options).await,
            Roles::Query => Self::follow(store, metrics, options).await,
        }
    }

    /// All roles.
    async fn lead(store: Arc<dyn Store>, metrics: Arc<Metrics>, options: NodeOptions) -> Result<Self> {
        let mut random = StdRng::from_os_rng();
        let slots = Arc::new(SlotCache::new(SLOT_CACHE_BYTES));
        let seed = random.random();
        let (asked, take_over) = (store.as_ref(), options.take_over);
        let may_claim = |highest| async move {
            match highest {
                None => probe(asked, &system_clock(), seed).await.map(|_| ()).map_err(Error::from),
                Some(epoch) if !take_over => instance::refuse_if_held(asked, epoch).await,
                Some(_) => Ok(()),
            }
        };
        let ahead = Ahead::read(&store, Some(&slots), Rules::default(), may_claim).await?;
        let instance = InstanceId(random.random());
        let leader_options = LeaderOptions {
            lease: options.wal.lease,
            read_patience: options.wal.patience,
            gc_grace: options.gc.grace,
            checkpoint_slots: options.checkpoint.slots,
            checkpoint_idle: options.checkpoint.idle.min(options.gc.grace),
            ..LeaderOptions::default()
        };
        let leader = Leader::start_from(
            ahead,
            store.clone(),
            Arc::new(BootClock),
            Arc::new(RaftReplica::single(VOTER).await?),
            instance,
            &options.address,
            leader_options,
        )
        .await?;
        let meta: Arc<dyn Meta> = leader.clone();
        let near = Near::open(&store, slots, &options);
        let query = near.query(&meta, &mut random, &options);
        let writer = LogWriter::new(
            meta.clone(),
            store.clone(),
            NodeId(random.random()),
            near.slots.clone(),
            Box::new(StdRng::from_rng(&mut random)),
            Rules::default(),
        );
        let ingest_options = IngestOptions { window: options.wal_window(), ..IngestOptions::default() };
        let ingest = Ingest::start(writer, ingest_options);
        let reader = Arc::new(crate::engine::QueryReader(query.clone()));
        let updater = Updater::new(ingest.clone(), reader, options.wal.tail_limit);
        let compact = options.compaction();
        let compactor = Compactor::new(
            meta.clone(),
            ingest.clone(),
            store,
            near.views.clone(),
            compact,
            compaction_jobs(),
        );
        let background = vec![
            tokio::spawn(compactor.clone().run()),
            tokio::spawn(keep_house(meta.watch(), near.views.clone(), near.slots)),
            tokio::spawn(keep_pins(query.clone(), options.keep_pins)),
        ];
        let writing = Some(Writing { ingest, updater, compactor });
        let Near { parts, views, .. } = near;
        let prices = options.price;
        let engine = Arc::new(NodeEngine { meta, query, writing, compact, metrics, prices, parts, views });
        Ok(Self { engine, leader: Some(leader), instance, background })
    }

    /// Answers reads from the bucket alone.
    async fn follow(store: Arc<dyn Store>, metrics: Arc<Metrics>, options: NodeOptions) -> Result<Self> {
        let mut random = StdRng::from_os_rng();
        let near = Near::open(&store, Arc::new(SlotCache::new(SLOT_CACHE_BYTES)), &options);
        let reader_options = ReaderOptions {
            trust: options.wal.lease.min(options.gc.grace / 2),
            staleness: options.query.staleness,
            patience: options.wal.patience,
            ..ReaderOptions::default()
        };
        let reader = BucketReader::new(store, Arc::new(BootClock), near.slots.clone(), reader_options);
        reader.begin().await?;
        let reader = Arc::new(reader);
        let meta: Arc<dyn Meta> = reader.clone();
        let state = meta.watch().borrow().clone();
        tracing::info!(slot = %state.slot, collections = state.collections.len(), "reading the bucket, without a leader");
        let query = near.query(&meta, &mut random, &options);
        let instance = InstanceId(random.random());
        let background = vec![
            tokio::spawn(read_on(reader)),
            tokio::spawn(keep_house(meta.watch(), near.views.clone(), near.slots)),
            tokio::spawn(keep_pins(query.clone(), options.keep_pins)),
        ];
        let Near { parts, views, .. } = near;
        let compact = options.compaction();
        let (writing, prices) = (None, options.price);
        let engine = Arc::new(NodeEngine { meta, query, writing, compact, metrics, prices, parts, views });
        Ok(Self { engine, leader: None, instance, background })
    }

    /// What the interfaces call.
    pub fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    /// What [`instance::PATH`] has to answer.
    pub fn instance(&self) -> String {
        self.instance.to_string()
    }

    /// Returns when the node can serve no more, with the reason: another process took the store, say.
    pub fn failed(&self) -> impl Future<Output = Error> + Send + use<> {
        let leader = self.leader.clone();
        async move {
            match leader {
                Some(leader) => leader.failed().await.into(),
                // What only reads can be taken nothing away.
                None => std::future::pending().await,
            }
        }
    }

    /// Ends jobs, decides what is under way, writes a checkpoint and releases the store.
    pub async fn shutdown(self) {
        if let Some(writing) = &self.engine.writing {
            writing.compactor.stop(JOBS_LIMIT).await;
        }
        if let Some(leader) = &self.leader
            && let Err(error) = leader.stop(STOP_LIMIT).await
        {
            tracing::warn!(%error, "the store was not released; the next start recovers it");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(writing) = &self.engine.writing {
            writing.compactor.abandon();
        }
        self.background.iter().for_each(JoinHandle::abort);
    }
}

/// Has the state be that of now though nobody reads yet. Where much came after the newest root that takes longer than reads wait, and so
/// it is not one of them.
async fn read_on(reader: Arc<BucketReader>) {
    if let Err(error) = reader.look().await {
        tracing::warn!(%error, "what came after the newest checkpoint cannot be read; reads will try again");
    }
}

/// Lets go of what was kept between reads and is not asked for any more.
async fn keep_house(states: watch::Receiver<Arc<State>>, views: Arc<Views>, slots: Arc<SlotCache>) {
    loop {
        tokio::time::sleep(KEEP_ROUND).await;
        let state = states.borrow().clone();
        views.sweep(&state, IDLE_ROUNDS);
        slots.forget_before(state.tail.get_min().map_or(state.slot, |(first, _)| *first));
    }
}

/// Keeps what is pinned, if that is wanted.
async fn keep_pins(query: Arc<Query>, wanted: bool) {
    if !wanted {
        return;
    }
    loop {
        query.keep_pins().await;
        tokio::time::sleep(PIN_ROUND).await;
    }
}

/// A quarter of the processors may compact, at least one job.
fn compaction_jobs() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(4) as u32)
}
