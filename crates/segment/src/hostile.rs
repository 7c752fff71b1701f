//! Parts whose checksums are right and whose content is not: what a fault of ours could have written.

use bytes::Bytes;
use lodestone_types::{ErrorKind, PointId};
use proptest::prelude::*;

use crate::ids::{IdColumn, IdWriter};
use crate::meta::{PartKind, PartMeta, SectionKind};
use crate::part::{ObjectWriter, PartBytes, PartDraft};
use crate::payload::{PayloadColumn, PayloadWriter};
use crate::schema::VectorSpec;
use crate::vectors::{VectorColumn, VectorWriter};

const ROWS: u32 = 300;

fn drafts() -> Vec<PartDraft> {
    let mut ids = IdWriter::default();
    let mut payloads = PayloadWriter::new().unwrap();
    let mut vectors = VectorWriter::new(VectorSpec { dim: 2, datatype: lodestone_types::Datatype::Float16 });
    for row in 0..ROWS {
        let number = u64::from(row);
        let id = if row < 200 {
            PointId::Num(number * 977)
        } else {
            PointId::Uuid(uuid::Uuid::from_u128(u128::from(number) << 80))
        };
        ids.push(id, number ^ 0x5555).unwrap();
        payloads.push(format!("{{\"n\":\"{}\"}}", "7".repeat(row as usize)).as_bytes()).unwrap();
        if row % 3 == 0 {
            vectors.push(row, &row.to_le_bytes()).unwrap();
        }
    }
    let mut object = ObjectWriter::new("k");
    let payloads = payloads.finish(object.begin().unwrap()).unwrap();
    let vectors = vectors.finish(object.begin().unwrap(), "v", ROWS).unwrap();
    let object = object.finish();
    vec![ids.finish(ROWS).unwrap(), draft(payloads, &object), draft(vectors, &object)]
}

/// What a part was made of.
fn draft(meta: PartMeta, object: &Bytes) -> PartDraft {
    let part =
        PartBytes::verify(&meta, object.slice(meta.offset as usize..(meta.offset + meta.length) as usize));
    let part = part.unwrap();
    let kinds = meta.sections.iter().map(|section| section.kind);
    let kinds = kinds.filter(|kind| *kind != SectionKind::CHECKSUMS);
    let sections = kinds.map(|kind| (kind, part.section(kind).unwrap().bytes)).collect();
    PartDraft { kind: meta.kind, entries: meta.entries, detail: meta.detail, sections }
}

/// Reads everything a part holds.
fn read_all(draft: PartDraft) -> lodestone_types::Result<()> {
    let mut object = ObjectWriter::new("k");
    let meta = object.add(draft)?;
    let part = PartBytes::verify(&meta, object.finish())?;
    match &meta.kind {
        PartKind::Ids => {
            let ids = IdColumn::open(&part, ROWS)?;
            assert!(ids.iter().is_sorted());
            for (row, id) in (0..).zip(ids.iter()) {
                assert_eq!(ids.find(id), Some(row));
                assert!(ids.lsn(row).is_some());
            }
        }
        PartKind::Payload => {
            let payloads = PayloadColumn::open(&part, ROWS)?;
            for row in 0..ROWS {
                payloads.payload(row)?;
            }
        }
        _ => {
            let vectors = VectorColumn::open(&part, ROWS)?;
            let mut reader = vectors.reader();
            let there = (0..ROWS).filter_map(|row| reader.row(row).unwrap()).count();
            assert_eq!(there, vectors.len());
        }
    }
    Ok(())
}

fn damage(bytes: &mut Vec<u8>, how: usize, at: prop::sample::Index, number: u64) {
    if bytes.is_empty() {
        return bytes.extend_from_slice(&number.to_le_bytes());
    }
    let at = at.index(bytes.len());
    match how {
        0 => bytes.truncate(at),
        1 => bytes.extend_from_slice(&number.to_le_bytes()),
        2 => bytes[at] ^= (number as u8).max(1),
        3 => bytes.clear(),
        _ => bytes.iter_mut().skip(at).zip(number.to_le_bytes()).for_each(|(b, n)| *b = n),
    }
}

#[test]
fn sound_parts_are_read() {
    drafts().into_iter().for_each(|draft| read_all(draft).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn unsound_content_is_refused_or_read_without_panic(
        which in 0usize..3,
        section in any::<prop::sample::Index>(),
        how in 0usize..5,
        at in any::<prop::sample::Index>(),
        number in prop_oneof![any::<u64>(), 0u64..1000],
    ) {
        let mut draft = drafts().swap_remove(which);
        let section = section.index(draft.sections.len());
        let content = &mut draft.sections[section].1;
        let mut damaged = content.to_vec();
        damage(&mut damaged, how, at, number);
        *content = damaged.into();
        if let Err(error) = read_all(draft) {
            prop_assert_eq!(error.kind, ErrorKind::Damaged);
        }
    }

    #[test]
    fn unsound_details_are_refused_or_read_without_panic(
        which in 0usize..3,
        detail in prop::collection::vec(any::<u8>(), 0..24),
        entries in prop_oneof![any::<u64>(), 0u64..400],
    ) {
        let draft = drafts().swap_remove(which);
        if let Err(error) = read_all(PartDraft { detail, entries, ..draft }) {
            prop_assert_eq!(error.kind, ErrorKind::Damaged);
        }
    }
}
