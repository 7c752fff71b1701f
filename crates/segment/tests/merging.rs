//! A merge is what a map would be that took the rows in the order of their LSNs.

mod common;

use std::sync::Arc;

use common::*;
use lodestone_index::dense::GONE;
use lodestone_segment::{
    MergeInput, ObjectWriter, SegmentId, SegmentReader, SegmentSchema, delete_bitmap_part, merge,
};
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

/// Segment `at` in the bucket, with a deletes part where a row is marked.
fn stored(bucket: &Arc<Bucket>, at: usize, model: &Model, deleted: &[bool]) -> SegmentReader {
    let (key, deletes) = (format!("s{at}"), format!("d{at}"));
    let (object, mut meta) = write(model, &schema(), &key, at as u64);
    bucket.put(&key, object);
    if deleted.contains(&true) {
        let (object, part) = delete_bitmap_part(&deletes, &rows(deleted)).unwrap();
        bucket.put(&deletes, object);
        meta = meta.with_part(part);
    }
    open(bucket, &meta)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_equals_the_model(inputs in prop::collection::vec(any_input(), 0..5)) {
        let bucket = Arc::new(Bucket::default());
        let mut expected = Model::new();
        let mut readers = Vec::new();
        for (at, (model, drop, deleted)) in inputs.iter().enumerate() {
            readers.push((stored(&bucket, at, model, deleted), rows(drop)));
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

/// Rows of some hundred bytes of payload, whose ids are `step` apart.
fn long_rows(first: u64, count: u64, step: u64) -> Model {
    let row = |i: u64| {
        let payload = serde_json::json!({"a": i, "text": format!("{i} ").repeat(40 + (i % 7) as usize)});
        (PointId::Num(first + i * step), ModelRow { lsn: first + i, vectors: [].into(), payload })
    };
    (0..count).map(row).collect()
}

/// The merge of two segments, with the rows of the second that `drop` names left out.
fn merged(first: &Model, second: &Model, drop: &RoaringBitmap) -> (Vec<SegmentReader>, SegmentReader) {
    let (nothing, bucket) = (RoaringBitmap::new(), Arc::new(Bucket::default()));
    let readers = vec![write_and_open(first, 1), write_and_open(second, 2)];
    let inputs =
        [(&readers[0], &nothing), (&readers[1], drop)].map(|(reader, drop)| MergeInput { reader, drop });
    let mut object = ObjectWriter::new("m");
    let meta = merge(&inputs, &schema(), &mut object, SegmentId(9)).unwrap().segment;
    bucket.put("m", object.finish());
    (readers, open(&bucket, &meta))
}

/// Where blocks of payloads begin.
fn block_starts(reader: &SegmentReader) -> Vec<u32> {
    let payloads = reader.payloads().unwrap();
    (0..payloads.block_count()).map(|block| payloads.block_rows(block).start).collect()
}

#[test]
fn full_blocks_of_payloads_stay_as_they_are() {
    let (first, second) = (long_rows(0, 1010, 1), long_rows(5000, 1010, 1));
    let all: Model = first.iter().chain(&second).map(|(id, row)| (*id, row.clone())).collect();
    let (inputs, reader) = merged(&first, &second, &RoaringBitmap::new());
    assert_eq!(read(&reader), all);
    let [of_first, of_second] = [&inputs[0], &inputs[1]].map(block_starts);
    assert!(of_second.len() > 4, "{of_second:?}");
    let expected = of_first.into_iter().chain(of_second.iter().map(|start| start + 1010));
    assert!(block_starts(&reader).into_iter().eq(expected));

    // One of the second block is gone: what is left of that one is packed anew.
    let gone = of_second[1] + 1;
    let (_, reader) = merged(&first, &second, &RoaringBitmap::from([gone]));
    let without = all.into_iter().filter(|(id, _)| *id != PointId::Num(5000 + u64::from(gone)));
    assert_eq!(read(&reader), without.collect());
    let starts = block_starts(&reader);
    assert!(of_second[2..].iter().all(|start| starts.contains(&(start + 1010 - 1))), "{starts:?}");
}

#[test]
fn a_few_rows_before_a_full_block_are_packed_with_it() {
    let (few, second) = (long_rows(0, 3, 1), long_rows(5000, 1010, 1));
    let (inputs, reader) = merged(&few, &second, &RoaringBitmap::new());
    assert_eq!(read(&reader), few.into_iter().chain(second).collect());
    let of_second = block_starts(&inputs[1]);
    let expected = [0].into_iter().chain(of_second[1..].iter().map(|start| start + 3));
    assert!(block_starts(&reader).into_iter().eq(expected));
}

/// Rows of some hundred bytes to some thousand, of ids that follow one another in part, each with whether it is left out.
fn any_long_rows() -> impl Strategy<Value = (Model, Vec<bool>)> {
    let runs = prop::collection::vec((0u64..400, 1u64..120, 1u64..9), 1..6);
    (runs, 0u64..1000, 0.0..0.02f64).prop_flat_map(|(runs, lsn, lost)| {
        let row = move |id: u64, size: u64| {
            let payload =
                serde_json::json!({"a": id, "text": format!("{lsn} {id} ").repeat(40 * size as usize)});
            (PointId::Num(id), ModelRow { lsn: lsn + id % 5, vectors: [].into(), payload })
        };
        let rows: Model = runs
            .into_iter()
            .flat_map(|(first, count, size)| (first..first + count).map(move |id| row(id, size)))
            .collect();
        let count = rows.len();
        (Just(rows), prop::collection::vec(prop::bool::weighted(lost), count))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The third is merged with what the first two became.
    #[test]
    fn long_payloads_are_those_of_the_model(inputs in prop::collection::vec(any_long_rows(), 3)) {
        let bucket = Arc::new(Bucket::default());
        let mut expected = Model::new();
        let mut readers: Vec<SegmentReader> = Vec::new();
        for (at, (model, deleted)) in inputs.iter().enumerate() {
            readers.push(stored(&bucket, at, model, deleted));
            for ((id, row), deleted) in model.iter().zip(deleted) {
                if !deleted && expected.get(id).is_none_or(|known| known.lsn <= row.lsn) {
                    expected.insert(*id, row.clone());
                }
            }
        }
        let nothing = RoaringBitmap::new();
        while readers.len() > 1 {
            let pair = [0, 1].map(|at| MergeInput { reader: &readers[at], drop: &nothing });
            let key = format!("m{}", readers.len());
            let mut object = ObjectWriter::new(&key);
            let meta = merge(&pair, &schema(), &mut object, SegmentId(100 + readers.len() as u64)).unwrap().segment;
            bucket.put(&key, object.finish());
            readers.splice(..2, [open(&bucket, &meta)]);
        }
        prop_assert_eq!(read(&readers[0]), expected);
    }
}

#[test]
fn payloads_of_rows_in_turn_are_packed_anew() {
    let (even, odd) = (long_rows(0, 600, 2), long_rows(1, 600, 2));
    let (inputs, reader) = merged(&even, &odd, &RoaringBitmap::new());
    assert_eq!(read(&reader), even.into_iter().chain(odd).collect());
    let blocks = |reader: &SegmentReader| reader.payloads().unwrap().block_count();
    assert!(blocks(&reader) <= blocks(&inputs[0]) + blocks(&inputs[1]));
}
