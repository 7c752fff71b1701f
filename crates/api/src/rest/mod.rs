//! Qdrant's REST interface.
//!
//! [`router`] turns an [`Engine`] into an axum router. From the outside in, a request passes [`guard`]
//! (time, metrics, log, panics, how many at once), the check of its key, the extractors of `extract`
//! (path, query string, body into the types of `wire`), and one of `handlers`, which calls the engine.

mod extract;
mod guard;
mod handlers;
mod metrics;
mod options;
mod reply;
mod routes;
pub(crate) mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lodestone_types::{Error, ReadOptions, Result};
use tokio::sync::Semaphore;
use uuid::Uuid;

pub use metrics::RequestMetrics;
pub use options::RestOptions;

use crate::Engine;

/// How much longer than the engine the interface waits, so that the engine's own answer comes first.
const GRACE: Duration = Duration::from_secs(2);

/// What every handler has.
#[derive(Clone)]
struct App(Arc<Shared>);

struct Shared {
    engine: Arc<dyn Engine>,
    options: RestOptions,
    /// Requests in work.
    requests: Semaphore,
    /// Memory for bodies.
    bodies: Arc<Semaphore>,
    /// Of this start of the process.
    id: Uuid,
    started: SystemTime,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The whole interface: mount it at the root of a server.
pub fn router(engine: Arc<dyn Engine>, options: RestOptions) -> axum::Router {
    let app = App(Arc::new(Shared {
        engine,
        requests: Semaphore::new(options.max_requests.min(Semaphore::MAX_PERMITS)),
        bodies: extract::memory_budget(options.max_bodies_bytes),
        options,
        id: Uuid::new_v4(),
        started: SystemTime::now(),
    }));
    routes::routes()
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::authenticate))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::observe))
        .with_state(app)
}

/// Waits for a read: late is late, and the client may ask again.
async fn read<T>(options: ReadOptions, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Error::timeout("the request took longer than its time-out");
    within(options.timeout, work, late).await
}

/// Waits for a change: when it is late, nobody knows whether it was made.
async fn change<T>(timeout: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late =
        || Error::outcome_unknown("the write took longer than its time-out; it may have been applied or not");
    within(timeout, work, late).await
}

async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T>>,
    late: impl FnOnce() -> Error,
) -> Result<T> {
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit + GRACE, work).await.unwrap_or_else(|_| Err(late())),
    }
}
