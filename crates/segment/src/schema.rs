use std::collections::BTreeMap;

use lodestone_types::{CollectionParams, Datatype, FieldIndex, JsonPath};
use serde::{Deserialize, Serialize};

/// The shape of one named vector's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorSpec {
    /// Components per row, at least 1.
    pub dim: u32,
    /// How each component is stored.
    pub datatype: Datatype,
}

impl VectorSpec {
    /// Bytes of one row.
    pub fn row_bytes(self) -> usize {
        self.dim as usize * self.datatype.bytes()
    }
}

/// What the rows of a segment may have.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SegmentSchema {
    /// Dense vectors by name; the unnamed one is `""`.
    pub vectors: BTreeMap<String, VectorSpec>,
    /// Payload indexes to build along with the rows.
    pub fields: BTreeMap<JsonPath, FieldIndex>,
}

impl SegmentSchema {
    /// The schema of a collection's segments.
    pub fn of(params: &CollectionParams, fields: BTreeMap<JsonPath, FieldIndex>) -> Self {
        let spec =
            |v: &lodestone_types::VectorParams| VectorSpec { dim: v.size as u32, datatype: v.datatype() };
        Self { vectors: params.vectors.iter().map(|(name, v)| (name.clone(), spec(v))).collect(), fields }
    }
}
