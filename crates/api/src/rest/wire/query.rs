//! Requests for the nearest points: `points/query`, the older `points/search`, and their batches.

use std::fmt;

use lodestone_types::limits::MAX_SEARCHES_PER_BATCH;
use lodestone_types::{Error, PointId, QuantizationSearch, QueryRequest, QueryTarget, Result};
use serde::Deserialize;
use serde::de::{
    self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};

use super::filter::WireFilter;
use super::list::{List, uuid};
use super::read::DEFAULT_LIMIT;
use super::select::{Order, WithPayload, WithVector};
use super::vector::{Dense, components, not_dense, not_dense_key};
use super::{NoPrefetch, NoShardKey, unsupported};
use crate::check;

/// `POST points/query`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    query: Option<Target>,
    using: Option<String>,
    filter: Option<WireFilter>,
    params: Option<Params>,
    score_threshold: Option<f32>,
    limit: Option<usize>,
    offset: Option<usize>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    lookup_from: Option<LookupFrom>,
    #[serde(rename = "prefetch")]
    _prefetch: Option<NoPrefetch>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

/// `POST points/query/batch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryBatch {
    searches: List<Query, MAX_SEARCHES_PER_BATCH>,
}

impl QueryBatch {
    /// The requests in our words.
    pub fn into_requests(self) -> Result<Vec<QueryRequest>> {
        self.searches.0.into_iter().map(Query::into_request).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LookupFrom {
    collection: String,
    vector: Option<String>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

/// How to search. Settings of approximation are read and checked; an exact search needs none of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    hnsw_ef: Option<u64>,
    exact: Option<bool>,
    indexed_only: Option<bool>,
    quantization: Option<QuantizationParams>,
    #[serde(rename = "acorn")]
    _acorn: Option<Acorn>,
    #[serde(rename = "idf")]
    _idf: Option<NoIdf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuantizationParams {
    ignore: Option<bool>,
    rescore: Option<bool>,
    oversampling: Option<f64>,
}

impl QuantizationParams {
    fn checked(self) -> Result<QuantizationSearch> {
        let Self { ignore, rescore, oversampling } = self;
        check::quantization_search(QuantizationSearch {
            ignore: ignore.unwrap_or(false),
            rescore,
            oversampling,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acorn {
    #[serde(rename = "enable")]
    _enable: Option<bool>,
    #[serde(rename = "max_selectivity")]
    _max_selectivity: Option<f64>,
}

/// Only sparse vectors have document frequencies.
#[derive(Debug)]
struct NoIdf;

impl<'de> Deserialize<'de> for NoIdf {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(unsupported("the search parameter `idf`"))
    }
}

impl Query {
    /// The request in our words. Neither payload nor vectors are returned by default.
    pub fn into_request(self) -> Result<QueryRequest> {
        let (limit, offset) = (self.limit.unwrap_or(DEFAULT_LIMIT), self.offset.unwrap_or(0));
        check::window(limit, offset)?;
        let target = self.query.map_or(QueryTarget::Nothing, |target| target.0);
        if let QueryTarget::Vector(vector) = &target {
            check::vector(vector)?;
        }
        let params = self.params.unwrap_or_default();
        Ok(QueryRequest {
            target,
            using: self.using.unwrap_or_default(),
            lookup_from: self.lookup_from.map(|from| (from.collection, from.vector)),
            filter: WireFilter::given(self.filter),
            score_threshold: threshold(self.score_threshold)?,
            limit,
            offset,
            with_payload: WithPayload::or(self.with_payload, false),
            with_vectors: WithVector::or_none(self.with_vector),
            exact: params.exact.unwrap_or(false),
            hnsw_ef: params.hnsw_ef,
            indexed_only: params.indexed_only.unwrap_or(false),
            quantization: params.quantization.unwrap_or_default().checked()?,
        })
    }
}

fn threshold(given: Option<f32>) -> Result<Option<f32>> {
    match given {
        Some(value) if !value.is_finite() => {
            Err(Error::bad_request("Wrong input: score_threshold must be finite"))
        }
        given => Ok(given),
    }
}

/// `POST points/search`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    vector: SearchVector,
    limit: usize,
    filter: Option<WireFilter>,
    params: Option<Params>,
    score_threshold: Option<f32>,
    offset: Option<usize>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

/// `POST points/search/batch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchBatch {
    searches: List<Search, MAX_SEARCHES_PER_BATCH>,
}

impl SearchBatch {
    /// The requests in our words.
    pub fn into_requests(self) -> Result<Vec<QueryRequest>> {
        self.searches.0.into_iter().map(Search::into_request).collect()
    }
}

impl Search {
    /// The request in our words: a query by vector.
    pub fn into_request(self) -> Result<QueryRequest> {
        Query {
            query: Some(Target(QueryTarget::Vector(self.vector.values))),
            using: Some(self.vector.name),
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: Some(self.limit),
            offset: self.offset,
            with_payload: self.with_payload,
            with_vector: self.with_vector,
            lookup_from: None,
            _prefetch: None,
            _shard_key: None,
        }
        .into_request()
    }
}

/// A list of numbers, or `{"name": .., "vector": [..]}`.
#[derive(Debug)]
struct SearchVector {
    name: String,
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedVector {
    name: String,
    vector: Dense,
}

impl<'de> Deserialize<'de> for SearchVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = SearchVector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, or an object with `name` and `vector`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<SearchVector, A::Error> {
                Ok(SearchVector { name: String::new(), values: components(seq)? })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SearchVector, A::Error> {
                let named = NamedVector::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SearchVector { name: named.name, values: named.vector.0 })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// What `query` says: a vector, an id, or an object with one kind of query.
#[derive(Debug)]
struct Target(QueryTarget);

/// The kinds of queries and the keys of other inputs.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Kind {
    Nearest,
    Mmr,
    OrderBy,
    Sample,
    Recommend,
    Discover,
    Context,
    Fusion,
    Rrf,
    Formula,
    Defaults,
    RelevanceFeedback,
    Text,
    Model,
    Options,
    Image,
    Object,
    Indices,
    Values,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sample {
    Random,
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor).map(Target)
    }
}

struct TargetVisitor;

impl<'de> Visitor<'de> for TargetVisitor {
    type Value = QueryTarget;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector, a point ID or an object with one kind of query")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<QueryTarget, A::Error> {
        components(seq).map(QueryTarget::Vector)
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<QueryTarget, E> {
        Ok(QueryTarget::Point(PointId::Num(id)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<QueryTarget, E> {
        uuid(text).map(QueryTarget::Point).map_err(|error| E::custom(error.message))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QueryTarget, A::Error> {
        let mut target = None;
        while let Some(kind) = map.next_key()? {
            let found = match kind {
                Kind::Nearest => map.next_value::<Nearest>()?.0,
                Kind::OrderBy => QueryTarget::OrderBy(map.next_value::<Order>()?.0),
                Kind::Sample => match map.next_value()? {
                    Sample::Random => QueryTarget::Sample,
                },
                Kind::Mmr => match map.next_value::<Option<IgnoredAny>>()? {
                    None => continue,
                    Some(_) => return Err(unsupported("`mmr` of a query")),
                },
                later => return Err(not_yet(&later)),
            };
            if target.replace(found).is_some() {
                return Err(de::Error::custom("a query has one kind only"));
            }
        }
        target.ok_or_else(|| de::Error::custom("a query needs one of `nearest`, `order_by` and `sample`"))
    }
}

fn not_yet<E: de::Error>(kind: &Kind) -> E {
    match kind {
        Kind::Indices | Kind::Values => not_dense_key("indices"),
        Kind::Text | Kind::Model | Kind::Options | Kind::Image | Kind::Object => {
            unsupported("inference and text queries")
        }
        Kind::Recommend => unsupported("`recommend` queries"),
        Kind::Discover => unsupported("`discover` queries"),
        Kind::Context => unsupported("`context` queries"),
        Kind::Fusion => unsupported("`fusion` queries"),
        Kind::Rrf => unsupported("`rrf` queries"),
        Kind::Formula | Kind::Defaults => unsupported("`formula` queries"),
        _ => unsupported("`relevance_feedback` queries"),
    }
}

/// What a `nearest` query takes: a vector or an id.
struct Nearest(QueryTarget);

impl<'de> Deserialize<'de> for Nearest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = QueryTarget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector or a point ID")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<QueryTarget, A::Error> {
                TargetVisitor.visit_seq(seq)
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<QueryTarget, E> {
                TargetVisitor.visit_u64(id)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<QueryTarget, E> {
                TargetVisitor.visit_str(text)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<QueryTarget, A::Error> {
                Err(not_dense(map))
            }
        }
        deserializer.deserialize_any(Form).map(Nearest)
    }
}
