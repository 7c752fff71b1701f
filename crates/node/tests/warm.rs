//! Collections are brought here before they are searched, and pinned ones stay.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use lodestone_api::Engine;
use lodestone_node::{CheckpointOptions, Node, NodeOptions, Roles, StoreLocation};
use lodestone_store::{Account, Accounted, Metrics, Simulated, Store, charged};
use lodestone_types::{
    Distance, ErrorKind, PayloadSelector, Pin, QueryRequest, ReadOptions, WarmRequest, Warmth,
};

const OTHER: &str = "other";

/// A node on a bucket as far away as S3, with so much room and an empty disk unless `local` has been used before.
async fn limited(store: &Arc<dyn Store>, local: &tempfile::TempDir, disk: u64, roles: Roles) -> Node {
    let far: Arc<dyn Store> = Arc::new(Simulated::latency_only(store.clone(), 1));
    let far: Arc<dyn Store> = Arc::new(Accounted::new(far));
    let location = StoreLocation::Directory("unused".into());
    let mut options = NodeOptions::new(location, local.path().join("cache"));
    options.roles = roles;
    options.cache.disk = disk;
    options.checkpoint = CheckpointOptions { slots: 8, idle: Duration::from_millis(50) };
    Node::start_on(far, Arc::new(Metrics::default()), options).await.unwrap()
}

/// GETs of a search, and that it finds something with its payload.
async fn gets(engine: &Arc<dyn Engine>, name: &str) -> u64 {
    let wanted =
        QueryRequest { with_payload: PayloadSelector::All, ..request(vectors(1, 99).remove(0), false) };
    let account = Arc::new(Account::default());
    let found = charged(account.clone(), engine.query(name, vec![wanted], ReadOptions::default())).await;
    let found = found.unwrap().remove(0);
    assert!(found.len() == 10 && found.iter().all(|point| point.payload.is_some()));
    account.usage().gets
}

async fn warm(engine: &Arc<dyn Engine>, name: &str) -> lodestone_types::Result<Warmth> {
    engine.warm(name, WarmRequest::ALL, ReadOptions::default()).await
}

