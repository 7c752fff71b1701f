//! A client of this interface for tools of ours that move many points: what they need, in our own types.

use std::collections::BTreeMap;
use std::time::Duration;

use lodestone_types::{Error, ErrorKind, Point, PointId, Record, Result, ScrollPage, VectorParams};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::collections_client::CollectionsClient;
use qdrant_client::qdrant::points_client::PointsClient;
use qdrant_client::qdrant::{with_payload_selector, with_vectors_selector};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::{CONNECTION_WINDOW, STREAM_WINDOW, config, info, point, status};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest wait for one answer; an upsert waits until it is in the bucket.
const ANSWER: Duration = Duration::from_secs(120);

/// A connection to a server. Clones share it.
#[derive(Clone)]
pub struct Client {
    points: PointsClient<InterceptedService<Channel, Key>>,
    collections: CollectionsClient<InterceptedService<Channel, Key>>,
}

/// Puts the key, if there is one, on each request.
#[derive(Clone)]
struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("api-key", key.clone());
        }
        Ok(request)
    }
}

impl Client {
    /// Connects to the gRPC port of a server, such as `http://127.0.0.1:6334`.
    pub async fn connect(url: &str, key: Option<&str>) -> Result<Self> {
        let wrong = |e: &dyn std::fmt::Display| {
            Error::bad_request(format!("`{url}` is not an address such as http://127.0.0.1:6334: {e}"))
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|e| wrong(&e))?;
        match endpoint.uri().scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong(&"this command speaks no TLS; use it where the network is trusted"));
            }
            _ => return Err(wrong(&"it does not begin with http://")),
        }
        if endpoint.uri().authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Error::bad_request(
                "leave user and password out of the address; a key comes by --api-key-env",
            ));
        }
        let key = key
            .map(|k| k.parse().map_err(|_| Error::bad_request("the API key has characters that no key has")));
        let key = Key(key.transpose()?);
        let channel = endpoint
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect()
            .await
            .map_err(|e| Error::unavailable(format!("no server at {url}: {}", root(&e))))?;
        let service = InterceptedService::new(channel, key);
        Ok(Self {
            points: PointsClient::new(service.clone()).max_decoding_message_size(usize::MAX),
            collections: CollectionsClient::new(service),
        })
    }

    /// The vectors that a collection is made for, by name; `None` if there is no such collection.
    pub async fn vectors(&self, collection: &str) -> Result<Option<BTreeMap<String, VectorParams>>> {
        let request = proto::GetCollectionInfoRequest { collection_name: collection.to_owned() };
        let answer = match self.collections.clone().get(request).await.map_err(|s| failed(&s)) {
            Ok(answer) => answer.into_inner(),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let params = answer.result.and_then(|r| r.config).and_then(|c| c.params);
        let vectors = params.and_then(|p| p.vectors_config).map(config::vectors);
        Ok(Some(vectors.transpose()?.unwrap_or_default()))
    }

    /// Creates a collection with these vectors and otherwise the defaults.
    pub async fn create(&self, collection: &str, vectors: &BTreeMap<String, VectorParams>) -> Result<()> {
        let request = proto::CreateCollection {
            collection_name: collection.to_owned(),
            vectors_config: Some(info::vectors(vectors)?),
            ..Default::default()
        };
        self.collections.clone().create(request).await.map(drop).map_err(|s| failed(&s))
    }

    /// Writes points, and returns when they are in the bucket. Writing the same points again changes nothing.
    pub async fn upsert(&self, collection: &str, points: Vec<Point>) -> Result<()> {
        let request = proto::UpsertPoints {
            collection_name: collection.to_owned(),
            wait: Some(true),
            points: points.into_iter().map(point::point_message).collect(),
            ..Default::default()
        };
        self.points.clone().upsert(request).await.map(drop).map_err(|s| failed(&s))
    }

    /// Points with all vectors and their payload; those that are not there are left out.
    pub async fn retrieve(&self, collection: &str, ids: &[PointId]) -> Result<Vec<Record>> {
        let request = proto::GetPoints {
            collection_name: collection.to_owned(),
            ids: ids.iter().copied().map(point::id_message).collect(),
            with_payload: Some(all_payload()),
            with_vectors: Some(all_vectors()),
            ..Default::default()
        };
        let answer = self.points.clone().get(request).await.map_err(|s| failed(&s))?.into_inner();
        answer.result.into_iter().map(point::record).collect()
    }

    /// A page of at most `limit` points, with all vectors and their payload, in the order of ids.
    pub async fn scroll(&self, collection: &str, from: Option<PointId>, limit: u32) -> Result<ScrollPage> {
        let request = proto::ScrollPoints {
            collection_name: collection.to_owned(),
            offset: from.map(point::id_message),
            limit: Some(limit),
            with_payload: Some(all_payload()),
            with_vectors: Some(all_vectors()),
            ..Default::default()
        };
        let answer = self.points.clone().scroll(request).await.map_err(|s| failed(&s))?.into_inner();
        Ok(ScrollPage {
            points: answer.result.into_iter().map(point::record).collect::<Result<_>>()?,
            next: answer.next_page_offset.map(point::id).transpose()?,
        })
    }

    /// How many points there are, exactly.
    pub async fn count(&self, collection: &str) -> Result<u64> {
        let request = proto::CountPoints {
            collection_name: collection.to_owned(),
            exact: Some(true),
            ..Default::default()
        };
        let answer = self.points.clone().count(request).await.map_err(|s| failed(&s))?.into_inner();
        Ok(answer.result.map(|r| r.count).unwrap_or_default())
    }
}

fn all_payload() -> proto::WithPayloadSelector {
    let all = with_payload_selector::SelectorOptions::Enable(true);
    proto::WithPayloadSelector { selector_options: Some(all) }
}

fn all_vectors() -> proto::WithVectorsSelector {
    let all = with_vectors_selector::SelectorOptions::Enable(true);
    proto::WithVectorsSelector { selector_options: Some(all) }
}

/// The server's error, or what befell the connection.
fn failed(status: &Status) -> Error {
    match std::error::Error::source(status) {
        // No server said this.
        Some(cause) => Error::unavailable(format!("the connection failed: {}", root(cause))),
        None => status::to_error(status),
    }
}

/// The innermost cause: those around it say only that something failed.
fn root<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}
