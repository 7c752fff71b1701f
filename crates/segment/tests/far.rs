//! A segment read a little at a time.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::*;
use lodestone_index::dense::{self, ColdQuery, Distance, ReadBudget, TrainOptions, plan_reads};
use lodestone_kernels::LevelBits;
use lodestone_segment::{
    FarCandidate, ObjectWriter, PartKind, PartMeta, SectionKind, SegmentMeta, SegmentReader,
};
use lodestone_types::{Error, ErrorKind, PointId, Result};
use uuid::Uuid;

const ROWS: u64 = 900;

fn vector(n: u64) -> Vec<u8> {
    let t = n as f32 / 40.0;
    [t * t.cos(), t * t.sin(), t].map(f32::to_le_bytes).concat()
}

/// Points on a spiral; every fifth has no vector. Ids are numbers up to one from which on they are UUIDs.
fn spiral(numbers: u64) -> Model {
    let id = |n: u64| if n < numbers { PointId::Num(n) } else { PointId::Uuid(Uuid::from_u128(n.into())) };
    let row = |n: u64| ModelRow {
        lsn: 2 * n,
        vectors: (!n.is_multiple_of(5)).then(|| (String::new(), vector(n))).into_iter().collect(),
        payload: serde_json::json!({"n": n, "text": "text ".repeat(n as usize % 40)}),
    };
    (0..ROWS).map(|n| (id(n), row(n))).collect()
}

