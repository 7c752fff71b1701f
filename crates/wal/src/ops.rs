//! Operations whose replay needs no reading and no clock.
//!
//! A slice is a list of these for one shard, applied in order. What a user wrote relative to other data (by
//! filter, conditionally) has been resolved to ids before it comes here.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use lodestone_types::{JsonPath, PointId};

/// One physical operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Writes whole rows; later ones win over earlier ones with the same id.
    Put(Vec<Row>),
    /// Deletes rows; ids that do not exist are skipped.
    Delete(IdSet),
    /// Changes each of the rows in the same way; ids that do not exist are skipped.
    Patch {
        /// Which rows.
        ids: IdSet,
        /// How.
        delta: Delta,
    },
    /// Sets vectors of existing rows; ids that do not exist are skipped.
    PutVectors(Vec<VectorRow>),
}

/// Vectors by name (`""` is the unnamed one), each in its storage type, little endian.
pub type RowVectors = Vec<(Arc<str>, Bytes)>;

/// A whole row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id.
    pub id: PointId,
    /// Its vectors.
    pub vectors: RowVectors,
    /// Its payload: a JSON object as text; no bytes mean an empty object.
    pub payload: Bytes,
}

/// New vectors for one row; others stay.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorRow {
    /// Its id.
    pub id: PointId,
    /// What to set.
    pub vectors: RowVectors,
}

/// A change that is the same for every row it is applied to.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Merges the keys of a JSON object into the payload, or (`key`) into the object there.
    SetPayload {
        /// A JSON object as text.
        payload: Bytes,
        /// Where; `None` is the top.
        key: Option<JsonPath>,
    },
    /// Replaces the payload by this JSON object.
    OverwritePayload(Bytes),
    /// Removes what these paths reach.
    DeletePayload(Vec<JsonPath>),
    /// Removes everything from the payload.
    ClearPayload,
    /// Removes vectors by name.
    RemoveVectors(Vec<Arc<str>>),
}

/// A set of ids, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdSet(Vec<PointId>);

impl IdSet {
    /// The ids, ascending, each once.
    pub fn as_slice(&self) -> &[PointId] {
        &self.0
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<PointId> for IdSet {
    fn from_iter<I: IntoIterator<Item = PointId>>(ids: I) -> Self {
        let mut ids: Vec<PointId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids)
    }
}

impl From<BTreeSet<PointId>> for IdSet {
    fn from(ids: BTreeSet<PointId>) -> Self {
        Self(ids.into_iter().collect())
    }
}

impl Op {
    /// How many rows it puts, deletes or patches.
    pub fn rows(&self) -> u64 {
        let rows = match self {
            Op::Put(rows) => rows.len(),
            Op::Delete(ids) | Op::Patch { ids, .. } => ids.len(),
            Op::PutVectors(rows) => rows.len(),
        };
        rows as u64
    }
}
