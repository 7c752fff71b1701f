//! What happens to every call before and after its service sees it: the key is checked, a panic becomes an
//! error instead of a lost connection, and a write runs to its end even if its client goes away.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use lodestone_types::{Error, Result};
use tonic::{Code, Status};

use super::status::from_error;
use crate::auth::{Access, ApiKeys};

/// Calls that change nothing; every other one needs the key that allows all.
const READS: [&str; 26] = [
    "/qdrant.Collections/CollectionClusterInfo",
    "/qdrant.Collections/CollectionExists",
    "/qdrant.Collections/Get",
    "/qdrant.Collections/List",
    "/qdrant.Collections/ListAliases",
    "/qdrant.Collections/ListCollectionAliases",
    "/qdrant.Collections/ListShardKeys",
    "/qdrant.Points/Count",
    "/qdrant.Points/Discover",
    "/qdrant.Points/DiscoverBatch",
    "/qdrant.Points/Facet",
    "/qdrant.Points/Get",
    "/qdrant.Points/Query",
    "/qdrant.Points/QueryBatch",
    "/qdrant.Points/QueryGroups",
    "/qdrant.Points/Recommend",
    "/qdrant.Points/RecommendBatch",
    "/qdrant.Points/RecommendGroups",
    "/qdrant.Points/Scroll",
    "/qdrant.Points/Search",
    "/qdrant.Points/SearchBatch",
    "/qdrant.Points/SearchGroups",
    "/qdrant.Points/SearchMatrixOffsets",
    "/qdrant.Points/SearchMatrixPairs",
    "/qdrant.Snapshots/List",
    "/qdrant.Snapshots/ListFull",
];

/// Calls that need no key: clients and load balancers ask these before they have one.
const OPEN: [&str; 2] = ["/qdrant.Qdrant/HealthCheck", "/grpc.health.v1.Health/Check"];

/// Lets a call pass to its service, or answers it here.
pub(super) async fn pass(State(keys): State<Arc<ApiKeys>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let reads = READS.contains(&path);
    if !OPEN.contains(&path)
        && let Err(error) = allowed(&keys, request.headers(), reads)
    {
        return from_error(error).into_http();
    }
    let response = if reads { guarded(next.run(request)).await } else { detached(next.run(request)).await };
    clarified(response)
}

fn allowed(keys: &ApiKeys, headers: &HeaderMap, reads: bool) -> Result<()> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = text("api-key").or_else(|| text("authorization").and_then(ApiKeys::bearer));
    match keys.access(given)? {
        Access::ReadOnly if !reads => Access::ReadOnly.require_write(),
        _ => Ok(()),
    }
}

/// Runs a read here: if the client goes away, so does the work.
async fn guarded(call: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| panicked(panic.as_ref()))
}

/// Runs a write in a task of its own, which no lost connection or deadline stops halfway.
async fn detached(call: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(call).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panicked(panic.as_ref()),
            Err(_) => from_error(Error::unavailable("the server is shutting down")).into_http(),
        },
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    from_error(Error::internal(format!("a fault of ours, please report it: {text}"))).into_http()
}

/// The decoder below us calls a request that it cannot read a fault of the server, and one over the limit out
/// of range. Both are the client's to mend, so they get the codes that say so.
fn clarified(mut response: Response) -> Response {
    let code = match Status::from_header_map(response.headers()) {
        Some(s) if s.code() == Code::Internal && is_unreadable(s.message()) => Code::InvalidArgument,
        Some(s) if s.code() == Code::OutOfRange && s.message().contains("message length too large") => {
            Code::ResourceExhausted
        }
        _ => return response,
    };
    response.headers_mut().insert("grpc-status", HeaderValue::from(code as i32));
    response
}

fn is_unreadable(message: &str) -> bool {
    ["failed to decode Protobuf message", "Error decompressing", "protocol error", "Unexpected EOF"]
        .iter()
        .any(|start| message.starts_with(start))
}
