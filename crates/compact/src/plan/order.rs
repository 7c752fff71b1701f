//! Which segment gets codes in the order of a field next.

use lodestone_index::is_principal;
use lodestone_manifest::{Collection, SegmentEntry, SegmentId};
use lodestone_segment::{PartKind, SegmentMeta};
use lodestone_types::{JsonPath, Result};

/// Codes of the vectors of one name in one segment, to be written in the order of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTask {
    /// The segment.
    pub segment: SegmentId,
    /// The name of the vectors.
    pub vector: String,
    /// The field.
    pub path: JsonPath,
}

/// The codes that a segment lacks first, if any: of each index of vectors which all its rows have, in the order of each field that the user
/// calls a tenant's or the principal one.
pub(super) fn order_due(collection: &Collection, entry: &SegmentEntry) -> Result<Option<OrderTask>> {
    let principal =
        collection.fields.iter().filter(|(_, (index, _))| index.kind.has_order() && is_principal(index));
    let fields: Vec<&JsonPath> = principal.map(|(path, _)| path).collect();
    if fields.is_empty() {
        return Ok(None);
    }
    let meta = SegmentMeta::from_entry(entry)?;
    for part in meta.parts.iter().filter(|part| part.entries == u64::from(meta.rows)) {
        let PartKind::VectorIndex(vector) = &part.kind else { continue };
        let lacks = |path: &&&JsonPath| {
            meta.field_index(path).is_some_and(|(_, index)| is_principal(index))
                && meta.ordered_codes(vector, path).is_none()
        };
        let lacking = fields.iter().find(lacks);
        if let Some(path) = lacking {
            return Ok(Some(OrderTask { segment: entry.id, vector: vector.clone(), path: (*path).clone() }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lodestone_manifest::{CollectionId, Shard, SliceHeader, Slot, TailRange};
    use lodestone_segment::PartMeta;
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
            length: 1,
            version: 1,
            entries: entries.into(),
            detail: vec![],
            sections: vec![],
            checksum: 5,
        };
        let field = PartKind::FieldIndex { path: "tenant".parse().unwrap(), index };
        let parts = vec![part(field, rows), part(PartKind::VectorIndex("v".into()), vectors)];
        SegmentMeta { id: SegmentId(id), rows, min_lsn: 1, max_lsn: 1, parts }.to_entry(0).unwrap()
    }

    #[test]
    fn fields_that_are_said_to_be_asked_for_are_put_in_order() {
        let task = |index: FieldIndex, built: FieldIndex, vectors| {
            order_due(&collection(index), &entry(3, ROWS, built, vectors)).unwrap()
        };
        let (vector, path) = ("v".to_owned(), "tenant".parse().unwrap());
        let expected = OrderTask { segment: SegmentId(3), vector, path };
        assert_eq!(task(tenants(true), tenants(true), ROWS), Some(expected));
        assert_eq!(task(tenants(false), tenants(false), ROWS), None);
        assert_eq!(task(tenants(true), tenants(false), ROWS), None, "the index is built anew first");
        assert_eq!(task(tenants(true), tenants(true), ROWS - 1), None, "a row has no vector");
        let text = FieldIndex { kind: FieldIndexKind::Text, ..tenants(true) };
        assert_eq!(task(text.clone(), text, ROWS), None);
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
