//! Codes in the order of a field that the user calls a tenant's or the principal one, and of rare values of any other: what a filter on it
//! leaves is read alone from a bucket that is far away, wherever its rows are.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::*;
use lodestone_api::Engine;
use lodestone_store::{MemoryStore, Store, list_all};
use lodestone_types::{
    AnyOf, AtLimit, Condition, Distance, ErrorKind, FieldCondition, FieldIndex, FieldIndexKind, Filter,
    Limits, Match, NamedVectors, PayloadSelector, Point, PointId, PointSelector, Predicate, QueryRequest,
    Range, Scalar, UpdateMode, UpdateOp, WriteOptions,
};
use serde_json::json;

const MANY: u64 = 20_000;
const TENANTS: u64 = 40;

fn tenants() -> FieldIndex {
    let params = Some(r#"{"type":"keyword","is_tenant":true}"#.to_owned());
    FieldIndex { kind: FieldIndexKind::Keyword, params }
}

fn prices() -> FieldIndex {
    let params = Some(r#"{"type":"integer","is_principal":true}"#.to_owned());
    FieldIndex { kind: FieldIndexKind::Integer, params }
}

/// No two prices are the same, and neighbours are far from each other.
fn price(id: u64) -> u64 {
    id * 7_919 % MANY
}

/// Rows of tenants by turns.
fn rows(ids: std::ops::Range<u64>, seed: u64) -> UpdateOp {
    rows_of(ids, seed, |id| id % TENANTS)
}

fn rows_of(ids: std::ops::Range<u64>, seed: u64, tenant: impl Fn(u64) -> u64) -> UpdateOp {
    let made = ids.clone().zip(vectors(ids.end - ids.start, seed));
    let made = made.map(|(id, vector)| Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vector),
        payload: payload(
            json!({"tenant": format!("t{}", tenant(id)), "price": price(id), "broken": id % 100 == 3}),
        ),
    });
    UpdateOp::Upsert { points: made.collect(), condition: None, mode: UpdateMode::Upsert }
}

/// One segment whose tenants' rows come by turns.
async fn filled(distance: Distance) -> Arc<dyn Store> {
    filled_with(distance, &[("tenant", tenants()), ("price", prices())], None).await
}

/// The same with these fields, where so many bytes of codes may as well be read whole.
async fn filled_with(
    distance: Distance,
    fields: &[(&str, FieldIndex)],
    code_bytes: Option<u64>,
) -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let mut options = options(&local, true);
    options.jobs.code_bytes_at_once = code_bytes.unwrap_or(options.jobs.code_bytes_at_once);
    let node = start_as(&store, options).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(distance), None).await.unwrap();
    for (name, index) in fields {
        engine.create_field_index(NAME, path(name), index.clone(), WriteOptions::default()).await.unwrap();
    }
    write(&engine, rows(0..MANY, 1)).await;
    quiet(&engine, 1).await;
    assert_eq!(orders(&engine), 1, "of all fields at once");
    node.shutdown().await;
    store
}

