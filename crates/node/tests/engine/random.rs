//! What to do next, from a seed. Few ids, few values: so things meet.

use std::collections::BTreeMap;

use lodestone_types::{
    AliasAction, AnyOf, CollectionConfig, CollectionParams, Condition, Datatype, Distance, FieldCondition,
    FieldIndex, FieldIndexKind, Filter, GeoPoint, HnswConfig, JsonPath, Match, MinShould, NamedVectors,
    OptimizersConfig, Payload, Point, PointId, PointSelector, Predicate, Range, Scalar, UpdateMode, UpdateOp,
    VectorParams, VectorUpdate,
};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::model::{Held, Model, Step};

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
const ALIASES: [&str; 3] = ["first", "second", "alpha"];

fn pick<T: Clone>(rng: &mut StdRng, of: &[T]) -> T {
    of.choose(rng).unwrap().clone()
}

/// What collections have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// A few components; too little for an index.
    Short,
    /// So many that segments of a few rows get an index.
    Indexed,
}

pub fn step(rng: &mut StdRng, model: &Model, vectors: Vectors) -> Step {
    let known: Vec<String> = model.collections.keys().chain(model.aliases.keys()).cloned().collect();
    if known.is_empty() {
        return Step::Create { name: pick(rng, &NAMES).to_owned(), config: config(rng, vectors) };
    }
    let name = if rng.random_ratio(1, 40) { pick(rng, &NAMES).to_owned() } else { pick(rng, &known) };
    match rng.random_range(0..100) {
        0..4 => Step::Create { name: pick(rng, &NAMES).to_owned(), config: config(rng, vectors) },
        4..6 => Step::Delete { name: pick(rng, &NAMES).to_owned() },
        6..12 => {
            let (field, index) = index(rng);
            Step::Index { name, field, index }
        }
        12..15 => Step::DropIndex { name, field: index(rng).0 },
        15..18 => Step::Aliases((0..rng.random_range(1..3)).map(|_| alias_action(rng)).collect()),
        _ => {
            let params = model.held(&name).map(|held| held.config.params.vectors.clone()).unwrap_or_default();
            let count = if rng.random_ratio(1, 5) { rng.random_range(2..5) } else { 1 };
            let ops = (0..count).map(|_| op(rng, &params)).collect();
            Step::Update { name, ops }
        }
    }
}

fn alias_action(rng: &mut StdRng) -> AliasAction {
    let alias = |rng: &mut StdRng| pick(rng, &ALIASES).to_owned();
    match rng.random_range(0..4) {
        0..2 => AliasAction::Create { collection: pick(rng, &NAMES).to_owned(), alias: alias(rng) },
        2 => AliasAction::Delete { alias: alias(rng) },
        _ => AliasAction::Rename { old: alias(rng), new: alias(rng) },
    }
}

fn config(rng: &mut StdRng, vectors: Vectors) -> CollectionConfig {
    let factor: u64 = if vectors == Vectors::Indexed { 16 } else { 1 };
    let vector = |size: u64, distance, datatype| VectorParams {
        size: factor * size,
        distance,
        datatype: Some(datatype),
        hnsw: None,
        on_disk: None,
        quantization: None,
    };
    let vectors = match rng.random_range(0..5) {
        0 => BTreeMap::new(),
        1..3 => BTreeMap::from([(String::new(), vector(4, Distance::Dot, Datatype::Float32))]),
        _ => BTreeMap::from([
            (String::new(), vector(5, Distance::Cosine, Datatype::Float32)),
            ("half".to_owned(), vector(3, Distance::Euclid, Datatype::Float16)),
            ("bytes".to_owned(), vector(2, Distance::Manhattan, Datatype::Uint8)),
        ]),
    };
    CollectionConfig {
        params: CollectionParams {
            vectors,
            shard_number: rng.random_range(1..4),
            replication_factor: 1,
            write_consistency_factor: 1,
            on_disk_payload: true,
        },
        hnsw: HnswConfig::default(),
        // A KiB; 0 would be none ever.
        optimizers: OptimizersConfig { indexing_threshold: Some(1), ..OptimizersConfig::default() },
        quantization: None,
        metadata: None,
        strict_mode: None,
    }
}

fn path(text: &str) -> JsonPath {
    text.parse().unwrap()
}

