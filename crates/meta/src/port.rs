use std::sync::Arc;

use async_trait::async_trait;
use lodestone_manifest::{
    Applied, Batch, CatalogError, Epoch, Nonce, OpOutcome, Reservation, ReserveRequest, Slot, State, SystemOp,
};
use tokio::sync::watch;

use crate::{Job, Result};

/// How fresh a state must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Holds every write acknowledged before the question was asked.
    Strong,
    /// What this process knows.
    Eventual,
}

/// What ingest, query and compact see of the meta group.
#[async_trait]
pub trait Meta: Send + Sync + std::fmt::Debug {
    /// Reserves the next slot.
    async fn reserve(&self, request: ReserveRequest) -> Result<Reservation>;

    /// Says that the slot's object was written, and waits until it is decided. `batch` is what it holds.
    async fn commit(&self, slot: Slot, batch: Batch) -> Result<Applied>;

    /// Says that the slot's object could not be written, or not surely, and waits until the leader has found
    /// out or has closed the slot. [`Applied::Void`] means that the write may be sent again in another slot.
    async fn contest(&self, slot: Slot, epoch: Epoch, nonce: Nonce) -> Result<Applied>;

    /// The state, as fresh as asked.
    async fn read(&self, consistency: Consistency) -> Result<Arc<State>>;

    /// A state that holds every write acknowledged before this was called. `known` is what this process knew by then, and
    /// is returned if it is such a state; so an answer can be prepared from it meanwhile.
    async fn confirm(&self, known: Arc<State>) -> Result<Arc<State>> {
        let newest = self.read(Consistency::Strong).await?;
        Ok(if newest.slot == known.slot { known } else { newest })
    }

    /// The state as it is applied here.
    fn watch(&self) -> watch::Receiver<Arc<State>>;

    /// Starts a job that writes parts. They are safe from garbage collection until the job is dropped and every slot that
    /// was reserved by then is decided.
    async fn begin_job(&self) -> Result<Job>;
}

/// Puts changes of the catalog or of segments into the log.
#[async_trait]
pub trait SystemLog: Send + Sync {
    /// Proposes the changes as one and says what each of them did.
    async fn propose(&self, ops: Vec<SystemOp>) -> Result<Vec<Result<OpOutcome, CatalogError>>>;
}
