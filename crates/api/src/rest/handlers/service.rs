//! The server itself: version, health, metrics, telemetry.

use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use lodestone_types::format_datetime;
use serde_json::{Value, json};

use super::Answer;
use crate::QDRANT_VERSION;
use crate::rest::App;
use crate::rest::reply::Reply;

/// `GET /`. Clients compare `version` with their own, so it is the one of the interface spoken.
pub async fn version(State(app): State<App>) -> Json<Value> {
    Json(json!({
        "title": "lodestone",
        "version": QDRANT_VERSION,
        "commit": app.options.commit,
        "lodestone_version": app.options.version,
    }))
}

/// `GET /healthz` and `GET /livez`.
pub async fn healthy() -> &'static str {
    "healthz check passed"
}

/// `GET /readyz`.
pub async fn ready(State(app): State<App>) -> (StatusCode, String) {
    match app.engine.ready().await {
        Ok(()) => (StatusCode::OK, "all shards are ready".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

/// `GET /metrics`.
pub async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let mut text = app.engine.metrics();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&app.options.costs.render());
    text.push_str(&app.options.metrics.render());
    text.push_str(&app.options.grpc_metrics.render());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// `GET /telemetry`: what is known without asking anybody.
pub async fn telemetry(State(app): State<App>) -> Answer {
    let collections = app.engine.collections().await?.len();
    let since = app.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let startup = format_datetime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    Reply::new(&json!({
        "id": app.id.to_string(),
        "app": {"name": "lodestone", "version": app.options.version, "startup": startup},
        "collections": {"number_of_collections": collections},
    }))
}
