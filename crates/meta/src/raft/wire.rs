//! Requests between voters: their bytes, and how Raft sends them.
//!
//! ```text
//! 0  CRC-32C of the rest u32, little endian
//! 4  postcard of (number of the voter it is for, request), or of the answer
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, Raft, Snapshot, SnapshotMeta, Vote};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::image::Contents;
use super::{Group, VoterId};

/// Bytes of a request above which fewer entries are sent at once.
const MAX_APPEND: usize = 4 << 20;
/// How long a voter that cannot be reached is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(200);
const CRC: usize = 4;

/// What one voter asks another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rpc {
    /// Take these entries; without any, a sign of life.
    Append,
    /// Vote for me.
    Vote,
    /// Take this snapshot.
    Snapshot,
}

impl Rpc {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Append, Self::Vote, Self::Snapshot];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Vote => "vote",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// How a request reaches another voter. The other side hands it to [`RaftReplica::answer`](super::RaftReplica::answer).
#[async_trait]
pub trait RaftTransport: Send + Sync + std::fmt::Debug + 'static {
    /// Sends `body` to the voter at `address` and returns its answer, within `limit`. Requests may be sent twice.
    async fn call(
        &self,
        address: &str,
        rpc: Rpc,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, TransportError>;
}

/// A snapshot on its way.
type SnapshotRequest = (Vote<VoterId>, SnapshotMeta<VoterId, BasicNode>, Contents);

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, TransportError> {
    let sealed = postcard::to_extend(value, vec![0; CRC]).map_err(|e| TransportError(e.to_string()))?;
    let mut sealed: Vec<u8> = sealed;
    let crc = crc32c::crc32c(&sealed[CRC..]);
    sealed[..CRC].copy_from_slice(&crc.to_le_bytes());
    Ok(sealed.into())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TransportError> {
    let Some((crc, payload)) = bytes.split_first_chunk::<CRC>() else {
        return Err(TransportError("the message is cut off".into()));
    };
    if u32::from_le_bytes(*crc) != crc32c::crc32c(payload) {
        return Err(TransportError("the message was damaged on its way".into()));
    }
    postcard::from_bytes(payload).map_err(|e| TransportError(format!("the message is not understood: {e}")))
}

/// Answers a request of another voter to voter `me`.
pub(super) async fn answer(
    raft: &Raft<Group>,
    me: VoterId,
    rpc: Rpc,
    body: &[u8],
) -> Result<Bytes, TransportError> {
    let failed = |e: &dyn std::error::Error| TransportError(e.to_string());
    match rpc {
        Rpc::Append => {
            let request: AppendEntriesRequest<Group> = decode_for(me, body)?;
            encode(&raft.append_entries(request).await.map_err(|e| failed(&e))?)
        }
        Rpc::Vote => {
            let request: VoteRequest<VoterId> = decode_for(me, body)?;
            encode(&raft.vote(request).await.map_err(|e| failed(&e))?)
        }
        Rpc::Snapshot => {
            let (vote, meta, contents): SnapshotRequest = decode_for(me, body)?;
            let snapshot = Snapshot { meta, snapshot: Box::new(contents) };
            encode(&raft.install_full_snapshot(vote, snapshot).await.map_err(|e| failed(&e))?)
        }
    }
}

/// An address may have passed to another voter, which must not answer for the one that was meant.
fn decode_for<T: DeserializeOwned>(me: VoterId, body: &[u8]) -> Result<T, TransportError> {
    let (to, request) = decode::<(VoterId, T)>(body)?;
    if to != me {
        return Err(TransportError(format!("this is voter {me}, not {to}")));
    }
    Ok(request)
}

/// Where the other voters are.
#[derive(Debug)]
pub(super) struct Peers(pub(super) Arc<dyn RaftTransport>);

/// One other voter.
#[derive(Debug)]
pub(super) struct Peer {
    id: VoterId,
    address: String,
    transport: Arc<dyn RaftTransport>,
}

impl Peer {
    async fn call<A: DeserializeOwned>(
        &self,
        rpc: Rpc,
        body: Bytes,
        limit: Duration,
    ) -> Result<A, TransportError> {
        decode(&self.transport.call(&self.address, rpc, body, limit).await?)
    }
}

impl RaftNetworkFactory<Group> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: VoterId, node: &BasicNode) -> Peer {
        Peer { id: target, address: node.addr.clone(), transport: self.0.clone() }
    }
}

type RpcResult<T> = Result<T, RPCError<VoterId, BasicNode, RaftError<VoterId>>>;

impl RaftNetwork<Group> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Group>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<VoterId>> {
        let entries = request.entries.len() as u64;
        let body = encode(&(self.id, &request)).map_err(|e| NetworkError::new(&e))?;
        if body.len() > MAX_APPEND && entries > 1 {
            return Err(PayloadTooLarge::new_entries_hint(entries / 2).into());
        }
        Ok(self.call(Rpc::Append, body, option.hard_ttl()).await.map_err(|e| Unreachable::new(&e))?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<VoterId>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<VoterId>> {
        let body = encode(&(self.id, &request)).map_err(|e| NetworkError::new(&e))?;
        Ok(self.call(Rpc::Vote, body, option.hard_ttl()).await.map_err(|e| Unreachable::new(&e))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<VoterId>,
        snapshot: Snapshot<Group>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<VoterId>, StreamingError<Group, Fatal<VoterId>>> {
        let request: SnapshotRequest = (vote, snapshot.meta, *snapshot.snapshot);
        let body = encode(&(self.id, &request)).map_err(|e| NetworkError::new(&e))?;
        tokio::select! {
            closed = cancel => Err(closed.into()),
            answer = self.call(Rpc::Snapshot, body, option.hard_ttl()) => {
                Ok(answer.map_err(|e| Unreachable::new(&e))?)
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_AFTER))
    }
}
