//! Requests that read: query, search, scroll, count and retrieve, with their selectors and options.

use std::time::Duration;

use lodestone_types::limits::MAX_SEARCHES_PER_BATCH;
use lodestone_types::{
    CountRequest, Error, OrderBy, OrderDirection, OrderValue, PayloadSelector, QuantizationSearch,
    QueryRequest, QueryTarget, ReadConsistency, ReadOptions, Result, RetrieveRequest, ScrollRequest,
    VectorSelector, require_datetime,
};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::query::Variant as Query;
use qdrant_client::qdrant::vector_input::Variant as Input;
use qdrant_client::qdrant::{read_consistency, start_from, with_payload_selector, with_vectors_selector};
use tonic::metadata::MetadataMap;

use super::filter;
use super::point::{id, no_inference, no_multi, no_sparse};
use crate::check;
use crate::limits::limits;

/// How many points a query or a page returns where the request does not say.
const DEFAULT_LIMIT: u64 = 10;

/// What holds for the whole request. Qdrant's levels all ask replicas to agree, which ours always do; only the
/// metadata key `consistency` with the value `eventual` asks for less than everything acknowledged.
pub(super) fn options(
    metadata: &MetadataMap,
    consistency: Option<proto::ReadConsistency>,
    seconds: Option<u64>,
) -> Result<ReadOptions> {
    match consistency.and_then(|c| c.value) {
        None => {}
        Some(read_consistency::Value::Type(n)) => {
            proto::ReadConsistencyType::try_from(n)
                .map_err(|_| Error::bad_request(format!("unknown read consistency {n}")))?;
        }
        Some(read_consistency::Value::Factor(0)) => {
            return Err(Error::bad_request("a read consistency factor is at least 1"));
        }
        Some(read_consistency::Value::Factor(_)) => {}
    }
    let consistency = match metadata.get("consistency").map(|v| v.as_bytes()) {
        None | Some(b"strong") => ReadConsistency::Strong,
        Some(b"eventual") => ReadConsistency::Eventual,
        Some(_) => return Err(Error::bad_request("metadata `consistency` is `strong` or `eventual`")),
    };
    let limits = limits(metadata.as_ref())?;
    Ok(ReadOptions { consistency, timeout: timeout(seconds)?, limits })
}

/// A time limit in seconds.
pub(super) fn timeout(seconds: Option<u64>) -> Result<Option<Duration>> {
    seconds.map(check::timeout).transpose()
}

/// Refuses a choice of shards by key.
pub(super) fn no_shard_key(selector: Option<proto::ShardKeySelector>) -> Result<()> {
    match selector {
        Some(s) if !s.shard_keys.is_empty() || s.fallback.is_some() => {
            Err(Error::unsupported("not supported yet: shard keys"))
        }
        _ => Ok(()),
    }
}

fn with_payload(
    message: Option<proto::WithPayloadSelector>,
    default: PayloadSelector,
) -> Result<PayloadSelector> {
    use with_payload_selector::SelectorOptions::{Enable, Exclude, Include};
    let paths = |fields: Vec<String>| fields.iter().map(|f| f.parse()).collect::<Result<Vec<_>>>();
    let Some(message) = message else { return Ok(default) };
    Ok(match message.selector_options.ok_or_else(|| Error::bad_request("a payload selector is empty"))? {
        Enable(false) => PayloadSelector::None,
        Enable(true) => PayloadSelector::All,
        Include(selector) => PayloadSelector::Include(paths(selector.fields)?),
        Exclude(selector) => PayloadSelector::Exclude(paths(selector.fields)?),
    })
}

fn with_vectors(message: Option<proto::WithVectorsSelector>) -> Result<VectorSelector> {
    use with_vectors_selector::SelectorOptions::{Enable, Include};
    let Some(message) = message else { return Ok(VectorSelector::None) };
    Ok(match message.selector_options.ok_or_else(|| Error::bad_request("a vector selector is empty"))? {
        Enable(false) => VectorSelector::None,
        Enable(true) => VectorSelector::All,
        Include(selector) => VectorSelector::Names(selector.names),
    })
}

