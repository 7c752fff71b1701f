//! A gRPC server on a free port of the loopback, with the engine behind it and a client in front.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;

use lodestone_api::grpc::{GrpcOptions, serve};
use qdrant_client::qdrant::collections_client::CollectionsClient;
use qdrant_client::qdrant::points_client::PointsClient;
use qdrant_client::{Qdrant, QdrantError};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::common::MemoryEngine;

/// A running server; it goes with the test's runtime.
pub struct Server {
    pub address: SocketAddr,
    pub engine: Arc<MemoryEngine>,
    pub client: Qdrant,
    channel: Channel,
    stop: oneshot::Sender<()>,
    running: JoinHandle<lodestone_types::Result<()>>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(GrpcOptions::default()).await
    }

    pub async fn start_with(options: GrpcOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let engine = Arc::new(MemoryEngine::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(listener, engine.clone(), options, async {
            let _ = stopped.await;
        });
        let running = tokio::spawn(serving);
        let url = format!("http://{address}");
        let client = Qdrant::from_url(&url).skip_compatibility_check().build().unwrap();
        let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
        Self { address, engine, client, channel, stop, running }
    }

    pub fn points(&self) -> PointsClient<Channel> {
        PointsClient::new(self.channel.clone()).max_encoding_message_size(usize::MAX)
    }

    pub fn collections(&self) -> CollectionsClient<Channel> {
        CollectionsClient::new(self.channel.clone())
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Asks the server to stop and waits until it has.
    pub async fn stop(self) -> lodestone_types::Result<()> {
        drop(self.client);
        drop(self.channel);
        self.stop.send(()).unwrap();
        self.running.await.unwrap()
    }
}

/// The code of a client's error.
pub fn code(error: QdrantError) -> Code {
    match error {
        QdrantError::ResponseError { status } => status.code(),
        QdrantError::ResourceExhaustedError { status, .. } => status.code(),
        other => panic!("not a status: {other}"),
    }
}
