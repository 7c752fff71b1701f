//! Bulk loads among writes, folds, merges and crashes, against a map: nothing lost, nothing doubled, whole or not at all.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{DIM, NAME, config, start, write};
use lodestone_node::{Node, inspect};
use lodestone_store::{MemoryStore, Store};
use lodestone_types::{
    Distance, NamedVectors, Payload, PayloadSelector, Point, PointId, PointSelector, ReadOptions,
    ScrollRequest, UpdateMode, UpdateOp, VectorSelector,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const IDS: u64 = 700;

type Model = BTreeMap<PointId, u64>;

/// What a point looks like that was written as the `n`th.
fn point(id: u64, n: u64) -> Point {
    let payload = serde_json::json!({ "n": n }).as_object().cloned().unwrap();
    let vectors = NamedVectors::unnamed(vec![n as f32; DIM]);
    Point { id: PointId::Num(id), vectors, payload: Payload(payload) }
}

fn some(rng: &mut StdRng, count: usize, next: &mut u64) -> Vec<Point> {
    let mut made = || {
        *next += 1;
        point(rng.random_range(0..IDS), *next)
    };
    (0..count).map(|_| made()).collect()
}

fn note(model: &mut Model, points: &[Point]) {
    for point in points {
        model.insert(point.id, point.payload.0["n"].as_u64().unwrap());
    }
}

fn listed(model: &Model) -> Vec<(PointId, u64)> {
    model.iter().map(|(id, n)| (*id, *n)).collect()
}

/// All points, each with the number of its write, which its vector has to have too.
async fn content(node: &Node) -> Vec<(PointId, u64)> {
    let request = ScrollRequest {
        offset: None,
        limit: 10_000,
        filter: None,
        with_payload: PayloadSelector::All,
        with_vectors: VectorSelector::All,
        order_by: None,
    };
    let page = node.engine().scroll(NAME, request, ReadOptions::default()).await.unwrap();
    let points = page.points.iter().map(|record| {
        let n = record.payload.as_ref().unwrap().0["n"].as_u64().unwrap();
        let vector = record.vectors.as_ref().unwrap().get("").unwrap();
        assert!(vector.len() == DIM && vector.iter().all(|x| *x == n as f32), "{}: {n}", record.id);
        (record.id, n)
    });
    points.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_are_writes_like_others() {
    for seed in 0..3 {
        let mut rng = StdRng::seed_from_u64(seed);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let local = tempfile::tempdir().unwrap();
        let mut node = start(&store, &local, true).await;
        node.engine().create_collection(NAME, config(Distance::Dot), None).await.unwrap();
        let (mut model, mut next) = (Model::new(), 0);
        for _ in 0..30 {
            match rng.random_range(0..10) {
                0..4 => {
                    // Some ids occur twice: the last counts.
                    let count = rng.random_range(1..400);
                    let points = some(&mut rng, count, &mut next);
                    note(&mut model, &points);
                    node.load(NAME, points).await.unwrap();
                }
                4..7 => {
                    let count = rng.random_range(1..120);
                    let points = some(&mut rng, count, &mut next);
                    note(&mut model, &points);
                    let op = UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert };
                    write(&node.engine(), op).await;
                }
                7 => {
                    let ids: Vec<PointId> = (0..40).map(|_| PointId::Num(rng.random_range(0..IDS))).collect();
                    model.retain(|id, _| !ids.contains(id));
                    write(&node.engine(), UpdateOp::Delete(PointSelector::Ids(ids))).await;
                }
                8 => {
                    // As `kill -9` in the middle of a load, and the same load again.
                    let points = some(&mut rng, 300, &mut next);
                    let before = model.clone();
                    note(&mut model, &points);
                    let wait = Duration::from_micros(rng.random_range(0..6000));
                    let _ = tokio::time::timeout(wait, node.load(NAME, points.clone())).await;
                    drop(node);
                    node = start(&store, &local, true).await;
                    let there = content(&node).await;
                    assert!(there == listed(&before) || there == listed(&model), "a part of a load is there");
                    let again = [node.load(NAME, points.clone()), node.load(NAME, points)];
                    futures::future::try_join_all(again).await.unwrap();
                }
                _ => {
                    node.shutdown().await;
                    node = start(&store, &local, true).await;
                }
            }
            assert_eq!(content(&node).await, listed(&model));
        }
        node.shutdown().await;
        let found = inspect(&store, None, true).await.unwrap();
        assert!(found.is_sound(), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_is_in_no_log_and_leaves_no_orphans() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    node.engine().create_collection(NAME, config(Distance::Dot), None).await.unwrap();
    let points: Vec<Point> = (0..200).map(|id| point(id, id)).collect();
    node.load(NAME, points.clone()).await.unwrap();
    let state = inspect(&store, None, true).await.unwrap();
    assert_eq!((state.tail_slots, state.collections[0].segment_rows), (0, 200));
    node.load(NAME, points).await.unwrap();
    let state = inspect(&store, None, true).await.unwrap();
    assert_eq!(state.collections[0].segment_rows, 200, "what is loaded twice is there once");
    let wrong = Point { vectors: NamedVectors::unnamed(vec![1.0]), ..point(1, 1) };
    assert!(node.load(NAME, vec![wrong]).await.is_err());
    assert!(node.load("nothing", vec![]).await.is_err());
    // What the second load left behind is collected.
    for round in 0.. {
        write(&node.engine(), UpdateOp::Delete(PointSelector::Ids(vec![PointId::Num(9999)]))).await;
        if inspect(&store, None, true).await.unwrap().orphans.is_empty() {
            break;
        }
        assert!(round < 200, "orphans stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node.shutdown().await;
}