/// How many and after how many, within the limit of both together.
fn window(limit: u64, offset: u64) -> Result<(usize, usize)> {
    let saturated = |n| usize::try_from(n).unwrap_or(usize::MAX);
    let (limit, offset) = (saturated(limit), saturated(offset));
    check::window(limit, offset)?;
    Ok((limit, offset))
}

fn threshold(score: Option<f32>) -> Result<Option<f32>> {
    match score {
        Some(score) if score.is_nan() => Err(Error::bad_request("score_threshold is not a number")),
        score => Ok(score),
    }
}

/// What of `SearchParams` we understand; ACORN only tunes searches by a graph.
struct Params {
    exact: bool,
    hnsw_ef: Option<u64>,
    indexed_only: bool,
    quantization: QuantizationSearch,
}

fn params(message: Option<proto::SearchParams>) -> Result<Params> {
    let message = message.unwrap_or_default();
    if message.idf.is_some() {
        return Err(Error::unsupported("not supported yet: idf parameters"));
    }
    let quantization = message.quantization.unwrap_or_default();
    Ok(Params {
        exact: message.exact.unwrap_or(false),
        hnsw_ef: message.hnsw_ef,
        indexed_only: message.indexed_only.unwrap_or(false),
        quantization: check::quantization_search(QuantizationSearch {
            ignore: quantization.ignore.unwrap_or(false),
            rescore: quantization.rescore,
            oversampling: quantization.oversampling,
        })?,
    })
}

/// The batch's requests, if there are not too many.
pub(super) fn batch<M>(
    messages: Vec<M>,
    convert: fn(M) -> Result<QueryRequest>,
) -> Result<Vec<QueryRequest>> {
    if messages.len() > MAX_SEARCHES_PER_BATCH {
        let message = format!("a batch may hold at most {MAX_SEARCHES_PER_BATCH} searches");
        return Err(Error::bad_request(message));
    }
    messages.into_iter().map(convert).collect()
}

/// A search by vector.
pub(super) fn search(message: proto::SearchPoints) -> Result<QueryRequest> {
    no_shard_key(message.shard_key_selector)?;
    if message.sparse_indices.is_some() {
        return Err(no_sparse());
    }
    let (limit, offset) = window(message.limit, message.offset.unwrap_or(0))?;
    let Params { exact, hnsw_ef, indexed_only, quantization } = params(message.params)?;
    Ok(QueryRequest {
        target: vector(message.vector)?,
        using: message.vector_name.unwrap_or_default(),
        lookup_from: None,
        filter: filter::optional(message.filter)?,
        score_threshold: threshold(message.score_threshold)?,
        limit,
        offset,
        with_payload: with_payload(message.with_payload, PayloadSelector::None)?,
        with_vectors: with_vectors(message.with_vectors)?,
        exact,
        hnsw_ef,
        indexed_only,
        quantization,
    })
}

/// A universal query, as far as we answer it.
pub(super) fn query(message: proto::QueryPoints) -> Result<QueryRequest> {
    no_shard_key(message.shard_key_selector)?;
    if !message.prefetch.is_empty() {
        return Err(Error::unsupported("not supported yet: prefetch"));
    }
    let (limit, offset) = window(message.limit.unwrap_or(DEFAULT_LIMIT), message.offset.unwrap_or(0))?;
    let Params { exact, hnsw_ef, indexed_only, quantization } = params(message.params)?;
    Ok(QueryRequest {
        target: message.query.map(target).transpose()?.unwrap_or(QueryTarget::Nothing),
        using: message.using.unwrap_or_default(),
        lookup_from: message.lookup_from.map(lookup).transpose()?,
        filter: filter::optional(message.filter)?,
        score_threshold: threshold(message.score_threshold)?,
        limit,
        offset,
        with_payload: with_payload(message.with_payload, PayloadSelector::None)?,
        with_vectors: with_vectors(message.with_vectors)?,
        exact,
        hnsw_ef,
        indexed_only,
        quantization,
    })
}

fn target(message: proto::Query) -> Result<QueryTarget> {
    let unsupported = match message.variant.ok_or_else(|| Error::bad_request("a query is empty"))? {
        Query::Nearest(input) => return nearest(input),
        Query::OrderBy(order) => return order_by(order).map(QueryTarget::OrderBy),
        Query::Sample(n) => return sample(n),
        Query::Recommend(_) => "recommend",
        Query::Discover(_) => "discover",
        Query::Context(_) => "context",
        Query::Fusion(_) | Query::Rrf(_) => "fusion",
        Query::Formula(_) => "formula",
        Query::NearestWithMmr(_) => "mmr",
        Query::RelevanceFeedback(_) => "relevance feedback",
        Query::Text(_) => "text",
    };
    Err(Error::unsupported(format!("not supported yet: {unsupported} queries")))
}

