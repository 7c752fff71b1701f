//! Collections, aliases and payload indexes.

use axum::extract::State;
use lodestone_types::JsonPath;
use serde_json::{Value, json};

use super::Answer;
use crate::check;
use crate::rest::extract::{Json, Params, Patience, Writing};
use crate::rest::reply::Reply;
use crate::rest::wire::collection::{ChangeAliases, CreateCollection, CreateIndex, UpdateCollection};
use crate::rest::wire::info::collection_info;
use crate::rest::wire::points::UpdateOut;
use crate::rest::{App, change};

/// `GET /collections`
pub async fn list(State(app): State<App>) -> Answer {
    let names = app.engine.collections().await?;
    let collections: Vec<Value> = names.into_iter().map(|name| json!({"name": name})).collect();
    Reply::new(&json!({"collections": collections}))
}

/// `GET /collections/{name}`
pub async fn info(State(app): State<App>, Params(name): Params<String>) -> Answer {
    Reply::new(&collection_info(&app.engine.collection(&name).await?))
}

/// `GET /collections/{name}/exists`
pub async fn exists(State(app): State<App>, Params(name): Params<String>) -> Answer {
    Reply::new(&json!({"exists": app.engine.collection_exists(&name).await?}))
}

/// `PUT /collections/{name}`
pub async fn create(
    State(app): State<App>,
    Params(name): Params<String>,
    Patience(timeout): Patience,
    Json { value: request, .. }: Json<CreateCollection>,
) -> Answer {
    check::collection_name(&name)?;
    let config = request.into_config()?;
    change(timeout, app.engine.create_collection(&name, config, timeout)).await?;
    Reply::new(&true)
}

/// `PATCH /collections/{name}`
pub async fn update(
    State(app): State<App>,
    Params(name): Params<String>,
    Patience(timeout): Patience,
    Json { value: request, .. }: Json<UpdateCollection>,
) -> Answer {
    let patch = request.into_patch()?;
    change(timeout, app.engine.update_collection(&name, patch, timeout)).await?;
    Reply::new(&true)
}

/// `DELETE /collections/{name}`
pub async fn delete(
    State(app): State<App>,
    Params(name): Params<String>,
    Patience(timeout): Patience,
) -> Answer {
    let existed = change(timeout, app.engine.delete_collection(&name, timeout)).await?;
    Reply::new(&existed)
}

/// `POST /collections/aliases`
pub async fn change_aliases(
    State(app): State<App>,
    Patience(timeout): Patience,
    Json { value: request, .. }: Json<ChangeAliases>,
) -> Answer {
    let actions = request.into_actions()?;
    change(timeout, app.engine.update_aliases(actions, timeout)).await?;
    Reply::new(&true)
}

/// `GET /collections/{name}/aliases`
pub async fn aliases(State(app): State<App>, Params(name): Params<String>) -> Answer {
    aliases_of(app.engine.aliases(Some(&name)).await?)
}

/// `GET /aliases`
pub async fn all_aliases(State(app): State<App>) -> Answer {
    aliases_of(app.engine.aliases(None).await?)
}

fn aliases_of(pairs: Vec<(String, String)>) -> Answer {
    let aliases: Vec<Value> = pairs
        .into_iter()
        .map(|(alias, collection)| json!({"alias_name": alias, "collection_name": collection}))
        .collect();
    Reply::new(&json!({"aliases": aliases}))
}

/// `PUT /collections/{name}/index`
pub async fn create_index(
    State(app): State<App>,
    Params(name): Params<String>,
    Writing(options): Writing,
    Json { value: request, .. }: Json<CreateIndex>,
) -> Answer {
    let (field, index) = request.into_index()?;
    let work = app.engine.create_field_index(&name, field, index, options);
    Reply::new(&UpdateOut(change(options.timeout, work).await?))
}

/// `DELETE /collections/{name}/index/{field}`
pub async fn delete_index(
    State(app): State<App>,
    Params((name, field)): Params<(String, String)>,
    Writing(options): Writing,
) -> Answer {
    let field: JsonPath = field.parse()?;
    let work = app.engine.delete_field_index(&name, field, options);
    Reply::new(&UpdateOut(change(options.timeout, work).await?))
}
