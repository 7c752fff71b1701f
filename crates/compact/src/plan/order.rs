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
