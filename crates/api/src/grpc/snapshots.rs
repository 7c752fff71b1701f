//! The `Snapshots` service: none of it yet, and it says so.

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::snapshots_server::Snapshots;
use tonic::{Request, Response, Status};

use super::not_yet;

/// Refuses with a clear error.
pub(super) struct SnapshotsService;

#[tonic::async_trait]
impl Snapshots for SnapshotsService {
    async fn create(
        &self,
        _request: Request<proto::CreateSnapshotRequest>,
    ) -> Result<Response<proto::CreateSnapshotResponse>, Status> {
        not_yet("snapshots")
    }

    async fn list(
        &self,
        _request: Request<proto::ListSnapshotsRequest>,
    ) -> Result<Response<proto::ListSnapshotsResponse>, Status> {
        not_yet("snapshots")
    }

    async fn delete(
        &self,
        _request: Request<proto::DeleteSnapshotRequest>,
    ) -> Result<Response<proto::DeleteSnapshotResponse>, Status> {
        not_yet("snapshots")
    }

    async fn create_full(
        &self,
        _request: Request<proto::CreateFullSnapshotRequest>,
    ) -> Result<Response<proto::CreateSnapshotResponse>, Status> {
        not_yet("snapshots")
    }

    async fn list_full(
        &self,
        _request: Request<proto::ListFullSnapshotsRequest>,
    ) -> Result<Response<proto::ListSnapshotsResponse>, Status> {
        not_yet("snapshots")
    }

    async fn delete_full(
        &self,
        _request: Request<proto::DeleteFullSnapshotRequest>,
    ) -> Result<Response<proto::DeleteSnapshotResponse>, Status> {
        not_yet("snapshots")
    }
}
