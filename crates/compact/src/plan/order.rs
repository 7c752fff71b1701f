//! Which segment gets codes in the order of fields next.

use lodestone_index::{RareValues, is_principal};
use lodestone_manifest::{Collection, SegmentEntry, SegmentId};
use lodestone_segment::{PartKind, RowOrder, SegmentMeta};
use lodestone_types::{JsonPath, Result};

use super::CompactOptions;

/// Rows of a value whose vectors are never read one by one: so many of them take a search's requests.
const NOT_ALONE: u64 = 64;
/// What the vector of a row that lies alone costs a search, about, in bytes that it could read of codes instead: a block and a request.
const ALONE: u64 = 320 << 10;
/// Codes in the order of rare values are of no more than one in so many rows, all fields together.
const ONE_IN: u32 = 4;

/// Codes of the vectors of one name in one segment, to be written in the order of fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTask {
    /// The segment.
    pub segment: SegmentId,
    /// The name of the vectors.
    pub vector: String,
    /// Which rows of each of the fields. What rare values may have is of all fields together.
    pub order: RowOrder,
    /// The fields.
    pub fields: Vec<JsonPath>,
}

/// The codes that a segment lacks first, if any: of each index of vectors which all its rows have, in the order of each field that the user
/// calls a tenant's or the principal one; then those of rare values of all other fields, where all codes are too many to be read whole. If
/// one of these lacks them all get new ones, as it may have rarer values.
pub(super) fn order_due(
    collection: &Collection,
    entry: &SegmentEntry,
    options: &CompactOptions,
) -> Result<Option<OrderTask>> {
    if collection.fields.is_empty() {
        return Ok(None);
    }
    let meta = SegmentMeta::from_entry(entry)?;
    let built = collection.fields.iter().filter(|(path, (index, _))| {
        index.kind.has_order() && meta.field_index(path).is_some_and(|(_, built)| built == index)
    });
    let (principal, others): (Vec<_>, Vec<_>) = built.partition(|(_, (index, _))| is_principal(index));
    for part in meta.parts.iter().filter(|part| part.entries == u64::from(meta.rows)) {
        let PartKind::VectorIndex(vector) = &part.kind else { continue };
        let lacks = |path: &JsonPath| meta.ordered_codes(vector, path).is_none();
        let task = |order, fields: Vec<JsonPath>| {
            Ok(Some(OrderTask { segment: entry.id, vector: vector.clone(), order, fields }))
        };
        let lacking: Vec<_> =
            principal.iter().map(|(path, _)| *path).filter(|path| lacks(path)).cloned().collect();
        if !lacking.is_empty() {
            return task(RowOrder::ByValue, lacking);
        }
        if let Some(rare) = rare_values(&meta, vector, options)
            && others.iter().any(|(path, _)| lacks(path))
        {
            return task(RowOrder::Rare(rare), others.iter().map(|(path, _)| (*path).clone()).collect());
        }
    }
    Ok(None)
}

