use std::time::Duration;

use crate::{Filter, JsonPath, NamedVectors, Payload, PointId};

/// Which payload keys to return.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum PayloadSelector {
    /// None; the payload is absent from the answer.
    #[default]
    None,
    /// All.
    All,
    /// Only these paths.
    Include(Vec<JsonPath>),
    /// All but these paths.
    Exclude(Vec<JsonPath>),
}

/// Which vectors to return.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum VectorSelector {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of these names.
    Names(Vec<String>),
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadConsistency {
    /// Sees every write acknowledged before the read began.
    #[default]
    Strong,
    /// May miss writes of the last second; saves a round trip.
    Eventual,
}

/// What becomes of a read that cannot be answered within its [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtLimit {
    /// An error.
    #[default]
    Error,
    /// It is answered with what could be found, and marked.
    Partial,
}

/// What a read may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of segments and tails that it may ask the bucket for.
    pub max_bytes: Option<u64>,
    /// How long it may take.
    pub max_time: Option<Duration>,
    /// What becomes of it where that is not enough.
    pub at_limit: AtLimit,
}

/// One of the [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// [`Limits::max_bytes`].
    Bytes,
    /// [`Limits::max_time`].
    Time,
}

/// What holds for every read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Freshness.
    pub consistency: ReadConsistency,
    /// Give up after this long.
    pub timeout: Option<Duration>,
    /// What it may take.
    pub limits: Limits,
}

/// What to be near to.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryTarget {
    /// This vector.
    Vector(Vec<f32>),
    /// The vector of this point, which is left out of the answer if it is in the same collection.
    Point(PointId),
    /// Nothing: points by id, score 0.
    Nothing,
    /// Nothing: points in the order of a payload value.
    OrderBy(OrderBy),
    /// Nothing: points at random.
    Sample,
}

/// `points/query`, `points/search` and their batches: the nearest points.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRequest {
    /// What to be near to.
    pub target: QueryTarget,
    /// Which vector to compare (`""` is the unnamed one).
    pub using: String,
    /// For [`QueryTarget::Point`]: take its vector from this collection and name instead.
    pub lookup_from: Option<(String, Option<String>)>,
    /// Only points that match.
    pub filter: Option<Filter>,
    /// Only points at least this near.
    pub score_threshold: Option<f32>,
    /// How many to return.
    pub limit: usize,
    /// How many to skip first.
    pub offset: usize,
    /// Payload to return.
    pub with_payload: PayloadSelector,
    /// Vectors to return.
    pub with_vectors: VectorSelector,
    /// `params.exact`.
    pub exact: bool,
    /// `params.hnsw_ef`.
    pub hnsw_ef: Option<u64>,
    /// `params.indexed_only`.
    pub indexed_only: bool,
    /// `params.quantization`.
    pub quantization: QuantizationSearch,
}

/// What a search makes of the codes of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QuantizationSearch {
    /// Do not rank by codes: compare every vector that is looked at.
    pub ignore: bool,
    /// Whether scores are those of the vectors (unless told otherwise) or what the codes say.
    pub rescore: Option<bool>,
    /// Compare the vectors of so many times as many points as are asked for, if that is more than otherwise; at least 1.
    pub oversampling: Option<f64>,
}

/// One hit of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredPoint {
    /// Its id.
    pub id: PointId,
    /// How near; see [`crate::Distance`].
    pub score: f32,
    /// The LSN of its last change.
    pub version: u64,
    /// If asked for.
    pub payload: Option<Payload>,
    /// If asked for.
    pub vectors: Option<NamedVectors>,
    /// For [`QueryTarget::OrderBy`].
    pub order_value: Option<OrderValue>,
}

/// One point as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: PointId,
    /// If asked for.
    pub payload: Option<Payload>,
    /// If asked for.
    pub vectors: Option<NamedVectors>,
    /// If the page was ordered by a value.
    pub order_value: Option<OrderValue>,
}

/// Points by id. The answer has those that exist, in the order asked, each once.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrieveRequest {
    /// Which.
    pub ids: Vec<PointId>,
    /// Payload to return.
    pub with_payload: PayloadSelector,
    /// Vectors to return.
    pub with_vectors: VectorSelector,
}

/// Ascending or descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrderDirection {
    /// Smallest first.
    #[default]
    Asc,
    /// Greatest first.
    Desc,
}

/// A value to order by: an integer, a number, or a date-time in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OrderValue {
    /// From an integer or datetime index.
    Int(i64),
    /// From a float index.
    Float(f64),
}

/// Order by a payload value, which needs a range index on it.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderBy {
    /// The value.
    pub key: JsonPath,
    /// Which way.
    pub direction: OrderDirection,
    /// The first value to return.
    pub start_from: Option<OrderValue>,
}

/// A page of points in the order of their ids, or of a payload value.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrollRequest {
    /// The first id of the page.
    pub offset: Option<PointId>,
    /// How many.
    pub limit: usize,
    /// Only points that match.
    pub filter: Option<Filter>,
    /// Payload to return.
    pub with_payload: PayloadSelector,
    /// Vectors to return.
    pub with_vectors: VectorSelector,
    /// By value instead of by id; then there is no next page offset.
    pub order_by: Option<OrderBy>,
}

/// The answer to a [`ScrollRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct ScrollPage {
    /// At most `limit`.
    pub points: Vec<Record>,
    /// Where the next page starts, if there is one.
    pub next: Option<PointId>,
}

/// How many points match.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CountRequest {
    /// Only points that match.
    pub filter: Option<Filter>,
    /// `false` allows an estimate; ours is exact either way.
    pub exact: bool,
}
