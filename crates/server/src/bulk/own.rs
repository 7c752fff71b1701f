//! A store without a server: this process takes the roles that it needs, and serves nobody.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lodestone_node::{Node, NodeOptions, Roles, instance};
use lodestone_types::{
    CollectionConfig, CountRequest, Error, PayloadSelector, Point, PointId, ReadOptions, Record, Result,
    RetrieveRequest, ScrollPage, ScrollRequest, VectorSelector,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::digest::Schema;
use crate::config::{self, Config};

/// How long releasing the store may take.
const RELEASE: Duration = Duration::from_secs(30);
/// Bytes of vectors that stay mapped, unless settings say otherwise.
const VECTORS: u64 = 128 << 20;
/// Bytes of segments that stay here as files, which are mapped: those that wait for their index.
const FILES: u64 = 512 << 20;
/// How often it is looked whether indexes are built.
const LOOK: Duration = Duration::from_millis(200);

/// A store and a process for it. Clones are the same one.
#[derive(Clone)]
pub struct Own {
    node: Arc<Node>,
    answering: Arc<JoinHandle<std::io::Result<()>>>,
}

impl Own {
    /// Starts the roles. With all of them the store is claimed; where a process that holds it answers, that is an error.
    pub async fn start(mut config: Config, roles: Roles) -> Result<Self> {
        config.roles = roles;
        // To merge many large segments takes more memory than all else here, and who serves them later has its own settings.
        config.compact.merge_fan_in = u32::MAX;
        config.compact.idle = Duration::ZERO;
        // What is imported is read once, to be indexed: it need not stay near.
        config.cache.memory.get_or_insert(VECTORS);
        config.cache.disk = config.cache.disk.min(FILES);
        let no_socket = |e| Error::internal(format!("no socket on this machine: {e}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(no_socket)?;
        let address = listener.local_addr().map_err(no_socket)?.to_string();
        let options = config.node_options(address, &config::cache_root(&crate::environment()));
        let node = Node::start(NodeOptions { keep_pins: false, ..options }).await?;
        // A server that is started on the store meanwhile, on this machine, asks here and leaves us alone.
        let number = node.instance();
        let answer = Router::new().route(instance::PATH, get(|| async { number }));
        let answering = tokio::spawn(axum::serve(listener, answer).into_future());
        Ok(Self { node: Arc::new(node), answering: Arc::new(answering) })
    }

    /// A collection's vectors, if it exists.
    pub async fn vectors(&self, collection: &str) -> Result<Option<Schema>> {
        let engine = self.node.engine();
        match engine.collection_exists(collection).await? {
            true => Ok(Some(engine.collection(collection).await?.config.params.vectors)),
            false => Ok(None),
        }
    }

    /// Creates a collection with these vectors and otherwise the defaults.
    pub async fn create(&self, collection: &str, schema: &Schema) -> Result<()> {
        let config = CollectionConfig::new(schema.clone());
        lodestone_api::check::collection_name(collection)?;
        lodestone_api::check::collection_config(&config)?;
        self.node.engine().create_collection(collection, config, None).await
    }

    /// Makes segments of points; they are in the bucket when it returns.
    pub async fn load(&self, collection: &str, points: Vec<Point>) -> Result<()> {
        self.node.load(collection, points).await
    }

    /// Points by id, whole.
    pub async fn retrieve(&self, collection: &str, ids: &[PointId]) -> Result<Vec<Record>> {
        let request = RetrieveRequest {
            ids: ids.to_vec(),
            with_payload: PayloadSelector::All,
            with_vectors: VectorSelector::All,
        };
        self.node.engine().retrieve(collection, request, ReadOptions::default()).await
    }

    /// Points in the order of ids, whole.
    pub async fn scroll(&self, collection: &str, from: Option<PointId>, limit: u32) -> Result<ScrollPage> {
        let request = ScrollRequest {
            offset: from,
            limit: limit as usize,
            filter: None,
            with_payload: PayloadSelector::All,
            with_vectors: VectorSelector::All,
            order_by: None,
        };
        self.node.engine().scroll(collection, request, ReadOptions::default()).await
    }

    /// How many points there are.
    pub async fn count(&self, collection: &str) -> Result<u64> {
        let request = CountRequest { filter: None, exact: true };
        self.node.engine().count(collection, request, ReadOptions::default()).await
    }

    /// Waits until segments are indexed; the next process would do it otherwise.
    pub async fn settle(&self, collection: &str) -> Result<()> {
        while !self.node.is_settled(collection).await? {
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Leaves a checkpoint and releases the store.
    pub async fn end(self) {
        self.answering.abort();
        // Work that failed may still hold it; then it ends as a crash would, which loses nothing.
        let released = match Arc::try_unwrap(self.node) {
            Ok(node) => timeout(RELEASE, node.shutdown()).await.is_ok(),
            Err(_) => false,
        };
        if !released {
            tracing::warn!("the store was not released; the next start recovers it");
        }
    }
}
