//! A process that starts on an empty disk searches segments where they are: in three requests in a row, and as right as if they were
//! here.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use lodestone_api::Engine;
use lodestone_node::{Node, NodeOptions, StoreLocation};
use lodestone_store::{Account, Accounted, MemoryStore, Metrics, Store, Usage, charged};
use lodestone_types::{
    CollectionConfig, Condition, CountRequest, Datatype, Distance, FieldCondition, FieldIndex,
    FieldIndexKind, Filter, NamedVectors, OrderBy, OrderDirection, Payload, PayloadSelector, Point, PointId,
    PointSelector, Predicate, QuantizationSearch, QueryRequest, QueryTarget, Range, ReadOptions,
    RetrieveRequest, ScoredPoint, ScrollRequest, UpdateMode, UpdateOp, VectorParams, VectorSelector,
    WriteOptions,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

const QUERIES: u64 = 8;

async fn search(engine: &Arc<dyn Engine>, request: QueryRequest) -> (Vec<ScoredPoint>, Usage) {
    let account = Arc::new(Account::default());
    let work = engine.query(NAME, vec![request], ReadOptions::default());
    let found = charged(account.clone(), work).await.unwrap();
    (found.into_iter().next().unwrap(), account.usage())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_trips_find_what_a_search_of_segments_that_are_here_finds() {
    for distance in [Distance::Cosine, Distance::Euclid, Distance::Dot, Distance::Manhattan] {
        let (node, _local) = far(distance, false).await;
        let engine = node.engine();
        let shown = QueryRequest {
            with_payload: PayloadSelector::All,
            with_vectors: match distance {
                Distance::Euclid => VectorSelector::Names(vec![String::new()]),
                _ => VectorSelector::All,
            },
            ..request(Vec::new(), false)
        };
        let mut answers = Vec::new();
        for vector in vectors(QUERIES, 99) {
            let wanted = QueryRequest { target: QueryTarget::Vector(vector), ..shown.clone() };
            let (found, usage) = search(&engine, wanted).await;
            assert!((1..=3).contains(&usage.trips), "{usage:?}");
            assert!(usage.gets <= 64 && usage.bytes < 450_000, "{usage:?}");
            assert_eq!(found.len(), 10);
            answers.push(found);
        }
        // Now all of it is brought here.
        let exact: Vec<Vec<ScoredPoint>> = {
            let requests = vectors(QUERIES, 99).into_iter();
            let requests = requests.map(|vector| QueryRequest {
                target: QueryTarget::Vector(vector),
                exact: true,
                ..shown.clone()
            });
            engine.query(NAME, requests.collect(), ReadOptions::default()).await.unwrap()
        };
        let mut same = 0;
        for (found, exact) in answers.iter().zip(&exact) {
            for point in found {
                let Some(known) = exact.iter().find(|known| known.id == point.id) else { continue };
                assert_eq!(point, known, "with the same score, payload, vector and version");
                same += 1;
            }
            assert!(
                found.is_sorted_by_key(|point| exact.iter().position(|e| e.id == point.id).unwrap_or(99))
            );
        }
        // Squares of differences are all that codes say, and these vectors have no structure.
        let least = if distance == Distance::Manhattan { 90 } else { 95 };
        assert!(100 * same >= least * 10 * QUERIES, "{distance:?}: {same}");
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_and_settings_of_codes_take_no_more_trips() {
    let (node, _local) = far(Distance::Euclid, false).await;
    let engine = node.engine();
    let settings = [
        QuantizationSearch::default(),
        QuantizationSearch { rescore: Some(false), ..QuantizationSearch::default() },
        QuantizationSearch { ignore: true, ..QuantizationSearch::default() },
        QuantizationSearch { oversampling: Some(2.0), ..QuantizationSearch::default() },
    ];
    let requests = settings.into_iter().zip(vectors(settings.len() as u64, 99));
    let mut requests: Vec<QueryRequest> = requests
        .map(|(quantization, vector)| QueryRequest { quantization, ..request(vector, false) })
        .collect();
    let account = Arc::new(Account::default());
    let work = engine.query(NAME, requests.clone(), ReadOptions::default());
    let batch = charged(account.clone(), work).await.unwrap();
    let usage = account.usage();
    assert!((1..=3).contains(&usage.trips) && usage.gets <= 64 * requests.len() as u64, "{usage:?}");
    for (together, request) in batch.into_iter().zip(&requests) {
        let (alone, usage) = search(&engine, request.clone()).await;
        assert!((1..=3).contains(&usage.trips), "{usage:?}");
        assert_eq!(alone, together);
        let exact = QueryRequest { exact: true, ..request.clone() };
        let exact = engine.query(NAME, vec![exact], ReadOptions::default()).await.unwrap().remove(0);
        let right = exact.iter().filter(|point| together.contains(point)).count();
        assert!(right >= 9, "{right}, with the scores of vectors");
    }
    // More than are searched side by side, and two among them that are not searched so.
    requests.extend(vectors(8, 5).into_iter().map(|vector| request(vector, false)));
    requests.insert(2, request(vectors(1, 7).remove(0), true));
    requests.insert(7, QueryRequest { limit: 150, ..request(vectors(1, 8).remove(0), false) });
    let (other, _local) = far(Distance::Euclid, false).await;
    let batch = other.engine().query(NAME, requests.clone(), ReadOptions::default()).await.unwrap();
    assert_eq!(
        batch.iter().map(Vec::len).collect::<Vec<_>>(),
        requests.iter().map(|r| r.limit).collect::<Vec<_>>()
    );
    for (together, request) in batch.into_iter().zip(requests) {
        let alone = other.engine().query(NAME, vec![request], ReadOptions::default()).await.unwrap();
        // One of them brought all of it here, where scores may be what codes say.
        let same = together.iter().filter(|point| alone[0].iter().any(|hit| hit.id == point.id)).count();
        assert!(10 * same >= 7 * together.len(), "{same}, in the order of the requests");
    }
    other.shutdown().await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_filter_lets_pass_is_found_where_it_is_however_little() {
    let (node, _local) = far(Distance::Euclid, false).await;
    let engine = node.engine();
    let wanted = |below: u64| {
        let range = Range { lt: Some(below as f64), ..Range::default() };
        let condition = FieldCondition { key: path("id"), predicates: vec![Predicate::Range(range)] };
        QueryRequest {
            with_payload: PayloadSelector::All,
            filter: Some(Filter { must: vec![Condition::Field(condition)], ..Filter::default() }),
            ..request(vectors(1, 99).remove(0), false)
        }
    };
    const BELOW: [u64; 4] = [ROWS / 2 + 6, 40, 4, 0];
    let mut answers = Vec::new();
    for below in BELOW {
        let (found, usage) = search(&engine, wanted(below)).await;
        assert!(usage.trips <= 3 && usage.gets <= 64 && usage.bytes < 400_000, "{below}: {usage:?}");
        assert!(found.iter().all(|point| number(point.id) < below));
        answers.push(found);
    }
    // Now all of it is brought here.
    for (below, found) in BELOW.into_iter().zip(answers) {
        let exact = QueryRequest { exact: true, ..wanted(below) };
        let exact = engine.query(NAME, vec![exact], ReadOptions::default()).await.unwrap().remove(0);
        assert_eq!(found.len(), below.min(10) as usize);
        let same = found.iter().filter(|point| exact.contains(point)).count();
        assert!(same + 1 >= exact.len(), "{below}: {same} of {}", exact.len());
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_near_matches_more_is_read() {
    const EACH: u64 = 1_200;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Euclid), None).await.unwrap();
    let index = FieldIndex { kind: FieldIndexKind::Integer, params: None };
    engine.create_field_index(NAME, path("id"), index, WriteOptions::default()).await.unwrap();
    let mut rows = vectors(2 * EACH, 5);
    rows[EACH as usize..].iter_mut().flatten().for_each(|x| *x += 9.0);
    let point = |(id, vector)| Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vector),
        payload: payload(json!({"id": id})),
    };
    let points = (0..).zip(rows).map(point).collect();
    write(&engine, UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert }).await;
    quiet(&engine, 1).await;
    node.shutdown().await;

    let (node, _local) = reopened(store, false).await;
    let elsewhere = Predicate::Range(Range { gte: Some(EACH as f64), ..Range::default() });
    let condition = FieldCondition { key: path("id"), predicates: vec![elsewhere] };
    let filter = Filter { must: vec![Condition::Field(condition)], ..Filter::default() };
    let wanted =
        QueryRequest { filter: Some(filter), hnsw_ef: Some(1), ..request(vectors(1, 99).remove(0), false) };
    let (found, usage) = search(&node.engine(), wanted).await;
    assert!(found.len() == 10 && found.iter().all(|point| number(point.id) >= EACH), "{found:?}");
    assert!(usage.trips > 3, "with so little effort only what is near was read at first: {usage:?}");
    node.shutdown().await;
}

/// Lists are read whole, so a budget is never quite used up, and to ask for all of it once more brings nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_ends_where_nothing_matches_that_the_budget_reaches() {
    // The codes of half of them are more than the budget of a bucket, and rows that match are not next to each other.
    const ROWS: u64 = 14_000;
    const COMPONENTS: u64 = 2_048;
    let row = |id: u64, rng: &mut StdRng| -> Vec<f32> {
        let around = if id.is_multiple_of(2) { 60.0 } else { 200.0 };
        (0..COMPONENTS).map(|_| around + rng.random_range(-40.0..40.0)).collect()
    };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    let vector =
        VectorParams { datatype: Some(Datatype::Uint8), ..VectorParams::new(COMPONENTS, Distance::Euclid) };
    let settings = CollectionConfig::new([(String::new(), vector)].into());
    engine.create_collection(NAME, settings, None).await.unwrap();
    let index = FieldIndex { kind: FieldIndexKind::Integer, params: None };
    engine.create_field_index(NAME, path("side"), index, WriteOptions::default()).await.unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let mut point = |id: u64| Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(row(id, &mut rng)),
        payload: payload(json!({"side": id % 2})),
    };
    let points = (0..ROWS).map(&mut point).collect();
    write(&engine, UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert }).await;
    assert_eq!(quiet(&engine, 1).await.indexed_vectors_count, ROWS);
    node.shutdown().await;

    let location = StoreLocation::S3 { bucket: "unused".into(), prefix: String::new() };
    let mut options = NodeOptions::new(location, local.path().join("another"));
    options.cache.hydrate = false;
    let far = Arc::new(Accounted::new(store));
    let node = Node::start_on(far, Arc::new(Metrics::default()), options).await.unwrap();
    let other = Predicate::Range(Range { gte: Some(1.0), ..Range::default() });
    let condition = FieldCondition { key: path("side"), predicates: vec![other] };
    let filter = Filter { must: vec![Condition::Field(condition)], ..Filter::default() };
    for _ in 0..8 {
        let wanted = QueryRequest { filter: Some(filter.clone()), ..request(row(0, &mut rng), false) };
        let (found, usage) = search(&node.engine(), wanted).await;
        assert!(found.len() == 10 && found.iter().all(|point| number(point.id) % 2 == 1), "{found:?}");
        assert!(usage.bytes > 12_000_000, "all codes are read: {usage:?}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_since_counts() {
    let (node, _local) = far(Distance::Euclid, false).await;
    let engine = node.engine();
    let vector = vectors(1, 99).remove(0);
    let wanted = || QueryRequest { with_payload: PayloadSelector::All, ..request(vector.clone(), false) };
    let (before, _) = search(&engine, wanted()).await;
    let ids: Vec<u64> = before.iter().map(|point| number(point.id)).collect();

    write(&engine, UpdateOp::Delete(PointSelector::Ids(vec![PointId::Num(ids[0])]))).await;
    write(&engine, points([ids[1]].into_iter(), 7)).await;
    let points = PointSelector::Ids(vec![PointId::Num(ids[2])]);
    write(&engine, UpdateOp::SetPayload { payload: payload(json!({"new": true})), key: None, points }).await;
    let near = Point {
        id: PointId::Num(ROWS + 1),
        vectors: NamedVectors::unnamed(vector.clone()),
        payload: Default::default(),
    };
    write(&engine, UpdateOp::Upsert { points: vec![near], condition: None, mode: UpdateMode::Upsert }).await;

    let (after, usage) = search(&engine, wanted()).await;
    assert!((1..=3).contains(&usage.trips), "{usage:?}");
    let found: Vec<u64> = after.iter().map(|point| number(point.id)).collect();
    assert_eq!(found[0], ROWS + 1);
    assert_eq!(found[1], ids[2], "the deleted point is gone, and the overwritten one far away");
    assert_eq!(found[2..9], ids[3..]);
    let patched = &after[1];
    assert!(patched.version > before[2].version);
    let payload = patched.payload.as_ref().unwrap();
    assert_eq!((&payload.0["new"], &payload.0["id"]), (&json!(true), &json!(ids[2])));
    node.shutdown().await;
}

/// Text that no compression makes shorter than half.
fn noise(seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..2000).map(|_| char::from(rng.random_range(b'!'..b'~'))).collect()
}

