//! What every request passes: the outermost layer, and the check of its key.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use lodestone_types::Error;

use super::App;
use super::reply::{self, Failure};
use crate::auth::{Access, ApiKeys};

/// Paths that are open without a key and pass however busy the server is.
const HEALTH: [&str; 3] = ["/healthz", "/livez", "/readyz"];
/// When to come back if too many requests are in work.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// The outermost layer: limits the requests in work, turns a panic into an answer, writes the envelope,
/// counts and logs. Neither bodies nor query strings nor headers are logged.
pub async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());

    let headers = request.headers().clone();
    let (response, told) = app.options.costs.counted(&headers, run(&app, &path, request, next)).await;
    let took = started.elapsed();
    let (mut response, failure) = reply::finish(response, took);
    response.headers_mut().extend(told);

    let route = route.as_deref().unwrap_or("unmatched");
    let status = response.status();
    app.options.metrics.record(method.as_str(), route, status.as_u16(), took);
    log(method.as_str(), &path, status, took, failure.as_ref());
    response
}

async fn run(app: &App, path: &str, request: Request, next: Next) -> Response {
    let permit = app.requests.try_acquire();
    if permit.is_err() && !HEALTH.contains(&path) {
        return Failure::from(Error::busy("too many requests at once; come back later", BUSY_FOR))
            .into_response();
    }
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(path, panic = panic_message(panic.as_ref()), "a request handler panicked");
            Failure::from(Error::internal("Service internal error: the request could not be answered"))
                .into_response()
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

fn log(method: &str, path: &str, status: StatusCode, took: Duration, failure: Option<&Failure>) {
    let milliseconds = took.as_secs_f64() * 1e3;
    let status = status.as_u16();
    match failure {
        Some(failure) if status >= 500 && status != 501 => {
            tracing::error!(method, path, status, milliseconds, error = %failure.error(), "request failed");
        }
        // What a client sent wrongly may quote what it sent, so only the kind is logged.
        Some(failure) => {
            let kind = failure.error().kind;
            tracing::info!(method, path, status, milliseconds, ?kind, "request refused");
        }
        None => tracing::debug!(method, path, status, milliseconds, "request answered"),
    }
}

/// Finds out what the caller may do, before anything is read or even routed.
pub async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = path == "/" || HEALTH.contains(&path) || (path == "/metrics" && app.options.open_metrics);
    if !open {
        match app.options.keys.access(key(request.headers())) {
            Ok(access) => request.extensions_mut().insert(access),
            Err(error) => return Failure::from(error).into_response(),
        };
    }
    next.run(request).await
}

/// The key of a request, from `api-key` or `Authorization: Bearer`.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    text("api-key").or_else(|| text(AUTHORIZATION.as_str()).and_then(ApiKeys::bearer))
}

/// Lets only those pass who may write.
pub async fn require_write(request: Request, next: Next) -> Response {
    let access = request.extensions().get().copied().unwrap_or(Access::ReadOnly);
    match access.require_write() {
        Ok(()) => next.run(request).await,
        Err(error) => Failure::from(error).into_response(),
    }
}
