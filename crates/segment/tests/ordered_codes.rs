//! Level codes in the order of a field, written beside a segment and read a little at a time.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::*;
use lodestone_index::RareValues;
use lodestone_index::dense::ColdQuery;
use lodestone_segment::{
    FarCandidate, ObjectWriter, PartKind, RowOrder, SectionKind, SegmentMeta, SegmentReader,
    build_field_index_part,
};
use lodestone_types::{ErrorKind, FieldIndex, FieldIndexKind, JsonPath, PointId, Result};
use roaring::RoaringBitmap;

const ROWS: u64 = 2_000;
const QUERY: [f32; 3] = [1.0, -3.0, 4.0];

fn path() -> JsonPath {
    "colour".parse().unwrap()
}

fn field() -> PartKind {
    let params = Some(r#"{"type":"keyword","is_tenant":true}"#.to_owned());
    PartKind::FieldIndex { path: path(), index: FieldIndex { kind: FieldIndexKind::Keyword, params } }
}

/// The same where nobody said that most searches ask for it.
fn plain_field() -> PartKind {
    let index = FieldIndex { kind: FieldIndexKind::Keyword, params: None };
    PartKind::FieldIndex { path: path(), index }
}

fn ordered() -> PartKind {
    PartKind::OrderedCodes { vector: String::new(), path: path() }
}

/// Points on a spiral, each of one of seven colours by turns.
fn spiral() -> Model {
    let row = |n: u64| {
        let t = n as f32 / 40.0;
        let vector = [t * t.cos(), t * t.sin(), t].map(f32::to_le_bytes).concat();
        let payload = serde_json::json!({ "colour": format!("colour {}", n % 7) });
        ModelRow { lsn: 2 * n, vectors: [(String::new(), vector)].into(), payload }
    };
    (0..ROWS).map(|n| (PointId::Num(n), row(n))).collect()
}

/// A segment with an index of its vectors, one of the field, and codes in the order of the field: objects and what the manifest has of them.
fn written(signs_alone: bool) -> (Vec<(&'static str, Bytes)>, SegmentMeta) {
    written_in(&field(), RowOrder::ByValue, signs_alone)
}

fn written_in(
    field: &PartKind,
    order: RowOrder,
    signs_alone: bool,
) -> (Vec<(&'static str, Bytes)>, SegmentMeta) {
    let (object, meta) = write(&spiral(), &schema(), "segment", 1);
    let plain = open_one("segment", &object, &meta);
    let (index, parts) = vector_index_by(&plain, "index", signs_alone);
    let PartKind::FieldIndex { path, index: how } = field else { unreachable!() };
    let (field_object, field_part) = build_field_index_part("field", &plain, path, how).unwrap();
    let meta = parts.into_iter().chain([field_part]).fold(meta, |meta, part| meta.with_part(part));
    let mut objects = vec![("segment", object), ("index", index), ("field", field_object)];
    let reader = open(&objects, &meta);
    let mut object = ObjectWriter::new("order");
    let part = block_on(async {
        reader.load(std::slice::from_ref(field)).await?;
        let rows = reader.rows_in_order(path, order)?;
        let codes = reader.stored_codes("").await?.by_row(reader.meta())?;
        object.add_ordered_codes(reader.meta(), "", &rows, (rows.count() > 0).then_some(&codes))
    });
    let meta = meta.with_part(part.unwrap());
    objects.push(("order", object.finish()));
    (objects, meta)
}

fn open(objects: &[(&'static str, Bytes)], meta: &SegmentMeta) -> SegmentReader {
    let bucket = Arc::new(Bucket::default());
    objects.iter().for_each(|(key, object)| bucket.put(key, object.clone()));
    SegmentReader::open(Arc::new(meta.clone()), bucket)
}

/// What codes say of the rows of one colour, by row, and how many bytes were read for it.
fn of_colour(reader: &SegmentReader, colour: u64) -> Result<(Vec<FarCandidate>, u64)> {
    block_on(async {
        let field = reader.meta().field_index(&path()).unwrap().0.kind.clone();
        reader.load(&[field]).await?;
        let query = ColdQuery::new(&reader.outline("").await?, &QUERY);
        let blocks = reader.ordered_blocks("", &path())?.expect("there are such codes");
        let order = reader.ordered_rows("", &path())?.unwrap();
        let is_of_colour = |row: &u32| u64::from(*row) % 7 == colour;
        let places: RoaringBitmap =
            (0..).zip(&order).filter(|(_, row)| is_of_colour(row)).map(|(place, _)| place).collect();
        let checks = reader.row_checks(&blocks).await?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for run in blocks.runs(&places) {
            bytes += run.len();
            let codes = reader.far_run(&blocks, &run).await?;
            for (place, code) in checks.of_run(&run, &codes, places.range(run.rows.clone()))? {
                found.push(reader.ordered_candidate(
                    &query,
                    &code,
                    reader.tag_layout("")?,
                    order[place as usize],
                )?);
            }
        }
        found.sort_by_key(|candidate| candidate.tag.row);
        Ok((found, bytes))
    })
}

/// What the codes of lists say of all rows, by row.
fn of_lists(reader: &SegmentReader) -> Vec<FarCandidate> {
    block_on(async {
        let query = ColdQuery::new(&reader.outline("").await.unwrap(), &QUERY);
        let index = reader.far_index("").await.unwrap();
        let mut found = reader.far_candidates(&index, &query, 0..index.rows()).await.unwrap();
        found.sort_by_key(|candidate| candidate.tag.row);
        found
    })
}

#[test]
fn rows_of_a_value_lie_together_and_have_the_codes_they_have_in_lists() {
    for signs_alone in [false, true] {
        let (objects, meta) = written(signs_alone);
        let reader = open(&objects, &meta);
        let all = of_lists(&reader);
        assert_eq!(all.len() as u64, ROWS);
        for colour in 0..7 {
            let (found, bytes) = of_colour(&reader, colour).unwrap();
            let expected: Vec<FarCandidate> =
                all.iter().copied().filter(|row| u64::from(row.tag.row) % 7 == colour).collect();
            assert_eq!(found, expected);
            let part = meta.part(&ordered()).unwrap();
            assert!(bytes <= part.length / 7 + (128 << 10), "{bytes} of {}", part.length);
        }
        block_on(reader.check()).unwrap();
    }
}

/// The last two of seven colours have 285 rows, the others one more.
const RARE: RareValues = RareValues { least: 200, most: 285, rows: 600 };

#[test]
fn rows_of_rare_values_lie_together_and_others_are_not_there() {
    let (objects, meta) = written_in(&plain_field(), RowOrder::Rare(RARE), true);
    let reader = open(&objects, &meta);
    let part = meta.part(&ordered()).unwrap();
    assert_eq!(part.entries, 570, "two colours");
    assert_eq!(meta.without_outdated_orders(), meta);
    let all = of_lists(&reader);
    for (colour, count) in [(1, 0), (5, 285), (6, 285), (0, 0)] {
        let (found, bytes) = of_colour(&reader, colour).unwrap();
        let of_colour = |row: &FarCandidate| u64::from(row.tag.row) % 7 == colour;
        let expected: Vec<FarCandidate> =
            all.iter().copied().filter(|row| count > 0 && of_colour(row)).collect();
        assert_eq!((found.len(), &found), (count, &expected), "{colour}");
        assert!(bytes <= part.length);
    }
    block_on(reader.check()).unwrap();
}

#[test]
fn there_may_be_no_rare_values() {
    let (objects, meta) = written_in(&plain_field(), RowOrder::Rare(RareValues { most: 284, ..RARE }), false);
    let reader = open(&objects, &meta);
    assert_eq!(meta.ordered_codes("", &path()).unwrap().entries, 0);
    assert!(reader.ordered_blocks("", &path()).unwrap().is_none());
    block_on(reader.check()).unwrap();
}

#[test]
fn codes_of_other_rows_than_the_index_tells_of_are_damaged() {
    let (objects, mut meta) = written_in(&plain_field(), RowOrder::Rare(RARE), false);
    let told = |meta: &SegmentMeta| {
        let reader = open(&objects, meta);
        block_on(reader.load(&[plain_field()])).unwrap();
        reader.ordered_rows("", &path())
    };
    assert_eq!(told(&meta).unwrap().unwrap().len(), 570);
    meta.parts.iter_mut().filter(|part| part.kind == ordered()).for_each(|part| part.entries = 285);
    let error = told(&meta).unwrap_err();
    assert!(error.kind == ErrorKind::Damaged && error.message.contains("tells of 570 rows"), "{error}");
}

#[test]
fn a_changed_byte_is_seen() {
    let (objects, meta) = written(false);
    let expected = of_colour(&open(&objects, &meta), 3).unwrap();
    let part = meta.part(&ordered()).unwrap();
    let mut seen = 0;
    for kind in [SectionKind::LEVELS, SectionKind::CHECKSUMS] {
        let section = part.sections.iter().find(|section| section.kind == kind).unwrap();
        for at in (0..section.length).step_by(section.length.div_ceil(40) as usize) {
            let mut changed = objects.clone();
            let mut bytes = changed[3].1.to_vec();
            bytes[(part.offset + section.offset + at) as usize] ^= 4;
            changed[3].1 = bytes.into();
            match of_colour(&open(&changed, &meta), 3) {
                Ok(found) => assert_eq!(found, expected, "it is in a block that was not read"),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
                    assert!(error.message.contains("'order'"), "{error}");
                    seen += 1;
                }
            }
            assert_eq!(block_on(open(&changed, &meta).check()).unwrap_err().kind, ErrorKind::Damaged);
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn codes_of_other_indexes_are_not_used() {
    let (_, meta) = written(false);
    assert!(meta.ordered_codes("", &path()).is_some());
    assert_eq!(meta.without_outdated_orders(), meta);
    assert!(meta.ordered_codes("half", &path()).is_none());
    let mut plain = meta.part(&field()).unwrap().clone();
    let index = FieldIndex { kind: FieldIndexKind::Keyword, params: None };
    plain.kind = PartKind::FieldIndex { path: path(), index };
    assert!(meta.with_part(plain).ordered_codes("", &path()).is_none(), "it is a tenant's no more");
    let (_, rare) = written_in(&plain_field(), RowOrder::Rare(RARE), false);
    let mut tenants = rare.part(&plain_field()).unwrap().clone();
    tenants.kind = field();
    assert!(rare.with_part(tenants).ordered_codes("", &path()).is_none(), "it is a tenant's now");
    for kind in [field(), PartKind::VectorIndex(String::new())] {
        let mut other = meta.part(&kind).unwrap().clone();
        other.checksum ^= 1;
        for changed in [meta.with_part(other), meta.without_part(&kind)] {
            assert!(changed.ordered_codes("", &path()).is_none(), "{kind}");
            assert!(changed.without_outdated_orders().part(&ordered()).is_none());
        }
    }
}
