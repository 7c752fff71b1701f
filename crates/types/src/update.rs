use crate::{Filter, JsonPath, NamedVectors, Payload, Point, PointId};

/// Which points an operation addresses.
#[derive(Debug, Clone, PartialEq)]
pub enum PointSelector {
    /// These; ids that do not exist are skipped.
    Ids(Vec<PointId>),
    /// Those that match when the operation takes its place in the order of writes.
    Filter(Filter),
}

/// Whether an upsert may create or replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateMode {
    /// Creates what is missing, replaces what exists.
    #[default]
    Upsert,
    /// Only creates.
    InsertOnly,
    /// Only replaces.
    UpdateOnly,
}

/// New vectors for one point; vectors not named stay.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorUpdate {
    /// The point; skipped if it does not exist.
    pub id: PointId,
    /// What to set.
    pub vectors: NamedVectors,
}

/// A write as a user asks for it.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateOp {
    /// Writes whole points.
    Upsert {
        /// Later ones win over earlier ones with the same id.
        points: Vec<Point>,
        /// Existing points are replaced only if they match; missing ones are created all the same.
        condition: Option<Filter>,
        /// Whether it may create or replace.
        mode: UpdateMode,
    },
    /// Deletes points.
    Delete(PointSelector),
    /// Merges keys into payloads, at the top or (`key`) within an object there.
    SetPayload {
        /// The keys to set.
        payload: Payload,
        /// Where; `None` is the top.
        key: Option<JsonPath>,
        /// On which points.
        points: PointSelector,
    },
    /// Replaces whole payloads.
    OverwritePayload {
        /// The new one.
        payload: Payload,
        /// On which points.
        points: PointSelector,
    },
    /// Removes keys from payloads.
    DeletePayload {
        /// Paths.
        keys: Vec<JsonPath>,
        /// On which points.
        points: PointSelector,
    },
    /// Removes everything from payloads.
    ClearPayload(PointSelector),
    /// Sets single vectors.
    UpdateVectors {
        /// Which.
        points: Vec<VectorUpdate>,
        /// Only on points that match.
        condition: Option<Filter>,
    },
    /// Removes single vectors.
    DeleteVectors {
        /// Names (`""` is the unnamed one).
        names: Vec<String>,
        /// On which points.
        points: PointSelector,
    },
}

/// How strictly writes of one client are ordered. All three are met: a shard has one order of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteOrdering {
    /// No promise across requests.
    #[default]
    Weak,
    /// In order unless the leader changes.
    Medium,
    /// In order always.
    Strong,
}

/// How a write is to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteOptions {
    /// `false` allows an answer before the write is visible; ours are durable and visible either way.
    pub wait: bool,
    /// See [`WriteOrdering`].
    pub ordering: WriteOrdering,
    /// Give up after this long.
    pub timeout: Option<std::time::Duration>,
}

/// Where a write stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateStatus {
    /// In the bucket; not promised to be visible (Qdrant's word for an answer without `wait`).
    Acknowledged,
    /// In the bucket and visible.
    Completed,
}

/// The answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateResult {
    /// The slot of the log that holds it.
    pub operation_id: u64,
    /// Where it stands.
    pub status: UpdateStatus,
}
