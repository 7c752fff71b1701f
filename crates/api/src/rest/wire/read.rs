//! Requests that read points without a score: retrieve, scroll and count.

use lodestone_types::{CountRequest, Error, Result, RetrieveRequest, ScrollRequest};
use serde::Deserialize;

use super::NoShardKey;
use super::filter::WireFilter;
use super::list::{Id, Ids};
use super::select::{Order, WithPayload, WithVector};
use crate::check;

/// Points on a page or hits of a query, unless the request says.
pub const DEFAULT_LIMIT: usize = 10;

/// `POST points`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retrieve {
    ids: Ids,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

impl Retrieve {
    /// The request in our words. Payload is returned by default.
    pub fn into_request(self) -> RetrieveRequest {
        RetrieveRequest {
            ids: self.ids.into_ids(),
            with_payload: WithPayload::or(self.with_payload, true),
            with_vectors: WithVector::or_none(self.with_vector),
        }
    }
}

/// `POST points/scroll`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scroll {
    offset: Option<Id>,
    limit: Option<usize>,
    filter: Option<WireFilter>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    order_by: Option<Order>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

impl Scroll {
    /// The request in our words. Payload is returned by default.
    pub fn into_request(self) -> Result<ScrollRequest> {
        if self.order_by.is_some() && self.offset.is_some() {
            return Err(Error::bad_request(
                "Wrong input: `offset` cannot be used with `order_by`; go on with `order_by.start_from` and a filter",
            ));
        }
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        check::window(limit, 0)?;
        Ok(ScrollRequest {
            offset: self.offset.map(|id| id.0),
            limit,
            filter: WireFilter::given(self.filter),
            with_payload: WithPayload::or(self.with_payload, true),
            with_vectors: WithVector::or_none(self.with_vector),
            order_by: self.order_by.map(|order| order.0),
        })
    }
}

/// `POST points/count`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    filter: Option<WireFilter>,
    exact: Option<bool>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

impl Count {
    /// The request in our words. Counts are exact by default.
    pub fn into_request(self) -> CountRequest {
        CountRequest { filter: WireFilter::given(self.filter), exact: self.exact.unwrap_or(true) }
    }
}
