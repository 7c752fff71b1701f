//! Answers of Qdrant's engine, recorded, against ours: by the evaluator, and by the plan with an index of each
//! kind on the field. An index must not change an answer, except a text index, for which the engine was asked with
//! the same index.

mod common;

use common::{Rows, exact_rows};
use lodestone_index::{Evaluator, IndexSchema};
use lodestone_types::{FieldIndex, FieldIndexKind, Filter, JsonPath, NamedVectors, Payload, Point, PointId};
use serde::Deserialize;

#[derive(Deserialize)]
struct Group {
    name: String,
    text_index: Option<String>,
    payloads: Vec<Payload>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    filter: Filter,
    rows: Vec<u32>,
}

fn groups() -> Vec<Group> {
    serde_json::from_str(include_str!("data/engine_answers.json")).unwrap()
}

fn points(group: &Group) -> Vec<Point> {
    let point = |(id, payload): (u64, &Payload)| Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vec![1.0]),
        payload: payload.clone(),
    };
    (0..).zip(&group.payloads).map(point).collect()
}

/// The field of the recorded payloads, and a path below it that some filters use.
fn paths() -> Vec<JsonPath> {
    ["k", "k[]", "k[].a"].map(|p| p.parse().unwrap()).to_vec()
}

#[test]
fn the_evaluator_answers_like_the_engine() {
    let mut count = 0;
    for group in groups() {
        let index = group.text_index.clone();
        let index = index.map(|params| FieldIndex { kind: FieldIndexKind::Text, params: Some(params) });
        let path: JsonPath = "k".parse().unwrap();
        let schema = IndexSchema::new(index.iter().map(|index| (&path, index))).unwrap();
        let points = points(&group);
        for case in &group.cases {
            let evaluator = Evaluator::new(&case.filter, &schema);
            let found = (0..).zip(&points).filter(|(_, p)| evaluator.matches(*p)).map(|(row, _)| row);
            let found: Vec<u32> = found.collect();
            assert_eq!(found, case.rows, "{}: {:?}", group.name, case.filter);
            count += 1;
        }
    }
    assert!(count > 400, "{count} cases");
}

#[test]
fn an_index_does_not_change_the_answer() {
    use FieldIndexKind::{Bool, Datetime, Float, Geo, Integer, Keyword};
    for group in groups() {
        let indexes: Vec<FieldIndex> = match &group.text_index {
            Some(params) => vec![FieldIndex { kind: FieldIndexKind::Text, params: Some(params.clone()) }],
            None => [Keyword, Integer, Float, Bool, Datetime, Geo]
                .map(|kind| FieldIndex { kind, params: None })
                .to_vec(),
        };
        for index in indexes {
            let indexed = paths().into_iter().map(|path| (path, index.clone())).collect();
            let rows = Rows::new(points(&group), indexed);
            for case in &group.cases {
                let found: Vec<u32> = exact_rows(&rows, &case.filter).iter().collect();
                assert_eq!(found, case.rows, "{}, {:?} index: {:?}", group.name, index.kind, case.filter);
            }
        }
    }
}

/// Under a UUID index every way to write a UUID is the same; other texts are compared as they are.
#[test]
fn a_uuid_index_compares_uuids() {
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let payloads = [id.to_owned(), id.to_uppercase(), id.replace('-', ""), "other".to_owned()];
    let payload = |text: String| {
        let mut map = serde_json::Map::new();
        map.insert("k".to_owned(), text.into());
        Payload(map)
    };
    let group = Group {
        name: String::new(),
        text_index: None,
        payloads: payloads.into_iter().map(payload).collect(),
        cases: Vec::new(),
    };
    let index = FieldIndex { kind: FieldIndexKind::Uuid, params: None };
    let rows = Rows::new(points(&group), vec![("k".parse().unwrap(), index)]);
    let ask = |json: serde_json::Value| {
        let condition = serde_json::json!({"Field": {"key": "k", "predicates": [{"Match": json}]}});
        let filter = Filter::must(serde_json::from_value(condition).unwrap());
        exact_rows(&rows, &filter).iter().collect::<Vec<_>>()
    };
    assert_eq!(ask(serde_json::json!({"Value": {"Keyword": id.to_uppercase()}})), [0, 1, 2]);
    assert_eq!(ask(serde_json::json!({"Any": {"Keywords": ["other", id]}})), [0, 1, 2, 3]);
    assert_eq!(ask(serde_json::json!({"Except": {"Keywords": [id]}})), [3]);
    assert_eq!(ask(serde_json::json!({"Value": {"Keyword": "OTHER"}})), [] as [u32; 0]);
}