fn nearest(message: proto::VectorInput) -> Result<QueryTarget> {
    match message.variant.ok_or_else(|| Error::bad_request("a query has no vector"))? {
        Input::Id(message) => id(message).map(QueryTarget::Point),
        Input::Dense(dense) => vector(dense.data),
        Input::Sparse(_) => Err(no_sparse()),
        Input::MultiDense(_) => Err(no_multi()),
        Input::Document(_) | Input::Image(_) | Input::Object(_) => Err(no_inference()),
    }
}

fn vector(data: Vec<f32>) -> Result<QueryTarget> {
    check::vector(&data)?;
    Ok(QueryTarget::Vector(data))
}

fn sample(kind: i32) -> Result<QueryTarget> {
    match proto::Sample::try_from(kind) {
        Ok(proto::Sample::Random) => Ok(QueryTarget::Sample),
        Err(_) => Err(Error::bad_request(format!("unknown sampling {kind}"))),
    }
}

fn lookup(message: proto::LookupLocation) -> Result<(String, Option<String>)> {
    no_shard_key(message.shard_key_selector)?;
    Ok((message.collection_name, message.vector_name))
}

fn order_by(message: proto::OrderBy) -> Result<OrderBy> {
    let direction = match message.direction.map(proto::Direction::try_from) {
        None | Some(Ok(proto::Direction::Asc)) => OrderDirection::Asc,
        Some(Ok(proto::Direction::Desc)) => OrderDirection::Desc,
        Some(Err(_)) => return Err(Error::bad_request("unknown direction of order_by")),
    };
    let start_from = message.start_from.and_then(|s| s.value).map(start).transpose()?;
    Ok(OrderBy { key: message.key.parse()?, direction, start_from })
}

fn start(value: start_from::Value) -> Result<OrderValue> {
    Ok(match value {
        start_from::Value::Float(n) if n.is_nan() => {
            return Err(Error::bad_request("start_from is not a number"));
        }
        start_from::Value::Float(n) => OrderValue::Float(n),
        start_from::Value::Integer(n) => OrderValue::Int(n),
        start_from::Value::Timestamp(time) => OrderValue::Int(filter::micros(time)?),
        start_from::Value::Datetime(text) => OrderValue::Int(require_datetime(&text)?),
    })
}

/// A page of points.
pub(super) fn scroll(message: proto::ScrollPoints) -> Result<ScrollRequest> {
    no_shard_key(message.shard_key_selector)?;
    let (limit, _) = window(message.limit.map_or(DEFAULT_LIMIT, u64::from), 0)?;
    let order_by = message.order_by.map(order_by).transpose()?;
    if order_by.is_some() && message.offset.is_some() {
        return Err(Error::bad_request(
            "a page ordered by a value starts with start_from, not with an offset",
        ));
    }
    Ok(ScrollRequest {
        offset: message.offset.map(id).transpose()?,
        limit,
        filter: filter::optional(message.filter)?,
        with_payload: with_payload(message.with_payload, PayloadSelector::All)?,
        with_vectors: with_vectors(message.with_vectors)?,
        order_by,
    })
}

/// How many match.
pub(super) fn count(message: proto::CountPoints) -> Result<CountRequest> {
    no_shard_key(message.shard_key_selector)?;
    Ok(CountRequest { filter: filter::optional(message.filter)?, exact: message.exact.unwrap_or(true) })
}

/// Points by id.
pub(super) fn retrieve(message: proto::GetPoints) -> Result<RetrieveRequest> {
    no_shard_key(message.shard_key_selector)?;
    check::ids(message.ids.len())?;
    Ok(RetrieveRequest {
        ids: message.ids.into_iter().map(id).collect::<Result<_>>()?,
        with_payload: with_payload(message.with_payload, PayloadSelector::None)?,
        with_vectors: with_vectors(message.with_vectors)?,
    })
}
