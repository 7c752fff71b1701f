//! Whether a filter makes indexes list few rows is known before they do.

mod common;

use common::Rows;
use lodestone_index::plan::plan;
use lodestone_types::{
    AnyOf, Condition, FieldCondition, FieldIndex, FieldIndexKind, Filter, Match, MinShould, NamedVectors,
    Payload, Point, PointId, Predicate, Range, Scalar,
};
use serde_json::{Value, json};

/// A thousand points; `word` is a text, `n` ten different numbers, and `bare` has no index.
fn rows() -> Rows {
    let payload = |i: u64| json!({"share": i as f64 / 1000.0, "n": i % 10, "word": "red fox", "bare": i});
    let point = |i| {
        let Value::Object(payload) = payload(i) else { unreachable!() };
        Point { id: PointId::Num(i), vectors: NamedVectors::unnamed(vec![1.0]), payload: Payload(payload) }
    };
    let kinds =
        [("share", FieldIndexKind::Float), ("n", FieldIndexKind::Integer), ("word", FieldIndexKind::Text)];
    let index = |(path, kind): (&str, _)| (path.parse().unwrap(), FieldIndex { kind, params: None });
    Rows::new((0..1000).map(point).collect(), kinds.map(index).into())
}

fn field(key: &str, predicate: Predicate) -> Condition {
    Condition::Field(FieldCondition { key: key.parse().unwrap(), predicates: vec![predicate] })
}

fn below(share: f64) -> Condition {
    field("share", Predicate::Range(Range { gt: None, gte: None, lt: Some(share), lte: None }))
}

#[test]
fn how_many_rows_indexes_list_is_known_beforehand() {
    let rows = rows();
    let taken = |filter: &Filter| {
        let mut left = 1_000_000;
        let plan = plan(filter, &rows.schema);
        plan.lists_within(&rows, 1000, &mut left).unwrap().then_some(1_000_000 - left)
    };
    let one = taken(&Filter::must(below(0.02))).unwrap();
    let more = taken(&Filter::must(below(0.5))).unwrap();
    assert_eq!(more - one, 480);
    let number = |n| field("n", Predicate::Match(Match::Value(Scalar::Integer(n))));
    let both = Filter { must: vec![below(0.02)], must_not: vec![number(3)], ..Filter::default() };
    let excluded = taken(&both).unwrap() - one;
    assert!(excluded >= 100, "what is excluded is listed too");
    let nested = Filter { should: vec![Condition::Filter(both)], ..Filter::default() };
    assert!(taken(&nested).unwrap() > one + excluded);
    let counted = MinShould { conditions: vec![number(1), number(2)], min_count: 1 };
    let counted = Filter { min_should: Some(counted), ..Filter::default() };
    assert_eq!(taken(&counted), None, "counting looks at every row");
    // Filters of nothing but other filters take something too.
    let hollow = (0..50).map(|_| Condition::Filter(Filter::default())).collect();
    assert!(taken(&Filter { should: hollow, ..Filter::default() }).unwrap() > 50 * 64);
    let few = Condition::HasId((0..5).map(PointId::Num).collect());
    let many = field("n", Predicate::Match(Match::Any(AnyOf::Integers((100..50_000).collect()))));
    assert!(taken(&Filter::must(few)).unwrap() < 1000);
    assert_eq!(
        taken(&Filter::must(many)),
        None,
        "that no row has them is known only after they were looked up"
    );

    // What has to be looked at besides is not counted by any index.
    let text = field("word", Predicate::Match(Match::Text("red".into())));
    for open in [text, field("n", Predicate::IsEmpty(true)), field("bare", Predicate::IsNull(true))] {
        assert_eq!(taken(&Filter::must(open.clone())), None, "{open:?}");
    }
}

#[test]
fn what_is_not_there_is_not_taken() {
    let rows = rows();
    let plan = plan(&Filter::must(below(0.5)), &rows.schema);
    let mut left = 500;
    assert!(!plan.lists_within(&rows, 1000, &mut left).unwrap());
    assert!(left <= 500);
    let mut left = 1500;
    assert!(plan.lists_within(&rows, 1000, &mut left).unwrap());
    assert!(!plan.lists_within(&rows, 1000, &mut left).unwrap(), "all filters together");
}
