//! The bucket itself, watched: nothing that the newest root or the newest state names may be removed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use lodestone_manifest::{Slot, State};
use lodestone_meta::bucket;
use lodestone_store::{ObjectInfo, ObjectMeta, Result, Store};
use lodestone_wal::keys;
use parking_lot::Mutex;

use crate::world::{Counts, World, say};

#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn Store>,
    world: Weak<World>,
    // What the newest root names, by its slot.
    root: Mutex<Option<(Slot, BTreeSet<String>)>>,
}

impl Watched {
    pub fn new(inner: Arc<dyn Store>, world: Weak<World>) -> Self {
        Self { inner, world, root: Mutex::default() }
    }

    fn note(&self, key: &str, bytes: usize) {
        if let Some(world) = self.world.upgrade() {
            world.note(key, bytes);
        }
    }

    /// Memory answers at once.
    fn now<T>(request: impl Future<Output = T>) -> Option<T> {
        request.now_or_never()
    }

    fn named_by_newest_root(&self, key: &str) -> Option<Slot> {
        let slot = Self::now(bucket::newest_checkpoint(self.inner.as_ref()))?.ok()??;
        let mut root = self.root.lock();
        if root.as_ref().is_none_or(|(known, _)| *known != slot) {
            let (parsed, state) = Self::now(bucket::read_checkpoint(self.inner.as_ref(), slot))?.ok()?;
            let mut names = named_objects(&state);
            names.extend(parsed.pages.iter().flatten().map(|page| page.object.clone()));
            names.insert(keys::checkpoint(slot));
            *root = Some((slot, names));
        }
        root.as_ref().filter(|(_, names)| names.contains(key)).map(|(slot, _)| *slot)
    }
}

/// Every object that holds a part of what a state says. Marks are not among them: what happens when they go has
/// to show by itself.
pub fn named_objects(state: &State) -> BTreeSet<String> {
    let slots = state.tail.keys().map(|slot| keys::wal(*slot));
    state.objects().map(str::to_owned).chain(slots).collect()
}

#[async_trait]
impl Store for Watched {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.note(key, bytes.len());
        self.inner.put_new(key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.note(key, bytes.len());
        self.inner.put(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        self.inner.list(prefix, start_after, limit).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        if let Some(world) = self.world.upgrade() {
            say!(world, "deleted {key}");
            world.note(key, usize::MAX);
            Counts::add(&world.counts.deletes);
            if let Some(root) = self.named_by_newest_root(key) {
                world.violated(format!("`{key}` was removed; the newest root, of slot {root}, names it"));
            }
            if world.newest_state().is_some_and(|state| named_objects(&state).contains(key)) {
                world.violated(format!("`{key}` was removed; the newest state names it"));
            }
        }
        self.inner.delete(key).await
    }
}
