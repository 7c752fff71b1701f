//! Every filter survives the trip through its message, and every bad one is refused.

use proptest::prelude::*;
use qdrant_client::qdrant::{RepeatedIntegers, RepeatedStrings};

use super::super::point::id_message;
use super::*;

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

fn any_range<T: Copy + std::fmt::Debug + 'static>(
    bound: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Range<T>> {
    let bound = prop::option::of(bound);
    (bound.clone(), bound.clone(), bound.clone(), bound).prop_map(|(gt, gte, lt, lte)| Range {
        gt,
        gte,
        lt,
        lte,
    })
}

fn any_place() -> impl Strategy<Value = GeoPoint> + Clone {
    (-180.0..=180.0, -90.0..=90.0).prop_map(|(lon, lat)| GeoPoint { lon, lat })
}

fn any_ring() -> impl Strategy<Value = Vec<GeoPoint>> {
    prop::collection::vec(any_place(), 3..6).prop_map(|mut ring| {
        ring.push(ring[0]);
        ring
    })
}

fn any_match() -> impl Strategy<Value = Match> {
    let words = || prop::collection::btree_set("[a-z]{0,4}", 0..4).prop_map(AnyOf::Keywords);
    let numbers = || prop::collection::btree_set(any::<i64>(), 0..4).prop_map(AnyOf::Integers);
    prop_oneof![
        ".{0,8}".prop_map(|s| Match::Value(Scalar::Keyword(s))),
        any::<i64>().prop_map(|n| Match::Value(Scalar::Integer(n))),
        any::<bool>().prop_map(|b| Match::Value(Scalar::Bool(b))),
        words().prop_map(Match::Any),
        numbers().prop_map(Match::Any),
        words().prop_map(Match::Except),
        numbers().prop_map(Match::Except),
        ".{0,8}".prop_map(Match::Text),
        ".{0,8}".prop_map(Match::TextAny),
        ".{0,8}".prop_map(Match::Phrase),
    ]
}

fn any_predicate() -> impl Strategy<Value = Predicate> {
    prop_oneof![
        any_match().prop_map(Predicate::Match),
        any_range(-1e300..1e300).prop_map(Predicate::Range),
        any_range(-(1i64 << 55)..(1i64 << 55)).prop_map(Predicate::DatetimeRange),
        (any_place(), any_place())
            .prop_map(|(top_left, bottom_right)| Predicate::GeoBox { top_left, bottom_right }),
        (any_place(), 0f32..1e7)
            .prop_map(|(center, r)| Predicate::GeoRadius { center, radius: f64::from(r) }),
        (any_ring(), prop::collection::vec(any_ring(), 0..2))
            .prop_map(|(exterior, interiors)| Predicate::GeoPolygon { exterior, interiors }),
        any_range(any::<u64>()).prop_map(Predicate::ValuesCount),
        any::<bool>().prop_map(Predicate::IsEmpty),
        any::<bool>().prop_map(Predicate::IsNull),
    ]
}

fn any_path() -> impl Strategy<Value = JsonPath> {
    "[a-z]{1,3}(\\.[a-z]{1,3}|\\[\\]|\\[[0-9]\\]){0,2}".prop_map(|text| text.parse().unwrap())
}

fn any_id() -> impl Strategy<Value = lodestone_types::PointId> {
    use lodestone_types::PointId;
    prop_oneof![
        any::<u64>().prop_map(PointId::Num),
        any::<u128>().prop_map(|n| PointId::Uuid(uuid::Uuid::from_u128(n))),
    ]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        (any_path(), any_predicate())
            .prop_map(|(key, p)| Condition::Field(FieldCondition { key, predicates: vec![p] })),
        any_path().prop_map(Condition::IsEmpty),
        any_path().prop_map(Condition::IsNull),
        prop::collection::btree_set(any_id(), 0..4).prop_map(Condition::HasId),
        "[a-z]{0,4}".prop_map(Condition::HasVector),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let filter = filter_of(inner);
        prop_oneof![
            filter.clone().prop_map(Condition::Filter),
            (any_path(), filter).prop_map(|(key, filter)| Condition::Nested { key, filter }),
        ]
    })
}

fn filter_of(
    condition: impl Strategy<Value = Condition> + Clone + 'static,
) -> impl Strategy<Value = Filter> + Clone {
    let some = prop::collection::vec(condition, 0..3);
    let least = prop::option::of(
        (some.clone(), 0usize..4).prop_map(|(conditions, min_count)| MinShould { conditions, min_count }),
    );
    (some.clone(), some.clone(), some, least).prop_map(|(must, should, must_not, min_should)| Filter {
        must,
        should,
        must_not,
        min_should,
    })
}

proptest! {
    #[test]
    fn every_filter_survives_its_message(original in filter_of(any_condition().boxed())) {
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