/// How often codes in the order of fields were written.
fn orders(engine: &Arc<dyn Engine>) -> u64 {
    let text = engine.metrics();
    let line = text.lines().find(|line| line.contains("kind=\"order\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap()
}

fn filtered(filter: impl IntoIterator<Item = Condition>) -> QueryRequest {
    QueryRequest {
        filter: Some(Filter { must: filter.into_iter().collect(), ..Filter::default() }),
        with_payload: PayloadSelector::All,
        ..request(vectors(1, 99).remove(0), false)
    }
}

fn of_tenant(tenant: u64) -> Condition {
    of_tenants([tenant])
}

fn of_tenants(tenants: impl IntoIterator<Item = u64>) -> Condition {
    let names = tenants.into_iter().map(|tenant| format!("t{tenant}")).collect();
    let value = Predicate::Match(Match::Any(AnyOf::Keywords(names)));
    Condition::Field(FieldCondition { key: path("tenant"), predicates: vec![value] })
}

fn broken() -> Condition {
    let value = Predicate::Match(Match::Value(Scalar::Bool(true)));
    Condition::Field(FieldCondition { key: path("broken"), predicates: vec![value] })
}

fn below(price: u64) -> Condition {
    let range = Predicate::Range(Range { lt: Some(price as f64), ..Range::default() });
    Condition::Field(FieldCondition { key: path("price"), predicates: vec![range] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matches_is_read_alone() {
    for distance in [Distance::Cosine, Distance::Manhattan] {
        let store = filled(distance).await;
        let (node, _local) = reopened(store, false).await;
        let engine = node.engine();
        let asked = [
            filtered([of_tenant(7)]),
            filtered([below(1_000)]),
            filtered([of_tenant(39), below(10_000)]),
            QueryRequest { limit: 3, offset: 2, ..filtered([of_tenant(0)]) },
        ];
        let mut answers = Vec::new();
        for request in asked {
            let (found, usage, _) = search(&engine, request.clone(), Limits::default()).await;
            let found = found.unwrap();
            assert_eq!(found.len(), request.limit);
            assert!((1..=3).contains(&usage.trips) && usage.gets <= 80, "{usage:?}");
            // The rest is indexes of the filter, payload blocks, and what a search begins with.
            // By sums of differences, twice as many vectors are compared.
            let most = if distance == Distance::Cosine { 900_000 } else { 1_350_000 };
            assert!(usage.bytes < most, "all codes are 1.4 MB: {usage:?}");
            answers.push((request, found));
        }
        let mut found_of_exact = 0;
        for (request, found) in &answers {
            let exact = exact(&engine, request.clone()).await;
            found_of_exact += found.iter().filter(|point| exact.contains(point)).count();
        }
        assert!(found_of_exact >= 31, "{found_of_exact} of 33");
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_rare_values_are_read_alone_though_nobody_called_their_field_principal() {
    let plain = |kind| FieldIndex { kind, params: None };
    let fields = [
        ("broken", plain(FieldIndexKind::Bool)),
        ("price", plain(FieldIndexKind::Integer)),
        ("tenant", plain(FieldIndexKind::Keyword)),
    ];
    // A tenant has 500 rows, which are 35 KB of codes, and 200 are broken. No two rows have the same price.
    let store = filled_with(Distance::Euclid, &fields, Some(100_000)).await;
    let (node, _local) = reopened(store, false).await;
    let engine = node.engine();
    // Of a quarter of the rows: those that are broken, and of the first nine tenants of forty, by name.
    let asked = [
        (vec![broken()], true),
        (vec![of_tenant(0)], true),
        (vec![of_tenants([1, 10, 16])], true),
        (vec![of_tenant(10), below(15_000)], true),
        (vec![of_tenant(3), broken()], true),
        (vec![of_tenant(17)], false),
        (vec![of_tenants([0, 7])], false),
        (vec![below(500)], false),
    ];
    let mut found_of_exact = 0;
    for (conditions, is_alone) in asked {
        let request = filtered(conditions.clone());
        let (found, usage, _) = search(&engine, request.clone(), Limits::default()).await;
        assert_eq!(usage.bytes < 900_000, is_alone, "all codes are 1.4 MB: {conditions:?}, {usage:?}");
        let (found, exact) = (found.unwrap(), exact(&engine, request).await);
        assert_eq!(found.len(), 10, "{conditions:?}");
        found_of_exact += found.iter().filter(|point| exact.contains(point)).count();
    }
    assert!(found_of_exact >= 76, "{found_of_exact} of 80");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_in_order_and_one_by_lists_are_compared_together() {
    let store = filled(Distance::Cosine).await;
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    // All of a segment is not in order for less.
    write(&node.engine(), rows_of(MANY..2 * MANY, 2, |_| 7)).await;
    quiet(&node.engine(), 2).await;
    node.shutdown().await;
    let (node, _local) = reopened(store, false).await;
    let request = filtered([of_tenant(7)]);
    let (found, usage, _) = search(&node.engine(), request.clone(), Limits::default()).await;
    // Compared each by itself they took 39.
    assert!(usage.trips <= 3 && usage.gets <= 32, "{usage:?}");
    // All codes of the second segment, a fortieth of those of the first.
    assert!((1_100_000..2_000_000).contains(&usage.bytes), "{usage:?}");
    let exact = exact(&node.engine(), request).await;
    assert!(found.unwrap().iter().filter(|point| exact.contains(point)).count() >= 9);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_follow_the_indexes_and_what_was_written_since() {
    let store = filled(Distance::Euclid).await;
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    let request = filtered([of_tenant(7)]);
    let before = exact(&engine, request.clone()).await;
    // Deleted and overwritten rows stay among the codes; the segment is the same.
    write(&engine, UpdateOp::Delete(PointSelector::Ids(vec![before[0].id]))).await;
    let moved = number(before[1].id);
    write(&engine, rows(moved..moved + 1, 50)).await;
    assert_eq!(orders(&engine), 0);
    node.shutdown().await;
    let (far, _far_local) = reopened(store.clone(), false).await;
    let (found, usage, _) = search(&far.engine(), request.clone(), Limits::default()).await;
    assert!(usage.bytes < 900_000, "{usage:?}");
    let found: BTreeSet<u64> = found.unwrap().iter().map(|point| number(point.id)).collect();
    let expected: BTreeSet<u64> =
        exact(&far.engine(), request.clone()).await.iter().map(|point| number(point.id)).collect();
    assert!(!found.contains(&number(before[0].id)) && found.intersection(&expected).count() >= 9);
    far.shutdown().await;

    // The tail counts as a segment until it is folded. An index that is dropped takes them along; one that is built again has them again.
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.delete_field_index(NAME, path("tenant"), WriteOptions::default()).await.unwrap();
    quiet(&engine, 2).await;
    let plain = FieldIndex { kind: FieldIndexKind::Keyword, params: None };
    engine.create_field_index(NAME, path("tenant"), plain, WriteOptions::default()).await.unwrap();
    quiet(&engine, 2).await;
    assert_eq!(orders(&engine), 0, "of a field that is not principal there are none");
    engine.create_field_index(NAME, path("tenant"), tenants(), WriteOptions::default()).await.unwrap();
    quiet(&engine, 2).await;
    assert_eq!(orders(&engine), 1);
    // A merged segment has its own.
    write(&engine, rows(MANY..2 * MANY, 2)).await;
    quiet(&engine, 2).await;
    write(&engine, rows(2 * MANY..3 * MANY, 3)).await;
    let merged = quiet(&engine, 1).await;
    assert_eq!(merged.indexed_vectors_count, 3 * MANY - 1);
    assert!(orders(&engine) >= 3);
    node.shutdown().await;
    let (far, _far_local) = reopened(store, false).await;
    let (found, usage, _) = search(&far.engine(), request.clone(), Limits::default()).await;
    assert!(usage.bytes < 2_000_000, "all codes are 4.2 MB: {usage:?}");
    let exact = exact(&far.engine(), request).await;
    assert!(found.unwrap().iter().filter(|point| exact.contains(point)).count() >= 9);
    far.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_segment_that_is_alone_has_them_too() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Dot), None).await.unwrap();
    write(&engine, rows(0..2 * FOLD, 1)).await;
    quiet(&engine, 1).await;
    // Without being deleted before, an index may be built anew with other parameters.
    for (is_tenant, written) in [(false, 0), (true, 1), (false, 1)] {
        let params = json!({"type": "keyword", "is_tenant": is_tenant}).to_string();
        let index = FieldIndex { kind: FieldIndexKind::Keyword, params: Some(params) };
        engine.create_field_index(NAME, path("tenant"), index, WriteOptions::default()).await.unwrap();
        quiet(&engine, 1).await;
        assert_eq!(orders(&engine), written);
        assert!(eventually_kept(&store, is_tenant).await);
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_they_are_damaged_lists_are_read() {
    let store = filled(Distance::Euclid).await;
    for object in list_all(&*store, "").await.unwrap() {
        if object.key.contains("-ord-") {
            let mut bytes = store.get(&object.key).await.unwrap().to_vec();
            bytes.iter_mut().step_by(997).for_each(|byte| *byte ^= 1);
            store.put(&object.key, bytes.into()).await.unwrap();
        }
    }
    let (node, _local) = reopened(store, false).await;
    let request = filtered([of_tenant(7)]);
    let (found, usage, _) = search(&node.engine(), request.clone(), Limits::default()).await;
    assert!(usage.bytes > 1_100_000, "all codes are read: {usage:?}");
    let exact = exact(&node.engine(), request).await;
    assert!(found.unwrap().iter().filter(|point| exact.contains(point)).count() >= 9);
    node.shutdown().await;
}

/// Whether the bucket has objects with such codes, or within ten seconds has none, as asked.
async fn eventually_kept(store: &Arc<dyn Store>, wanted: bool) -> bool {
    for _ in 0..500 {
        let objects = list_all(&**store, "").await.unwrap();
        if objects.iter().any(|object| object.key.contains("-ord-")) == wanted {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold() {
    let store = filled(Distance::Euclid).await;
    let request = filtered([below(4_000)]);
    let (node, _local) = reopened(store.clone(), false).await;
    let (all, usage, _) = search(&node.engine(), request.clone(), Limits::default()).await;
    let (all, needed) = (all.unwrap(), usage.bytes);
    node.shutdown().await;
    let mut counts = Vec::new();
    for share in [20, 60, 80, 90, 100, 250] {
        let max_bytes = needed * share / 100;
        for at_limit in [AtLimit::Partial, AtLimit::Error] {
            let (node, _local) = reopened(store.clone(), false).await;
            let limits = Limits { max_bytes: Some(max_bytes), max_time: None, at_limit };
            let (found, usage, cut_short) = search(&node.engine(), request.clone(), limits).await;
            assert!(usage.bytes <= max_bytes, "{share} %: {usage:?}");
            match found {
                Err(error) => {
                    assert_eq!((error.kind, at_limit), (ErrorKind::LimitReached, AtLimit::Error), "{error}");
                    assert!(share < 100, "{share} %: {error}");
                }
                Ok(found) if share >= 250 => assert_eq!(found, all),
                Ok(found) => {
                    assert!(found == all || !cut_short.is_empty(), "{share} %: {found:?}");
                    counts.push(found.len());
                }
            }
            node.shutdown().await;
        }
    }
    assert!(counts.contains(&all.len()) && counts.iter().any(|count| *count < all.len()), "{counts:?}");
}
