//! Payload indexes are the same whether they were built along with the rows, later, or by a merge.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use lodestone_segment::{
    MergeInput, ObjectWriter, PartKind, SegmentId, SegmentReader, SegmentSchema, build_field_index_part,
    merge,
};
use lodestone_types::{ErrorKind, FieldIndex, FieldIndexKind, JsonPath, Match, Predicate, Range, Scalar};
use proptest::prelude::*;
use roaring::RoaringBitmap;

fn path(text: &str) -> JsonPath {
    text.parse().unwrap()
}

fn fields() -> BTreeMap<JsonPath, FieldIndex> {
    let index = |kind| FieldIndex { kind, params: None };
    BTreeMap::from([
        (path("s"), index(FieldIndexKind::Keyword)),
        (path("n"), index(FieldIndexKind::Integer)),
        (path("nested.b[]"), index(FieldIndexKind::Bool)),
    ])
}

fn indexed() -> SegmentSchema {
    SegmentSchema { fields: fields(), ..schema() }
}

fn matching(reader: &SegmentReader, field: &str, predicate: Predicate) -> RoaringBitmap {
    let matches = reader.field_index(&path(field)).unwrap().unwrap().rows(&predicate).unwrap().unwrap();
    assert_eq!(matches.certain, matches.possible);
    matches.certain
}

/// Asks every index something and compares with the payloads.
fn assert_answers(reader: &SegmentReader, model: &Model) {
    let expected = |test: &dyn Fn(&serde_json::Value) -> bool| -> RoaringBitmap {
        (0u32..).zip(model.values()).filter(|(_, row)| test(&row.payload)).map(|(row, _)| row).collect()
    };
    let positive = Predicate::Range(Range { gt: Some(0.0), ..Range::default() });
    assert_eq!(matching(reader, "n", positive), expected(&|p| p["n"].as_i64().is_some_and(|n| n > 0)));
    let truth = Predicate::Match(Match::Value(Scalar::Bool(true)));
    assert_eq!(matching(reader, "nested.b[]", truth), expected(&|p| p["nested"]["b"][0] == true));
    for row in model.values().take(5) {
        let Some(text) = row.payload["s"].as_str() else { continue };
        let same = Predicate::Match(Match::Value(Scalar::Keyword(text.to_owned())));
        assert_eq!(matching(reader, "s", same), expected(&|p| p["s"] == text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn indexes_answer_as_the_payloads_would(model in any_model(80), other in any_model(80)) {
        let bucket = Arc::new(Bucket::default());
        let (object, meta) = write(&model, &indexed(), "along", 1);
        bucket.put("along", object);
        let along = open(&bucket, &meta);
        assert_answers(&along, &model);

        let (object, meta) = write(&model, &schema(), "plain", 2);
        bucket.put("plain", object);
        let plain = open(&bucket, &meta);
        let mut later = meta;
        for (at, (path, index)) in fields().iter().enumerate() {
            prop_assert!(plain.field_index(path).unwrap().is_none());
            let key = format!("later{at}");
            let (object, part) = build_field_index_part(&key, &plain, path, index).unwrap();
            bucket.put(&key, object);
            later = later.with_part(part);
        }
        assert_answers(&open(&bucket, &later), &model);

        let (object, meta) = write(&other, &schema(), "other", 3);
        bucket.put("other", object);
        let other_reader = open(&bucket, &meta);
        let drop = RoaringBitmap::new();
        let inputs = [&along, &other_reader].map(|reader| MergeInput { reader, drop: &drop });
        let mut object = ObjectWriter::new("merged");
        let meta = merge(&inputs, &indexed(), &mut object, SegmentId(4)).unwrap().segment;
        bucket.put("merged", object.finish());
        let mut both = model;
        for (id, row) in other {
            if both.get(&id).is_none_or(|known| known.lsn <= row.lsn) {
                both.insert(id, row);
            }
        }
        let merged = open(&bucket, &meta);
        prop_assert_eq!(read(&merged), both.clone());
        assert_answers(&merged, &both);
    }
}

#[test]
fn an_index_of_another_segment_is_refused() {
    let row = ModelRow { lsn: 1, vectors: BTreeMap::new(), payload: serde_json::json!({"s": "a"}) };
    let model: Model = (0..9).map(|n| (lodestone_types::PointId::Num(n), row.clone())).collect();
    let smaller: Model = model.iter().take(8).map(|(id, row)| (*id, row.clone())).collect();
    let bucket = Arc::new(Bucket::default());
    let (object, meta) = write(&model, &schema(), "k", 1);
    bucket.put("k", object);
    let index = FieldIndex { kind: FieldIndexKind::Keyword, params: None };
    let (object, part) =
        build_field_index_part("index", &write_and_open(&smaller, 2), &path("s"), &index).unwrap();
    bucket.put("index", object);
    let reader = SegmentReader::open(Arc::new(meta.with_part(part)), bucket);
    let kind = PartKind::FieldIndex { path: path("s"), index };
    let error = block_on(reader.load(&[kind])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
    assert!(error.message.contains("'index'") && error.message.contains("index of s"), "{error}");
}