/// Which values of any field are rare; `None` if all codes of the vectors called `vector` may as well be read.
fn rare_values(meta: &SegmentMeta, vector: &str, options: &CompactOptions) -> Option<RareValues> {
    // Without codes of lists there is nothing to write.
    let bytes = meta.code_bytes(vector).ok().filter(|bytes| *bytes > options.code_bytes_at_once)?;
    // Of values with fewer rows vectors are read; with more than `most`, which are less than all, as much as by lists.
    let least = (bytes / ALONE).min(NOT_ALONE);
    let most = u64::from(meta.rows).saturating_mul(options.code_bytes_at_once) / bytes;
    Some(RareValues { least: least as u32, most: most as u32, rows: meta.rows / ONE_IN })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lodestone_manifest::{CollectionId, Shard, SliceHeader, Slot, TailRange};
    use lodestone_segment::{PartMeta, SectionKind, SectionMeta};
    use lodestone_types::{CollectionConfig, FieldIndex, FieldIndexKind};

    use super::*;
    use crate::plan::{Aside, CompactOptions, Task, due};

    const ROWS: u32 = 500;

    fn tenants(is_tenant: bool) -> FieldIndex {
        let params = Some(format!(r#"{{"type":"keyword","is_tenant":{is_tenant}}}"#));
        FieldIndex { kind: FieldIndexKind::Keyword, params }
    }

    fn collection(index: FieldIndex) -> Collection {
        let fields = [("tenant".parse().unwrap(), (index, Slot(1)))].into_iter().collect();
        let config = CollectionConfig::new(Default::default()).into();
        Collection { id: CollectionId(1), name: "c".into(), config, fields }
    }

    /// A segment of so many rows with the index of a field, and one of vectors that some rows have.
    fn entry(id: u64, rows: u32, index: FieldIndex, vectors: u32) -> SegmentEntry {
        let part = |kind, entries: u32| PartMeta {
            kind,
            object: "o".into(),
            offset: 0,
            length: 256 * u64::from(rows),
            version: 1,
            entries: entries.into(),
            detail: vec![],
            sections: vec![SectionMeta {
                kind: SectionKind::LEVELS,
                offset: 0,
                length: 200 * u64::from(rows),
            }],
            checksum: 5,
        };
        let field = PartKind::FieldIndex { path: "tenant".parse().unwrap(), index };
        let parts = vec![part(field, rows), part(PartKind::VectorIndex("v".into()), vectors)];
        SegmentMeta { id: SegmentId(id), rows, min_lsn: 1, max_lsn: 1, parts }.to_entry(0).unwrap()
    }

    fn task(index: FieldIndex, built: FieldIndex, rows: u32, vectors: u32) -> Option<OrderTask> {
        let entry = entry(3, rows, built, vectors);
        order_due(&collection(index), &entry, &CompactOptions::default()).unwrap()
    }

    fn path() -> JsonPath {
        "tenant".parse().unwrap()
    }

    #[test]
    fn fields_that_are_said_to_be_asked_for_are_put_in_order() {
        let task = |index, built, vectors| task(index, built, ROWS, vectors);
        let (vector, order) = ("v".to_owned(), RowOrder::ByValue);
        let expected = OrderTask { segment: SegmentId(3), vector, order, fields: vec![path()] };
        assert_eq!(task(tenants(true), tenants(true), ROWS), Some(expected));
        assert_eq!(task(tenants(false), tenants(false), ROWS), None);
        assert_eq!(task(tenants(true), tenants(false), ROWS), None, "the index is built anew first");
        assert_eq!(task(tenants(true), tenants(true), ROWS - 1), None, "a row has no vector");
        let text = FieldIndex { kind: FieldIndexKind::Text, ..tenants(true) };
        assert_eq!(task(text.clone(), text, ROWS), None);
        let text = FieldIndex { kind: FieldIndexKind::Text, params: None };
        assert_eq!(super::tests::task(text.clone(), text, 40_000, 40_000), None);
    }

    #[test]
    fn of_other_fields_only_rare_values_of_large_segments_are_put_in_order() {
        let order = |rows, index: FieldIndex| task(index.clone(), index, rows, rows).map(|task| task.order);
        assert_eq!(order(20_000, tenants(false)), None, "all codes may as well be read");
        let rare = |rows| order(rows, tenants(false));
        let values = RareValues { least: 24, most: 20_971, rows: 10_000 };
        assert_eq!(rare(40_000), Some(RowOrder::Rare(values)), "each 200 bytes");
        let values = RareValues { least: 64, most: 20_971, rows: 250_000 };
        assert_eq!(rare(1_000_000), Some(RowOrder::Rare(values)));
        assert_eq!(order(40_000, tenants(true)), Some(RowOrder::ByValue));
    }

    #[test]
    fn what_most_searches_ask_for_comes_first_and_other_fields_then_all_together() {
        let rows = 40_000;
        let named = |name: &str| -> JsonPath { name.parse().unwrap() };
        let mut collection = collection(tenants(true));
        let mut meta = SegmentMeta::from_entry(&entry(3, rows, tenants(true), rows)).unwrap();
        for name in ["a", "b"] {
            collection.fields.insert(named(name), (tenants(false), Slot(1)));
            let kind = PartKind::FieldIndex { path: named(name), index: tenants(false) };
            meta = meta.with_part(PartMeta { kind, ..meta.parts[0].clone() });
        }
        let due = |meta: &SegmentMeta| {
            let entry = meta.to_entry(0).unwrap();
            order_due(&collection, &entry, &CompactOptions::default()).unwrap().map(|task| task.fields)
        };
        // As they are written, with the checksums of both indexes.
        let written = |meta: &SegmentMeta, name: &str, detail: Vec<u8>| {
            let kind = PartKind::OrderedCodes { vector: "v".into(), path: named(name) };
            meta.with_part(PartMeta { kind, entries: 0, detail, ..meta.parts[0].clone() })
        };
        assert_eq!(due(&meta), Some(vec![path()]));
        let meta = written(&meta, "tenant", vec![1, 5, 5]);
        assert_eq!(due(&meta), Some(vec![named("a"), named("b")]));
        let meta = written(&meta, "a", vec![2, 5, 5, 64, 99, 9]);
        assert_eq!(due(&meta), Some(vec![named("a"), named("b")]), "the other may have rarer values");
        assert_eq!(due(&written(&meta, "b", vec![2, 5, 5, 64, 99, 9])), None, "though of no rows");
        assert!(due(&written(&meta, "b", vec![2, 5, 6, 64, 99, 9])).is_some(), "of another index");
    }

    #[test]
    fn segments_that_stay_are_put_in_order() {
        let options = CompactOptions::default();
        let is_due = |rows: &[u32], has_tail: bool, rested| {
            let segments = (1..).zip(rows).map(|(id, rows)| entry(id, *rows, tenants(true), *rows)).collect();
            let mut shard = Shard { segments, ..Shard::default() };
            if has_tail {
                let slice = SliceHeader {
                    shard: lodestone_manifest::ShardId(1),
                    side: None,
                    offset: 0,
                    len: 1,
                    crc: 0,
                    rows: 1,
                };
                shard.tail.push_back(TailRange { slot: Slot(3), slice });
            }
            let task = due(&collection(tenants(true)), &shard, rested, &Aside::default(), &options).unwrap();
            matches!(task, Some(Task::Order(_)))
        };
        let (busy, idle) = (Duration::ZERO, options.idle);
        assert!(is_due(&[ROWS], false, busy), "it is alone");
        assert!(!is_due(&[ROWS], true, busy) && is_due(&[ROWS], true, idle));
        assert!(!is_due(&[ROWS, 9_000], false, busy) && is_due(&[ROWS, 9_000], false, idle));
        assert!(is_due(&[ROWS, 90_000], true, busy), "the larger one");
        assert!(!is_due(&[ROWS, ROWS], false, idle), "they are merged first");
    }
}