/// Waits until all of a collection that is pinned is here.
async fn until_here(engine: &Arc<dyn Engine>, name: &str) -> Warmth {
    for _ in 0..500 {
        let warmth = engine.warmth(name).await.unwrap();
        if warmth.pin == Pin::Kept && warmth.here == warmth.bytes {
            return warmth;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{name} is not here: {:?}", engine.warmth(name).await);
}

/// Two collections of the same size.
async fn two_collections() -> Arc<dyn Store> {
    let store = two_segments(Distance::Cosine).await;
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.create_collection(OTHER, config(Distance::Cosine), None).await.unwrap();
    let wait = lodestone_types::WriteOptions { wait: true, ..Default::default() };
    for (seed, half) in [(1, 0..ROWS / 2), (2, ROWS / 2..ROWS)] {
        engine.update(OTHER, vec![points(half, seed)], wait).await.unwrap();
        for _ in 0..500 {
            // Without its indexes it would be smaller.
            let info = engine.collection(OTHER).await.unwrap();
            if info.segments_count == seed && info.indexed_vectors_count == info.points_count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    node.shutdown().await;
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_warm_up_the_first_search_asks_the_bucket_for_nothing() {
    let (node, _local) = far(Distance::Cosine, false).await;
    let engine = node.engine();
    let before = engine.warmth(NAME).await.unwrap();
    assert_eq!((before.pin, before.here, before.in_memory), (Pin::None, 0, 0));
    let named = WarmRequest { vectors: Some(vec![String::new()]), payloads: false };
    let without = engine.warm(NAME, named, ReadOptions::default()).await.unwrap();
    assert!(without.here == without.bytes && without.bytes < before.bytes, "{without:?}");
    let all = warm(&engine, NAME).await.unwrap();
    assert_eq!((all.bytes, all.here), (before.bytes, before.bytes));
    assert!(all.in_memory > 0 && all.in_memory < all.bytes, "payloads stay on disk: {all:?}");
    assert_eq!(gets(&engine, NAME).await, 0);

    let unknown = WarmRequest { vectors: Some(vec!["none".to_owned()]), payloads: true };
    let unknown = engine.warm(NAME, unknown, ReadOptions::default()).await.unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::BadRequest);
    assert_eq!(warm(&engine, "nowhere").await.unwrap_err().kind, ErrorKind::NotFound);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_up_that_takes_longer_than_it_may_goes_on() {
    let (node, _local) = far(Distance::Cosine, false).await;
    let engine = node.engine();
    let soon = ReadOptions { timeout: Some(Duration::from_millis(250)), ..ReadOptions::default() };
    let late = engine.warm(NAME, WarmRequest::ALL, soon).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::Timeout);
    assert!(late.message.contains("are here by now"), "{late}");
    for _ in 0..500 {
        let warmth = engine.warmth(NAME).await.unwrap();
        if warmth.here == warmth.bytes {
            node.shutdown().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_collection_stays_and_comes_back_by_itself() {
    let store = two_collections().await;
    let local = tempfile::tempdir().unwrap();
    let node = limited(&store, &local, 1 << 30, Roles::All).await;
    let bytes = node.engine().warmth(NAME).await.unwrap().bytes;
    node.shutdown().await;

    // Room for one and a half.
    let disk = bytes + bytes / 2;
    let node = limited(&store, &local, disk, Roles::All).await;
    let engine = node.engine();
    engine.pin(NAME, true, None).await.unwrap();
    until_here(&engine, NAME).await;
    let refused = engine.pin(OTHER, true, None).await.unwrap_err();
    assert!(refused.kind == ErrorKind::LimitReached && refused.message.contains("cache.disk"), "{refused}");
    let refused = warm(&engine, OTHER).await.unwrap_err();
    assert!(refused.message.contains("of which pinned collections take"), "{refused}");
    // However much the other is read, and however much of it comes.
    for _ in 0..20 {
        gets(&engine, OTHER).await;
        engine.scroll(OTHER, scroll(), ReadOptions::default()).await.unwrap();
    }
    let warmth = engine.warmth(NAME).await.unwrap();
    assert_eq!((warmth.pin, warmth.here), (Pin::Kept, bytes));
    assert_eq!(gets(&engine, NAME).await, 0);
    assert!(engine.metrics().contains("lodestone_pinned_collections{room=\"yes\"} 1\n"));

    // Rows that no segment has yet are in nobody's way.
    engine
        .update(
            NAME,
            vec![points(0..400, 7)],
            lodestone_types::WriteOptions { wait: true, ..Default::default() },
        )
        .await
        .unwrap();
    node.shutdown().await;

    // Another disk, and a process that only reads.
    let empty = tempfile::tempdir().unwrap();
    let reader = limited(&store, &empty, disk, Roles::Query).await;
    let engine = reader.engine();
    until_here(&engine, NAME).await;
    assert_eq!(engine.pin(NAME, false, None).await.unwrap_err().kind, ErrorKind::Forbidden);
    reader.shutdown().await;
    let small = tempfile::tempdir().unwrap();
    let reader = limited(&store, &small, bytes / 2, Roles::Query).await;
    let engine = reader.engine();
    let mut tries = 0;
    while !engine.metrics().contains("lodestone_pinned_collections{room=\"no\"} 1\n") {
        tries += 1;
        assert!(tries < 1000, "nobody noticed that there is no room");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(engine.warmth(NAME).await.unwrap().pin, Pin::NoRoom);
    gets(&engine, NAME).await;
    reader.shutdown().await;

    let node = limited(&store, &local, disk, Roles::All).await;
    let engine = node.engine();
    until_here(&engine, NAME).await;
    engine.pin(NAME, false, None).await.unwrap();
    assert_eq!(engine.warmth(NAME).await.unwrap().pin, Pin::None);
    let other = warm(&engine, OTHER).await.unwrap();
    assert_eq!(other.here, other.bytes, "now there is room");
    assert!(engine.warmth(NAME).await.unwrap().here < bytes);
    node.shutdown().await;
}

fn scroll() -> lodestone_types::ScrollRequest {
    lodestone_types::ScrollRequest {
        offset: None,
        limit: ROWS as usize,
        filter: None,
        with_payload: PayloadSelector::All,
        with_vectors: lodestone_types::VectorSelector::All,
        order_by: None,
    }
}
