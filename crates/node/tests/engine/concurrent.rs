//! Many at once, while tails are folded, segments merged and garbage collected all the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use lodestone_api::Engine;
use lodestone_types::{
    CollectionConfig, Condition, CountRequest, Distance, ErrorKind, FieldCondition, Filter, Match,
    NamedVectors, Payload, PayloadSelector, Point, PointId, PointSelector, Predicate, QueryRequest,
    QueryTarget, ReadOptions, RetrieveRequest, Scalar, ScrollRequest, UpdateMode, UpdateOp, VectorParams,
    VectorSelector, WriteOptions,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::world::{Weather, World};

const WRITERS: u64 = 4;
const READERS: u64 = 4;
const IDS_PER_WRITER: u64 = 10;
const NAME: &str = "shared";

fn config(size: u64, shards: u32) -> CollectionConfig {
    let vector = VectorParams::new(size, Distance::Dot);
    let mut config = CollectionConfig::new([(String::new(), vector)].into());
    config.params.shard_number = shards;
    config
}

fn payload(value: serde_json::Value) -> Payload {
    serde_json::from_value(value).unwrap()
}

fn point(id: u64, writer: u64, value: usize) -> Point {
    Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vec![1.0, value as f32]),
        payload: payload(json!({"writer": writer, "value": value})),
    }
}

fn equals(key: &str, value: u64) -> Filter {
    let predicates = vec![Predicate::Match(Match::Value(Scalar::Integer(value as i64)))];
    Filter::must(Condition::Field(FieldCondition { key: key.parse().unwrap(), predicates }))
}

fn upsert(points: Vec<Point>, mode: UpdateMode) -> UpdateOp {
    UpdateOp::Upsert { points, condition: None, mode }
}

async fn write(engine: &Arc<dyn Engine>, op: UpdateOp) -> Result<(), lodestone_types::Error> {
    engine.update(NAME, vec![op], WriteOptions { wait: true, ..WriteOptions::default() }).await.map(|_| ())
}

/// What one point was meant to be after each write, from the time before the write began.
#[derive(Default)]
struct History {
    values: Mutex<Vec<Option<usize>>>,
    acknowledged: AtomicUsize,
}

impl History {
    fn begin(&self, value: impl FnOnce(usize) -> Option<usize>) -> Option<usize> {
        let mut values = self.values.lock();
        let value = value(values.len());
        values.push(value);
        value
    }

    fn acknowledge(&self) {
        self.acknowledged.store(self.values.lock().len() - 1, SeqCst);
    }

    /// The first write from `floor` on that explains what was seen.
    fn explain(&self, floor: usize, seen: Option<usize>) -> Option<usize> {
        let values = self.values.lock();
        (floor..values.len()).find(|at| values[*at] == seen)
    }
}

type Histories = Arc<Vec<History>>;

async fn writer(engine: Arc<dyn Engine>, histories: Histories, number: u64, stop: Arc<AtomicBool>) -> usize {
    let mut rng = StdRng::seed_from_u64(number);
    let mut writes = 0;
    while !stop.load(SeqCst) {
        let id = number * IDS_PER_WRITER + rng.random_range(0..IDS_PER_WRITER);
        let history = &histories[id as usize];
        let exists = history.values.lock().last().copied().flatten().is_some();
        let op = match rng.random_range(0..5) {
            0 => {
                history.begin(|_| None);
                UpdateOp::Delete(PointSelector::Ids(vec![PointId::Num(id)]))
            }
            1 | 2 if exists => {
                let value = history.begin(Some).unwrap();
                let points = if rng.random() {
                    PointSelector::Ids(vec![PointId::Num(id)])
                } else {
                    let only = Condition::HasId([PointId::Num(id)].into());
                    let filter = equals("writer", number);
                    PointSelector::Filter(Filter {
                        must: vec![only, Condition::Filter(filter)],
                        ..Filter::default()
                    })
                };
                UpdateOp::SetPayload { payload: payload(json!({"value": value})), key: None, points }
            }
            _ => {
                let value = history.begin(Some).unwrap();
                upsert(vec![point(id, number, value)], UpdateMode::Upsert)
            }
        };
        write(&engine, op).await.unwrap();
        history.acknowledge();
        writes += 1;
    }
    writes
}

fn value_of(payload: Option<&Payload>) -> usize {
    payload.unwrap().0["value"].as_u64().unwrap() as usize
}

