//! The words every other crate shares: points, vectors, payloads, filters, collections, requests,
//! limits and the one error type.
//!
//! Nothing here knows HTTP, gRPC, storage or indexes. The meanings follow Qdrant's interface, because
//! its clients are our clients; the `api` crate translates its wire forms to and from these types.

mod collection;
mod datetime;
mod error;
mod filter;
pub mod limits;
mod path;
mod point;
mod price;
mod search;
mod stretch;
mod update;
mod warm;

pub use collection::{
    AliasAction, CollectionConfig, CollectionInfo, CollectionParams, CollectionPatch, CollectionStatus,
    Datatype, Distance, FieldIndex, FieldIndexKind, HnswConfig, OptimizersConfig, VectorParams,
    VectorParamsPatch,
};
pub use datetime::{format_datetime, parse_datetime, require_datetime};
pub use error::{Error, ErrorKind, Result};
pub use filter::{
    AnyOf, Condition, FieldCondition, Filter, GeoPoint, Match, MinShould, Predicate, Range, RangeBound,
    Scalar, ValuesCount,
};
pub use path::{JsonPath, PathSegment};
pub use point::{NamedVectors, Payload, Point, PointId};
pub use price::Prices;
pub use search::{
    AtLimit, CountRequest, Limit, Limits, OrderBy, OrderDirection, OrderValue, PayloadSelector,
    QuantizationSearch, QueryRequest, QueryTarget, ReadConsistency, ReadOptions, Record, RetrieveRequest,
    ScoredPoint, ScrollPage, ScrollRequest, VectorSelector,
};
pub use stretch::Stretch;
pub use update::{
    PointSelector, UpdateMode, UpdateOp, UpdateResult, UpdateStatus, VectorUpdate, WriteOptions,
    WriteOrdering,
};
pub use warm::{Pin, WarmRequest, Warmth};