fn index(rng: &mut StdRng) -> (JsonPath, FieldIndex) {
    use FieldIndexKind as Kind;
    let kinds = [
        ("n", Kind::Integer),
        ("n", Kind::Float),
        ("k", Kind::Keyword),
        ("k", Kind::Integer),
        ("t", Kind::Text),
        ("d", Kind::Datetime),
        ("u", Kind::Uuid),
        ("g", Kind::Geo),
        ("b", Kind::Bool),
        ("o[].a", Kind::Integer),
        ("o[].b", Kind::Keyword),
    ];
    let (field, kind) = pick(rng, &kinds);
    let prefix = kind == Kind::Text && rng.random();
    let params = prefix.then(|| r#"{"type":"text","tokenizer":"prefix","min_token_len":2}"#.to_owned());
    (path(field), FieldIndex { kind, params })
}

pub fn id(rng: &mut StdRng) -> PointId {
    if rng.random_ratio(1, 6) {
        PointId::Uuid(Uuid::from_u128(rng.random_range(0..6)))
    } else {
        PointId::Num(rng.random_range(0..40))
    }
}

pub fn ids(rng: &mut StdRng) -> Vec<PointId> {
    (0..rng.random_range(1..8)).map(|_| id(rng)).collect()
}

fn op(rng: &mut StdRng, vectors: &BTreeMap<String, VectorParams>) -> UpdateOp {
    let key = |rng: &mut StdRng| rng.random_ratio(1, 3).then(|| path(pick(rng, &["s", "s.x", "o[]"])));
    match rng.random_range(0..20) {
        0..9 => {
            let condition = rng.random_ratio(1, 6).then(|| filter(rng, 1));
            let mode = match rng.random_range(0..10) {
                0 => UpdateMode::InsertOnly,
                1 => UpdateMode::UpdateOnly,
                _ => UpdateMode::Upsert,
            };
            let count = rng.random_range(1..9);
            UpdateOp::Upsert { points: (0..count).map(|_| point(rng, vectors)).collect(), condition, mode }
        }
        9..11 => UpdateOp::Delete(selector(rng)),
        11..13 => UpdateOp::SetPayload { payload: payload(rng), key: key(rng), points: selector(rng) },
        13 => UpdateOp::OverwritePayload { payload: payload(rng), points: selector(rng) },
        14..16 => {
            let keys = ["n", "k", "o[].a", "s.x", "none"];
            let keys = (0..rng.random_range(1..3)).map(|_| path(pick(rng, &keys))).collect();
            UpdateOp::DeletePayload { keys, points: selector(rng) }
        }
        16 => UpdateOp::ClearPayload(selector(rng)),
        17..19 if !vectors.is_empty() => {
            let condition = rng.random_ratio(1, 3).then(|| filter(rng, 1));
            let count = rng.random_range(1..5);
            let update = |rng: &mut StdRng| VectorUpdate { id: id(rng), vectors: named(rng, vectors) };
            UpdateOp::UpdateVectors { points: (0..count).map(|_| update(rng)).collect(), condition }
        }
        _ if !vectors.is_empty() => {
            let names: Vec<String> = vectors.keys().cloned().collect();
            UpdateOp::DeleteVectors { names: vec![pick(rng, &names)], points: selector(rng) }
        }
        _ => UpdateOp::Delete(PointSelector::Ids(vec![id(rng)])),
    }
}

fn selector(rng: &mut StdRng) -> PointSelector {
    if rng.random_ratio(2, 5) { PointSelector::Filter(filter(rng, 1)) } else { PointSelector::Ids(ids(rng)) }
}

fn point(rng: &mut StdRng, vectors: &BTreeMap<String, VectorParams>) -> Point {
    Point { id: id(rng), vectors: named(rng, vectors), payload: payload(rng) }
}

fn named(rng: &mut StdRng, vectors: &BTreeMap<String, VectorParams>) -> NamedVectors {
    let some = vectors.iter().filter_map(|(name, params)| {
        let given = rng.random_ratio(4, 5);
        if given { Some((name.clone(), vector(rng, params.size as usize))) } else { None }
    });
    NamedVectors(some.collect())
}

/// Small whole numbers: exact in every datatype, and so are sums of them.
pub fn vector(rng: &mut StdRng, size: usize) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..size).map(|_| f32::from(rng.random_range(0..4u8))).collect();
    vector[0] += 1.0;
    vector
}

fn payload(rng: &mut StdRng) -> Payload {
    let mut object = serde_json::Map::new();
    for key in ["n", "k", "t", "d", "u", "g", "b", "o", "s"] {
        if rng.random_ratio(2, 5) {
            object.insert(key.to_owned(), value(rng, key));
        }
    }
    Payload(object)
}

const TEXTS: [&str; 4] = ["the quick brown fox", "quick Foxes jump", "Größe über alles", ""];
const DATES: [&str; 3] = ["2024-02-29T12:30:00Z", "2024-03-01", "2023-01-01T00:00:00.5+02:00"];
const UUIDS: [&str; 3] = [
    "550e8400-e29b-41d4-a716-446655440000",
    "550E8400-E29B-41D4-A716-446655440000",
    "00000000-0000-0000-0000-000000000001",
];

