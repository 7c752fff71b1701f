//! What a read may take is what it takes: an error says what is missing, and a part of an answer is a right part.

mod common;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use common::*;
use lodestone_api::Engine;
use lodestone_store::{Account, Accounted, ObjectInfo, ObjectMeta, Store, charged};
use lodestone_types::{
    AtLimit, CountRequest, Distance, ErrorKind, Filter, Limit, Limits, PayloadSelector, PointId,
    QueryRequest, ReadOptions, Result, RetrieveRequest, ScoredPoint, ScrollRequest, VectorSelector,
};
use parking_lot::Mutex;

fn bytes(max_bytes: u64, at_limit: AtLimit) -> ReadOptions {
    let limits = Limits { max_bytes: Some(max_bytes), max_time: None, at_limit };
    ReadOptions { limits, ..ReadOptions::default() }
}

fn millis(max_ms: u64, at_limit: AtLimit) -> ReadOptions {
    let limits = Limits { max_bytes: None, max_time: Some(Duration::from_millis(max_ms)), at_limit };
    ReadOptions { limits, ..ReadOptions::default() }
}

fn wanted() -> QueryRequest {
    QueryRequest { with_payload: PayloadSelector::All, ..request(vectors(1, 99).remove(0), false) }
}

async fn search(
    engine: &Arc<dyn Engine>,
    request: QueryRequest,
    options: ReadOptions,
) -> (Result<Vec<ScoredPoint>>, Arc<Account>) {
    let account = Arc::new(Account::default());
    let found = charged(account.clone(), engine.query(NAME, vec![request], options)).await;
    (found.map(|mut found| found.remove(0)), account)
}

/// The score of every point, and how far away it is.
async fn scores(engine: &Arc<dyn Engine>) -> HashMap<PointId, f32> {
    let all = QueryRequest { limit: 2 * ROWS as usize, exact: true, ..wanted() };
    let all = search(engine, all, ReadOptions::default()).await.0.unwrap();
    all.into_iter().map(|point| (point.id, point.score)).collect()
}