/// What one read says about the points of one writer.
async fn read(engine: &Arc<dyn Engine>, writer: u64, how: u32) -> HashMap<u64, usize> {
    let strong = ReadOptions::default();
    let number = |id| match id {
        PointId::Num(n) => n,
        PointId::Uuid(_) => panic!("nobody wrote {id}"),
    };
    match how {
        0 => {
            let ids = (0..IDS_PER_WRITER).map(|n| PointId::Num(writer * IDS_PER_WRITER + n)).collect();
            let request = RetrieveRequest {
                ids,
                with_payload: PayloadSelector::All,
                with_vectors: VectorSelector::None,
            };
            let found = engine.retrieve(NAME, request, strong).await.unwrap();
            found.iter().map(|r| (number(r.id), value_of(r.payload.as_ref()))).collect()
        }
        1 => {
            let request = ScrollRequest {
                offset: None,
                limit: 100,
                filter: Some(equals("writer", writer)),
                with_payload: PayloadSelector::All,
                with_vectors: VectorSelector::None,
                order_by: None,
            };
            let found = engine.scroll(NAME, request, strong).await.unwrap();
            found.points.iter().map(|r| (number(r.id), value_of(r.payload.as_ref()))).collect()
        }
        _ => {
            let request = QueryRequest {
                target: QueryTarget::Vector(vec![1.0, 1.0]),
                using: String::new(),
                lookup_from: None,
                filter: Some(equals("writer", writer)),
                score_threshold: None,
                limit: 100,
                offset: 0,
                with_payload: PayloadSelector::All,
                with_vectors: VectorSelector::None,
                exact: false,
                hnsw_ef: None,
                indexed_only: false,
                quantization: Default::default(),
            };
            let found = engine.query(NAME, vec![request], strong).await.unwrap().remove(0);
            found.iter().map(|p| (number(p.id), value_of(p.payload.as_ref()))).collect()
        }
    }
}

async fn reader(engine: Arc<dyn Engine>, histories: Histories, number: u64, stop: Arc<AtomicBool>) -> usize {
    let mut rng = StdRng::seed_from_u64(1000 + number);
    let mut last = vec![0; histories.len()];
    let mut reads = 0;
    while !stop.load(SeqCst) {
        let writer = rng.random_range(0..WRITERS);
        let ids = writer * IDS_PER_WRITER..(writer + 1) * IDS_PER_WRITER;
        let floors: Vec<usize> =
            ids.clone().map(|id| histories[id as usize].acknowledged.load(SeqCst)).collect();
        let how = rng.random_range(0..3);
        let found = read(&engine, writer, how).await;
        for (id, acknowledged) in ids.zip(floors) {
            let seen = found.get(&id).copied();
            let floor = acknowledged.max(last[id as usize]);
            let history = &histories[id as usize];
            last[id as usize] = history.explain(floor, seen).unwrap_or_else(|| {
                let values = history.values.lock();
                panic!(
                    "reader {number} saw {seen:?} of point {id} (how: {how}), but {acknowledged} was acknowledged and \
                     {} seen before: {:?}",
                    last[id as usize],
                    &values[floor..]
                )
            });
        }
        reads += 1;
    }
    reads
}

