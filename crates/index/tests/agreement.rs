//! For random points, filters and indexes: the evaluator, the plan over any subset of indexes, and an evaluator
//! written a second time all give the same rows.

mod common;
mod naive;

use std::collections::BTreeSet;

use common::{Rows, exact_rows};
use lodestone_types::{
    AnyOf, Condition, FieldCondition, FieldIndex, FieldIndexKind, Filter, GeoPoint, JsonPath, Match,
    MinShould, NamedVectors, Payload, Point, PointId, Predicate, Range, Scalar,
};
use naive::NaiveText;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

const UUIDS: [&str; 3] = [
    "550e8400-e29b-41d4-a716-446655440000",
    "550E8400E29B41D4A716446655440000",
    "660e8400-e29b-41d4-a716-446655440000",
];
const PATHS: [&str; 8] = ["a", "b", "a[]", "a.b", "a[0]", "o[].a", "o[].b", "o"];

fn path() -> impl Strategy<Value = JsonPath> {
    select(&PATHS[..]).prop_map(|p| p.parse().unwrap())
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-2..4_i64).prop_map(Value::from),
        2 => select(vec![json!(1.0), json!(-0.0), json!(1.5), json!(9007199254740993_u64), json!(u64::MAX)]),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        4 => select(vec!["x", "y", "X", "", "red fox", "Red  fox, red!", "fox red", "re", "quick red_fox"])
            .prop_map(Value::from),
        2 => select(&UUIDS[..]).prop_map(Value::from),
        2 => (1..5_u8).prop_map(|day| format!("1970-01-{day:02}").into()),
        3 => place(),
    ]
}

fn place() -> impl Strategy<Value = Value> {
    let lon = select(vec![-180.0, -179.0, -1.0, 0.0, 0.5, 1.0, 5.0, 179.5, 180.0, 181.0]);
    let lat = select(vec![-90.0, -1.0, 0.0, 0.25, 1.0, 5.0, 89.0, 90.0]);
    (lon, lat).prop_map(|(lon, lat)| json!({"lon": lon, "lat": lat}))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => scalar(),
        3 => prop::collection::vec(scalar(), 0..4).prop_map(Value::from),
        1 => scalar().prop_map(|v| json!({ "b": v })),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(|v| json!([v, {"b": 1}])),
    ]
}

fn object() -> impl Strategy<Value = Value> {
    (prop::option::of(value()), prop::option::of(value())).prop_map(|(a, b)| {
        let entries = [("a", a), ("b", b)].into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?)));
        Value::Object(entries.collect())
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let elements = prop_oneof![4 => object(), 1 => scalar()];
    let objects = prop_oneof![
        3 => Just(None),
        4 => prop::collection::vec(elements, 0..4).prop_map(|v| Some(Value::from(v))),
        1 => object().prop_map(Some),
    ];
    (object(), objects).prop_map(|(object, o)| {
        let mut map = object.as_object().unwrap().clone();
        map.extend(o.map(|o| ("o".to_owned(), o)));
        Payload(map)
    })
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    let vectors = select(vec!["", "extra"]).prop_map(|name| NamedVectors(vec![(name.to_owned(), vec![1.0])]));
    prop::collection::vec((payload(), vectors), 1..24).prop_map(|rows| {
        let point = |(id, (payload, vectors))| Point { id: PointId::Num(id), vectors, payload };
        (0..).zip(rows).map(point).collect()
    })
}

fn bounds<T: Copy + std::fmt::Debug + 'static>(value: Vec<T>) -> impl Strategy<Value = Range<T>> {
    let bound = || prop::option::weighted(0.4, select(value.clone()));
    (bound(), bound(), bound(), bound()).prop_map(|(gt, gte, lt, lte)| Range { gt, gte, lt, lte })
}

fn any_of() -> impl Strategy<Value = AnyOf> {
    let texts = select(vec!["x", "X", "", UUIDS[0], UUIDS[1], UUIDS[2], "red fox"]);
    prop_oneof![
        prop::collection::btree_set(texts.prop_map(str::to_owned), 0..4).prop_map(AnyOf::Keywords),
        prop::collection::btree_set(-2..4_i64, 0..4).prop_map(AnyOf::Integers),
    ]
}

fn matcher() -> impl Strategy<Value = Match> {
    let query = || {
        select(vec![
            "red",
            "fox",
            "red fox",
            "fox red",
            "re fo",
            "RED",
            "",
            "zebra red",
            "red red",
            "quick fox",
        ])
        .prop_map(str::to_owned)
    };
    prop_oneof![
        (-2..4_i64).prop_map(|n| Match::Value(Scalar::Integer(n))),
        any::<bool>().prop_map(|b| Match::Value(Scalar::Bool(b))),
        select(vec!["x", "X", "", UUIDS[0], UUIDS[1]])
            .prop_map(|t| Match::Value(Scalar::Keyword(t.to_owned()))),
        any_of().prop_map(Match::Any),
        any_of().prop_map(Match::Except),
        query().prop_map(Match::Text),
        query().prop_map(Match::TextAny),
        query().prop_map(Match::Phrase),
    ]
}

