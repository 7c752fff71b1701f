//! Repeats what may be repeated: exponential backoff with full jitter, within a deadline.
//!
//! A create-only write is never repeated here. If its reply was lost, the object may be there, or may come
//! later, and "already exists" on a second try could be its own first: only the caller, who knows what the
//! object should hold, can find out.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::port::{ObjectInfo, ObjectMeta, Store};
use crate::upload::Upload;

/// How long and how often to try.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The longest wait before the second try; it doubles with each try.
    pub first_backoff: Duration,
    /// The longest wait before any try.
    pub max_backoff: Duration,
    /// Tries in all.
    pub attempts: u32,
    /// The time that all tries and waits together may take; create-only writes are held to it too.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(5),
            attempts: 10,
            deadline: Duration::from_secs(60),
        }
    }
}

/// A store that tries again.
#[derive(Debug)]
pub struct Retrying {
    inner: Arc<dyn Store>,
    policy: RetryPolicy,
    jitter: Mutex<StdRng>,
}

impl Retrying {
    /// Repeats requests to `inner` by `policy`; `seed` decides the jitter.
    pub fn new(inner: Arc<dyn Store>, policy: RetryPolicy, seed: u64) -> Self {
        Self { inner, policy, jitter: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    async fn retry<T, F>(&self, op: Op, key: &str, request: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + self.policy.deadline;
        let mut attempt = 1;
        loop {
            let error = match self.by(deadline, op, key, request()).await {
                Err(error) if error.is_retryable() => error,
                done => return done,
            };
            let wait = self.backoff(attempt);
            if attempt >= self.policy.attempts || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, attempt, ?wait, "the store is asked again");
            sleep(wait).await;
            attempt += 1;
        }
    }

    async fn by<T>(
        &self,
        deadline: Instant,
        op: Op,
        key: &str,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        timeout_at(deadline, request).await.unwrap_or_else(|_| {
            let why = format!("not done within {:?}", self.policy.deadline);
            Err(StoreError::new(op, StoreErrorKind::Timeout, key, why))
        })
    }

    /// A random wait up to a bound that doubles, so that many who failed together do not return together.
    fn backoff(&self, attempt: u32) -> Duration {
        let doubled = self.policy.first_backoff.saturating_mul(1 << (attempt - 1).min(20));
        doubled.min(self.policy.max_backoff).mul_f64(self.jitter.lock().random::<f64>())
    }
}

#[async_trait]
impl Store for Retrying {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        let deadline = Instant::now() + self.policy.deadline;
        self.by(deadline, Op::PutNew, key, self.inner.put_new(key, bytes)).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.retry(Op::Put, key, || self.inner.put(key, bytes.clone())).await
    }

    async fn begin_upload<'a>(&'a self, key: &'a str) -> Result<Box<dyn Upload + 'a>> {
        let inner = self.retry(Op::Put, key, || self.inner.begin_upload(key)).await?;
        Ok(Box::new(RetryingUpload { inner, store: self, key }))
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.retry(Op::Get, key, || self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.retry(Op::GetRange, key, || self.inner.get_range(key, range.clone())).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.retry(Op::Head, key, || self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        self.retry(Op::List, prefix, || self.inner.list(prefix, start_after, limit)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.retry(Op::Delete, key, || self.inner.delete(key)).await
    }
}

/// Repeats the requests of an upload, each of which may be.
#[derive(Debug)]
struct RetryingUpload<'a> {
    inner: Box<dyn Upload + 'a>,
    store: &'a Retrying,
    key: &'a str,
}

#[async_trait]
impl Upload for RetryingUpload<'_> {
    async fn send(&self, number: u32, bytes: Bytes) -> Result<()> {
        self.store.retry(Op::Put, self.key, || self.inner.send(number, bytes.clone())).await
    }

    async fn complete(&self) -> Result<()> {
        self.store.retry(Op::Put, self.key, || self.inner.complete()).await
    }

    async fn abort(&self) -> Result<()> {
        self.store.retry(Op::Delete, self.key, || self.inner.abort()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::metered::{Metered, Metrics};
    use crate::simulated::{Faults, Latency, Simulated};

    /// A retrying store over one that fails as `faults` says, and the count of what reached the latter.
    fn over(faults: Faults, policy: RetryPolicy) -> (Retrying, Arc<Metrics>) {
        let failing = Simulated::new(Arc::new(MemoryStore::new()), Latency::none(), faults, 3);
        let metrics = Arc::new(Metrics::default());
        let metered = Metered::new(Arc::new(failing), metrics.clone());
        (Retrying::new(Arc::new(metered), policy, 7), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn reads_and_plain_writes_outlive_faults_and_creates_are_sent_once() {
        let (store, metrics) =
            over(Faults::evenly(0.4), RetryPolicy { attempts: 40, ..RetryPolicy::default() });
        for i in 0..50 {
            let key = format!("k{i}");
            store.put(&key, Bytes::from(key.clone())).await.unwrap();
            assert_eq!(store.get(&key).await.unwrap(), key);
            store.head(&key).await.unwrap();
            store.delete(&key).await.unwrap();
            let _ = store.put_new(&format!("n{i}"), Bytes::new()).await;
        }
        let counted = metrics.snapshot();
        assert!(counted.puts > 50 && counted.gets > 50, "{counted:?}");
        assert_eq!(counted.creates, 50);
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_after_the_attempts_or_at_the_deadline() {
        let always = Faults { error_before: 1.0, ..Faults::none() };
        let (store, metrics) = over(always.clone(), RetryPolicy { attempts: 4, ..RetryPolicy::default() });
        assert!(store.get("a").await.unwrap_err().is_retryable());
        assert_eq!(metrics.snapshot().gets, 4);

        let policy =
            RetryPolicy { attempts: u32::MAX, deadline: Duration::from_secs(20), ..RetryPolicy::default() };
        let (store, _) = over(always, policy);
        let start = Instant::now();
        assert!(store.get("a").await.is_err());
        assert!(start.elapsed() <= Duration::from_secs(20) && start.elapsed() > Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_retry_cannot_cure_is_not_retried() {
        let (store, metrics) = over(Faults::none(), RetryPolicy::default());
        assert!(store.get("none").await.unwrap_err().is_not_found());
        assert_eq!(metrics.snapshot().gets, 1);
    }
}
