//! A directory that forgets: what was not synced when the power failed may be gone.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::key::validate_key;
use crate::memory::{self, Object, Objects};
use crate::port::{Clock, ObjectInfo, ObjectMeta, Store, range_is_empty};

/// A store for tests that models [`LocalStore`](crate::LocalStore) under power failures.
///
/// A write is visible first and durable after a sync, and returns only then. Whoever meets an object makes it
/// durable before hearing of it, as the local store does. At [`crash`](Self::crash) each change that was not
/// durable, deletions included, is kept or lost by the seed.
pub struct Unsynced {
    state: Mutex<State>,
    sync_time: Duration,
    clock: Clock,
}

struct State {
    visible: Objects,
    durable: Objects,
    /// Counts crashes, so that a write which began before one cannot finish after it.
    life: u64,
    rng: StdRng,
}

impl State {
    /// Makes the visible object under `key` durable.
    fn sync(&mut self, key: &str) {
        if let Some(object) = self.visible.get(key) {
            self.durable.insert(key.to_owned(), object.clone());
        }
    }

    fn is_synced(&self, key: &str) -> bool {
        let identity = |object: &Object| (object.bytes.as_ptr(), object.bytes.len());
        self.visible.get(key).map(identity) == self.durable.get(key).map(identity)
    }
}

impl Unsynced {
    /// An empty store whose syncs take `sync_time`; `seed` decides what a crash leaves.
    pub fn new(sync_time: Duration, clock: Clock, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let state = State { visible: Objects::new(), durable: Objects::new(), life: 0, rng };
        Self { state: Mutex::new(state), sync_time, clock }
    }

    /// The power fails: unsynced changes are kept or lost, each by itself, and writes under way fail.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        state.life += 1;
        let keys: std::collections::BTreeSet<String> =
            state.visible.keys().chain(state.durable.keys()).cloned().collect();
        for key in keys {
            if state.is_synced(&key) {
                continue;
            }
            let kept = state.rng.random::<bool>();
            let survivor = if kept { state.visible.get(&key) } else { state.durable.get(&key) }.cloned();
            for side in [true, false] {
                let objects = if side { &mut state.visible } else { &mut state.durable };
                match &survivor {
                    Some(object) => objects.insert(key.clone(), object.clone()),
                    None => objects.remove(&key),
                };
            }
        }
    }

    async fn write(&self, op: Op, key: &str, bytes: Bytes) -> Result<()> {
        validate_key(op, key)?;
        let life = self.state.lock().life;
        // The file is written and synced under another name first.
        sleep(self.sync_time).await;
        let taken = self.in_life(op, key, life, |state| {
            let taken = op == Op::PutNew && state.visible.contains_key(key);
            if !taken {
                // A copy has an address of its own, by which synced and unsynced are told apart.
                let object = Object { bytes: Bytes::copy_from_slice(&bytes), last_modified: (self.clock)() };
                state.visible.insert(key.to_owned(), object);
            }
            taken
        })?;
        sleep(self.sync_time).await;
        self.in_life(op, key, life, |state| state.sync(key))?;
        if taken { Err(StoreError::new(op, StoreErrorKind::AlreadyExists, key, "")) } else { Ok(()) }
    }

    fn in_life<T>(&self, op: Op, key: &str, life: u64, act: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.state.lock();
        if state.life != life {
            return Err(StoreError::new(op, StoreErrorKind::Transient, key, "simulated: the power failed"));
        }
        Ok(act(&mut state))
    }

    fn read<T>(&self, op: Op, key: &str, read: impl FnOnce(&Object) -> Result<T>) -> Result<T> {
        validate_key(op, key)?;
        let mut state = self.state.lock();
        let value = read(memory::find(&state.visible, op, key)?)?;
        state.sync(key);
        Ok(value)
    }
}

impl fmt::Debug for Unsynced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Unsynced")
            .field("visible", &state.visible.len())
            .field("durable", &state.durable.len())
            .field("crashes", &state.life)
            .finish()
    }
}

#[async_trait]
impl Store for Unsynced {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.write(Op::PutNew, key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.write(Op::Put, key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.read(Op::Get, key, |object| Ok(object.bytes.clone()))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        validate_key(Op::GetRange, key)?;
        if range_is_empty(key, &range)? {
            return Ok(Bytes::new());
        }
        self.read(Op::GetRange, key, |object| memory::slice(key, &object.bytes, range))
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.read(Op::Head, key, |object| Ok(object.meta()))
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        let mut state = self.state.lock();
        let page = memory::page(&state.visible, prefix, start_after, limit);
        for object in &page {
            state.sync(&object.key);
        }
        Ok(page)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        validate_key(Op::Delete, key)?;
        self.state.lock().visible.remove(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::port::system_clock;

    const SYNC: Duration = Duration::from_millis(2);

    fn store(seed: u64) -> Arc<Unsynced> {
        Arc::new(Unsynced::new(SYNC, system_clock(), seed))
    }

    #[tokio::test(start_paused = true)]
    async fn what_returned_survives_and_what_was_under_way_may_not() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..64 {
            let store = store(seed);
            store.put("done", Bytes::from_static(b"1")).await.unwrap();
            let writer = tokio::spawn({
                let store = store.clone();
                async move { store.put_new("half", Bytes::from_static(b"2")).await }
            });
            sleep(SYNC + SYNC / 2).await;
            store.crash();
            assert!(writer.await.unwrap().unwrap_err().outcome_unknown());
            assert_eq!(store.get("done").await.unwrap(), "1");
            if store.get("half").await.is_ok() { kept += 1 } else { lost += 1 }
        }
        assert!(kept > 10 && lost > 10, "{kept} {lost}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_heard_of_survives() {
        for seed in 0..16 {
            let store = store(seed);
            let writer = tokio::spawn({
                let store = store.clone();
                async move { store.put_new("a", Bytes::from_static(b"1")).await }
            });
            sleep(SYNC + SYNC / 2).await;
            store.get("a").await.unwrap();
            store.crash();
            assert!(writer.await.unwrap().is_err());
            assert_eq!(store.get("a").await.unwrap(), "1");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_may_be_forgotten() {
        let mut back = 0;
        for seed in 0..64 {
            let store = store(seed);
            store.put("a", Bytes::from_static(b"1")).await.unwrap();
            store.delete("a").await.unwrap();
            store.crash();
            back += usize::from(store.get("a").await.is_ok());
        }
        assert!((10..54).contains(&back), "{back}");
    }
}
