//! Where a filter leaves few rows of segments that are in the bucket, or rows that lie together, these are read and compared, and the
//! answer is the exact one for far fewer bytes than codes would take.

mod common;

use common::*;
use lodestone_types::{
    AtLimit, Condition, Distance, ErrorKind, FieldCondition, Filter, Limits, PayloadSelector, PointId,
    PointSelector, Predicate, QueryRequest, QueryTarget, Range, UpdateOp, VectorSelector,
};

const MANY: u64 = 20_000;
const ALL: std::ops::Range<u64> = 0..MANY;
/// Rows that lie together.
const TENANT: std::ops::Range<u64> = 7_300..7_700;
/// Rows that do not.
const SCATTERED: [u64; 3] = [19_999, 3, 8_123];

/// A search for the nearest of the points whose numbers are in one of these ranges.
fn among(ranges: impl IntoIterator<Item = std::ops::Range<u64>>) -> QueryRequest {
    let condition = |range: std::ops::Range<u64>| {
        let (gte, lt) = (Some(range.start as f64), Some(range.end as f64));
        let range = Predicate::Range(Range { gte, lt, ..Range::default() });
        Condition::Field(FieldCondition { key: path("id"), predicates: vec![range] })
    };
    QueryRequest {
        filter: Some(Filter { should: ranges.into_iter().map(condition).collect(), ..Filter::default() }),
        with_payload: PayloadSelector::All,
        with_vectors: VectorSelector::All,
        ..request(vectors(1, 99).remove(0), false)
    }
}

fn scattered() -> QueryRequest {
    among(SCATTERED.map(|id| id..id + 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_rows_are_compared_and_no_codes_are_read() {
    for distance in [Distance::Cosine, Distance::Manhattan] {
        let store = segments(distance, [ALL]).await;
        let (node, _local) = reopened(store.clone(), false).await;
        let asked = [
            (among([TENANT]), 10, 3),
            (among([TENANT, 0..1]), 10, 4),
            (scattered(), SCATTERED.len(), 3),
            (QueryRequest { limit: 3, score_threshold: Some(f32::NAN), ..scattered() }, 0, 3),
            (QueryRequest { limit: 3, offset: 1, ..scattered() }, 2, 3),
        ];
        let mut answers = Vec::new();
        for (request, count, blocks) in asked {
            let (found, usage, _) = search(&node.engine(), request.clone(), Limits::default()).await;
            let found = found.unwrap();
            assert_eq!(found.len(), count);
            assert!((1..=3).contains(&usage.trips) && usage.gets <= 40, "{usage:?}");
            // The rest is the filter's index, ids, payloads, and what a search by codes would have begun with.
            assert!(usage.bytes < blocks * 64 * 1024 + 450_000, "all codes are 1.4 MB: {usage:?}");
            if let Some(third) = found.get(2) {
                let nearer =
                    QueryRequest { score_threshold: Some(third.score), offset: 0, ..request.clone() };
                let (nearer, ..) = search(&node.engine(), nearer, Limits::default()).await;
                if request.offset == 0 {
                    assert_eq!(nearer.unwrap(), found[..2], "as near does not count");
                }
            }
            answers.push((request, found));
        }
        for (request, found) in answers {
            assert_eq!(found, exact(&node.engine(), request).await, "{distance:?}");
        }
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_since_counts() {
    let store = segments(Distance::Euclid, [ALL]).await;
    let (node, local) = reopened(store.clone(), false).await;
    let engine = node.engine();
    let by_id =
        QueryRequest { target: QueryTarget::Point(PointId::Num(TENANT.start + 5)), ..among([TENANT]) };
    let (before, ..) = search(&engine, by_id.clone(), Limits::default()).await;
    let before = before.unwrap();
    assert!(before.iter().all(|point| number(point.id) != TENANT.start + 5), "it is what was asked about");

    // Written since: two of them are no more what the segment says.
    write(&engine, UpdateOp::Delete(PointSelector::Ids(vec![before[0].id]))).await;
    write(&engine, points([number(before[1].id)].into_iter(), 7)).await;
    let (after, ..) = search(&engine, by_id.clone(), Limits::default()).await;
    let after = after.unwrap();
    assert_eq!(after[..8], before[2..], "the deleted point is gone, and the overwritten one far away");
    node.shutdown().await;
    drop(local);
    let (node, _local) = reopened(store, false).await;
    let (again, usage, _) = search(&node.engine(), by_id.clone(), Limits::default()).await;
    assert_eq!(again.unwrap(), after);
    assert!(usage.bytes < 700_000, "{usage:?}");
    assert_eq!(after, exact(&node.engine(), by_id).await);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_read_alone_and_rows_found_by_codes_are_one_answer() {
    let store = segments(Distance::Euclid, [ALL, MANY..2 * MANY]).await;
    let (node, _local) = reopened(store, false).await;
    let of_tenant = vectors(MANY, 1).swap_remove(TENANT.start as usize + 9);
    let request = QueryRequest { target: QueryTarget::Vector(of_tenant), ..among([TENANT, MANY..2 * MANY]) };
    let (found, usage, _) = search(&node.engine(), request.clone(), Limits::default()).await;
    let found = found.unwrap();
    assert!((1..=3).contains(&usage.trips), "{usage:?}");
    assert_eq!((found.len(), number(found[0].id)), (10, TENANT.start + 9));
    assert!(found.iter().any(|point| number(point.id) >= MANY), "{found:?}");
    let exact = exact(&node.engine(), request).await;
    assert!(found.iter().filter(|point| exact.contains(point)).count() >= 8);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_for_single_rows() {
    let store = segments(Distance::Euclid, [ALL]).await;
    let (node, _local) = reopened(store.clone(), false).await;
    let (all, usage, _) = search(&node.engine(), scattered(), Limits::default()).await;
    let (all, needed) = (all.unwrap(), usage.bytes);
    node.shutdown().await;
    let mut counts = Vec::new();
    for share in [20, 60, 90, 100, 200] {
        let max_bytes = needed * share / 100;
        for at_limit in [AtLimit::Partial, AtLimit::Error] {
            let (node, _local) = reopened(store.clone(), false).await;
            let limits = Limits { max_bytes: Some(max_bytes), max_time: None, at_limit };
            let (found, usage, cut_short) = search(&node.engine(), scattered(), limits).await;
            assert!(usage.bytes <= max_bytes, "{share} %: {usage:?}");
            match found {
                Err(error) => {
                    assert_eq!((error.kind, at_limit), (ErrorKind::LimitReached, AtLimit::Error), "{error}");
                    assert!(share < 100, "{share} %: {error}");
                }
                Ok(found) => {
                    assert!(found.iter().all(|point| all.contains(point)), "{share} %: {found:?}");
                    assert_eq!(cut_short.is_empty(), found.len() == all.len(), "{share} %");
                    // What payloads will take is not known beforehand.
                    assert!(share < 200 || found == all, "{share} %");
                    counts.push(found.len());
                }
            }
            node.shutdown().await;
        }
    }
    assert!(counts.is_sorted() && counts.contains(&all.len()), "{counts:?}");
    assert!(counts.iter().any(|count| (1..all.len()).contains(count)), "a part of the answer: {counts:?}");
}
