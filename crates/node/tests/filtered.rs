//! Searches under a filter that leaves some percent of an indexed segment find what comparing everything finds.

mod common;

use std::sync::Arc;

use common::*;
use lodestone_api::Engine;
use lodestone_node::{Node, NodeOptions, StoreLocation};
use lodestone_store::{MemoryStore, Metrics};
use lodestone_types::{
    AnyOf, Condition, Distance, FieldCondition, FieldIndex, FieldIndexKind, Filter, Match, Point, PointId,
    PointSelector, Predicate, QueryRequest, UpdateMode, UpdateOp, WriteOptions,
};
use serde_json::json;

const ALL: u64 = 4000;

/// A fifth of the points match; with another few their payloads say so that are in the tail.
fn filter() -> Filter {
    let wanted = AnyOf::Integers([3, 4].into());
    let key = path("n");
    Filter::must(Condition::Field(FieldCondition {
        key,
        predicates: vec![Predicate::Match(Match::Any(wanted))],
    }))
}

fn upsert(ids: std::ops::Range<u64>, n: impl Fn(u64) -> u64, seed: u64) -> UpdateOp {
    let made = ids.clone().zip(vectors(ids.end - ids.start, seed)).map(|(id, vector)| Point {
        id: PointId::Num(id),
        vectors: lodestone_types::NamedVectors::unnamed(vector),
        payload: payload(json!({"n": n(id)})),
    });
    UpdateOp::Upsert { points: made.collect(), condition: None, mode: UpdateMode::Upsert }
}

async fn answers(engine: &Arc<dyn Engine>, exact: bool) -> Vec<Vec<PointId>> {
    let request = |vector| QueryRequest { filter: Some(filter()), ..request(vector, exact) };
    found(engine, vectors(50, 99).into_iter().map(request).collect()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matches_is_found_by_its_codes() {
    let local = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
    options.compact.fold_rows = ALL;
    let store = Arc::new(MemoryStore::new());
    let node = Node::start_on(store, Arc::new(Metrics::default()), options).await.unwrap();
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Cosine), None).await.unwrap();
    let index = FieldIndex { kind: FieldIndexKind::Integer, params: None };
    engine.create_field_index(NAME, path("n"), index, WriteOptions::default()).await.unwrap();
    write(&engine, upsert(0..ALL, |id| id % 10, 1)).await;
    let info = quiet(&engine, 1).await;
    assert_eq!(info.indexed_vectors_count, ALL);

    let (near, exact) = (answers(&engine, false).await, answers(&engine, true).await);
    assert!(overlap(&near, &exact) >= 490, "{} of 500", overlap(&near, &exact));

    // Some that match go, some move, and new ones come; what is in the tail holds.
    let gone: Vec<PointId> = (0..ALL).filter(|id| id % 20 == 3).map(PointId::Num).collect();
    write(&engine, UpdateOp::Delete(PointSelector::Ids(gone.clone()))).await;
    write(&engine, upsert(100..150, |_| 7, 2)).await;
    write(&engine, upsert(ALL..ALL + 50, |_| 4, 3)).await;
    let matches = |id: u64| id >= ALL || !(100..150).contains(&id) && [3, 4].contains(&(id % 10));
    let (near, exact) = (answers(&engine, false).await, answers(&engine, true).await);
    assert!(overlap(&near, &exact) >= 490, "{} of 500", overlap(&near, &exact));
    for id in near.iter().flatten() {
        assert!(matches(number(*id)) && !gone.contains(id), "{id:?}");
    }
    assert!(near.iter().flatten().any(|id| number(*id) >= ALL), "what came last is found too");
    node.shutdown().await;
}
