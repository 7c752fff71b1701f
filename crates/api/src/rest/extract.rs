//! From a request to typed values: path, query string and JSON body, with Qdrant's errors.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use lodestone_types::{Error, ReadConsistency, ReadOptions, Result, WriteOptions, WriteOrdering};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::App;
use super::reply::Failure;
use super::wire::UNSUPPORTED;
use crate::check;
use crate::limits::limits;

/// Bodies above this are parsed on a thread where they keep nobody waiting.
const SMALL_BODY: usize = 1 << 20;
/// Memory for bodies is handed out in units of this many bytes.
const MEMORY_UNIT: usize = 1 << 10;
/// When to come back if there is no memory for a body.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// The variables of a path.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, app).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(error) => Err(Error::bad_request(format!("Wrong input: path: {}", error.body_text())).into()),
        }
    }
}

fn query_string<T: DeserializeOwned>(parts: &Parts) -> Result<T> {
    match Query::try_from_uri(&parts.uri) {
        Ok(Query(params)) => Ok(params),
        Err(error) => Err(Error::bad_request(format!("Wrong input: query string: {}", error.body_text()))),
    }
}

/// The time-out asked for, or the usual one.
fn time_out(seconds: Option<u64>, app: &App) -> Result<Option<Duration>> {
    seconds.map_or(Ok(app.options.request_timeout), check::timeout).map(Some)
}

/// `timeout` of a change to collections.
pub struct Patience(pub Option<Duration>);

#[derive(Deserialize)]
struct PatienceParams {
    timeout: Option<u64>,
}

impl FromRequestParts<App> for Patience {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let params: PatienceParams = query_string(parts)?;
        Ok(Self(time_out(params.timeout, app)?))
    }
}

/// `wait`, `ordering` and `timeout` of a write.
pub struct Writing(pub WriteOptions);

#[derive(Deserialize)]
struct WriteParams {
    wait: Option<bool>,
    ordering: Option<Ordering>,
    timeout: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ordering {
    Weak,
    Medium,
    Strong,
}

impl FromRequestParts<App> for Writing {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let params: WriteParams = query_string(parts)?;
        let ordering = match params.ordering {
            None | Some(Ordering::Weak) => WriteOrdering::Weak,
            Some(Ordering::Medium) => WriteOrdering::Medium,
            Some(Ordering::Strong) => WriteOrdering::Strong,
        };
        let timeout = time_out(params.timeout, app)?;
        Ok(Self(WriteOptions { wait: params.wait.unwrap_or(false), ordering, timeout }))
    }
}

/// `consistency` and `timeout` of a read, and its limits.
pub struct Reading(pub ReadOptions);

#[derive(Deserialize)]
struct ReadParams {
    consistency: Option<String>,
    timeout: Option<u64>,
}

impl FromRequestParts<App> for Reading {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let params: ReadParams = query_string(parts)?;
        let consistency = params.consistency.as_deref().map_or(Ok(ReadConsistency::Strong), consistency)?;
        let timeout = time_out(params.timeout, app)?;
        Ok(Self(ReadOptions { consistency, timeout, limits: limits(&parts.headers)? }))
    }
}

/// Every one of Qdrant's levels is met by a strong read; `eventual` is ours.
fn consistency(text: &str) -> Result<ReadConsistency> {
    match text {
        "eventual" => Ok(ReadConsistency::Eventual),
        "majority" | "quorum" | "all" => Ok(ReadConsistency::Strong),
        number if number.parse::<u32>().is_ok_and(|n| n > 0) => Ok(ReadConsistency::Strong),
        other => Err(Error::bad_request(format!(
            "Wrong input: consistency `{other}` is unknown; give a positive number, majority, quorum, all or eventual"
        ))),
    }
}

/// A JSON body. The memory it was granted is given back when it is dropped.
pub struct Json<T> {
    /// What the body says.
    pub value: T,
    _memory: Memory,
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<App> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        require_json(request.headers())?;
        let mut memory = Memory { budget: app.bodies.clone(), granted: None };
        let reading = read(request, app.options.max_body_bytes, &mut memory);
        let bytes = tokio::time::timeout(app.options.body_timeout, reading)
            .await
            .map_err(|_| Error::timeout("the request body did not arrive in time"))??;
        let value = if bytes.len() <= SMALL_BODY {
            parse(&bytes)?
        } else {
            tokio::task::spawn_blocking(move || parse(&bytes))
                .await
                .map_err(|_| Error::internal("the request body could not be read"))??
        };
        Ok(Self { value, _memory: memory })
    }
}

/// Asking for a type that browsers do not send unasked keeps web pages from writing to a local server.
fn require_json(headers: &HeaderMap) -> Result<()> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Error::bad_request("Content type error: the body must be sent as application/json"))
}

/// Reads a body, and stops reading as soon as it is over the limit.
async fn read(request: Request, limit: usize, memory: &mut Memory) -> Result<Bytes> {
    let announced = announced_length(request.headers());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let mut body = request.into_body();
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Error::bad_request(format!("the request body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        memory.grow(collected.len() + data.len())?;
        if collected.is_empty() && announced == Some(data.len() as u64) {
            return Ok(data);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: usize) -> Error {
    Error::too_large(format!("Payload error: the request body is over the limit of {limit} bytes"))
}

/// The share of the memory for bodies that one body holds.
struct Memory {
    budget: Arc<Semaphore>,
    granted: Option<OwnedSemaphorePermit>,
}

impl Memory {
    fn grow(&mut self, bytes: usize) -> Result<()> {
        let wanted = bytes.div_ceil(MEMORY_UNIT);
        let missing = wanted.saturating_sub(self.granted.as_ref().map_or(0, |p| p.num_permits()));
        let more = u32::try_from(missing)
            .ok()
            .and_then(|missing| self.budget.clone().try_acquire_many_owned(missing).ok())
            .ok_or_else(|| Error::busy("too many large requests at once; come back later", BUSY_FOR))?;
        match &mut self.granted {
            Some(granted) => granted.merge(more),
            None => self.granted = Some(more),
        }
        Ok(())
    }
}

/// The memory for bodies as a semaphore of units.
pub fn memory_budget(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(bytes.div_ceil(MEMORY_UNIT).min(Semaphore::MAX_PERMITS)))
}

/// Reads JSON, and tells features that are still to come from mistakes.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = error.to_string();
        if message.starts_with(UNSUPPORTED) {
            Error::unsupported(message)
        } else {
            Error::bad_request(format!("Format error in JSON body: {message}"))
        }
    })
}