fn corner() -> impl Strategy<Value = GeoPoint> {
    let lon = select(vec![-180.0, -179.0, -0.5, 0.0, 1.0, 6.0, 179.0, 180.0]);
    let lat = select(vec![-90.0, -0.5, 0.0, 1.0, 6.0, 90.0]);
    (lon, lat).prop_map(|(lon, lat)| GeoPoint { lon, lat })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let day = 86_400_000_000;
    // Radii away from distances between the generated places, so that rounding decides nothing.
    let radius = select(vec![0.0, 1_000.0, 100_000.0, 600_000.0, 9_000_000.0, 3e7]);
    prop_oneof![
        8 => matcher().prop_map(Predicate::Match),
        3 => bounds(vec![-1.0, 0.0, 1.0, 1.25, 2.0, 9e15, 2e19]).prop_map(Predicate::Range),
        2 => bounds(vec![0, day, day + 1, 2 * day]).prop_map(Predicate::DatetimeRange),
        1 => (corner(), corner())
            .prop_map(|(top_left, bottom_right)| Predicate::GeoBox { top_left, bottom_right }),
        1 => (corner(), radius).prop_map(|(center, radius)| Predicate::GeoRadius { center, radius }),
        1 => (corner(), 0.5..90.0_f64).prop_map(|(a, size)| {
            let at = |dx, dy| GeoPoint { lon: a.lon + dx * size, lat: a.lat + dy * size };
            let exterior = vec![a, at(1.0, 0.0), at(1.0, 1.0), at(0.0, 1.0), a];
            Predicate::GeoPolygon { exterior, interiors: Vec::new() }
        }),
        2 => bounds(vec![0, 1, 2, 3]).prop_map(Predicate::ValuesCount),
        1 => any::<bool>().prop_map(Predicate::IsEmpty),
        1 => any::<bool>().prop_map(Predicate::IsNull),
    ]
}

fn condition() -> BoxedStrategy<Condition> {
    let field = |predicates: std::ops::Range<usize>| {
        (path(), prop::collection::vec(predicate(), predicates))
            .prop_map(|(key, predicates)| Condition::Field(FieldCondition { key, predicates }))
    };
    let leaf = prop_oneof![
        8 => field(1..2),
        1 => field(2..4),
        1 => path().prop_map(Condition::IsEmpty),
        1 => path().prop_map(Condition::IsNull),
        1 => prop::collection::btree_set(0..30_u64, 0..8)
            .prop_map(|ids| Condition::HasId(ids.into_iter().map(PointId::Num).collect::<BTreeSet<_>>())),
        1 => select(vec!["", "extra", "none"]).prop_map(|n| Condition::HasVector(n.to_owned())),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let filter = filter_of(inner);
        let array = select(vec!["o", "o[]", "a"]).prop_map(|p| p.parse().unwrap());
        prop_oneof![
            filter.clone().prop_map(Condition::Filter),
            (array, filter).prop_map(|(key, filter)| Condition::Nested { key, filter }),
        ]
    })
    .boxed()
}

fn filter_of(condition: impl Strategy<Value = Condition> + Clone) -> impl Strategy<Value = Filter> + Clone {
    let some = |n| prop::collection::vec(condition.clone(), 0..n);
    let least = (some(4), 0..3_usize).prop_map(|(conditions, min_count)| MinShould { conditions, min_count });
    (some(3), some(3), some(2), prop::option::weighted(0.2, least))
        .prop_map(|(must, should, must_not, min_should)| Filter { must, should, must_not, min_should })
}

/// A text index: its parameters, and the same for the naive evaluator.
fn text_index() -> impl Strategy<Value = (String, NaiveText)> {
    let tokenizer = select(vec!["word", "whitespace", "prefix"]);
    let longest = select(vec![None, Some(4)]);
    let stopword = select(vec![None, Some("red")]);
    (tokenizer, any::<bool>(), longest, stopword, any::<bool>()).prop_map(
        |(tokenizer, lowercase, longest, stopword, phrase)| {
            let params = json!({
                "type": "text", "tokenizer": tokenizer, "lowercase": lowercase, "max_token_len": longest,
                "stopwords": {"custom": stopword.iter().collect::<Vec<_>>()}, "phrase_matching": phrase,
            });
            let longest = longest.unwrap_or(usize::MAX);
            (params.to_string(), NaiveText { tokenizer, lowercase, longest, stopword })
        },
    )
}

fn kinds() -> impl Strategy<Value = Vec<Option<FieldIndexKind>>> {
    use FieldIndexKind::{Bool, Datetime, Float, Geo, Integer, Keyword, Text, Uuid};
    let kind = select(vec![Keyword, Integer, Float, Bool, Datetime, Uuid, Geo, Text, Text]);
    prop::collection::vec(prop::option::weighted(0.6, kind), PATHS.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn plan_evaluator_and_definition_agree(
        points in points(),
        filters in prop::collection::vec(filter_of(condition()), 1..6),
        kinds in kinds(),
        (params, rules) in text_index(),
        forgotten in path(),
    ) {
        let indexed = || PATHS.iter().zip(&kinds).filter_map(|(path, kind)| Some((*path, (*kind)?)));
        let index = |kind| FieldIndex {
            kind,
            params: (kind == FieldIndexKind::Text).then(|| params.clone()),
        };
        let indexes = indexed().map(|(path, kind)| (path.parse().unwrap(), index(kind))).collect();
        let kind_at = |path: &str| {
            indexed().find(|(p, _)| *p == path).map(|(_, kind)| (kind, rules.clone()))
        };
        let mut rows = Rows::new(points, indexes);
        for filter in &filters {
            let expected: Vec<u32> = (0..)
                .zip(&rows.points)
                .filter(|(_, point)| naive::matches(filter, point, &kind_at))
                .map(|(row, _)| row)
                .collect();
            let found: Vec<u32> = exact_rows(&rows, filter).iter().collect();
            prop_assert_eq!(&found, &expected, "{:?}", filter);
            // A segment that lacks an index answers the same, by payload.
            rows.forget(&forgotten);
            let found: Vec<u32> = exact_rows(&rows, filter).iter().collect();
            prop_assert_eq!(&found, &expected, "without {}: {:?}", forgotten, filter);
        }
    }
}
