//! The latency and the faults of S3, over any store, decided by a seed.
//!
//! Waits are tokio's, so under its paused clock a simulated hour takes no time and a run repeats exactly.
//! What reaches the bucket late or twice outlives the future that sent it, as it does in a network; it is
//! carried by this value, so one of these stands for the world and must outlive the processes it serves.

mod connections;
mod faults;
mod latency;

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::connections::{Connections, Lease};
use self::faults::Fate;
pub use self::faults::Faults;
pub use self::latency::{Latency, Quantiles};
use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::port::{ObjectInfo, ObjectMeta, Store, exact_length};

const SLOWDOWN: u32 = 20;

/// A store that behaves like S3 on an ordinary or a bad day.
#[derive(Debug)]
pub struct Simulated {
    inner: Arc<dyn Store>,
    latency: Latency,
    faults: Mutex<Faults>,
    rng: Mutex<StdRng>,
    connections: Connections,
    /// Copies of writes that are still on their way.
    late: Mutex<JoinSet<()>>,
}

/// What was decided about one request before it set out.
struct Journey {
    fate: Fate,
    /// Until the request takes effect.
    there: Duration,
    /// From then until its answer begins.
    back: Duration,
    timeout: Duration,
    /// When a late or second copy arrives, counted from the answer.
    later: Duration,
    /// For a short read: the share of the bytes that comes.
    share: f64,
    lease: Lease,
}

impl Simulated {
    /// `inner` behind `latency` and `faults`, both decided by `seed`.
    pub fn new(inner: Arc<dyn Store>, latency: Latency, faults: Faults, seed: u64) -> Self {
        Self {
            inner,
            latency,
            faults: Mutex::new(faults),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            connections: Connections::default(),
            late: Mutex::default(),
        }
    }

    /// S3's latency and nothing that goes wrong.
    pub fn latency_only(inner: Arc<dyn Store>, seed: u64) -> Self {
        Self::new(inner, Latency::s3(), Faults::none(), seed)
    }

    /// S3's latency, and about `rate` of the requests go wrong in some way.
    pub fn faulty(inner: Arc<dyn Store>, seed: u64, rate: f64) -> Self {
        Self::new(inner, Latency::s3(), Faults::evenly(rate), seed)
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    /// Waits until every late or second copy of a write has arrived.
    pub async fn settle(&self) {
        loop {
            let mut late = std::mem::take(&mut *self.late.lock());
            if late.join_next().await.is_none() {
                return;
            }
            while late.join_next().await.is_some() {}
        }
    }

    fn set_out(&self, op: Op) -> Journey {
        let faults = self.faults.lock().clone();
        let lease = self.connections.take(self.latency.idle_timeout);
        let mut rng = self.rng.lock();
        let quantiles = if op.is_write() && op != Op::Delete { self.latency.put } else { self.latency.get };
        let connect = if lease.warm { Duration::ZERO } else { self.latency.connect };
        let whole = quantiles.sample(&mut *rng);
        let there = whole.mul_f64(rng.random());
        Journey {
            fate: faults.draw(op, &mut *rng),
            there: connect + there,
            back: whole.saturating_sub(there),
            timeout: faults.timeout,
            later: faults.latest.mul_f64(rng.random()),
            share: rng.random(),
            lease,
        }
    }

    /// Carries out `request` as its fate wants it; `sent` bytes travel before it takes effect.
    async fn travel<T>(
        &self,
        op: Op,
        key: &str,
        sent: usize,
        journey: &mut Journey,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let lost = |kind, why| Err(StoreError::new(op, kind, key, why));
        let slow = if journey.fate == Fate::Slow { SLOWDOWN } else { 1 };
        let there = journey.there + self.latency.transfer(sent) * slow;
        if !matches!(journey.fate, Fate::Clean | Fate::Double | Fate::Slow | Fate::Short) {
            journey.lease.break_off();
        }
        wait(there).await;
        match journey.fate {
            Fate::ErrorBefore | Fate::LateError => {
                wait(journey.back).await;
                lost(StoreErrorKind::Transient, "simulated: 503, try again")
            }
            Fate::ErrorAfter => {
                let _ = request.await;
                wait(journey.back).await;
                lost(StoreErrorKind::Transient, "simulated: the connection broke before the answer")
            }
            Fate::TimeoutBefore | Fate::LateTimeout => {
                wait(journey.timeout.saturating_sub(there)).await;
                lost(StoreErrorKind::Timeout, "simulated: no answer")
            }
            Fate::TimeoutAfter => {
                let _ = request.await;
                wait(journey.timeout.saturating_sub(there)).await;
                lost(StoreErrorKind::Timeout, "simulated: no answer")
            }
            Fate::Clean | Fate::Double | Fate::Slow | Fate::Short => {
                let reply = request.await;
                wait(journey.back).await;
                reply
            }
        }
    }

    async fn write(&self, op: Op, key: &str, bytes: Bytes) -> Result<()> {
        let mut journey = self.set_out(op);
        let inner = self.inner.as_ref();
        let reply =
            self.travel(op, key, bytes.len(), &mut journey, write(inner, op, key, bytes.clone())).await;
        if matches!(journey.fate, Fate::LateError | Fate::LateTimeout | Fate::Double) {
            self.send_later(journey.later, op, key, bytes);
        }
        reply
    }

    fn send_later(&self, after: Duration, op: Op, key: &str, bytes: Bytes) {
        let (inner, key) = (self.inner.clone(), key.to_owned());
        let mut late = self.late.lock();
        while late.try_join_next().is_some() {}
        late.spawn(async move {
            sleep(after).await;
            // Nobody waits for this answer any more.
            let _ = write(inner.as_ref(), op, &key, bytes).await;
        });
    }

    async fn read(&self, op: Op, key: &str, request: impl Future<Output = Result<Bytes>>) -> Result<Bytes> {
        let mut journey = self.set_out(op);
        let bytes = self.travel(op, key, 0, &mut journey, request).await?;
        let length = bytes.len();
        let slow = if journey.fate == Fate::Slow { SLOWDOWN } else { 1 };
        wait(self.latency.transfer(length) * slow).await;
        let came =
            if journey.fate == Fate::Short { (length as f64 * journey.share) as usize } else { length };
        exact_length(op, key, bytes.slice(..came.min(length)), length as u64)
    }

    async fn ask<T>(&self, op: Op, key: &str, request: impl Future<Output = Result<T>>) -> Result<T> {
        let mut journey = self.set_out(op);
        self.travel(op, key, 0, &mut journey, request).await
    }
}

async fn write(store: &dyn Store, op: Op, key: &str, bytes: Bytes) -> Result<()> {
    if op == Op::PutNew { store.put_new(key, bytes).await } else { store.put(key, bytes).await }
}

/// A sleep that costs nothing where there is nothing to wait for.
async fn wait(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

#[async_trait]
impl Store for Simulated {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.write(Op::PutNew, key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.write(Op::Put, key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.read(Op::Get, key, self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return self.inner.get_range(key, range).await;
        }
        self.read(Op::GetRange, key, self.inner.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.ask(Op::Head, key, self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        self.ask(Op::List, prefix, self.inner.list(prefix, start_after, limit)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.ask(Op::Delete, key, self.inner.delete(key)).await
    }
}

#[cfg(test)]
mod tests;
