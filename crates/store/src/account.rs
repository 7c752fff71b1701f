//! Counts what one query costs: requests, bytes, how many of them had to wait for another, and where the time went.

use std::fmt::Debug;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_types::Limit;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::Result;
use crate::port::{ObjectInfo, ObjectMeta, Store};
use crate::stage::{Span, Stage};
use crate::upload::Upload;

/// What one piece of work asked of the store.
///
/// A *dependent trip* is a step of the longest chain of requests each of which began after the one before it
/// had been answered. Requests sent together share a trip. A request that was merely held back until another
/// returned lengthens the chain too, as it lengthens the wait.
#[derive(Debug)]
pub struct Account {
    opened: Instant,
    gets: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    bytes: AtomicU64,
    /// The longest chain among requests that were answered.
    trips: AtomicU64,
    hits: AtomicU64,
    /// Because of which limits the answer lacks something, ascending.
    cut_short: Mutex<Vec<Limit>>,
    /// In the order of [`Stage::ALL`].
    stages: [Span; Stage::ALL.len()],
}

impl Default for Account {
    /// One that is opened now.
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            opened: Instant::now(),
            gets: zero(),
            puts: zero(),
            deletes: zero(),
            heads: zero(),
            lists: zero(),
            bytes: zero(),
            trips: zero(),
            hits: zero(),
            cut_short: Mutex::default(),
            stages: Default::default(),
        }
    }
}

/// An [`Account`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Reads of whole objects and of ranges.
    pub gets: u64,
    /// Writes.
    pub puts: u64,
    /// Removals.
    pub deletes: u64,
    /// Questions for size and time.
    pub heads: u64,
    /// Lists.
    pub lists: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The longest chain of requests that waited for each other.
    pub trips: u64,
    /// Ranges that a [`crate::PartCache`] had.
    pub hits: u64,
}

impl Account {
    /// What was used so far, by requests that were answered.
    pub fn usage(&self) -> Usage {
        Usage {
            gets: self.gets.load(Relaxed),
            puts: self.puts.load(Relaxed),
            deletes: self.deletes.load(Relaxed),
            heads: self.heads.load(Relaxed),
            lists: self.lists.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            trips: self.trips.load(Relaxed),
            hits: self.hits.load(Relaxed),
        }
    }

    /// How long it has been open.
    pub fn elapsed(&self) -> Duration {
        self.opened.elapsed()
    }

    /// The time from the first beginning of a stage to its last end so far; see [`stage`]. Stages that run side by side
    /// overlap, so their times may be more than [`Account::elapsed`] together.
    pub fn spent(&self, stage: Stage) -> Duration {
        self.stages[stage as usize].length()
    }

    /// The limits of the request because of which its answer is not all there is, ascending.
    pub fn cut_short(&self) -> Vec<Limit> {
        self.cut_short.lock().clone()
    }

    async fn charge<T>(&self, counter: &AtomicU64, request: impl Future<Output = T>) -> T {
        counter.fetch_add(1, Relaxed);
        let depth = self.trips.load(Relaxed) + 1;
        let reply = request.await;
        self.trips.fetch_max(depth, Relaxed);
        reply
    }

    fn received(&self, reply: &Result<Bytes>) {
        if let Ok(bytes) = reply {
            self.bytes.fetch_add(bytes.len() as u64, Relaxed);
        }
    }
}

tokio::task_local! {
    static OF_TASK: Arc<Account>;
}

/// Does `work`; what it asks of [`Accounted`] stores itself, not through tasks it starts, is charged to `account`.
pub async fn charged<T>(account: Arc<Account>, work: impl Future<Output = T>) -> T {
    OF_TASK.scope(account, work).await
}

/// Does `work`, which is this stage of the work that is [`charged`] here. It ends when `work` is done or dropped.
pub async fn stage<T>(stage: Stage, work: impl Future<Output = T>) -> T {
    let _running = OF_TASK.try_with(Arc::clone).ok().map(|account| {
        account.stages[stage as usize].begin(account.elapsed());
        Running { account, stage }
    });
    work.await
}

struct Running {
    account: Arc<Account>,
    stage: Stage,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.account.stages[self.stage as usize].end(self.account.elapsed());
    }
}

/// Notes that the answer to the work that is [`charged`] here lacks something because of this limit.
pub fn cut_short(limit: Limit) {
    // Nobody else wants to know.
    let _ = OF_TASK.try_with(|account| {
        let mut known = account.cut_short.lock();
        if let Err(at) = known.binary_search(&limit) {
            known.insert(at, limit);
        }
    });
}

