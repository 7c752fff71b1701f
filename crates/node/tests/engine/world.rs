//! A store, and nodes that are started, stopped and killed on it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_api::Engine;
use lodestone_node::{CheckpointOptions, Inspection, Node, NodeOptions, StoreLocation, inspect};
use lodestone_store::{
    Faults, Latency, MemoryStore, Metrics, ObjectInfo, ObjectMeta, Quantiles, RetryPolicy, Retrying,
    Simulated, Store, StoreError, Unsynced, system_clock,
};
use lodestone_types::Result;
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle, Runtime};

/// How the store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// It answers at once.
    Fair,
    /// Every answer takes its time.
    Slow,
    /// Every answer takes much time, and some take much more than others.
    Sluggish,
    /// One request in twenty goes wrong.
    Faulty,
    /// A crash loses what was not synced.
    Forgetful,
}

/// A store and at most one node on it.
pub struct World {
    store: Arc<dyn Store>,
    forgetful: Option<Arc<Unsynced>>,
    local: TempDir,
    network: Runtime,
    running: Option<Running>,
    jobs: BTreeMap<String, u64>,
}

struct Running {
    // A runtime of its own, so that a kill ends everything at whatever point it has reached.
    runtime: Runtime,
    node: Node,
}

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

fn options(local: &TempDir) -> NodeOptions {
    let ms = Duration::from_millis;
    let mut options = NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
    options.wal.window = Some(ms(1));
    options.wal.lease = ms(20);
    options.compact.fold_rows = 6;
    options.compact.merge_fan_in = 2;
    options.compact.index_rows = 4;
    options.jobs.fold_requests = 4;
    options.jobs.fold_slices = 5;
    options.jobs.fold_at_once = 600;
    options.jobs.fold_segment_bytes = 500;
    options.jobs.vacuum_min_rows = 4;
    options.gc.grace = ms(100);
    options.checkpoint = CheckpointOptions { slots: 8, idle: ms(50) };
    options
}

impl World {
    pub fn new(weather: Weather, seed: u64) -> Self {
        let ms = Duration::from_millis;
        let quick = Quantiles { p50: ms(1), p99: ms(3), p999: ms(8) };
        let latency = Latency { get: quick, put: quick, connect: ms(1), ..Latency::s3() };
        let put = Quantiles { p50: ms(15), p99: ms(80), p999: ms(150) };
        let sluggish = Latency { put, ..latency.clone() };
        let network = runtime(1);
        let memory = || Arc::new(MemoryStore::new());
        let mut forgetful = None;
        let mut faulty = None;
        let store: Arc<dyn Store> = match weather {
            Weather::Fair => memory(),
            Weather::Slow => Arc::new(Simulated::new(memory(), latency, Faults::none(), seed)),
            Weather::Sluggish => Arc::new(Simulated::new(memory(), sluggish, Faults::none(), seed)),
            Weather::Faulty => {
                let store = Arc::new(Simulated::new(memory(), latency, Faults::none(), seed));
                faulty = Some(store.clone());
                store
            }
            Weather::Forgetful => {
                let store = Arc::new(Unsynced::new(Duration::from_micros(500), system_clock(), seed));
                forgetful = Some(store.clone());
                store
            }
        };
        let far = Arc::new(Network { inner: store, handle: network.handle().clone() });
        let policy = RetryPolicy { first_backoff: ms(1), max_backoff: ms(50), ..RetryPolicy::default() };
        let store = Arc::new(Retrying::new(far, policy, seed));
        let local = tempfile::tempdir().unwrap();
        let mut world = Self { store, forgetful, local, network, running: None, jobs: BTreeMap::new() };
        // The first start probes the store, which refuses one that fails.
        world.start();
        if let Some(store) = faulty {
            let faults = Faults { timeout: ms(30), latest: ms(300), ..Faults::evenly(0.05) };
            store.set_faults(faults);
        }
        world
    }

    /// Starts a node.
    pub fn start(&mut self) {
        assert!(self.running.is_none());
        let runtime = runtime(2);
        let (store, options) = (self.store.clone(), options(&self.local));
        let starting = runtime.spawn(Node::start_on(store, Arc::new(Metrics::default()), options));
        let node = runtime.block_on(starting).unwrap().unwrap();
        self.running = Some(Running { runtime, node });
    }

