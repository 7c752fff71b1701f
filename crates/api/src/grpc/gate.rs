//! What happens to every call before and after its service sees it: the key is checked, calls and their bytes
//! are limited, a panic becomes an error instead of a lost connection, a write runs to its end even if its client
//! goes away, and the answer is counted.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use lodestone_types::{Error, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::budget::Budget;
use super::status::from_error;
use super::{GrpcMetrics, GrpcOptions};
use crate::auth::{Access, ApiKeys};
use crate::usage::Costs;

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

/// When a call over the limit may come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// What the gate knows.
pub(super) struct Gate {
    keys: ApiKeys,
    calls: Arc<Semaphore>,
    bodies: Budget,
    metrics: Arc<GrpcMetrics>,
    costs: Arc<Costs>,
}

impl Gate {
    pub(super) fn new(options: GrpcOptions) -> Self {
        Self {
            keys: options.keys,
            calls: Arc::new(Semaphore::new(options.max_calls.min(Semaphore::MAX_PERMITS))),
            bodies: Budget::new(options.max_bodies_bytes),
            metrics: options.metrics,
            costs: options.costs,
        }
    }
}

/// Lets a call pass to its service, or answers it here.
pub(super) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let (response, told) = gate.costs.counted(&headers, call(&gate, &path, request, next)).await;
    let mut response = clarified(response);
    response.headers_mut().extend(told);
    // An answer without a status in its header carries it behind its message, and then it is 0.
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |s| s.code());
    let method = if code == Code::Unimplemented { "unimplemented" } else { path.as_str() };
    gate.metrics.record(method, code as i32, start.elapsed());
    response
}

async fn call(gate: &Gate, path: &str, request: Request, next: Next) -> Response {
    if OPEN.contains(&path) {
        return guarded(next.run(request)).await;
    }
    let reads = READS.contains(&path);
    if let Err(error) = allowed(&gate.keys, request.headers(), reads) {
        return from_error(error).into_http();
    }
    let Ok(slot) = gate.calls.clone().try_acquire_owned() else {
        return from_error(Error::busy("too many calls are in work", COME_BACK)).into_http();
    };
    let (parts, body) = request.into_parts();
    let (body, held) = gate.bodies.charge(body);
    let run = async move {
        let response = next.run(Request::from_parts(parts, body)).await;
        drop((slot, held));
        response
    };
    if reads { guarded(run).await } else { detached(run).await }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn header(status: Status) -> Response {
        status.into_http()
    }

    fn code(response: &Response) -> Code {
        Status::from_header_map(response.headers()).unwrap().code()
    }

    #[tokio::test]
    async fn a_write_goes_on_when_its_client_has_gone() {
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        let write = async move {
            gone.await.unwrap();
            done.send(()).unwrap();
            Response::default()
        };
        let mut call = Box::pin(detached(write));
        assert!(futures::poll!(&mut call).is_pending());
        drop(call);
        go.send(()).unwrap();
        finished.await.unwrap();
    }

    #[tokio::test]
    async fn panics_become_errors() {
        let panics = || async { panic!("on purpose") };
        assert_eq!(code(&guarded(panics()).await), Code::Internal);
        let response = detached(panics()).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("on purpose"));
    }

    #[test]
    fn only_faults_of_the_client_are_renamed() {
        let clear = |status| code(&clarified(header(status)));
        let unreadable = "failed to decode Protobuf message: recursion limit reached";
        assert_eq!(clear(Status::internal(unreadable)), Code::InvalidArgument);
        assert_eq!(clear(Status::internal("the engine broke")), Code::Internal);
        let long = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        assert_eq!(clear(Status::out_of_range(long)), Code::ResourceExhausted);
        assert_eq!(clear(Status::not_found(unreadable)), Code::NotFound);
    }

    #[test]
    fn the_key_may_come_in_two_headers() {
        use crate::auth::ApiKey;
        let keys = ApiKeys { full: Some(ApiKey::new("all")), read_only: Some(ApiKey::new("some")) };
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
        };
        assert!(allowed(&keys, &headers("api-key", "all"), false).is_ok());
        assert!(allowed(&keys, &headers("authorization", "Bearer all"), false).is_ok());
        assert!(allowed(&keys, &headers("authorization", "Bearer some"), true).is_ok());
        assert!(allowed(&keys, &headers("api-key", "some"), false).is_err());
        assert!(allowed(&keys, &headers("api-key", "none"), true).is_err());
        assert!(allowed(&keys, &HeaderMap::new(), true).is_err());
    }
}
