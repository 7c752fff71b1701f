//! `lodestone serve`: bind, start the node, answer, and stop without leaving anything in doubt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt;
use lodestone_api::auth::{ApiKey, ApiKeys};
use lodestone_api::grpc::{self, GrpcMetrics, GrpcOptions};
use lodestone_api::rest::{self, RestOptions};
use lodestone_api::{Costs, Engine};
use lodestone_node::{Node, instance};
use lodestone_types::{Error, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

use crate::config::{self, Config};
use crate::ports::{Ports, advertised, reachable};
use crate::secret::Secret;
use crate::signals::Signals;
use crate::starting::Starting;

/// How long requests under way may take after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(20);
/// How long flushing and releasing the store may take after that.
const RELEASE: Duration = Duration::from_secs(30);

/// Serves until told to stop.
pub async fn run(config: Config) -> Result<()> {
    let mut signals = Signals::install()?;
    match Server::start(config, &mut signals).await? {
        Some(server) => server.run(signals).await,
        None => Ok(()),
    }
}

/// A node and its two interfaces, answering.
pub struct Server {
    node: Node,
    stop: watch::Sender<bool>,
    rest: JoinHandle<Result<()>>,
    grpc: JoinHandle<Result<()>>,
    http: SocketAddr,
}

impl Server {
    /// Starts everything; `None` if a signal came first.
    pub async fn start(config: Config, signals: &mut Signals) -> Result<Option<Self>> {
        let began = Instant::now();
        let ports = Ports::bind(&config).await?;
        let (http, grpc) = ports.addresses()?;
        warn_if_open(&config, http);
        let starting = Starting::serve(&ports.http)?;
        let cache_root = config::cache_root(&crate::environment());
        let address = advertised(&config, http)?;
        let options = config.node_options(address, &cache_root);
        tracing::debug!(?options, "starting");
        let node = tokio::select! {
            node = Node::start(options) => node?,
            signal = signals.next() => {
                tracing::info!("{signal} while starting: stopped");
                return Ok(None);
            }
        };
        starting.end().await;
        let server = Self::answer(node, ports, &config, http)?;
        let took_ms = began.elapsed().as_millis();
        tracing::info!(rest = %format_args!("http://{http}"), %grpc, store = %config.store, took_ms, "ready");
        Ok(Some(server))
    }

    fn answer(node: Node, ports: Ports, config: &Config, http: SocketAddr) -> Result<Self> {
        let (stop, stopping) = watch::channel(false);
        let listener = |socket| {
            tokio::net::TcpListener::from_std(socket)
                .map_err(|e| Error::internal(format!("a listening socket cannot be used: {e}")))
        };
        let (for_rest, for_grpc) = (listener(ports.http)?, listener(ports.grpc)?);
        let (calls, costs) = (Arc::new(GrpcMetrics::default()), Arc::new(Costs::new(config.price)));
        let options = RestOptions {
            keys: keys(config),
            grpc_metrics: calls.clone(),
            costs: costs.clone(),
            ..RestOptions::default()
        };
        let rest = rest::router(node.engine(), options);
        // Needs no key: the number tells only that this process runs, and whoever asks has no key of ours.
        let instance = node.instance();
        let rest = Router::new().route(instance::PATH, get(|| async { instance })).merge(rest);
        let rest =
            axum::serve(for_rest.tap_io(without_delay), rest).with_graceful_shutdown(told(stopping.clone()));
        let rest =
            async move { rest.await.map_err(|e| Error::internal(format!("the REST server stopped: {e}"))) };
        let options = GrpcOptions { keys: keys(config), metrics: calls, costs, ..GrpcOptions::default() };
        let grpc = grpc::serve(for_grpc, node.engine(), options, told(stopping));
        Ok(Self { node, stop, rest: tokio::spawn(rest), grpc: tokio::spawn(grpc), http })
    }

    /// What the interfaces call.
    pub fn engine(&self) -> Arc<dyn Engine> {
        self.node.engine()
    }

    /// Where REST answers, to be dialled from this machine.
    pub fn url(&self) -> String {
        format!("http://{}", reachable(self.http))
    }

    /// Answers until a signal comes or an interface fails, then stops.
    pub async fn run(mut self, mut signals: Signals) -> Result<()> {
        let failed = tokio::select! {
            signal = signals.next() => {
                tracing::info!("{signal}: stopping");
                None
            }
            error = self.node.failed() => Some(error),
            ended = &mut self.rest => Some(why(ended)),
            ended = &mut self.grpc => Some(why(ended)),
        };
        self.stop(signals).await;
        failed.map_or(Ok(()), Err)
    }

    /// Takes no more connections, lets requests under way finish, flushes and releases the store.
    pub async fn stop(mut self, signals: Signals) {
        signals.exit_at_next();
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + DRAIN;
        for (name, task) in [("REST", &mut self.rest), ("gRPC", &mut self.grpc)] {
            if !task.is_finished() && timeout_at(deadline, &mut *task).await.is_err() {
                tracing::warn!("{name} requests still running after {} s are cut off", DRAIN.as_secs());
                task.abort();
            }
        }
        match timeout(RELEASE, self.node.shutdown()).await {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => tracing::warn!(
                "the store was not released within {} s; nothing acknowledged is lost, the next start recovers it",
                RELEASE.as_secs()
            ),
        }
    }
}

/// Resolves once a stop is asked for, or nobody is left who could.
async fn told(mut stopping: watch::Receiver<bool>) {
    // The error means that the sender is gone, which is the same to us.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Answers leave as they are written: the kernel would wait to fill packets.
fn without_delay(stream: &mut tokio::net::TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
}

fn why(ended: Result<Result<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Ok(())) => Error::internal("an interface ended by itself"),
        Ok(Err(error)) => error,
        Err(panic) => Error::internal(format!("an interface failed: {panic}")),
    }
}

fn warn_if_open(config: &Config, http: SocketAddr) {
    if !http.ip().is_loopback() && config.api_key.is_none() {
        tracing::warn!(
            "listening on {} without a key: whoever reaches this port may read and delete everything; \
             set LODESTONE_API_KEY, or use --host 127.0.0.1",
            http.ip()
        );
    }
}

fn keys(config: &Config) -> ApiKeys {
    let key = |secret: &Option<Secret>| secret.as_ref().map(|s| ApiKey::new(s.reveal()));
    ApiKeys { full: key(&config.api_key), read_only: key(&config.read_only_api_key) }
}
