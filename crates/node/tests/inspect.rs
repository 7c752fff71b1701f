//! What a look at the bucket finds in it.

mod common;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::{FOLD, NAME, config, points, quiet, start, write};
use lodestone_api::Engine;
use lodestone_manifest::{Epoch, JobId};
use lodestone_node::{Node, NodeOptions, StoreLocation, inspect};
use lodestone_segment::list_parts;
use lodestone_store::{MemoryStore, Metrics, ObjectInfo, ObjectMeta, Store, StoreError, list_all};
use lodestone_types::{CollectionConfig, Distance};
use lodestone_wal::keys;
use tokio::sync::OnceCell;

/// A collector keeps what is before the only root, so a look at the bucket must not call it too much.
#[tokio::test]
async fn with_one_root_nothing_before_it_is_an_orphan() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let options = NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
    let node = Node::start_on(store.clone(), Arc::new(Metrics::default()), options).await.unwrap();
    for name in ["a", "b"] {
        let nothing = CollectionConfig::new(Default::default());
        node.engine().create_collection(name, nothing, None).await.unwrap();
    }
    assert!(node.engine().delete_collection("a", None).await.unwrap());
    node.shutdown().await;

    let roots = list_all(store.as_ref(), keys::CHECKPOINTS).await.unwrap();
    assert_eq!(roots.len(), 1, "{roots:?}");
    let found = inspect(&store, None, true).await.unwrap();
    assert!(found.is_sound() && found.slot.0 > 3, "{found:?}");
    assert!(found.orphans.is_empty(), "{:?}", found.orphans);

    let left = keys::part(Epoch(1), JobId(99), "seg", 0);
    store.put(&left, Bytes::from_static(b"left behind")).await.unwrap();
    assert_eq!(inspect(&store, None, true).await.unwrap().orphans, [left]);
}

/// A store in which all segments of a collection are merged, and those from before collected, while the first part of one is read.
struct Merging {
    inner: Arc<dyn Store>,
    engine: Arc<dyn Engine>,
    merged: OnceCell<()>,
}

impl std::fmt::Debug for Merging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merging").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Merging {
    async fn merge(&self, key: &str) {
        write(&self.engine, points(2 * FOLD..3 * FOLD, 3)).await;
        quiet(&self.engine, 1).await;
        for _ in 0..500 {
            if self.inner.head(key).await.is_err_and(|error| error.is_not_found()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("`{key}` is not collected");
    }
}

#[async_trait]
impl Store for Merging {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.put_new(key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.put(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if key.starts_with(keys::PARTS) {
            self.merged.get_or_init(|| self.merge(key)).await;
        }
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.inner.head(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.list(prefix, start_after, limit).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_collected_while_one_looks_is_neither_missing_nor_damaged() {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&inner, &local, true).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Dot), None).await.unwrap();
    for (segments, ids) in [(1, 0..FOLD), (2, FOLD..2 * FOLD)] {
        write(&engine, points(ids, segments)).await;
        quiet(&engine, segments).await;
    }
    let merging = Arc::new(Merging { inner: inner.clone(), engine, merged: OnceCell::new() });
    let store: Arc<dyn Store> = merging.clone();
    let found = inspect(&store, None, true).await.unwrap();
    assert!(merging.merged.initialized(), "nothing was read");
    assert!(found.is_sound(), "{found:?}");
    node.shutdown().await;

    // What is needed and not there is missing all the same.
    let segments = list_all(inner.as_ref(), keys::PARTS).await.unwrap();
    let segment = segments.iter().find(|object| object.key.contains("-seg-")).unwrap();
    inner.delete(&segment.key).await.unwrap();
    assert_eq!(inspect(&inner, None, true).await.unwrap().missing, std::slice::from_ref(&segment.key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_found_wherever_it_is() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Dot), None).await.unwrap();
    write(&engine, points(0..FOLD, 1)).await;
    quiet(&engine, 1).await;
    node.shutdown().await;
    assert!(inspect(&store, None, true).await.unwrap().is_sound());
    for object in list_all(store.as_ref(), keys::PARTS).await.unwrap() {
        let sound = store.get(&object.key).await.unwrap();
        let needed = !inspect(&store, None, false).await.unwrap().orphans.contains(&object.key);
        for part in list_parts(&object.key, &sound).unwrap().iter().filter(|_| needed) {
            for at in [part.offset, part.offset + part.length - 1] {
                let mut flipped = sound.to_vec();
                flipped[at as usize] ^= 1;
                store.put(&object.key, flipped.into()).await.unwrap();
                let damaged = inspect(&store, None, true).await.unwrap().damaged;
                assert_eq!(damaged.len(), 1, "{} at {at}", object.key);
                assert!(damaged[0].1.contains(&part.kind.to_string()), "{damaged:?}");
            }
        }
        store.put(&object.key, sound).await.unwrap();
    }
}
