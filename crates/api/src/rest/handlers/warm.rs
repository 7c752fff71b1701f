//! What is near: warm-ups and pins, which Qdrant does not have.

use axum::extract::State;

use super::Answer;
use crate::rest::extract::{Json, Params, Patience, Reading};
use crate::rest::reply::Reply;
use crate::rest::wire::warm::{Warm, WarmthOut};
use crate::rest::{App, change, read};

/// `POST /collections/{name}/warm`
pub async fn warm(
    State(app): State<App>,
    Params(name): Params<String>,
    Reading(options): Reading,
    Json { value: request, .. }: Json<Warm>,
) -> Answer {
    let warmth = read(options, app.engine.warm(&name, request.into_request(), options)).await?;
    Reply::new(&WarmthOut::from(warmth))
}

/// `GET /collections/{name}/warm`
pub async fn warmth(State(app): State<App>, Params(name): Params<String>) -> Answer {
    Reply::new(&WarmthOut::from(app.engine.warmth(&name).await?))
}

/// `PUT /collections/{name}/pin`
pub async fn pin(app: State<App>, name: Params<String>, patience: Patience) -> Answer {
    set_pin(app, name, patience, true).await
}

/// `DELETE /collections/{name}/pin`
pub async fn unpin(app: State<App>, name: Params<String>, patience: Patience) -> Answer {
    set_pin(app, name, patience, false).await
}

async fn set_pin(
    State(app): State<App>,
    Params(name): Params<String>,
    Patience(timeout): Patience,
    pinned: bool,
) -> Answer {
    change(timeout, app.engine.pin(&name, pinned, timeout)).await?;
    Reply::new(&true)
}
