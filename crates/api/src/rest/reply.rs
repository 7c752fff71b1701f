//! Answers. A handler gives a [`Reply`] or a [`Failure`]; both travel as extensions of a response, and
//! [`finish`] puts Qdrant's envelope with the time taken around them, once, at the outermost place.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lodestone_types::{Error, ErrorKind};
use serde::Serialize;
use serde_json::json;

/// Longest message of an error in bytes; messages may quote what a client sent.
const MAX_MESSAGE_BYTES: usize = 2_000;

/// A `result`, written already, without the end of its envelope.
#[derive(Clone)]
pub struct Reply(Vec<u8>);

impl Reply {
    /// Writes a small result.
    pub fn new(result: &impl Serialize) -> Result<Self, Failure> {
        let mut bytes = br#"{"result":"#.to_vec();
        serde_json::to_writer(&mut bytes, result)
            .map_err(|error| Error::internal(format!("the answer cannot be written: {error}")))?;
        Ok(Self(bytes))
    }

    /// Writes a result of that many points: a large one on a thread where it keeps nobody waiting.
    pub async fn of_points<T: Serialize + Send + 'static>(result: T, points: usize) -> Result<Self, Failure> {
        const SMALL: usize = 100;
        if points <= SMALL {
            return Self::new(&result);
        }
        let written = tokio::task::spawn_blocking(move || Self::new(&result)).await;
        written.map_err(|_| Error::internal("the answer could not be written"))?
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

/// An error on its way out.
#[derive(Debug, Clone)]
pub struct Failure {
    error: Error,
    status: StatusCode,
}

impl Failure {
    /// An error with a status that no kind has.
    pub fn with_status(status: StatusCode, error: Error) -> Self {
        Self { error, status }
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { status: status_of(error.kind), error }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::BadRequest => StatusCode::BAD_REQUEST,
        ErrorKind::Invalid | ErrorKind::LimitReached => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Timeout => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::Unavailable | ErrorKind::LostCopy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::OutcomeUnknown | ErrorKind::Damaged | ErrorKind::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Writes the envelope around a reply or an error. Other responses, such as metrics, stay as they are.
pub fn finish(mut response: Response, took: Duration) -> (Response, Option<Failure>) {
    let seconds = took.as_secs_f64();
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let message = shortened(&failure.error.message);
        let body = json!({"result": null, "status": {"error": message}, "time": seconds}).to_string();
        if let Some(delay) = failure.error.retry_after {
            // At least a second: the header has no smaller unit.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1)));
        }
        set_json(&mut response, body.into_bytes());
        return (response, Some(failure));
    }
    if let Some(Reply(mut body)) = response.extensions_mut().remove::<Reply>() {
        body.extend_from_slice(format!(r#","status":"ok","time":{seconds}}}"#).as_bytes());
        set_json(&mut response, body);
    }
    (response, None)
}

fn set_json(response: &mut Response, body: Vec<u8>) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(body);
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)]
}