/// Notes that a range need not be fetched for the work that is [`charged`] here.
pub(crate) fn hit() {
    // Others' work is charged to nobody.
    let _ = OF_TASK.try_with(|account| account.hits.fetch_add(1, Relaxed));
}

/// A store whose requests are charged to the [`Account`] of the work that makes them; see [`charged`]. Requests of other
/// work are charged to nobody.
#[derive(Debug, Clone)]
pub struct Accounted {
    inner: Arc<dyn Store>,
}

impl Accounted {
    /// Charges what goes to `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner }
    }

    async fn charge<T>(
        &self,
        counter: impl Fn(&Account) -> &AtomicU64,
        request: impl Future<Output = T>,
    ) -> T {
        match OF_TASK.try_with(Arc::clone) {
            Ok(account) => account.charge(counter(&account), request).await,
            Err(_) => request.await,
        }
    }

    async fn read(&self, request: impl Future<Output = Result<Bytes>>) -> Result<Bytes> {
        let reply = self.charge(|account| &account.gets, request).await;
        let _ = OF_TASK.try_with(|account| account.received(&reply));
        reply
    }
}

#[async_trait]
impl Store for Accounted {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.charge(|account| &account.puts, self.inner.put_new(key, bytes)).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.charge(|account| &account.puts, self.inner.put(key, bytes)).await
    }

    async fn begin_upload<'a>(&'a self, key: &'a str) -> Result<Box<dyn Upload + 'a>> {
        let inner = self.charge(|account| &account.puts, self.inner.begin_upload(key)).await?;
        Ok(Box::new(AccountedUpload { inner, store: self }))
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.read(self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return self.inner.get_range(key, range).await;
        }
        self.read(self.inner.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.charge(|account| &account.heads, self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        self.charge(|account| &account.lists, self.inner.list(prefix, start_after, limit)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.charge(|account| &account.deletes, self.inner.delete(key)).await
    }
}

/// Charges the requests of an upload.
#[derive(Debug)]
struct AccountedUpload<'a> {
    inner: Box<dyn Upload + 'a>,
    store: &'a Accounted,
}

#[async_trait]
impl Upload for AccountedUpload<'_> {
    async fn send(&self, number: u32, bytes: Bytes) -> Result<()> {
        self.store.charge(|account| &account.puts, self.inner.send(number, bytes)).await
    }

    async fn complete(&self) -> Result<()> {
        self.store.charge(|account| &account.puts, self.inner.complete()).await
    }

    async fn abort(&self) -> Result<()> {
        self.store.charge(|account| &account.deletes, self.inner.abort()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::simulated::Simulated;

    #[tokio::test(start_paused = true)]
    async fn requests_sent_together_are_one_trip_and_requests_in_turn_are_many() {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        memory.put("a", Bytes::from_static(b"0123456789")).await.unwrap();
        let account = Arc::new(Account::default());
        let slow: Arc<dyn Store> = Arc::new(Simulated::latency_only(memory, 1));
        let store = Accounted::new(slow);
        store.get("a").await.unwrap();

        let together = (0..8).map(|i| store.get_range("a", i..i + 1));
        charged(account.clone(), futures::future::try_join_all(together)).await.unwrap();
        assert_eq!(account.usage(), Usage { gets: 8, bytes: 8, trips: 1, ..Usage::default() });

        charged(account.clone(), async {
            store.head("a").await.unwrap();
            let (_, _) = tokio::join!(store.get("a"), store.list("", None, 1));
        })
        .await;
        let expected = Usage { gets: 9, heads: 1, lists: 1, bytes: 18, trips: 3, ..Usage::default() };
        assert_eq!(account.usage(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn stages_last_from_their_first_beginning_to_their_last_end() {
        let sleep = |millis| tokio::time::sleep(Duration::from_millis(millis));
        let account = Arc::new(Account::default());
        charged(account.clone(), async {
            sleep(5).await;
            stage(Stage::Outline, sleep(20)).await;
            // Side by side, and one of them is given up.
            let given_up = tokio::time::timeout(Duration::from_millis(30), stage(Stage::Rows, sleep(99)));
            let (_, ended) = tokio::join!(stage(Stage::Codes, sleep(10)), given_up);
            assert!(ended.is_err());
            stage(Stage::Outline, sleep(7)).await;
        })
        .await;
        // Nobody asked.
        stage(Stage::Load, sleep(1)).await;
        let spent = Stage::ALL.map(|stage| account.spent(stage).as_millis());
        assert_eq!(spent, [0, 57, 10, 30, 0, 0]);
        assert_eq!(account.elapsed().as_millis(), 63);
    }
}