fn are_right(found: &[ScoredPoint], scores: &HashMap<PointId, f32>) {
    assert!(found.is_sorted_by(|a, b| a.score <= b.score), "{found:?}");
    for point in found {
        assert_eq!(Some(&point.score), scores.get(&point.id));
        let payload = point.payload.as_ref().unwrap();
        assert_eq!(payload.0["id"].as_u64(), Some(number(point.id)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_bytes_are_read_than_allowed_and_what_is_found_is_right() {
    let store = two_segments(Distance::Euclid).await;
    let (node, _local) = reopened(store.clone(), false).await;
    let (all, account) = search(&node.engine(), wanted(), ReadOptions::default()).await;
    let (all, needed) = (all.unwrap(), account.usage().bytes);
    assert!(account.cut_short().is_empty());
    let scores = scores(&node.engine()).await;
    node.shutdown().await;

    let mut most = 0;
    for share in [0, 1, 5, 20, 40, 60, 80, 95, 200] {
        let max_bytes = needed * share / 100;
        let (node, _local) = reopened(store.clone(), false).await;
        let (found, account) = search(&node.engine(), wanted(), bytes(max_bytes, AtLimit::Partial)).await;
        let (found, taken) = (found.unwrap(), account.usage().bytes);
        println!("{share} %: {} points, {taken} of {max_bytes} bytes", found.len());
        assert!(taken <= max_bytes, "{share} %: {taken} of {max_bytes} bytes");
        are_right(&found, &scores);
        let is_all = found == all;
        assert!(is_all || account.cut_short() == [Limit::Bytes], "{share} %: {:?}", account.cut_short());
        assert!(share < 200 || (is_all && account.cut_short().is_empty()));
        most = most.max(if share < 100 { found.len() } else { 0 });
        node.shutdown().await;

        let (node, _local) = reopened(store.clone(), false).await;
        let (found, account) = search(&node.engine(), wanted(), bytes(max_bytes, AtLimit::Error)).await;
        assert!(account.usage().bytes <= max_bytes);
        match found {
            Ok(found) => assert_eq!((found, share >= 95), (all.clone(), true)),
            Err(error) => {
                assert!(error.kind == ErrorKind::LimitReached && share < 100, "{share} %: {error}");
                assert!(error.message.contains(&format!("allows {max_bytes};")), "{error}");
                assert!(account.cut_short().is_empty());
            }
        }
        node.shutdown().await;
    }
    assert_eq!(most, 10, "much less is enough for some answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_here_is_found_where_the_bucket_may_not_be_asked() {
    let (node, _local) = far(Distance::Euclid, false).await;
    let engine = node.engine();
    let new: Vec<u64> = (ROWS..ROWS + 3).collect();
    write(&engine, points(new.iter().copied(), 7)).await;
    let is_new = |id: PointId| new.contains(&number(id));

    let (found, account) = search(&engine, wanted(), bytes(0, AtLimit::Partial)).await;
    let found = found.unwrap();
    assert!(found.len() == 3 && found.iter().all(|point| is_new(point.id)), "{found:?}");
    assert_eq!((account.cut_short(), account.usage().bytes), (vec![Limit::Bytes], 0));
    let exact = QueryRequest { exact: true, ..wanted() };
    assert_eq!(search(&engine, exact, bytes(0, AtLimit::Partial)).await.0.unwrap(), found);

    let ids = [0, ROWS + 1, ROWS / 2].map(PointId::Num).to_vec();
    let retrieve =
        RetrieveRequest { ids, with_payload: PayloadSelector::All, with_vectors: VectorSelector::None };
    let scroll = ScrollRequest {
        offset: None,
        limit: 5,
        filter: Some(Filter::default()),
        with_payload: PayloadSelector::None,
        with_vectors: VectorSelector::None,
        order_by: None,
    };
    for at_limit in [AtLimit::Partial, AtLimit::Error] {
        let options = bytes(0, at_limit);
        let account = Arc::new(Account::default());
        let work = async {
            let count = engine.count(NAME, CountRequest::default(), options).await;
            let page = engine.scroll(NAME, scroll.clone(), options).await;
            (count, page, engine.retrieve(NAME, retrieve.clone(), options).await)
        };
        match (charged(account.clone(), work).await, at_limit) {
            ((Ok(count), Ok(page), Ok(records)), AtLimit::Partial) => {
                assert_eq!(count, 3);
                assert!(page.points.len() == 3 && page.points.iter().all(|point| is_new(point.id)));
                assert!(records.len() == 1 && records[0].id == PointId::Num(ROWS + 1));
                assert_eq!(account.cut_short(), [Limit::Bytes]);
            }
            ((Err(count), Err(page), Err(records)), AtLimit::Error) => {
                let kinds = [count, page, records].map(|error| error.kind);
                assert_eq!(kinds, [ErrorKind::LimitReached; 3]);
                assert_eq!(account.usage().bytes, 0);
            }
            (other, at_limit) => panic!("{at_limit:?}: {other:?}"),
        }
    }
    // Whether there is such a point is not known, so nobody is told that there is none.
    let by_id = QueryRequest { target: lodestone_types::QueryTarget::Point(PointId::Num(1)), ..wanted() };
    let (found, _) = search(&engine, by_id, bytes(0, AtLimit::Partial)).await;
    assert_eq!(found.unwrap_err().kind, ErrorKind::LimitReached);
    // Each request of a batch is answered as far as it goes.
    let account = Arc::new(Account::default());
    let batch = engine.query(NAME, vec![wanted(), wanted()], bytes(30_000, AtLimit::Partial));
    let both = charged(account.clone(), batch).await.unwrap();
    assert!(both.len() == 2 && both.iter().all(|found| found.len() >= 3), "{both:?}");
    assert!(account.usage().bytes <= 30_000 && account.cut_short() == [Limit::Bytes]);
    // Now all is here, and nothing is left to limit.
    scores(&engine).await;
    let exact = QueryRequest { exact: true, ..wanted() };
    let (found, account) = search(&engine, exact, bytes(0, AtLimit::Error)).await;
    assert_eq!((found.unwrap().len(), account.usage().bytes), (10, 0));
    node.shutdown().await;
}

type Place = (String, Range<u64>);

/// A store that remembers which ranges were asked for, and gives some of them as good as never.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn Store>,
    asked: Mutex<Vec<Place>>,
    never: Mutex<HashSet<Place>>,
}

#[async_trait]
impl Store for Slow {
    async fn put_new(&self, key: &str, bytes: Bytes) -> lodestone_store::Result<()> {
        self.inner.put_new(key, bytes).await
    }
    async fn put(&self, key: &str, bytes: Bytes) -> lodestone_store::Result<()> {
        self.inner.put(key, bytes).await
    }
    async fn get(&self, key: &str) -> lodestone_store::Result<Bytes> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> lodestone_store::Result<Bytes> {
        let place = (key.to_owned(), range.clone());
        let is_slow = self.never.lock().contains(&place);
        self.asked.lock().push(place);
        if is_slow {
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &str) -> lodestone_store::Result<ObjectMeta> {
        self.inner.head(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> lodestone_store::Result<Vec<ObjectInfo>> {
        self.inner.list(prefix, start_after, limit).await
    }
    async fn delete(&self, key: &str) -> lodestone_store::Result<()> {
        self.inner.delete(key).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_come_in_time_is_the_answer() {
    let inner = two_segments(Distance::Euclid).await;
    let slow = Arc::new(Slow { inner, asked: Mutex::default(), never: Mutex::default() });
    let store: Arc<dyn Store> = Arc::new(Accounted::new(slow.clone()));
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, false).await;
    let engine = node.engine();
    // The first trip's bytes are kept from here on.
    let (all, _) = search(&engine, wanted(), ReadOptions::default()).await;
    let all = all.unwrap();
    slow.asked.lock().clear();
    let (again, account) = search(&engine, wanted(), millis(60_000, AtLimit::Partial)).await;
    assert_eq!((again.unwrap(), account.cut_short()), (all.clone(), vec![]));
    let asked: Vec<Place> = slow.asked.lock().clone();
    let scores = scores(&engine).await;
    node.shutdown().await;

    let objects: HashSet<&String> = asked.iter().map(|(object, _)| object).collect();
    assert_eq!(objects.len(), 4, "of each segment the rows and the codes: {asked:?}");
    let of_object = |object: &String| asked.iter().filter(|(of, _)| of == object).cloned().collect();
    let mut never: Vec<(HashSet<Place>, Range<usize>)> =
        objects.into_iter().map(|object| (of_object(object), 1..11)).collect();
    never.push((asked.last().cloned().into_iter().collect(), 1..11));
    never.push((asked.iter().cloned().collect(), 0..1));
    for (never, expected) in never {
        let local = tempfile::tempdir().unwrap();
        let node = start(&store, &local, false).await;
        let engine = node.engine();
        search(&engine, wanted(), ReadOptions::default()).await.0.unwrap();
        *slow.never.lock() = never;
        let begun = Instant::now();
        let (found, account) = search(&engine, wanted(), millis(300, AtLimit::Partial)).await;
        let found = found.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(expected.contains(&found.len()) && found != all, "{found:?}");
        are_right(&found, &scores);
        assert_eq!(account.cut_short(), [Limit::Time]);
        let (found, account) = search(&engine, wanted(), millis(300, AtLimit::Error)).await;
        assert_eq!(found.unwrap_err().kind, ErrorKind::Timeout);
        assert!(account.cut_short().is_empty());
        // What cannot be searched in part is left out, too.
        let exact = QueryRequest { exact: true, ..wanted() };
        let (found, account) = search(&engine, exact, millis(1, AtLimit::Partial)).await;
        if let Ok(found) = found {
            are_right(&found, &scores);
            assert!(found.len() == 10 || account.cut_short() == [Limit::Time]);
        }
        slow.never.lock().clear();
        node.shutdown().await;
    }
}
