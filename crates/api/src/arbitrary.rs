//! Arbitrary filters of every kind, for the tests of both interfaces.

use std::fmt::Debug;

use lodestone_types::{
    AnyOf, Condition, FieldCondition, Filter, GeoPoint, JsonPath, Match, MinShould, PointId, Predicate,
    Range, Scalar,
};
use proptest::prelude::*;

/// Any filter within the limits.
pub fn any_filter() -> impl Strategy<Value = Filter> {
    filter_of(any_condition().boxed())
}

fn any_range<T: Copy + Debug + 'static>(
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

fn any_id() -> impl Strategy<Value = PointId> {
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