type Written = (Vec<(&'static str, Bytes)>, SegmentMeta);

fn written(numbers: u64) -> Written {
    written_by(numbers, false)
}

fn written_by(numbers: u64, signs_alone: bool) -> Written {
    let (object, meta) = write(&spiral(numbers), &schema(), "segment", 1);
    let (index, parts) = vector_index_by(&open_one("segment", &object, &meta), "index", signs_alone);
    let meta = parts.iter().fold(meta, |meta, part| meta.with_part(part.clone()));
    (vec![("segment", object), ("index", index)], meta)
}

/// What a search found: candidates, the vectors of some of them, and their payloads.
type Found = (Vec<FarCandidate>, Vec<Bytes>, Vec<Bytes>);

fn search((objects, meta): &Written, budget: ReadBudget) -> Result<Found> {
    let bucket = Arc::new(Bucket::default());
    objects.iter().for_each(|(key, object)| bucket.put(key, object.clone()));
    let reader = SegmentReader::open(Arc::new(meta.clone()), bucket);
    block_on(async {
        let outline = reader.outline("").await?;
        let index = reader.far_index("").await?;
        let payloads = reader.far_payloads().await?;
        let query = ColdQuery::new(&outline, &[1.0, -3.0, 4.0]);
        let mut found = Vec::new();
        for (_, places) in plan_reads(&query.promises(&outline), &[index.places()], budget) {
            found.extend(reader.far_candidates(&index, &query, places).await?);
        }
        found.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let best: Vec<_> = found.iter().take(40).map(|candidate| candidate.tag).collect();
        let vectors = reader
            .far_vector_bytes(&reader.vector_places("")?, &best)
            .await
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let rows: Vec<u32> = best.iter().map(|tag| tag.row).collect();
        let texts = reader.far_payload_texts(&payloads, &rows).await?;
        Ok((found, vectors, texts.into_iter().collect::<Result<Vec<_>>>()?))
    })
}

const ALL: ReadBudget =
    ReadBudget { places: usize::MAX, ranges: usize::MAX, least: 0.0, at_least: usize::MAX, request: 0.0 };
const SOME: ReadBudget = ReadBudget { places: 100, ranges: 3, ..ALL };

#[test]
fn finds_rows_with_all_that_is_known_of_them() {
    for numbers in [ROWS, 300] {
        let written = written(numbers);
        let (found, vectors, payloads) = search(&written, ALL).unwrap();
        assert_eq!(found.len() as u64, ROWS / 5 * 4);
        for ((candidate, bytes), payload) in found.iter().zip(&vectors).zip(&payloads) {
            let tag = candidate.tag;
            let n = match tag.id {
                PointId::Num(n) => n,
                PointId::Uuid(id) => id.as_u128() as u64,
            };
            assert_eq!((u64::from(tag.row), tag.lsn), (n, 2 * n));
            assert_eq!((u64::from(tag.slot), **bytes == vector(n)[..]), (n - 1 - n / 5, true));
            let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
            assert_eq!(payload["n"], n);
        }
        let (some, ..) = search(&written, SOME).unwrap();
        assert!((40..=100).contains(&some.len()), "{}", some.len());
        assert_eq!(some[..10], found[..10], "the nearest lists have the nearest rows");
    }
}

#[test]
fn level_codes_that_are_a_part_of_their_own_are_read_from_there() {
    let (with_lists, alone) = (written_by(ROWS, false), written_by(ROWS, true));
    assert_eq!(alone.1.parts.len(), with_lists.1.parts.len() + 1);
    for budget in [ALL, SOME] {
        assert!(search(&alone, budget).unwrap() == search(&with_lists, budget).unwrap());
    }
    let part = alone.1.part(&PartKind::LevelCodes(String::new())).unwrap();
    let (start, length) = section(part, SectionKind::LEVELS);
    let changed = (flipped(&alone.0, "index", start + length / 2), alone.1.clone());
    assert_eq!(search(&changed, ALL).unwrap_err().kind, ErrorKind::Damaged);
}

fn section(part: &PartMeta, kind: SectionKind) -> (u64, u64) {
    let section = part.sections.iter().find(|section| section.kind == kind).unwrap();
    (part.offset + section.offset, section.length)
}

#[test]
fn a_changed_byte_is_seen_wherever_it_is() {
    let (objects, meta) = written(ROWS);
    let part = |kind: PartKind| meta.part(&kind).unwrap();
    let (model, index) = (part(PartKind::Model(String::new())), part(PartKind::VectorIndex(String::new())));
    let (raw, payload) = (part(PartKind::Vector(String::new())), part(PartKind::Payload));
    for (key, (start, length)) in [
        ("index", section(model, SectionKind::MEAN)),
        ("index", section(model, SectionKind::CENTROID_LEVELS)),
        ("index", section(index, SectionKind::CLUSTERS)),
        ("index", section(index, SectionKind::LIST_CHECKSUMS)),
        ("index", section(index, SectionKind::LEVELS)),
        ("segment", section(payload, SectionKind::PAYLOAD_TABLE)),
    ] {
        for at in (0..length).step_by(length.div_ceil(23) as usize) {
            let error = search(&(flipped(&objects, key, start + at), meta.clone()), ALL).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
            assert!(error.message.contains(&format!("'{key}'")), "{error}");
        }
    }
    // Of vectors and payloads only some are read.
    let expected = search(&(objects.clone(), meta.clone()), ALL).unwrap();
    let mut seen = 0;
    for (start, length) in [section(raw, SectionKind::RAW), section(payload, SectionKind::PAYLOAD_BLOCKS)] {
        for at in (0..length).step_by(length.div_ceil(150) as usize) {
            let found = search(&(flipped(&objects, "segment", start + at), meta.clone()), ALL);
            match found {
                Ok(found) => assert!(found == expected, "a wrong row"),
                Err(Error { kind, .. }) => seen += usize::from(kind == ErrorKind::Damaged),
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn single_vectors_are_read_in_blocks_that_are_checked() {
    const MANY: u64 = 30_000;
    const WANTED: [u32; 5] = [29_999, 0, 5_461, 5_462, 12_000];
    let row =
        |n| ModelRow { lsn: 1, vectors: [(String::new(), vector(n))].into(), payload: serde_json::json!({}) };
    let rows: Model = (0..MANY).map(|n| (PointId::Num(n), row(n))).collect();
    let (object, meta) = write(&rows, &schema(), "segment", 1);
    let kind = PartKind::Vector(String::new());
    let read = |objects: &[(&'static str, Bytes)]| {
        let bucket = Arc::new(Bucket::default());
        objects.iter().for_each(|(key, object)| bucket.put(key, object.clone()));
        let reader = SegmentReader::open(Arc::new(meta.clone()), bucket);
        assert!(reader.is_worth_reading_alone(&kind, 1) && !reader.is_worth_reading_alone(&kind, 2));
        block_on(async { reader.far_rows(&reader.vector_checks("").await?, &WANTED).await })
    };
    let objects = vec![("segment", object)];
    let expected: Vec<Bytes> = WANTED.iter().map(|n| vector(u64::from(*n)).into()).collect();
    assert_eq!(read(&objects).unwrap(), expected, "one of them lies in two blocks");
    let part = meta.part(&kind).unwrap();
    let mut seen = 0;
    for kind in [SectionKind::RAW, SectionKind::CHECKSUMS] {
        let (start, length) = section(part, kind);
        for at in (0..length).step_by(length.div_ceil(40) as usize) {
            match read(&flipped(&objects, "segment", start + at)) {
                Ok(found) => assert_eq!(found, expected),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 40, "{seen}");
    let few = written(ROWS).1;
    let reader = SegmentReader::open(Arc::new(few), Arc::new(Bucket::default()));
    assert!(!reader.is_worth_reading_alone(&kind, 1), "not every row has one");
}

fn flipped(objects: &[(&'static str, Bytes)], key: &str, at: u64) -> Vec<(&'static str, Bytes)> {
    let mut objects = objects.to_vec();
    let object = objects.iter_mut().find(|(known, _)| *known == key).unwrap();
    let mut bytes = object.1.to_vec();
    bytes[at as usize] ^= 0x10;
    object.1 = bytes.into();
    objects
}

/// A segment with a model of so many lists, or more, of 2,048 components, and the model.
fn with_model(lists: usize) -> (Written, dense::Model) {
    const DIM: usize = 2_048;
    let row = |number: usize, row: &mut [f32]| {
        row.iter_mut().enumerate().for_each(|(x, to)| *to = ((number * 31 + x * 17) % 101) as f32);
    };
    let options = TrainOptions {
        distance: Distance::Euclid,
        list_rows: 2,
        sample_rows: 2 * lists,
        level_bits: LevelBits::Four,
        seed: 1,
    };
    let model = dense::Model::train(DIM, 2 * lists, &row, options);
    let (segment, meta) = write(&spiral(ROWS), &schema(), "segment", 1);
    let mut object = ObjectWriter::new("model");
    let meta = meta.with_part(object.add_model("", &model).unwrap());
    ((vec![("segment", segment), ("model", object.finish())], meta), model)
}

#[test]
fn where_level_codes_of_centroids_would_be_large_signs_are_read() {
    let query: Vec<f32> = (0..2_048).map(|x| x as f32 % 7.0).collect();
    for (lists, kind, other) in [
        (64, SectionKind::CENTROID_LEVELS, SectionKind::CENTROID_SIGNS),
        (600, SectionKind::CENTROID_SIGNS, SectionKind::CENTROID_LEVELS),
    ] {
        let (written, model) = with_model(lists);
        let outline = |(objects, meta): &Written| {
            let bucket = Arc::new(Bucket::default());
            objects.iter().for_each(|(key, object)| bucket.put(key, object.clone()));
            let reader = SegmentReader::open(Arc::new(meta.clone()), bucket);
            let bytes = reader.outline_bytes("")?;
            block_on(reader.outline("")).map(|outline| (outline, bytes))
        };
        let (read, bytes) = outline(&written).unwrap();
        let part = written.1.part(&PartKind::Model(String::new())).unwrap();
        assert!(part.sections.iter().all(|section| section.kind != other));
        let (start, length) = section(part, kind);
        assert!(
            (length..length + 8_192 + 4_096).contains(&bytes) && length <= 512 << 10,
            "{bytes}, {length}"
        );
        let promises = ColdQuery::new(&read, &query).promises(&read);
        assert_eq!(promises.len(), model.lists());
        let nearest = promises.iter().copied().fold(0.0, f32::max);
        assert!(
            (0.99..=1.0).contains(&nearest) && promises.iter().any(|promise| *promise < 0.5),
            "{promises:?}"
        );
        for at in [0, length / 2, length - 1] {
            let changed = (flipped(&written.0, "model", start + at), written.1.clone());
            assert_eq!(outline(&changed).unwrap_err().kind, ErrorKind::Damaged);
        }
    }
}
