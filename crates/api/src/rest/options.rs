//! What can be set about the REST interface.

use std::sync::Arc;
use std::time::Duration;

use lodestone_types::limits::MAX_BODY_BYTES;

use super::metrics::RequestMetrics;
use crate::auth::ApiKeys;
use crate::grpc::GrpcMetrics;
use crate::usage::Costs;

/// Settings of the REST interface; each has a default.
#[derive(Debug, Clone)]
pub struct RestOptions {
    /// Who may do what. Default: everybody everything.
    pub keys: ApiKeys,
    /// Our own version, shown by `GET /`. Default: that of this crate.
    pub version: String,
    /// The commit this was built from, if known.
    pub commit: Option<String>,
    /// Bytes of one request body. Default: [`MAX_BODY_BYTES`].
    pub max_body_bytes: usize,
    /// Bytes of all request bodies in work at once; more are told to come back. Default: 512 MiB.
    pub max_bodies_bytes: usize,
    /// Requests in work at once; more are told to come back. Health checks always pass. Default: 1024.
    pub max_requests: usize,
    /// How long a client may take to send a body. Default: 60 s.
    pub body_timeout: Duration,
    /// How long a request may take that does not say so itself. Default: 60 s.
    pub request_timeout: Duration,
    /// Whether `/metrics` is open to callers without a key. Default: no.
    pub open_metrics: bool,
    /// Where requests are counted. Share it to add the counts to metrics elsewhere.
    pub metrics: Arc<RequestMetrics>,
    /// Where gRPC calls are counted, which `/metrics` shows beside the requests.
    pub grpc_metrics: Arc<GrpcMetrics>,
    /// What the bucket charges, and what requests have cost. Share it between interfaces.
    pub costs: Arc<Costs>,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            keys: ApiKeys::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: None,
            max_body_bytes: MAX_BODY_BYTES,
            max_bodies_bytes: 512 << 20,
            max_requests: 1024,
            body_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            open_metrics: false,
            metrics: Arc::default(),
            grpc_metrics: Arc::default(),
            costs: Arc::default(),
        }
    }
}
