//! The bytes of an index: damaged ones give errors or wrong answers but never a panic, and order, estimates and
//! values are what was put in.

mod common;

use bytes::Bytes;
use common::index_bytes;
use lodestone_index::FieldIndexReader;
use lodestone_types::{
    AnyOf, ErrorKind, FieldIndex, FieldIndexKind, GeoPoint, JsonPath, Match, OrderDirection, OrderValue,
    Payload, Predicate, Range, Scalar, ValuesCount,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn index(kind: FieldIndexKind) -> FieldIndex {
    let phrases = r#"{"type":"text","phrase_matching":true}"#.to_owned();
    FieldIndex { kind, params: (kind == FieldIndexKind::Text).then_some(phrases) }
}

fn payloads(values: impl IntoIterator<Item = Value>) -> Vec<Payload> {
    let payload = |value: Value| Payload([("k".to_owned(), value)].into_iter().collect());
    values.into_iter().map(payload).collect()
}

fn build(kind: FieldIndexKind, values: impl IntoIterator<Item = Value>) -> Bytes {
    let path: JsonPath = "k".parse().unwrap();
    index_bytes(&index(kind), &path, payloads(values).iter())
}

/// Some values of every kind, many enough for several blocks, zones and squares.
fn sample(kind: FieldIndexKind) -> Bytes {
    build(
        kind,
        (0..3000_i64).map(|i| match kind {
            FieldIndexKind::Integer => json!([i % 700 - 100, i % 7]),
            FieldIndexKind::Float => json!(i as f64 / 8.0 - 50.0),
            FieldIndexKind::Bool => json!(i % 3 == 0),
            FieldIndexKind::Datetime => json!(format!("2024-{:02}-{:02}", i % 12 + 1, i % 28 + 1)),
            FieldIndexKind::Geo => {
                json!({"lon": (i * 37 % 360) as f64 - 180.0, "lat": (i * 17 % 180) as f64 - 90.0})
            }
            FieldIndexKind::Text => json!(format!("word{} and word{}", i % 50, i % 13)),
            FieldIndexKind::Keyword | FieldIndexKind::Uuid => json!([format!("key{}", i % 400), "every"]),
        }),
    )
}

fn predicates() -> Vec<Predicate> {
    let point = |lon, lat| GeoPoint { lon, lat };
    let keywords = || AnyOf::Keywords(["every", "key7", "key399"].map(str::to_owned).into());
    vec![
        Predicate::Match(Match::Value(Scalar::Keyword("key7".to_owned()))),
        Predicate::Match(Match::Value(Scalar::Integer(5))),
        Predicate::Match(Match::Value(Scalar::Bool(true))),
        Predicate::Match(Match::Any(keywords())),
        Predicate::Match(Match::Except(keywords())),
        Predicate::Match(Match::Any(AnyOf::Integers([1, 600].into()))),
        Predicate::Match(Match::Except(AnyOf::Integers([1, 600].into()))),
        Predicate::Match(Match::Text("word7 and".to_owned())),
        Predicate::Match(Match::TextAny("word7 word49".to_owned())),
        Predicate::Match(Match::Phrase("and word7".to_owned())),
        Predicate::Range(Range { gt: Some(-3.5), lte: Some(90.0), ..Range::default() }),
        Predicate::DatetimeRange(Range { gte: Some(1_706_000_000_000_000), ..Range::default() }),
        Predicate::GeoBox { top_left: point(170.0, 40.0), bottom_right: point(-20.0, -80.0) },
        Predicate::GeoRadius { center: point(179.0, 10.0), radius: 2e6 },
        Predicate::GeoPolygon {
            exterior: vec![point(0.0, 0.0), point(90.0, 0.0), point(40.0, 80.0), point(0.0, 0.0)],
            interiors: vec![],
        },
        Predicate::ValuesCount(ValuesCount { gte: Some(2), ..Range::default() }),
        Predicate::IsEmpty(true),
        Predicate::IsNull(false),
    ]
}

const KINDS: [FieldIndexKind; 8] = [
    FieldIndexKind::Keyword,
    FieldIndexKind::Integer,
    FieldIndexKind::Float,
    FieldIndexKind::Bool,
    FieldIndexKind::Datetime,
    FieldIndexKind::Uuid,
    FieldIndexKind::Geo,
    FieldIndexKind::Text,
];

/// Asks for everything. Returns whether anything failed.
fn ask_all(bytes: Bytes) -> bool {
    let Ok(reader) = FieldIndexReader::open(bytes) else { return true };
    let mut failed = false;
    for predicate in predicates() {
        failed |= reader.rows(&predicate).is_err();
        failed |= reader.estimate(&predicate).is_err();
    }
    for direction in [OrderDirection::Asc, OrderDirection::Desc] {
        for start in [None, Some(OrderValue::Int(3)), Some(OrderValue::Float(-2.5))] {
            reader.ordered(direction, start).into_iter().flatten().for_each(drop);
        }
    }
    for row in [0, 1, 2999, u32::MAX] {
        reader.values_of(row);
    }
    failed
}

#[test]
fn sound_bytes_answer() {
    for kind in KINDS {
        let bytes = sample(kind);
        assert!(!ask_all(bytes.clone()), "{kind:?}");
        let reader = FieldIndexReader::open(bytes).unwrap();
        assert_eq!(reader.row_bound(), 3000);
        assert_eq!(reader.definition(), &index(kind));
        let found =
            predicates().into_iter().filter_map(|p| reader.rows(&p).unwrap()).map(|m| m.certain.len());
        assert!(found.into_iter().any(|n| n > 0), "{kind:?}");
    }
}

#[test]
fn cut_bytes_and_newer_versions_are_refused() {
    for kind in KINDS {
        let bytes = sample(kind);
        for len in (0..400).chain(bytes.len() - 100..bytes.len()) {
            assert!(FieldIndexReader::open(bytes.slice(..len)).is_err(), "{kind:?} cut to {len}");
        }
        let mut newer = bytes.to_vec();
        newer[4] += 1;
        assert_eq!(FieldIndexReader::open(newer.into()).unwrap_err().kind, ErrorKind::Unsupported);
        let mut other = bytes.to_vec();
        other[0] ^= 1;
        assert_eq!(FieldIndexReader::open(other.into()).unwrap_err().kind, ErrorKind::Damaged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_never_panic(
        kind in prop::sample::select(&KINDS[..]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        near_the_front in any::<bool>(),
    ) {
        let mut bytes = sample(kind).to_vec();
        let reach = if near_the_front { 600.min(bytes.len()) } else { bytes.len() };
        for (place, byte) in damage {
            bytes[place.index(reach)] = byte;
        }
        ask_all(bytes.into());
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0..8_u8) {
        if bytes.len() > 12 {
            let blobs = bytes[7] % 30;
            bytes[..8].copy_from_slice(&[b'L', b'D', b'F', b'X', 1, 0, kind, blobs]);
        }
        prop_assert!(ask_all(bytes.into()));
    }

    #[test]
    fn values_come_in_order_from_a_start(
        rows in prop::collection::vec(prop::collection::vec(-40..40_i64, 0..4), 0..200),
        start in prop::option::of(-45..45_i64),
        ascending in any::<bool>(),
        kind in prop::sample::select(vec![FieldIndexKind::Integer, FieldIndexKind::Float]),
    ) {
        let reader = FieldIndexReader::open(build(kind, rows.iter().map(|v| json!(v)))).unwrap();
        let value = |n: i64| match kind {
            FieldIndexKind::Float => OrderValue::Float(n as f64),
            _ => OrderValue::Int(n),
        };
        let mut expected = Vec::new();
        for (row, values) in (0_u32..).zip(&rows) {
            let mut values = values.clone();
            values.sort_unstable();
            values.dedup();
            prop_assert_eq!(reader.values_of(row), values.iter().map(|n| value(*n)).collect::<Vec<_>>());
            expected.extend(values.into_iter().map(|n| (n, row)));
        }
        expected.sort_unstable();
        if !ascending {
            expected.reverse();
        }
        expected.retain(|(n, _)| start.is_none_or(|s| if ascending { *n >= s } else { *n <= s }));
        let expected: Vec<_> = expected.into_iter().map(|(n, row)| (value(n), row)).collect();
        let direction = if ascending { OrderDirection::Asc } else { OrderDirection::Desc };
        let found: Vec<_> = reader.ordered(direction, start.map(value)).unwrap().collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn places_are_found_wherever_they_lie(
        places in prop::collection::vec((-180.0..=180.0_f64, -90.0..=90.0_f64), 1..400),
        (lon, lat) in (-180.0..=180.0_f64, -90.0..=90.0_f64),
        radius in 0.0..2.1e7_f64,
        (width, height) in (0.0..360.0_f64, 0.0..90.0_f64),
    ) {
        let values = places.iter().map(|(lon, lat)| json!({"lon": lon, "lat": lat}));
        let reader = FieldIndexReader::open(build(FieldIndexKind::Geo, values)).unwrap();
        let east = if lon + width > 180.0 { lon + width - 360.0 } else { lon + width };
        let shapes = [
            Predicate::GeoRadius { center: GeoPoint { lon, lat }, radius },
            Predicate::GeoBox {
                top_left: GeoPoint { lon, lat },
                bottom_right: GeoPoint { lon: east, lat: lat - height },
            },
        ];
        for shape in shapes {
            let evaluator = lodestone_index::Evaluator::new(
                &lodestone_types::Filter::must(lodestone_types::Condition::Field(
                    lodestone_types::FieldCondition { key: "k".parse().unwrap(), predicates: vec![shape.clone()] },
                )),
                &lodestone_index::IndexSchema::default(),
            );
            let holds = |(lon, lat): &(f64, f64)| {
                let payload = payloads([json!({"lon": lon, "lat": lat})]).remove(0);
                let id = lodestone_types::PointId::Num(0);
                evaluator.matches(&lodestone_types::Point { id, vectors: Default::default(), payload })
            };
            let expected = (0..).zip(&places).filter(|(_, p)| holds(p)).map(|(row, _)| row).collect();
            let found = reader.rows(&shape).unwrap().unwrap();
            prop_assert!(found.is_exact());
            prop_assert_eq!(found.certain, expected, "{:?}", &shape);
        }
    }
}
