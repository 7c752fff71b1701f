//! Counts every request of a process, for its metrics.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Op, Result};
use crate::port::{ObjectInfo, ObjectMeta, Store};
use crate::upload::Upload;

/// Running totals; requests count when they are sent, bytes and errors when the reply is there.
#[derive(Debug, Default)]
pub struct Metrics {
    creates: AtomicU64,
    puts: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    errors: AtomicU64,
}

/// [`Metrics`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetricsSnapshot {
    /// Create-only writes.
    pub creates: u64,
    /// Other writes.
    pub puts: u64,
    /// Reads of whole objects and of ranges.
    pub gets: u64,
    /// Questions for size and time.
    pub heads: u64,
    /// Lists.
    pub lists: u64,
    /// Removals.
    pub deletes: u64,
    /// Bytes read from the store.
    pub bytes_in: u64,
    /// Bytes written to the store, by writes that returned `Ok`.
    pub bytes_out: u64,
    /// Requests that failed; "not found" and "already exists" are answers, not failures.
    pub errors: u64,
}

impl Metrics {
    /// The totals now.
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            creates: self.creates.load(Relaxed),
            puts: self.puts.load(Relaxed),
            gets: self.gets.load(Relaxed),
            heads: self.heads.load(Relaxed),
            lists: self.lists.load(Relaxed),
            deletes: self.deletes.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            errors: self.errors.load(Relaxed),
        }
    }

    fn sent(&self, op: Op) {
        let counter = match op {
            Op::PutNew => &self.creates,
            Op::Put => &self.puts,
            Op::Get | Op::GetRange => &self.gets,
            Op::Head => &self.heads,
            Op::List => &self.lists,
            Op::Delete => &self.deletes,
            Op::Open => return,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn answered<T>(&self, result: &Result<T>) {
        if result.as_ref().is_err_and(|e| !e.is_not_found() && !e.is_already_exists()) {
            self.errors.fetch_add(1, Relaxed);
        }
    }

    fn wrote(&self, result: &Result<()>, bytes: u64) {
        self.answered(result);
        if result.is_ok() {
            self.bytes_out.fetch_add(bytes, Relaxed);
        }
    }

    fn read(&self, result: &Result<Bytes>) {
        self.answered(result);
        if let Ok(bytes) = result {
            self.bytes_in.fetch_add(bytes.len() as u64, Relaxed);
        }
    }
}

/// A store that counts into [`Metrics`].
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

impl Metered {
    /// Counts what goes to `inner` into `metrics`.
    pub fn new(inner: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl Store for Metered {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.metrics.sent(Op::PutNew);
        let length = bytes.len() as u64;
        let result = self.inner.put_new(key, bytes).await;
        self.metrics.wrote(&result, length);
        result
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.metrics.sent(Op::Put);
        let length = bytes.len() as u64;
        let result = self.inner.put(key, bytes).await;
        self.metrics.wrote(&result, length);
        result
    }

    async fn begin_upload<'a>(&'a self, key: &'a str) -> Result<Box<dyn Upload + 'a>> {
        self.metrics.sent(Op::Put);
        let begun = self.inner.begin_upload(key).await;
        self.metrics.answered(&begun);
        Ok(Box::new(MeteredUpload { inner: begun?, metrics: &self.metrics }))
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.metrics.sent(Op::Get);
        let result = self.inner.get(key).await;
        self.metrics.read(&result);
        result
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.metrics.sent(Op::GetRange);
        let result = self.inner.get_range(key, range).await;
        self.metrics.read(&result);
        result
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.metrics.sent(Op::Head);
        let result = self.inner.head(key).await;
        self.metrics.answered(&result);
        result
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        self.metrics.sent(Op::List);
        let result = self.inner.list(prefix, start_after, limit).await;
        self.metrics.answered(&result);
        result
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.metrics.sent(Op::Delete);
        let result = self.inner.delete(key).await;
        self.metrics.answered(&result);
        result
    }
}

/// Counts the requests of an upload.
#[derive(Debug)]
struct MeteredUpload<'a> {
    inner: Box<dyn Upload + 'a>,
    metrics: &'a Metrics,
}

#[async_trait]
impl Upload for MeteredUpload<'_> {
    async fn send(&self, number: u32, bytes: Bytes) -> Result<()> {
        self.metrics.sent(Op::Put);
        let length = bytes.len() as u64;
        let result = self.inner.send(number, bytes).await;
        self.metrics.wrote(&result, length);
        result
    }

    async fn complete(&self) -> Result<()> {
        self.metrics.sent(Op::Put);
        let result = self.inner.complete().await;
        self.metrics.answered(&result);
        result
    }

    async fn abort(&self) -> Result<()> {
        self.metrics.sent(Op::Delete);
        let result = self.inner.abort().await;
        self.metrics.answered(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[tokio::test]
    async fn requests_bytes_and_errors_are_counted_and_answers_are_no_errors() {
        let metrics = Arc::new(Metrics::default());
        let store = Metered::new(Arc::new(MemoryStore::new()), metrics.clone());
        store.put_new("a", Bytes::from_static(b"12345")).await.unwrap();
        store.put_new("a", Bytes::from_static(b"12345")).await.unwrap_err();
        store.put("b", Bytes::from_static(b"12")).await.unwrap();
        store.get("a").await.unwrap();
        store.get_range("a", 1..3).await.unwrap();
        store.get("none").await.unwrap_err();
        store.get_range("a", 1..30).await.unwrap_err();
        store.head("a").await.unwrap();
        store.list("", None, 9).await.unwrap();
        store.delete("a").await.unwrap();
        let expected = MetricsSnapshot {
            creates: 2,
            puts: 1,
            gets: 4,
            heads: 1,
            lists: 1,
            deletes: 1,
            bytes_in: 7,
            bytes_out: 7,
            errors: 1,
        };
        assert_eq!(metrics.snapshot(), expected);
    }
}
