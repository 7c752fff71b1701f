//! A merge is what a map would be that took the rows in the order of their LSNs.

mod common;

use std::sync::Arc;

use common::*;
use lodestone_index::dense::GONE;
use lodestone_segment::{MergeInput, ObjectWriter, SegmentId, SegmentSchema, delete_bitmap_part, merge};
use lodestone_types::PointId;
use proptest::prelude::*;
use roaring::RoaringBitmap;

fn any_input() -> impl Strategy<Value = (Model, Vec<bool>, Vec<bool>)> {
    any_model(60).prop_flat_map(|model| {
        let rows = model.len();
        let marks = move || prop::collection::vec(prop::bool::weighted(0.2), rows);
        (Just(model), marks(), marks())
    })
}

fn rows(marks: &[bool]) -> RoaringBitmap {
    (0u32..).zip(marks).filter_map(|(row, marked)| marked.then_some(row)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_equals_the_model(inputs in prop::collection::vec(any_input(), 0..5)) {
        let bucket = Arc::new(Bucket::default());
        let mut expected = Model::new();
        let mut readers = Vec::new();
        for (at, (model, drop, deleted)) in inputs.iter().enumerate() {
            let (key, deletes) = (format!("s{at}"), format!("d{at}"));
            let (object, mut meta) = write(model, &schema(), &key, at as u64);
            bucket.put(&key, object);
            if deleted.contains(&true) {
                let (object, part) = delete_bitmap_part(&deletes, &rows(deleted)).unwrap();
                bucket.put(&deletes, object);
                meta = meta.with_part(part);
            }
            readers.push((open(&bucket, &meta), rows(drop)));
            for ((id, row), (dropped, deleted)) in model.iter().zip(drop.iter().zip(deleted)) {
                let newer = expected.get(id).is_none_or(|known| known.lsn <= row.lsn);
                if !dropped && !deleted && newer {
                    expected.insert(*id, row.clone());
                }
            }
        }
        let inputs: Vec<_> = readers.iter().map(|(reader, drop)| MergeInput { reader, drop }).collect();
        let mut object = ObjectWriter::new("m");
        let merged = merge(&inputs, &schema(), &mut object, SegmentId(99)).unwrap();
        bucket.put("m", object.finish());
        let reader = open(&bucket, &merged.segment);
        // Each row that is there came from one place, and no other.
        let mut came: Vec<u32> = Vec::new();
        for ((input, _), rows) in readers.iter().zip(&merged.rows) {
            prop_assert_eq!(rows.len(), input.rows() as usize);
            for (old, new) in (0..).zip(rows).filter(|(_, new)| **new != GONE) {
                prop_assert_eq!(input.id(old).unwrap(), reader.id(*new).unwrap());
                prop_assert_eq!(input.lsn(old).unwrap(), reader.lsn(*new).unwrap());
                came.push(*new);
            }
        }
        came.sort_unstable();
        prop_assert!(came.into_iter().eq(0..reader.rows()));
        prop_assert_eq!(read(&reader), expected);
    }
}

fn one_row() -> Model {
    let vectors = [("half".to_owned(), vec![1; 10])].into();
    [(PointId::Num(1), ModelRow { lsn: 4, vectors, payload: serde_json::json!({"a": 1}) })].into()
}

#[test]
fn a_vector_of_another_shape_is_refused() {
    let reader = write_and_open(&one_row(), 1);
    let mut other = schema();
    other.vectors.get_mut("half").unwrap().dim = 6;
    let drop = RoaringBitmap::new();
    let input = MergeInput { reader: &reader, drop: &drop };
    assert!(merge(&[input], &other, &mut ObjectWriter::new("m"), SegmentId(2)).is_err());
}

#[test]
fn vectors_come_and_go_with_the_schema() {
    let reader = write_and_open(&one_row(), 1);
    let drop = RoaringBitmap::new();
    let mut vectors = schema().vectors;
    let half = vectors.remove("half").unwrap();
    vectors.insert("new".into(), half);
    let schema = SegmentSchema { vectors, ..SegmentSchema::default() };
    let mut object = ObjectWriter::new("m");
    let input = MergeInput { reader: &reader, drop: &drop };
    let meta = merge(&[input], &schema, &mut object, SegmentId(2)).unwrap().segment;
    let bucket = Arc::new(Bucket::default());
    bucket.put("m", object.finish());
    let merged = open(&bucket, &meta);
    assert!(merged.vector("half").unwrap().is_none());
    assert_eq!(merged.vector("new").unwrap().unwrap().len(), 0);
    assert_eq!(merged.payload(0).unwrap().0["a"], 1);
}
