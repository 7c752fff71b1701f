//! Points: writes, and reads without a score.

use axum::extract::State;
use lodestone_types::{
    Error, PayloadSelector, PointId, Result, RetrieveRequest, UpdateOp, UpdateResult, VectorSelector,
    WriteOptions,
};
use serde_json::json;

use super::Answer;
use crate::rest::extract::{Json, Params, Reading, Writing};
use crate::rest::reply::Reply;
use crate::rest::wire::points::{Page, RecordOut, Records, UpdateOut};
use crate::rest::wire::read::{Count, Retrieve, Scroll};
use crate::rest::wire::write::{
    DeletePayload, DeleteVectors, Selector, SetPayload, UpdateBatch, UpdateVectors, Upsert,
};
use crate::rest::{App, change, read};

async fn apply(
    app: &App,
    name: &str,
    operations: Vec<UpdateOp>,
    options: WriteOptions,
) -> Result<Vec<UpdateResult>> {
    change(options.timeout, app.engine.update(name, operations, options)).await
}

async fn apply_one(app: &App, name: &str, operation: UpdateOp, options: WriteOptions) -> Answer {
    let results = apply(app, name, vec![operation], options).await?;
    let result = results.into_iter().next().ok_or_else(|| Error::internal("a write has no result"))?;
    Reply::new(&UpdateOut(result))
}

/// `PUT /collections/{name}/points`
pub async fn upsert(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<Upsert>,
) -> Answer {
    apply_one(&app, &name, request.into_op()?, options).await
}

/// `POST /collections/{name}/points/delete`
pub async fn delete(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<Selector>,
) -> Answer {
    apply_one(&app, &name, UpdateOp::Delete(request.into_selector()?), options).await
}

/// `POST /collections/{name}/points/payload`
pub async fn set_payload(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<SetPayload>,
) -> Answer {
    apply_one(&app, &name, request.into_set()?, options).await
}

/// `PUT /collections/{name}/points/payload`
pub async fn overwrite_payload(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<SetPayload>,
) -> Answer {
    apply_one(&app, &name, request.into_overwrite()?, options).await
}

/// `POST /collections/{name}/points/payload/delete`
pub async fn delete_payload(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<DeletePayload>,
) -> Answer {
    apply_one(&app, &name, request.into_op()?, options).await
}

/// `POST /collections/{name}/points/payload/clear`
pub async fn clear_payload(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<Selector>,
) -> Answer {
    apply_one(&app, &name, UpdateOp::ClearPayload(request.into_selector()?), options).await
}

/// `PUT /collections/{name}/points/vectors`
pub async fn update_vectors(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<UpdateVectors>,
) -> Answer {
    apply_one(&app, &name, request.into_op()?, options).await
}

/// `POST /collections/{name}/points/vectors/delete`
pub async fn delete_vectors(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<DeleteVectors>,
) -> Answer {
    apply_one(&app, &name, request.into_op()?, options).await
}

/// `POST /collections/{name}/points/batch`
pub async fn batch(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<UpdateBatch>,
) -> Answer {
    let results = apply(&app, &name, request.into_ops()?, options).await?;
    let results: Vec<UpdateOut> = results.into_iter().map(UpdateOut).collect();
    Reply::new(&results)
}

/// `POST /collections/{name}/points`
pub async fn retrieve(
    State(app): State<App>,
    Params(name): Params<String>,
    Reading(options): Reading,
    Json { value: request, .. }: Json<Retrieve>,
) -> Answer {
    let records = read(options, app.engine.retrieve(&name, request.into_request(), options)).await?;
    let points = records.len();
    Reply::of_points(Records(records), points).await
}

/// `GET /collections/{name}/points/{id}`
pub async fn get(
    State(app): State<App>,
    Params((name, id)): Params<(String, String)>,
    Reading(options): Reading,
) -> Answer {
    let id: PointId = id.parse()?;
    let request = RetrieveRequest {
        ids: vec![id],
        with_payload: PayloadSelector::All,
        with_vectors: VectorSelector::All,
    };
    let records = read(options, app.engine.retrieve(&name, request, options)).await?;
    match records.first() {
        Some(record) => Reply::new(&RecordOut(record)),
        None => Err(Error::not_found(format!("Not found: Point with id {id} does not exists!")).into()),
    }
}

/// `POST /collections/{name}/points/scroll`
pub async fn scroll(
    State(app): State<App>,
    Params(name): Params<String>,
    Reading(options): Reading,
    Json { value: request, .. }: Json<Scroll>,
) -> Answer {
    let request = request.into_request()?;
    let page = read(options, app.engine.scroll(&name, request, options)).await?;
    let points = page.points.len();
    Reply::of_points(Page::from(page), points).await
}

/// `POST /collections/{name}/points/count`
pub async fn count(
    State(app): State<App>,
    Params(name): Params<String>,
    Reading(options): Reading,
    Json { value: request, .. }: Json<Count>,
) -> Answer {
    let count = read(options, app.engine.count(&name, request.into_request(), options)).await?;
    Reply::new(&json!({"count": count}))
}
