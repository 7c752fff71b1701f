//! Qdrant's gRPC interface over any [`Engine`].
//!
//! Message types and the servers' routing come from the official Rust client, so what is served here is what
//! the clients were generated from. A call passes `gate` (key, limits,
//! panics, counts), then its service (`collections`,
//! `points`, `snapshots`, `health`), which turns the message into our types (`read`, `write`, `config`,
//! `filter`, `point`, `value`), calls the engine and turns the answer back. What is not supported yet answers
//! `UNIMPLEMENTED` and names itself. [`client`] is the other side, for tools of ours that talk to a server.

mod budget;
pub mod client;
mod collections;
mod config;
mod field_index;
mod filter;
mod gate;
mod health;
mod info;
mod json;
mod metrics;
mod point;
mod points;
mod quantization;
mod read;
mod snapshots;
mod status;
mod strict_mode;
mod value;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::middleware;
use lodestone_types::limits::MAX_BODY_BYTES;
use lodestone_types::{Error, Result};
use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::QdrantServer;
use qdrant_client::qdrant::snapshots_server::SnapshotsServer;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status};
use tonic_health::pb::health_server::HealthServer;

pub use metrics::GrpcMetrics;

use crate::Engine;
use crate::auth::ApiKeys;
use crate::usage::Costs;

/// How much a client may send on one call before it must wait for us to read it; the default of 64 KiB
/// makes an upload wait many times.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same for all calls of one connection together.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Larger frames mean less work per byte.
const FRAME: u32 = 256 << 10;
/// Calls at once on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 1024;
/// How often a silent connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Messages that hold settings are small; only points are large.
const MAX_SETTINGS_BYTES: usize = 4 << 20;

/// How the interface is served.
#[derive(Debug, Clone)]
pub struct GrpcOptions {
    /// Who may do what. Default: everybody everything.
    pub keys: ApiKeys,
    /// The largest message with points, after decompression. Default: [`MAX_BODY_BYTES`].
    pub max_message_bytes: usize,
    /// Bytes of all messages in work at once; more are told to come back. Default: 512 MiB.
    pub max_bodies_bytes: usize,
    /// Calls in work at once; more are told to come back. Health checks always pass. Default: 1024.
    pub max_calls: usize,
    /// Where calls are counted. Share it to show the counts among other metrics.
    pub metrics: Arc<GrpcMetrics>,
    /// What the bucket charges, and what requests have cost. Share it between interfaces.
    pub costs: Arc<Costs>,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self {
            keys: ApiKeys::default(),
            max_message_bytes: MAX_BODY_BYTES,
            max_bodies_bytes: 512 << 20,
            max_calls: 1024,
            metrics: Arc::default(),
            costs: Arc::default(),
        }
    }
}

/// All services, behind the key check.
///
/// Compressed requests are read. Answers are not compressed: clients that could read them ask for it always, and
/// vectors, which are most of the bytes, hardly shrink.
pub fn routes(engine: Arc<dyn Engine>, options: GrpcOptions) -> Routes {
    let small = options.max_message_bytes.min(MAX_SETTINGS_BYTES);
    let points = PointsServer::new(points::PointsService(engine.clone()))
        .accept_compressed(Gzip)
        .max_decoding_message_size(options.max_message_bytes);
    let collections = CollectionsServer::new(collections::CollectionsService(engine.clone()))
        .accept_compressed(Gzip)
        .max_decoding_message_size(small);
    let snapshots = SnapshotsServer::new(snapshots::SnapshotsService).accept_compressed(Gzip);
    let version = QdrantServer::new(health::VersionService).accept_compressed(Gzip);
    let health = HealthServer::new(health::HealthService(engine)).accept_compressed(Gzip);
    let routes = Routes::new(points)
        .add_service(collections)
        .add_service(snapshots)
        .add_service(version)
        .add_service(health);
    let gate = middleware::from_fn_with_state(Arc::new(gate::Gate::new(options)), gate::pass);
    Routes::from(routes.into_axum_router().layer(gate))
}

/// Serves on `listener` until `shutdown` resolves; calls in flight are answered first.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<dyn Engine>,
    options: GrpcOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE));
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_routes(routes(engine, options))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
        .map_err(|e| Error::internal(format!("the gRPC server stopped: {e}")))
}

/// What a call answers: the message, or the status of the error.
async fn answer<T>(call: impl Future<Output = Result<T>>) -> Result<Response<T>, Status> {
    call.await.map(Response::new).map_err(status::from_error)
}

/// The answer of a call that Qdrant has and we do not.
fn not_yet<T>(what: &str) -> Result<Response<T>, Status> {
    Err(status::from_error(Error::unsupported(format!("not supported yet: {what}"))))
}
