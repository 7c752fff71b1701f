//! Requests between voters over HTTP/1: `POST /lodestone/raft/1/<append|vote|snapshot>`, bytes in and bytes out.
//!
//! [`router`] answers for a voter and [`HttpTransport`] asks others. What the bytes mean is `lodestone-meta`'s affair. The
//! `1` is the version of those bytes. Whoever may send here can end a voter's leadership, so where the address is not
//! private a secret that all voters share goes with every request, and is checked before the body is read.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lodestone_meta::RaftReplica;
use lodestone_meta::raft::{RaftTransport, Rpc, TransportError};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::net::TcpStream;

const PATH: &str = "/lodestone/raft/1";
/// A snapshot is the largest request: the whole catalog and all manifests.
const MAX_REQUEST: usize = 1 << 30;
/// Answers are a few numbers.
const MAX_ANSWER: usize = 64 << 10;
/// How long a request may take to arrive.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

/// What all voters of a group know and nobody else.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret to send with requests. An error says why it cannot go into a header.
    pub fn new(secret: &str) -> Result<Self, String> {
        if secret.is_empty() || !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the voters' secret has to be of printable ASCII characters without spaces".into());
        }
        Ok(Self(secret.into()))
    }

    fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Answers other voters' requests for `replica`; mount it at the root of a server.
pub fn router(replica: Arc<RaftReplica>, secret: Option<Secret>) -> Router {
    Router::new().route(&format!("{PATH}/{{rpc}}"), post(answer)).with_state((replica, secret))
}

async fn answer(
    State((replica, secret)): State<(Arc<RaftReplica>, Option<Secret>)>,
    Path(rpc): Path<String>,
    request: Request,
) -> Response {
    if !allowed(secret.as_ref(), request.headers()) {
        return (StatusCode::UNAUTHORIZED, "the voters' secret is missing or wrong").into_response();
    }
    let Some(rpc) = Rpc::ALL.into_iter().find(|known| known.name() == rpc) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let body = Limited::new(request.into_body(), MAX_REQUEST).collect();
    let body = match tokio::time::timeout(ARRIVAL_LIMIT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    match replica.answer(rpc, &body).await {
        Ok(answer) => Body::from(answer).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

fn allowed(secret: Option<&Secret>, headers: &HeaderMap) -> bool {
    let Some(secret) = secret else { return true };
    let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    given.ct_eq(secret.header().as_bytes()).into()
}

type Connection = SendRequest<Full<Bytes>>;

/// Asks other voters; connections stay open between requests.
#[derive(Debug)]
pub struct HttpTransport {
    secret: Option<Secret>,
    idle: Mutex<HashMap<String, Vec<Connection>>>,
}

impl HttpTransport {
    /// Sends `secret` with every request.
    pub fn new(secret: Option<Secret>) -> Self {
        Self { secret, idle: Mutex::default() }
    }

    fn idle(&self, address: &str) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let connections = idle.get_mut(address)?;
        connections.retain(|connection| !connection.is_closed());
        connections.pop()
    }

    /// Requests may be sent twice, so one that fails on a connection that was idle goes over a new one.
    async fn send(&self, address: &str, rpc: Rpc, body: Bytes) -> Result<Bytes, TransportError> {
        if let Some(idle) = self.idle(address)
            && let Ok(answer) = self.send_over(idle, address, rpc, body.clone()).await
        {
            return answer;
        }
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to another voter ended");
            }
        });
        self.send_over(connection, address, rpc, body).await?
    }

    /// The outer error is of the connection, the inner one is the other voter's answer.
    async fn send_over(
        &self,
        mut connection: Connection,
        address: &str,
        rpc: Rpc,
        body: Bytes,
    ) -> Result<Result<Bytes, TransportError>, TransportError> {
        let mut request =
            hyper::Request::post(format!("{PATH}/{}", rpc.name())).header(header::HOST, address);
        if let Some(secret) = &self.secret {
            request = request.header(header::AUTHORIZATION, secret.header());
        }
        let request = request.body(Full::new(body)).map_err(failed)?;
        connection.ready().await.map_err(failed)?;
        let response = connection.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let answer =
            Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(failed)?.to_bytes();
        self.idle.lock().entry(address.to_owned()).or_default().push(connection);
        Ok(if status == StatusCode::OK {
            Ok(answer)
        } else {
            Err(TransportError(format!("{address} says {status}: {}", String::from_utf8_lossy(&answer))))
        })
    }
}

fn failed(error: impl ToString) -> TransportError {
    TransportError(error.to_string())
}

#[async_trait]
impl RaftTransport for HttpTransport {
    async fn call(
        &self,
        address: &str,
        rpc: Rpc,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, TransportError> {
        tokio::time::timeout(limit, self.send(address, rpc, body))
            .await
            .map_err(|_| TransportError(format!("{address} did not answer within {limit:?}")))?
    }
}
