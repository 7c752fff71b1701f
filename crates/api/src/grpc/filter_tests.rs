//! Every filter survives the trip through its message, and every bad one is refused.

use proptest::prelude::*;
use qdrant_client::qdrant::{RepeatedIntegers, RepeatedStrings};

use super::super::point::id_message;
use super::*;
use crate::arbitrary::any_filter;

/// The message of `filter`, as a client would build it.
fn message(filter: &Filter) -> proto::Filter {
    let all = |conditions: &[Condition]| conditions.iter().map(condition_message).collect();
    proto::Filter {
        must: all(&filter.must),
        should: all(&filter.should),
        must_not: all(&filter.must_not),
        min_should: filter
            .min_should
            .as_ref()
            .map(|m| proto::MinShould { conditions: all(&m.conditions), min_count: m.min_count as u64 }),
    }
}

fn condition_message(condition: &Condition) -> proto::Condition {
    let key = |path: &JsonPath| path.to_string();
    let kind = match condition {
        Condition::Field(f) => ConditionOneOf::Field(field_message(f)),
        Condition::IsEmpty(path) => ConditionOneOf::IsEmpty(proto::IsEmptyCondition { key: key(path) }),
        Condition::IsNull(path) => ConditionOneOf::IsNull(proto::IsNullCondition { key: key(path) }),
        Condition::HasId(ids) => {
            let has_id = ids.iter().copied().map(id_message).collect();
            ConditionOneOf::HasId(proto::HasIdCondition { has_id })
        }
        Condition::HasVector(name) => {
            ConditionOneOf::HasVector(proto::HasVectorCondition { has_vector: name.clone() })
        }
        Condition::Nested { key: path, filter } => {
            ConditionOneOf::Nested(proto::NestedCondition { key: key(path), filter: Some(message(filter)) })
        }
        Condition::Filter(filter) => ConditionOneOf::Filter(message(filter)),
    };
    proto::Condition { condition_one_of: Some(kind) }
}

fn field_message(field: &FieldCondition) -> proto::FieldCondition {
    let mut m = proto::FieldCondition { key: field.key.to_string(), ..Default::default() };
    for predicate in &field.predicates {
        match predicate {
            Predicate::Match(value) => m.r#match = Some(match_message(value)),
            Predicate::Range(r) => {
                m.range = Some(proto::Range { gt: r.gt, gte: r.gte, lt: r.lt, lte: r.lte })
            }
            Predicate::DatetimeRange(r) => {
                m.datetime_range = Some(proto::DatetimeRange {
                    gt: r.gt.map(timestamp),
                    gte: r.gte.map(timestamp),
                    lt: r.lt.map(timestamp),
                    lte: r.lte.map(timestamp),
                });
            }
            Predicate::GeoBox { top_left, bottom_right } => {
                m.geo_bounding_box = Some(proto::GeoBoundingBox {
                    top_left: Some(place(*top_left)),
                    bottom_right: Some(place(*bottom_right)),
                });
            }
            Predicate::GeoRadius { center, radius } => {
                m.geo_radius =
                    Some(proto::GeoRadius { center: Some(place(*center)), radius: *radius as f32 });
            }
            Predicate::GeoPolygon { exterior, interiors } => {
                m.geo_polygon = Some(proto::GeoPolygon {
                    exterior: Some(line(exterior)),
                    interiors: interiors.iter().map(|ring| line(ring)).collect(),
                });
            }
            Predicate::ValuesCount(r) => {
                m.values_count = Some(proto::ValuesCount { gt: r.gt, gte: r.gte, lt: r.lt, lte: r.lte });
            }
            Predicate::IsEmpty(b) => m.is_empty = Some(*b),
            Predicate::IsNull(b) => m.is_null = Some(*b),
        }
    }
    m
}

fn match_message(value: &Match) -> proto::Match {
    let strings = |set: &BTreeSet<String>| RepeatedStrings { strings: set.iter().cloned().collect() };
    let integers = |set: &BTreeSet<i64>| RepeatedIntegers { integers: set.iter().copied().collect() };
    let value = match value {
        Match::Value(Scalar::Keyword(s)) => MatchValue::Keyword(s.clone()),
        Match::Value(Scalar::Integer(n)) => MatchValue::Integer(*n),
        Match::Value(Scalar::Bool(b)) => MatchValue::Boolean(*b),
        Match::Any(AnyOf::Keywords(set)) => MatchValue::Keywords(strings(set)),
        Match::Any(AnyOf::Integers(set)) => MatchValue::Integers(integers(set)),
        Match::Except(AnyOf::Keywords(set)) => MatchValue::ExceptKeywords(strings(set)),
        Match::Except(AnyOf::Integers(set)) => MatchValue::ExceptIntegers(integers(set)),
        Match::Text(s) => MatchValue::Text(s.clone()),
        Match::TextAny(s) => MatchValue::TextAny(s.clone()),
        Match::Phrase(s) => MatchValue::Phrase(s.clone()),
    };
    proto::Match { match_value: Some(value) }
}

