//! `qdrant.Qdrant/HealthCheck`, which clients call first to learn the version, and the standard
//! `grpc.health.v1.Health`, which load balancers call to learn whether to send requests.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::qdrant_server::Qdrant;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::not_yet;
use crate::Engine;

/// Says which version of Qdrant's interface this is.
pub(super) struct VersionService;

#[tonic::async_trait]
impl Qdrant for VersionService {
    async fn health_check(
        &self,
        _request: Request<proto::HealthCheckRequest>,
    ) -> Result<Response<proto::HealthCheckReply>, Status> {
        let reply = proto::HealthCheckReply {
            title: crate::TITLE.to_owned(),
            version: crate::QDRANT_VERSION.to_owned(),
            commit: None,
        };
        Ok(Response::new(reply))
    }
}

/// Says whether the engine can take requests now.
pub(super) struct HealthService(pub(super) Arc<dyn Engine>);

impl HealthService {
    async fn now(&self) -> HealthCheckResponse {
        let status = match self.0.ready().await {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        HealthCheckResponse { status: status as i32 }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        // "" is the whole server; our services stand and fall together.
        match request.get_ref().service.as_str() {
            "" | "qdrant.Qdrant" | "qdrant.Collections" | "qdrant.Points" => {
                Ok(Response::new(self.now().await))
            }
            other => Err(Status::not_found(format!("there is no service {other}"))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        not_yet("watching health; call Check instead")
    }
}