fn read_your_writes(weather: Weather, shards: u32) {
    let mut world = World::new(weather, 7);
    let (writes, reads) = world.run(move |engine| async move {
        engine.create_collection(NAME, config(2, shards), None).await.unwrap();
        let histories: Histories =
            Arc::new((0..WRITERS * IDS_PER_WRITER).map(|_| History::default()).collect());
        for history in histories.iter() {
            history.begin(|_| None);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let task = |n: u64| (engine.clone(), histories.clone(), n, stop.clone());
        let writers: Vec<_> =
            (0..WRITERS).map(task).map(|(e, h, n, s)| tokio::spawn(writer(e, h, n, s))).collect();
        let readers: Vec<_> =
            (0..READERS).map(task).map(|(e, h, n, s)| tokio::spawn(reader(e, h, n, s))).collect();
        tokio::time::sleep(Duration::from_secs(5)).await;
        stop.store(true, SeqCst);
        let (mut writes, mut reads) = (0, 0);
        for task in writers {
            writes += task.await.unwrap();
        }
        for task in readers {
            reads += task.await.unwrap();
        }
        (writes, reads)
    });
    println!("{weather:?}: {writes} writes, {reads} reads");
    assert!(writes > 100 && reads > 100);
    world.check_quiet();
    let jobs = world.jobs();
    assert!(jobs["fold"] > 5 && jobs["merge"] > 3 && jobs["failed"] == 0, "{jobs:?}");
}

#[test]
fn p3_you_read_what_you_wrote() {
    read_your_writes(Weather::Fair, 1);
}

#[test]
fn p3_you_read_what_you_wrote_on_a_slow_store_and_several_shards() {
    read_your_writes(Weather::Slow, 3);
}

#[test]
fn p3_you_read_what_you_wrote_on_a_store_that_fails() {
    read_your_writes(Weather::Faulty, 2);
}

/// Insert-only writes read whether the point exists. Were one let go of others before it is decided, two could win.
#[test]
fn a_client_that_goes_away_breaks_no_write_that_depends_on_a_read() {
    const IDS: u64 = 60;
    let world = World::new(Weather::Sluggish, 8);
    world.run(|engine| async move {
        engine.create_collection(NAME, config(2, 2), None).await.unwrap();
        let together = Arc::new(tokio::sync::Barrier::new(WRITERS as usize));
        let insert = |engine: Arc<dyn Engine>, together: Arc<tokio::sync::Barrier>, writer: u64| async move {
            let mut rng = StdRng::seed_from_u64(writer);
            for id in 0..IDS {
                together.wait().await;
                tokio::time::sleep(Duration::from_micros(rng.random_range(0..10_000))).await;
                let op = upsert(vec![point(id, writer, 0)], UpdateMode::InsertOnly);
                let patience = Duration::from_micros(rng.random_range(0..50_000));
                // The future is dropped, as REST does when the connection ends.
                let _ = tokio::time::timeout(patience, write(&engine, op)).await;
            }
        };
        let writers: Vec<_> =
            (0..WRITERS).map(|w| tokio::spawn(insert(engine.clone(), together.clone(), w))).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let watching = tokio::spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            async move {
                let mut first: HashMap<PointId, Payload> = HashMap::new();
                loop {
                    let last = stop.load(SeqCst);
                    let request = ScrollRequest {
                        offset: None,
                        limit: 1000,
                        filter: None,
                        with_payload: PayloadSelector::All,
                        with_vectors: VectorSelector::None,
                        order_by: None,
                    };
                    let page = engine.scroll(NAME, request, ReadOptions::default()).await.unwrap();
                    for record in page.points {
                        let seen = record.payload.unwrap();
                        let winner = first.entry(record.id).or_insert_with(|| seen.clone());
                        assert_eq!(*winner, seen, "point {} was inserted twice", record.id);
                    }
                    if last {
                        return first.len();
                    }
                }
            }
        });
        for writer in writers {
            writer.await.unwrap();
        }
        stop.store(true, SeqCst);
        assert!(watching.await.unwrap() > 30);
    });
    world.check_quiet();
}

/// Names come and go under the hands of writers and readers: they get clean errors, and nothing of the old comes back.
#[test]
fn collections_go_while_they_are_used() {
    let world = World::new(Weather::Slow, 9);
    world.run(|engine| async move {
        let stop = Arc::new(AtomicBool::new(false));
        let allowed = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::BadRequest);
        let mut users = Vec::new();
        for user in 0..6u64 {
            let (engine, stop) = (engine.clone(), stop.clone());
            users.push(tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(user);
                let mut done = 0;
                while !stop.load(SeqCst) {
                    let result = if user % 2 == 0 {
                        let points = (0..4).map(|_| point(rng.random_range(0..1000), user, 1)).collect();
                        let op = match rng.random_range(0..4) {
                            0 => UpdateOp::ClearPayload(PointSelector::Filter(equals("writer", user))),
                            _ => upsert(points, UpdateMode::Upsert),
                        };
                        write(&engine, op).await
                    } else {
                        let filter = Some(equals("writer", user - 1));
                        let request = CountRequest { filter, exact: true };
                        engine.count(NAME, request, ReadOptions::default()).await.map(|_| ())
                    };
                    match result {
                        Ok(()) => done += 1,
                        Err(error) => {
                            assert!(allowed(error.kind), "{error} ({:?})", error.kind);
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
                done
            }));
        }
        for round in 0..30u64 {
            let size = 2 + round % 3 / 2;
            engine.create_collection(NAME, config(size, 1 + (round % 2) as u32), None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(80)).await;
            assert!(engine.collection(NAME).await.is_ok());
            assert!(engine.delete_collection(NAME, None).await.unwrap());
            assert_eq!(engine.collection(NAME).await.unwrap_err().kind, ErrorKind::NotFound);
        }
        stop.store(true, SeqCst);
        for user in users {
            assert!(user.await.unwrap() > 0);
        }
        engine.create_collection(NAME, config(2, 2), None).await.unwrap();
        let left = engine.count(NAME, CountRequest::default(), ReadOptions::default()).await.unwrap();
        assert_eq!(left, 0);
    });
    world.check_quiet();
}