fn timestamp(micros: i64) -> Timestamp {
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos: micros.rem_euclid(1_000_000) as i32 * 1000 }
}

fn place(at: GeoPoint) -> proto::GeoPoint {
    proto::GeoPoint { lon: at.lon, lat: at.lat }
}

fn line(ring: &[GeoPoint]) -> proto::GeoLineString {
    proto::GeoLineString { points: ring.iter().map(|at| place(*at)).collect() }
}

proptest! {
    #[test]
    fn every_filter_survives_its_message(original in any_filter()) {
        prop_assert_eq!(filter(message(&original)).unwrap(), original);
    }
}

#[test]
fn several_predicates_of_one_condition_all_arrive() {
    let range = Predicate::Range(Range { gt: Some(1.0), ..Range::default() });
    let field = FieldCondition {
        key: "a".parse().unwrap(),
        predicates: vec![Predicate::Match(Match::Text("x".into())), range, Predicate::IsNull(true)],
    };
    let original = Filter::must(Condition::Field(field));
    assert_eq!(filter(message(&original)).unwrap(), original);
}

#[test]
fn timestamps_are_cut_to_microseconds() {
    assert_eq!(micros(Timestamp { seconds: -1, nanos: 999_999_999 }).unwrap(), -1);
    assert_eq!(micros(Timestamp { seconds: 1, nanos: 1999 }).unwrap(), 1_000_001);
    for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000)] {
        assert!(micros(Timestamp { seconds, nanos }).is_err());
    }
}

#[test]
fn filters_over_the_limits_are_refused() {
    let deep = |levels: usize| {
        (1..levels).fold(Filter::default(), |inner, _| Filter::must(Condition::Filter(inner)))
    };
    assert!(filter(message(&deep(MAX_FILTER_DEPTH))).is_ok());
    assert!(filter(message(&deep(MAX_FILTER_DEPTH + 1))).is_err());
    let wide = |n| Filter { must_not: vec![Condition::HasVector(String::new()); n], ..Filter::default() };
    assert!(filter(message(&wide(MAX_FILTER_CONDITIONS))).is_ok());
    assert!(filter(message(&wide(MAX_FILTER_CONDITIONS + 1))).is_err());
}

#[test]
fn nonsense_is_refused() {
    let refused = |condition: ConditionOneOf| {
        let must = vec![proto::Condition { condition_one_of: Some(condition) }];
        filter(proto::Filter { must, ..Default::default() }).is_err()
    };
    let on = |change: fn(&mut proto::FieldCondition)| {
        let mut field = proto::FieldCondition { key: "a".into(), ..Default::default() };
        change(&mut field);
        refused(ConditionOneOf::Field(field))
    };
    let far = proto::GeoPoint { lon: 200.0, lat: 0.0 };
    assert!(filter(proto::Filter { must: vec![proto::Condition::default()], ..Default::default() }).is_err());
    assert!(on(|_| ()));
    assert!(on(|f| f.key = "a[".into()));
    assert!(on(|f| f.r#match = Some(proto::Match { match_value: None })));
    assert!(on(|f| f.range = Some(proto::Range { gt: Some(f64::NAN), ..Default::default() })));
    assert!(on(|f| f.geo_radius = Some(proto::GeoRadius { center: None, radius: 1.0 })));
    let radius = |radius| proto::GeoRadius { center: Some(proto::GeoPoint::default()), radius };
    for metres in [f32::NAN, -1.0, f32::INFINITY] {
        let field =
            proto::FieldCondition { key: "a".into(), geo_radius: Some(radius(metres)), ..Default::default() };
        assert!(refused(ConditionOneOf::Field(field)), "{metres}");
    }
    let geo_box = proto::GeoBoundingBox { top_left: Some(far), bottom_right: Some(far) };
    let field =
        proto::FieldCondition { key: "a".into(), geo_bounding_box: Some(geo_box), ..Default::default() };
    assert!(refused(ConditionOneOf::Field(field)));
    let open = proto::GeoLineString { points: vec![proto::GeoPoint::default(); 3] };
    let polygon = proto::GeoPolygon { exterior: Some(open), interiors: vec![] };
    let field = proto::FieldCondition { key: "a".into(), geo_polygon: Some(polygon), ..Default::default() };
    assert!(refused(ConditionOneOf::Field(field)));
    let bad_id = proto::PointId::from("not-a-uuid");
    assert!(refused(ConditionOneOf::HasId(proto::HasIdCondition { has_id: vec![bad_id] })));
    assert!(refused(ConditionOneOf::Slice(proto::SliceCondition { total: 2, index: 0 })));
}