    /// Stops the node in an orderly way.
    pub fn stop(&mut self) {
        self.count_jobs();
        let Running { runtime, node } = self.running.take().unwrap();
        runtime.block_on(runtime.spawn(node.shutdown())).unwrap();
        runtime.shutdown_timeout(Duration::from_secs(1));
    }

    /// Ends the node at whatever it is doing. Requests that are on their way to the store arrive.
    pub fn kill(&mut self) {
        self.count_jobs();
        let Running { runtime, node } = self.running.take().unwrap();
        runtime.shutdown_timeout(Duration::from_secs(1));
        drop(node);
        if let Some(store) = &self.forgetful {
            store.crash();
        }
    }

    /// Deletes what is disposable.
    pub fn lose_local(&self) {
        assert!(self.running.is_none());
        let _ = std::fs::remove_dir_all(self.local.path().join("cache"));
    }

    pub fn engine(&self) -> Arc<dyn Engine> {
        self.running.as_ref().unwrap().node.engine()
    }

    /// Runs something on the node.
    pub fn run<T, F>(&self, work: impl FnOnce(Arc<dyn Engine>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let running = self.running.as_ref().unwrap();
        running.runtime.block_on(running.runtime.spawn(work(self.engine()))).unwrap()
    }

    /// Runs something on the node and kills it after a while. What it returned by then.
    pub fn kill_during<T, F>(&mut self, after: Duration, work: impl FnOnce(Arc<dyn Engine>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let work = work(self.engine());
        let (sender, receiver) = mpsc::channel();
        self.running.as_ref().unwrap().runtime.spawn(async move {
            let _ = sender.send(work.await);
        });
        std::thread::sleep(after);
        self.kill();
        receiver.try_recv().ok()
    }

    /// What the store holds.
    pub fn inspect(&self) -> Inspection {
        let store = self.store.clone();
        self.network.block_on(async move { inspect(&store, None, true).await }).unwrap()
    }

    fn count_jobs(&mut self) {
        for line in self.engine().metrics().lines() {
            let Some(rest) = line.strip_prefix("lodestone_compaction_jobs_total{kind=\"") else { continue };
            let (kind, count) = rest.split_once("\"} ").unwrap();
            *self.jobs.entry(kind.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }

    /// How many jobs of each kind were done by all nodes so far.
    pub fn jobs(&mut self) -> &BTreeMap<String, u64> {
        self.stop();
        self.start();
        &self.jobs
    }

    /// Waits until nothing is left to be done, and checks what the store holds then.
    pub fn check_quiet(&self) {
        // A crash may bring back what the probe of a new store has deleted. Nobody looks for that.
        let look = || {
            let mut inspection = self.inspect();
            inspection.orphans.retain(|key| self.forgetful.is_none() || !key.starts_with("probe/"));
            inspection
        };
        let mut inspection = look();
        for _ in 0..200 {
            if inspection.orphans.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            inspection = look();
        }
        assert!(inspection.is_sound(), "{inspection:#?}");
        assert_eq!(inspection.orphans, Vec::<String>::new(), "{inspection:#?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

/// Carries requests on a runtime of its own: what was sent arrives, whatever became of the sender.
#[derive(Debug)]
struct Network {
    inner: Arc<dyn Store>,
    handle: Handle,
}

impl Network {
    async fn carry<T, F>(&self, request: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.handle.spawn(request(self.inner.clone())).await.expect("a request does not panic")
    }
}

#[async_trait]
impl Store for Network {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.carry(|store| async move { store.put_new(&key, bytes).await }).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.carry(|store| async move { store.put(&key, bytes).await }).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let key = key.to_owned();
        self.carry(|store| async move { store.get(&key).await }).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let key = key.to_owned();
        self.carry(|store| async move { store.get_range(&key, range).await }).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let key = key.to_owned();
        self.carry(|store| async move { store.head(&key).await }).await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, StoreError> {
        let (prefix, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        self.carry(|store| async move { store.list(&prefix, start_after.as_deref(), limit).await }).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.carry(|store| async move { store.delete(&key).await }).await
    }
}