fn noisy(id: u64) -> Point {
    Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vectors(1, id).remove(0)),
        payload: payload(json!({"noise": noise(id)})),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_rows_are_shown_without_the_rest() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    node.engine().create_collection(NAME, config(Distance::Euclid), None).await.unwrap();
    let points = (0..ROWS).map(noisy).collect();
    write(&node.engine(), UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert }).await;
    quiet(&node.engine(), 1).await;
    node.shutdown().await;
    let (node, _local) = reopened(store, false).await;
    let engine = node.engine();

    let retrieve = async |ids: [u64; 2], with_payload, with_vectors| {
        let ids = ids.map(PointId::Num).to_vec();
        let account = Arc::new(Account::default());
        let request = RetrieveRequest { ids, with_payload, with_vectors };
        let work = engine.retrieve(NAME, request, ReadOptions::default());
        (charged(account.clone(), work).await.unwrap(), account.usage())
    };
    let (records, usage) = retrieve([700, 5], PayloadSelector::All, VectorSelector::None).await;
    assert!((1..=2).contains(&usage.trips) && usage.bytes < 300_000, "{usage:?}");
    let shown: Vec<(u64, Option<Payload>)> =
        records.into_iter().map(|record| (number(record.id), record.payload)).collect();
    assert_eq!(shown, [700, 5].map(|id| (id, Some(noisy(id).payload))));
    let (records, usage) = retrieve([9, 9], PayloadSelector::None, VectorSelector::All).await;
    assert!((1..=2).contains(&usage.trips) && usage.bytes < 300_000, "{usage:?}");
    let shown: Vec<Option<NamedVectors>> = records.into_iter().map(|record| record.vectors).collect();
    assert_eq!(shown, [Some(noisy(9).vectors)]);

    let by = |target| QueryRequest { target, ..request(Vec::new(), false) };
    let (by_id, usage) = search(&engine, by(QueryTarget::Point(PointId::Num(11)))).await;
    assert!((1..=4).contains(&usage.trips) && usage.bytes < 600_000, "{usage:?}");
    let vector = vectors(1, 11).remove(0);
    let (by_vector, _) = search(&engine, QueryRequest { limit: 11, ..by(QueryTarget::Vector(vector)) }).await;
    assert_eq!((number(by_vector[0].id), by_vector[0].score), (11, 0.0));
    assert_eq!(by_id[..], by_vector[1..]);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_pages_take_three_trips_at_most() {
    let below = |bound: u64| {
        let range = Predicate::Range(Range { lt: Some(bound as f64), ..Range::default() });
        let condition = FieldCondition { key: path("id"), predicates: vec![range] };
        Some(Filter { must: vec![Condition::Field(condition)], ..Filter::default() })
    };
    let page = ScrollRequest {
        offset: None,
        limit: 10,
        filter: None,
        with_payload: PayloadSelector::All,
        with_vectors: VectorSelector::None,
        order_by: None,
    };
    let by_value = OrderBy { key: path("id"), direction: OrderDirection::Desc, start_from: None };
    let scrolls = [
        (page.clone(), (0..10).collect::<Vec<u64>>()),
        (ScrollRequest { filter: below(7), ..page.clone() }, (0..7).collect()),
        (ScrollRequest { order_by: Some(by_value), ..page }, (ROWS - 10..ROWS).rev().collect()),
    ];
    let store = two_segments(Distance::Euclid).await;
    for (request, ids) in scrolls {
        // Nothing that one read leaves in memory is there for the next.
        let (node, _local) = reopened(store.clone(), false).await;
        let account = Arc::new(Account::default());
        let engine = node.engine();
        let work = engine.scroll(NAME, request, ReadOptions::default());
        let page = charged(account.clone(), work).await.unwrap();
        let usage = account.usage();
        assert!((1..=3).contains(&usage.trips), "{usage:?}");
        assert_eq!(page.points.iter().map(|point| number(point.id)).collect::<Vec<u64>>(), ids);
        assert!(page.points.iter().all(|point| point.payload.is_some()));
        node.shutdown().await;
    }
    for (filter, trips, count) in [(None, 1, ROWS), (below(7), 3, 7)] {
        let (node, _local) = reopened(store.clone(), false).await;
        let account = Arc::new(Account::default());
        let engine = node.engine();
        let work = engine.count(NAME, CountRequest { filter, exact: true }, ReadOptions::default());
        assert_eq!(charged(account.clone(), work).await.unwrap(), count);
        let usage = account.usage();
        assert!((1..=trips).contains(&usage.trips), "{usage:?}");
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_searched_where_it_is_comes_here() {
    comes_here(two_segments(Distance::Cosine).await).await;
}

/// A collection of three shards with a segment each.
async fn three_shards() -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    let mut config = config(Distance::Cosine);
    config.params.shard_number = 3;
    engine.create_collection(NAME, config, None).await.unwrap();
    write(&engine, points(0..ROWS, 1)).await;
    let info = quiet(&engine, 3).await;
    assert_eq!(info.indexed_vectors_count, ROWS);
    node.shutdown().await;
    store
}

// On one thread nothing that is spawned is done before the search ends.
#[tokio::test]
async fn every_shard_comes_here() {
    comes_here(three_shards().await).await;
}

#[tokio::test]
async fn shards_come_here_whose_vectors_find_no_room() {
    let store = three_shards().await;
    let all = comes_here(store.clone()).await;
    let vectors = (ROWS as usize * DIM * 4) as u64;
    assert!(all > vectors, "{all} bytes, vectors included");
    // Those of the first to come would fill what is left.
    let here = comes_here_within(store, Some(all - vectors / 2)).await;
    assert!(here < all, "{here} of {all}");
}

/// Searches until the bucket is asked for nothing.
async fn comes_here(store: Arc<dyn Store>) -> u64 {
    comes_here_within(store, None).await
}

/// The same, with room for so many bytes in memory. How many are there then.
async fn comes_here_within(store: Arc<dyn Store>, memory: Option<u64>) -> u64 {
    let (node, _local) = reopened_within(store, true, memory).await;
    let engine = node.engine();
    let vector = vectors(1, 99).remove(0);
    let (_, usage) = search(&engine, request(vector.clone(), false)).await;
    assert!(usage.gets > 0);
    for _ in 0..200 {
        let (_, usage) = search(&engine, request(vector.clone(), false)).await;
        if usage.gets == 0 {
            let metrics = engine.metrics();
            let loaded = metrics.lines().find_map(|line| line.strip_prefix("lodestone_views_bytes "));
            let loaded = loaded.unwrap().parse().unwrap();
            node.shutdown().await;
            return loaded;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the bucket is still asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_makes_no_trip_more_whatever_the_filter() {
    let store = two_segments(Distance::Euclid).await;
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    // Too few to be folded.
    write(&node.engine(), points(ROWS..ROWS + 5, 7)).await;
    node.shutdown().await;
    let range = Range { gte: Some(ROWS as f64 / 2.0), ..Range::default() };
    let condition =
        Condition::Field(FieldCondition { key: path("id"), predicates: vec![Predicate::Range(range)] });
    let filter = Some(Filter { must: vec![condition], ..Filter::default() });
    let vector = vectors(5, 7).remove(3);
    let mut trips = Vec::new();
    for filter in [None, filter] {
        let (node, _local) = reopened(store.clone(), false).await;
        let request = QueryRequest { filter, ..request(vector.clone(), false) };
        let (found, usage) = search(&node.engine(), request).await;
        assert_eq!((found.len(), number(found[0].id)), (10, ROWS + 3));
        trips.push(usage.trips);
        node.shutdown().await;
    }
    assert_eq!(trips, [3, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_came_at_once_are_read_together() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let mut options = options(&local, true);
    options.wal.window = Some(Duration::from_millis(200));
    let node = start_as(&store, options).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Euclid), None).await.unwrap();
    let writes = (0..60).map(|id| {
        let engine = engine.clone();
        tokio::spawn(async move { write(&engine, points(std::iter::once(id), id)).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    // It ends with a checkpoint, so that nothing of this is read when the next one starts.
    node.shutdown().await;
    let (node, _local) = reopened(store, false).await;
    let (found, usage) = search(&node.engine(), request(vectors(1, 7).remove(0), false)).await;
    assert_eq!((found.len(), found[0].id), (10, PointId::Num(7)));
    assert!((1..=12).contains(&usage.gets), "{usage:?}");
    node.shutdown().await;
}
