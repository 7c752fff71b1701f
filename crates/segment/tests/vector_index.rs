//! An index of vectors, written as parts and read again.

mod common;

use std::sync::Arc;

use common::*;
use lodestone_index::dense::{Effort, Searcher, Target};
use lodestone_segment::{PartKind, SegmentReader};
use lodestone_types::{ErrorKind, PointId};

const ROWS: u64 = 900;

/// Points on a spiral; every fifth has no vector.
fn spiral() -> Model {
    let vector = |n: u64| {
        let t = n as f32 / 40.0;
        [t * t.cos(), t * t.sin(), t].map(f32::to_le_bytes).concat()
    };
    let row = |n: u64| ModelRow {
        lsn: n,
        vectors: (!n.is_multiple_of(5)).then(|| (String::new(), vector(n))).into_iter().collect(),
        payload: serde_json::json!({}),
    };
    (0..ROWS).map(|n| (PointId::Num(n), row(n))).collect()
}

#[test]
fn comes_back_and_finds_what_it_holds() {
    let reader = write_and_open(&spiral(), 1);
    let (object, parts) = vector_index(&reader, "index");
    let meta = parts.iter().fold((**reader.meta()).clone(), |meta, part| meta.with_part(part.clone()));
    let bucket = Arc::new(Bucket::default());
    bucket.put("index", object);
    let indexed = SegmentReader::open(Arc::new(meta), bucket);
    assert!(indexed.vector_index("").is_err(), "nothing is loaded");
    block_on(indexed.load(&[PartKind::Model(String::new()), PartKind::VectorIndex(String::new())])).unwrap();
    let (model, index) = indexed.vector_index("").unwrap().unwrap();
    assert_eq!((index.rows() as u64, model.header().rows), (ROWS / 5 * 4, ROWS / 5 * 4));
    let mut found = Vec::new();
    let (keep, candidates) = (ROWS as usize * 2, ROWS as usize);
    let all = Effort { lists: model.lists(), wanted: candidates, keep, candidates, doubt: 0.0 };
    for row in [1, 77, 321, 899] {
        let vector = reader.vector("").unwrap().unwrap().reader().row(row).unwrap().unwrap();
        let vector = vector.as_chunks().0;
        let query: Vec<f32> = vector.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Searcher::new(model).search(model, &[Target { index, filter: None }], &query, all, &mut found);
        found.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let mut rows: Vec<u32> = found.iter().map(|candidate| candidate.row).collect();
        assert!(rows[..10].contains(&row), "row {row} is among the nearest to itself");
        rows.sort_unstable();
        assert!(
            rows.iter().copied().eq((0..ROWS as u32).filter(|row| row % 5 != 0)),
            "every row that has a vector"
        );
    }
}

#[test]
fn lists_of_another_model_are_refused() {
    let reader = write_and_open(&spiral(), 1);
    let (object, mut parts) = vector_index(&reader, "index");
    let other: Model = spiral().into_iter().take(800).collect();
    let (other_object, other_parts) = vector_index(&write_and_open(&other, 2), "other");
    parts[0] = other_parts[0].clone();
    let meta = parts.iter().fold((**reader.meta()).clone(), |meta, part| meta.with_part(part.clone()));
    let bucket = Arc::new(Bucket::default());
    bucket.put("index", object);
    bucket.put("other", other_object);
    let mixed = SegmentReader::open(Arc::new(meta), bucket);
    block_on(mixed.load(&[PartKind::Model(String::new()), PartKind::VectorIndex(String::new())])).unwrap();
    assert_eq!(mixed.vector_index("").unwrap_err().kind, ErrorKind::Damaged);
}
