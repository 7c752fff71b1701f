//! An index of vectors, written as parts and read again.

mod common;

use std::sync::Arc;

use common::*;
use lodestone_index::dense::{
    Calibration, Distance, Effort, Model as VectorModel, ModelHeader, Searcher, Target, TrainOptions,
};
use lodestone_kernels::LevelBits;
use lodestone_segment::{ObjectWriter, PartKind, PartMeta, SegmentMeta, SegmentReader};
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
    // What stands beside level codes is for searches of ranges, and is let go.
    let shape = parts[1].index_shape().unwrap();
    let tags = u64::from(shape.tag_bytes) * ROWS / 5 * 4;
    assert!((4..28).contains(&shape.tag_bytes) && index.shape().tag_bytes == 0);
    assert_eq!(indexed.loaded_bytes(), parts[0].length + parts[1].length - tags);
    assert!((index.bytes() as u64) < parts[1].length - tags);
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
fn a_model_says_what_searches_have_to_do() {
    let row = |i: usize, out: &mut [f32]| out.fill(i as f32);
    let options = TrainOptions {
        distance: Distance::Euclid,
        list_rows: 10,
        sample_rows: 100,
        level_bits: LevelBits::Four,
        seed: 1,
    };
    let mut model = VectorModel::train(3, 100, &row, options);
    let usual = ObjectWriter::new("usual").add_model("", &model).unwrap();
    let calibration = Calibration { lists: 2, keep: 300, candidates: 5, finer: true };
    model.note_calibration(calibration);
    model.note_decay(Some(12.5));
    let more = ObjectWriter::new("more").add_model("", &model).unwrap();
    assert_eq!(more.model_header().unwrap(), model.header());
    assert_eq!(more.model_header().unwrap().calibration, calibration);
    assert_eq!((more.model_header().unwrap().decay, usual.model_header().unwrap().decay), (Some(12.5), None));
    // Models of before there were calibrations end without one.
    let measures = postcard::to_stdvec(&(Calibration::default(), 0f32, false, None::<f32>, 0f32)).unwrap();
    let bytes = usual.detail.len() - measures.len();
    let with = |detail: Vec<u8>| PartMeta { detail, ..usual.clone() };
    let before = with(usual.detail[..bytes].to_vec());
    let header = before.model_header().unwrap();
    assert_eq!((header.rows, header.row_length, header.calibration), (100, 0.0, Calibration::default()));
    let nothing = Calibration { keep: 0, ..calibration };
    let never = with([&usual.detail[..bytes], &postcard::to_stdvec(&(nothing, 1f32)).unwrap()].concat());
    assert_eq!(never.model_header().unwrap_err().kind, ErrorKind::Damaged);
    // Those of before searches went by signs alone end with the calibration, those of before the decay was measured with the signs, and
    // those of before some rows went into a second list with the decay.
    let end_of_decay = more.detail.len() - size_of::<f32>();
    let end = end_of_decay - postcard::to_stdvec(&Some(12.5f32)).unwrap().len();
    let cut = |end: usize| with(more.detail[..end].to_vec()).model_header();
    let without_spill = ModelHeader { spill_cost: 0.0, ..model.header() };
    assert_ne!(model.header().spill_cost, 0.0);
    assert_eq!(cut(end_of_decay).unwrap(), without_spill);
    let without_decay = ModelHeader { decay: None, ..without_spill };
    assert_eq!((cut(end).unwrap(), cut(end - 1).unwrap()), (without_decay, without_decay));
    assert!(cut(end - 2).is_err() && cut(end + 1).is_err() && cut(end_of_decay + 1).is_err(), "cut off");
    let backwards = |end: usize, detail: &[u8]| with([&more.detail[..end], detail].concat()).model_header();
    assert!(backwards(end, &postcard::to_stdvec(&Some(-1f32)).unwrap()).is_err());
    assert!(backwards(end_of_decay, &(-1f32).to_le_bytes()).is_err());
    assert!(backwards(end_of_decay, &f32::NAN.to_le_bytes()).is_err());
    model.note_signs_alone(true);
    let signs = ObjectWriter::new("signs").add_model("", &model).unwrap();
    assert!(signs.model_header().unwrap().signs_alone && !more.model_header().unwrap().signs_alone);
}

#[test]
fn level_codes_stay_away_where_searches_go_by_signs_alone() {
    let reader = write_and_open(&spiral(), 1);
    let (object, parts) = vector_index_by(&reader, "index", true);
    let kinds =
        [PartKind::Model, PartKind::VectorIndex, PartKind::LevelCodes].map(|kind| kind(String::new()));
    assert_eq!(parts.iter().map(|part| part.kind.clone()).collect::<Vec<_>>(), kinds);
    let meta = reader.meta().with_index(&parts);
    let open = |meta: &SegmentMeta| {
        let bucket = Arc::new(Bucket::default());
        bucket.put("index", object.clone());
        SegmentReader::open(Arc::new(meta.clone()), bucket)
    };
    let indexed = open(&meta);
    block_on(indexed.load(&kinds[..2])).unwrap();
    assert_eq!(indexed.loaded_bytes(), parts[0].length + parts[1].length);
    let (_, index) = indexed.vector_index("").unwrap().unwrap();
    assert!(!index.has_levels());
    assert!(indexed.whole_vector_index("").is_err(), "level codes are not loaded");
    block_on(indexed.load(&kinds)).unwrap();
    let (_, whole) = indexed.whole_vector_index("").unwrap().unwrap();
    assert_eq!((whole.has_levels(), whole.rows()), (true, index.rows()));

    // Those of another index are refused, and an index that has its own has no others beside it.
    let (_, other) =
        vector_index_by(&write_and_open(&spiral().into_iter().take(800).collect(), 2), "index", true);
    let mixed = open(&meta.with_part(PartMeta { detail: other[2].detail.clone(), ..parts[2].clone() }));
    assert_eq!(block_on(mixed.far_index("")).unwrap_err().kind, ErrorKind::Damaged);
    let stray = open(&meta.without_part(&kinds[2]));
    block_on(stray.load(&kinds)).unwrap();
    assert_eq!(stray.whole_vector_index("").unwrap_err().kind, ErrorKind::Damaged);
    let (_, usual) = vector_index(&reader, "index");
    assert!(meta.with_index(&usual).part(&kinds[2]).is_none());
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
