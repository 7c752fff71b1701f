//! Searches: the nearest points, one query or many at once.

use axum::extract::State;
use lodestone_types::{Error, QueryRequest, ReadOptions, Result, ScoredPoint};

use super::Answer;
use crate::rest::extract::{Json, Params, Reading};
use crate::rest::reply::Reply;
use crate::rest::wire::points::{Answer as Found, Hits};
use crate::rest::wire::query::{Query, QueryBatch, Search, SearchBatch};
use crate::rest::{App, read};

async fn ask(
    app: &App,
    name: &str,
    requests: Vec<QueryRequest>,
    options: ReadOptions,
) -> Result<Vec<Vec<ScoredPoint>>> {
    read(options, app.engine.query(name, requests, options)).await
}

async fn ask_one(
    app: &App,
    name: &str,
    request: QueryRequest,
    options: ReadOptions,
) -> Result<Vec<ScoredPoint>> {
    let found = ask(app, name, vec![request], options).await?;
    found.into_iter().next().ok_or_else(|| Error::internal("a query has no answer"))
}

fn points(found: &[Vec<ScoredPoint>]) -> usize {
    found.iter().map(Vec::len).sum()
}

/// `POST /collections/{name}/points/query`
pub async fn query(
    State(app): State<App>,
    Params(name): Params<String>,
    Reading(options): Reading,
    Json { value: request, .. }: Json<Query>,
) -> Answer {
    let hits = ask_one(&app, &name, request.into_request()?, options).await?;
    let points = hits.len();
    Reply::of_points(Found { points: Hits(hits) }, points).await
}

/// `POST /collections/{name}/points/query/batch`
pub async fn query_batch(
    State(app): State<App>,
    Params(name): Params<String>,
    Reading(options): Reading,
    Json { value: request, .. }: Json<QueryBatch>,
) -> Answer {
    let found = ask(&app, &name, request.into_requests()?, options).await?;
    let points = points(&found);
    let answers: Vec<Found> = found.into_iter().map(|hits| Found { points: Hits(hits) }).collect();
    Reply::of_points(answers, points).await
}

/// `POST /collections/{name}/points/search`
pub async fn search(
    State(app): State<App>,
    Params(name): Params<String>,
    Reading(options): Reading,
    Json { value: request, .. }: Json<Search>,
) -> Answer {
    let hits = ask_one(&app, &name, request.into_request()?, options).await?;
    let points = hits.len();
    Reply::of_points(Hits(hits), points).await
}

/// `POST /collections/{name}/points/search/batch`
pub async fn search_batch(
    State(app): State<App>,
    Params(name): Params<String>,
    Reading(options): Reading,
    Json { value: request, .. }: Json<SearchBatch>,
) -> Answer {
    let found = ask(&app, &name, request.into_requests()?, options).await?;
    let points = points(&found);
    let answers: Vec<Hits> = found.into_iter().map(Hits).collect();
    Reply::of_points(answers, points).await
}