fn value(rng: &mut StdRng, key: &str) -> Value {
    if rng.random_ratio(1, 12) {
        return pick(rng, &[Value::Null, json!([]), json!("odd"), json!(1.5), json!([null, 2])]);
    }
    match key {
        "n" if rng.random_ratio(1, 4) => json!([rng.random_range(0..5), rng.random_range(0..5)]),
        "n" => json!(rng.random_range(0..5)),
        "k" if rng.random_ratio(1, 4) => json!(["x", pick(rng, &["y", "z"])]),
        "k" => json!(pick(rng, &["x", "y", "z"])),
        "t" => json!(pick(rng, &TEXTS)),
        "d" => json!(pick(rng, &DATES)),
        "u" => json!(pick(rng, &UUIDS)),
        "g" => json!({"lon": rng.random_range(-3..4), "lat": rng.random_range(-3..4)}),
        "b" => json!(rng.random::<bool>()),
        "o" => {
            let element =
                |rng: &mut StdRng| json!({"a": rng.random_range(0..3), "b": pick(rng, &["x", "y"])});
            Value::Array((0..rng.random_range(0..3)).map(|_| element(rng)).collect())
        }
        _ => json!({"x": {"y": rng.random_range(0..3)}}),
    }
}

pub fn filter(rng: &mut StdRng, depth: u32) -> Filter {
    let mut filter = Filter::default();
    let some = |rng: &mut StdRng| (0..rng.random_range(1..3)).map(|_| condition(rng, depth)).collect();
    match rng.random_range(0..6) {
        0..2 => filter.must = some(rng),
        2 => filter.should = some(rng),
        3 => filter.must_not = some(rng),
        4 => {
            filter.must = some(rng);
            filter.must_not = some(rng);
        }
        _ => {
            let conditions = vec![condition(rng, depth), condition(rng, depth), condition(rng, depth)];
            filter.min_should = Some(MinShould { conditions, min_count: rng.random_range(1..3) });
        }
    }
    filter
}

fn condition(rng: &mut StdRng, depth: u32) -> Condition {
    let field = |key: &str, predicate| {
        Condition::Field(FieldCondition { key: path(key), predicates: vec![predicate] })
    };
    match rng.random_range(0..18) {
        0..3 => field("n", number(rng)),
        3..5 => field("k", keyword(rng)),
        5 => {
            let text = pick(rng, &["quick", "fox", "qu", "größe", "jump quick"]).to_owned();
            field("t", Predicate::Match(pick(rng, &[Match::Text(text.clone()), Match::TextAny(text)])))
        }
        6 => {
            let at = |text| lodestone_types::parse_datetime(text).unwrap();
            field(
                "d",
                Predicate::DatetimeRange(Range { gte: Some(at(pick(rng, &DATES))), ..Range::default() }),
            )
        }
        7 => field("u", Predicate::Match(Match::Value(Scalar::Keyword(pick(rng, &UUIDS).to_owned())))),
        8 => {
            let center = GeoPoint { lon: rng.random_range(-3..4).into(), lat: 0.0 };
            field("g", Predicate::GeoRadius { center, radius: rng.random_range(100_000..400_000).into() })
        }
        9 => field("b", Predicate::Match(Match::Value(Scalar::Bool(rng.random())))),
        10 => Condition::IsEmpty(path(pick(rng, &["n", "k", "o", "s.x"]))),
        11 => Condition::IsNull(path(pick(rng, &["n", "k", "b"]))),
        12 => Condition::HasId(ids(rng).into_iter().collect()),
        13 => Condition::HasVector(pick(rng, &["", "half", "bytes", "none"]).to_owned()),
        14 => field(
            "n",
            Predicate::ValuesCount(Range { gte: Some(rng.random_range(0..3)), ..Range::default() }),
        ),
        15 => field("o[].a", number(rng)),
        16 => {
            let a = field("a", number(rng));
            let b = field("b", keyword(rng));
            Condition::Nested { key: path("o"), filter: Filter { must: vec![a, b], ..Filter::default() } }
        }
        _ if depth > 0 => Condition::Filter(filter(rng, depth - 1)),
        _ => field("k", keyword(rng)),
    }
}

fn number(rng: &mut StdRng) -> Predicate {
    let n = rng.random_range(0..5);
    match rng.random_range(0..4) {
        0 => Predicate::Match(Match::Value(Scalar::Integer(n))),
        1 => Predicate::Match(Match::Any(AnyOf::Integers([n, n + 1].into()))),
        2 => Predicate::Match(Match::Except(AnyOf::Integers([n].into()))),
        _ => Predicate::Range(Range { gt: Some(n as f64 - 1.5), lte: Some(n as f64), ..Range::default() }),
    }
}

fn keyword(rng: &mut StdRng) -> Predicate {
    let k = pick(rng, &["x", "y", "z", "odd"]).to_owned();
    match rng.random_range(0..3) {
        0 => Predicate::Match(Match::Value(Scalar::Keyword(k))),
        1 => Predicate::Match(Match::Any(AnyOf::Keywords([k, "y".to_owned()].into()))),
        _ => Predicate::Match(Match::Except(AnyOf::Keywords([k].into()))),
    }
}

/// The name of a vector that the collection has.
pub fn vector_name(rng: &mut StdRng, held: &Held) -> Option<String> {
    let names: Vec<String> = held.config.params.vectors.keys().cloned().collect();
    names.choose(rng).cloned()
}
