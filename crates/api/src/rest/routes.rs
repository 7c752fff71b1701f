//! Which path is answered by whom. Paths of Qdrant's interface that are still to come say so.

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn;
use axum::routing::{any, delete, get, patch, post, put};
use lodestone_types::Error;

use super::handlers::{collections, points, search, service, warm};
use super::reply::Failure;
use super::wire::UNSUPPORTED;
use super::{App, guard};

/// Paths of Qdrant's interface that are still to come, with every method.
const LATER: [&str; 37] = [
    "/issues",
    "/quotas",
    "/cluster",
    "/cluster/telemetry",
    "/cluster/recover",
    "/cluster/peer/{id}",
    "/snapshots",
    "/snapshots/{snapshot}",
    "/collections/{name}/cluster",
    "/collections/{name}/optimizations",
    "/collections/{name}/facet",
    "/collections/{name}/vectors/{vector}",
    "/collections/{name}/shards",
    "/collections/{name}/shards/delete",
    "/collections/{name}/shards/{shard}/snapshot",
    "/collections/{name}/shards/{shard}/snapshots",
    "/collections/{name}/shards/{shard}/snapshots/upload",
    "/collections/{name}/shards/{shard}/snapshots/recover",
    "/collections/{name}/shards/{shard}/snapshots/{snapshot}",
    "/collections/{name}/snapshots",
    "/collections/{name}/snapshots/upload",
    "/collections/{name}/snapshots/recover",
    "/collections/{name}/snapshots/{snapshot}",
    "/collections/{name}/points/query/groups",
    "/collections/{name}/points/search/groups",
    "/collections/{name}/points/search/matrix/pairs",
    "/collections/{name}/points/search/matrix/offsets",
    "/collections/{name}/points/recommend",
    "/collections/{name}/points/recommend/batch",
    "/collections/{name}/points/recommend/groups",
    "/collections/{name}/points/discover",
    "/collections/{name}/points/discover/batch",
    "/locks",
    "/stacktrace",
    "/audit/logs",
    "/profiler/slow_requests",
    "/logger",
];

/// All routes, without the outer layers.
pub fn routes() -> Router<App> {
    LATER
        .iter()
        .fold(service_routes(), |router, path| router.route(path, any(later)))
        .merge(reading())
        .merge(writing().route_layer(from_fn(guard::require_write)))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
}

fn service_routes() -> Router<App> {
    Router::new()
        .route("/", get(service::version))
        .route("/healthz", get(service::healthy))
        .route("/livez", get(service::healthy))
        .route("/readyz", get(service::ready))
        .route("/metrics", get(service::metrics))
        .route("/telemetry", get(service::telemetry))
}

fn reading() -> Router<App> {
    Router::new()
        .route("/collections", get(collections::list))
        .route("/aliases", get(collections::all_aliases))
        .route("/collections/{name}", get(collections::info))
        .route("/collections/{name}/exists", get(collections::exists))
        .route("/collections/{name}/aliases", get(collections::aliases))
        .route("/collections/{name}/warm", get(warm::warmth).post(warm::warm))
        .route("/collections/{name}/points", post(points::retrieve))
        .route("/collections/{name}/points/{id}", get(points::get))
        .route("/collections/{name}/points/scroll", post(points::scroll))
        .route("/collections/{name}/points/count", post(points::count))
        .route("/collections/{name}/points/query", post(search::query))
        .route("/collections/{name}/points/query/batch", post(search::query_batch))
        .route("/collections/{name}/points/search", post(search::search))
        .route("/collections/{name}/points/search/batch", post(search::search_batch))
}

fn writing() -> Router<App> {
    Router::new()
        .route("/collections/aliases", post(collections::change_aliases))
        .route("/collections/{name}", put(collections::create))
        .route("/collections/{name}", patch(collections::update))
        .route("/collections/{name}", delete(collections::delete))
        .route("/collections/{name}/pin", put(warm::pin).delete(warm::unpin))
        .route("/collections/{name}/index", put(collections::create_index))
        .route("/collections/{name}/index/{field}", delete(collections::delete_index))
        .route("/collections/{name}/points", put(points::upsert))
        .route("/collections/{name}/points/delete", post(points::delete))
        .route("/collections/{name}/points/payload", post(points::set_payload).put(points::overwrite_payload))
        .route("/collections/{name}/points/payload/delete", post(points::delete_payload))
        .route("/collections/{name}/points/payload/clear", post(points::clear_payload))
        .route("/collections/{name}/points/vectors", put(points::update_vectors))
        .route("/collections/{name}/points/vectors/delete", post(points::delete_vectors))
        .route("/collections/{name}/points/batch", post(points::batch))
}

async fn later(method: Method, path: axum::extract::MatchedPath) -> Failure {
    Error::unsupported(format!("{UNSUPPORTED}{method} {}", path.as_str())).into()
}

async fn unknown() -> Failure {
    Error::not_found("Not found: there is nothing at this path").into()
}

async fn wrong_method(method: Method) -> Failure {
    let error = Error::bad_request(format!("this path does not know the method {method}"));
    Failure::with_status(StatusCode::METHOD_NOT_ALLOWED, error)
}
