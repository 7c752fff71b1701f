//! What a look at the bucket finds in it.

use std::sync::Arc;

use bytes::Bytes;
use lodestone_manifest::{Epoch, JobId};
use lodestone_node::{Node, NodeOptions, StoreLocation, inspect};
use lodestone_store::{MemoryStore, Metrics, Store, list_all};
use lodestone_types::CollectionConfig;
use lodestone_wal::keys;

fn config() -> CollectionConfig {
    CollectionConfig::new(Default::default())
}

/// A collector keeps what is before the only root, so a look at the bucket must not call it too much.
#[tokio::test]
async fn with_one_root_nothing_before_it_is_an_orphan() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let options = NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
    let node = Node::start_on(store.clone(), Arc::new(Metrics::default()), options).await.unwrap();
    for name in ["a", "b"] {
        node.engine().create_collection(name, config(), None).await.unwrap();
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
