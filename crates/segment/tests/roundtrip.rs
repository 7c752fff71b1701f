//! What was written is what is read, by every way of reading.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::*;
use lodestone_segment::{
    PartKind, Row, SECTION_ALIGN, SegmentReader, SegmentSchema, SegmentWriter, Vectors, delete_bitmap_part,
    list_parts,
};
use lodestone_types::{ErrorKind, PointId};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::json;

fn small() -> Model {
    let row = |lsn| ModelRow { lsn, vectors: Default::default(), payload: json!({"lsn": lsn}) };
    (0..10).map(|n| (PointId::Num(n * 3), row(n + 5))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_come_back(model in any_model(300), ids in prop::collection::vec(any_id(), 50)) {
        let bucket = Arc::new(Bucket::default());
        let (object, meta) = write(&model, &schema(), "a/segment", 7);
        prop_assert_eq!(list_parts("a/segment", &object).unwrap(), meta.parts.clone());
        prop_assert_eq!(object.len() as u64, meta.bytes());
        bucket.put("a/segment", object);
        let reader = open(&bucket, &meta);
        prop_assert_eq!(read(&reader), model.clone());
        prop_assert_eq!(meta.min_lsn, model.values().map(|r| r.lsn).min().unwrap_or(0));
        prop_assert_eq!(meta.max_lsn, model.values().map(|r| r.lsn).max().unwrap_or(0));

        let order: Vec<PointId> = model.keys().copied().collect();
        let column = reader.ids().unwrap();
        prop_assert_eq!(column.iter().collect::<Vec<_>>(), order.clone());
        for id in ids.into_iter().chain(order.iter().copied()) {
            prop_assert_eq!(column.find(id), order.binary_search(&id).ok().map(|r| r as u32));
            prop_assert_eq!(column.lower_bound(id), order.partition_point(|other| *other < id) as u32);
        }
        prop_assert_eq!(column.get(model.len() as u32), None);
        prop_assert_eq!(column.lsn(model.len() as u32), None);
        prop_assert!(reader.payload(model.len() as u32).is_err());
    }

    #[test]
    fn rows_on_disk_are_those_in_memory(model in any_model(300), jumps in prop::collection::vec(0u32..40, 100)) {
        let bucket = Arc::new(Bucket::default());
        bucket.on_disk.store(true, Ordering::Relaxed);
        let reader = write_and_open_in(bucket, &model, 1);
        prop_assert_eq!(read(&reader), model.clone());
        let whole = write_and_open(&model, 1);
        for name in schema().vectors.keys() {
            let Some(column) = reader.vector(name).unwrap() else { continue };
            let expected = whole.vector(name).unwrap().unwrap().all().unwrap();
            prop_assert_eq!(column.all().unwrap(), expected.clone());
            prop_assert!(matches!(column.vectors(false).unwrap(), Vectors::Memory(all) if all == expected));
            let Vectors::Disk(disk) = column.vectors(true).unwrap() else { panic!("in memory") };
            let (size, last) = (column.spec().row_bytes(), column.len() as u32);
            let slots: Vec<u32> = (0..last).rev().chain(0..last / 3).collect();
            let mut found = vec![1, 2];
            disk.read(&slots, &mut found).unwrap();
            disk.read_runs(&[last / 2..last, 0..last / 4], &mut found).unwrap();
            let slot = |slot: u32| &expected[slot as usize * size..][..size];
            let all = slots.iter().copied().chain(last / 2..last).chain(0..last / 4).flat_map(|s| slot(s).to_vec());
            prop_assert_eq!(found, [1, 2].into_iter().chain(all).collect::<Vec<u8>>());
            let (mut rows, mut at) = (column.reader(), 0);
            for jump in &jumps {
                at = (at + jump) % last.max(1);
                if at < last {
                    prop_assert_eq!(rows.slot(at).unwrap(), slot(at));
                }
            }
        }
    }

    #[test]
    fn blocks_hold_each_row_once_and_in_order(model in any_model(300)) {
        let reader = write_and_open(&model, 1);
        let payloads = reader.payloads().unwrap();
        let mut rows = 0;
        for (at, block) in payloads.blocks().enumerate() {
            let block = block.unwrap();
            prop_assert_eq!(block.rows(), payloads.block_rows(at));
            prop_assert_eq!(block.rows().start, rows);
            for row in block.rows() {
                prop_assert_eq!(payloads.block_of(row), Some(at));
                prop_assert_eq!(block.bytes(row).unwrap(), reader.payload_bytes(row).unwrap());
            }
            prop_assert_eq!(block.get(block.rows().end), None);
            rows = block.rows().end;
        }
        prop_assert_eq!(rows, reader.rows());
        prop_assert_eq!(payloads.block_of(rows), None);
    }

    #[test]
    fn slots_and_rows_name_each_other(model in any_model(300)) {
        let reader = write_and_open(&model, 1);
        for (name, spec) in schema().vectors {
            let column = reader.vector(&name).unwrap().unwrap();
            prop_assert_eq!((column.dim(), column.datatype()), (spec.dim as usize, spec.datatype));
            let having: Vec<u32> = (0u32..)
                .zip(model.values())
                .filter_map(|(row, r)| r.vectors.contains_key(&name).then_some(row))
                .collect();
            prop_assert_eq!(column.len(), having.len());
            prop_assert_eq!(column.present().is_none(), having.len() == model.len());
            let (all, mut rows) = (column.all().unwrap(), column.reader());
            for (slot, row) in having.iter().enumerate() {
                prop_assert_eq!(column.slot_to_row(slot as u32), Some(*row));
                prop_assert_eq!(column.row_to_slot(*row), Some(slot as u32));
                let bytes = spec.row_bytes();
                prop_assert_eq!(&all[slot * bytes..][..bytes], rows.row(*row).unwrap().unwrap());
            }
            prop_assert_eq!(column.slot_to_row(having.len() as u32), None);
            prop_assert_eq!(rows.row(model.len() as u32).unwrap(), None);
        }
    }
}

#[test]
fn sections_and_parts_are_aligned() {
    let (_, meta) = write(&small(), &schema(), "k", 1);
    for part in &meta.parts {
        assert_eq!(part.offset % SECTION_ALIGN, 0);
        assert!(part.sections.iter().all(|s| s.offset % SECTION_ALIGN == 0));
    }
}

#[test]
fn ids_have_to_ascend() {
    let mut writer = SegmentWriter::new(&SegmentSchema::default()).unwrap();
    let row = |id| Row { id, lsn: 1, vectors: &[], payload_json: b"" };
    writer.push(row(PointId::Num(5))).unwrap();
    assert!(writer.push(row(PointId::Num(5))).is_err());
    writer.push(row(PointId::Uuid(uuid::Uuid::nil()))).unwrap();
    assert!(writer.push(row(PointId::Num(6))).is_err());
}

#[test]
fn vectors_have_to_fit_the_schema() {
    let mut writer = SegmentWriter::new(&schema()).unwrap();
    let mut push = |vectors: &[(&str, &[u8])]| {
        writer.push(Row { id: PointId::Num(1), lsn: 1, vectors, payload_json: b"{}" })
    };
    assert!(push(&[("", &[0; 11])]).is_err());
    assert!(push(&[("other", &[0; 12])]).is_err());
    assert!(push(&[("", &[0; 12])]).is_ok());
}

#[test]
fn a_segment_may_be_empty() {
    let reader = write_and_open(&Model::new(), 1);
    assert_eq!(reader.rows(), 0);
    assert_eq!(reader.ids().unwrap().find(PointId::Num(1)), None);
    assert!(reader.vector("").unwrap().unwrap().all().unwrap().is_empty());
    block_on(reader.check()).unwrap();
}

#[test]
fn parts_are_fetched_once_and_shared_after_a_change_of_deletes() {
    let bucket = Arc::new(Bucket::default());
    let (object, meta) = write(&small(), &schema(), "k", 1);
    bucket.put("k", object);
    let reader = SegmentReader::open(Arc::new(meta.clone()), bucket.clone());
    assert_eq!(reader.ids().unwrap_err().kind, ErrorKind::Internal);
    let kinds = [PartKind::Ids, PartKind::Vector(String::new()), PartKind::Vector("none".into())];
    block_on(async { tokio::join!(reader.load(&kinds), reader.load(&kinds)) }).0.unwrap();
    assert_eq!(bucket.fetches.load(Ordering::Relaxed), 2);
    assert!(reader.vector("none").unwrap().is_none());
    assert!(reader.deletes().unwrap().is_empty());

    let rows: RoaringBitmap = [2, 9].into_iter().collect();
    let (object, part) = delete_bitmap_part("d1", &rows).unwrap();
    bucket.put("d1", object);
    let changed = reader.with_meta(Arc::new(meta.with_part(part)));
    assert!(!changed.is_loaded(&PartKind::Deletes));
    block_on(changed.load_all()).unwrap();
    assert_eq!(changed.deletes().unwrap(), &rows);
    assert_eq!(changed.meta().deleted_rows(), 2);
    assert!(reader.is_loaded(&PartKind::Payload), "clones share what they load");
    assert!(reader.deletes().unwrap().is_empty());
    assert_eq!(bucket.fetches.load(Ordering::Relaxed), 2 + 3 + 1);
    assert_eq!(changed.loaded_bytes(), changed.meta().bytes());
}

#[test]
fn deletes_past_the_rows_are_refused() {
    let bucket = Arc::new(Bucket::default());
    let (object, meta) = write(&small(), &schema(), "k", 1);
    bucket.put("k", object);
    let (object, part) = delete_bitmap_part("d1", &[10].into_iter().collect()).unwrap();
    bucket.put("d1", object);
    let reader = SegmentReader::open(Arc::new(meta.with_part(part)), bucket);
    let error = block_on(reader.load(&[PartKind::Deletes])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
    assert!(error.message.contains("'d1'") && error.message.contains("deletes"), "{error}");
}
