//! How a leader knows that it still is one (rule 9).
//!
//! A HEAD that finds the next claim absent proves leadership as of when it was sent. One that is younger than
//! the lease serves every strong read, because a new leader waits a lease before its first acknowledgement.
//! Concurrent reads share one HEAD.

use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::Epoch;
use lodestone_store::Store;
use lodestone_wal::keys;
use parking_lot::Mutex;

use crate::{Clock, MetaError, Result};

/// Proofs of one leader.
#[derive(Debug)]
pub struct Proofs {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    epoch: Epoch,
    lease: Duration,
    newest: Mutex<Option<Duration>>,
    asking: tokio::sync::Mutex<()>,
}

impl Proofs {
    /// The epoch whose leader proves.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// For the leader of `epoch`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, epoch: Epoch, lease: Duration) -> Self {
        Self { store, clock, epoch, lease, newest: Mutex::new(None), asking: tokio::sync::Mutex::new(()) }
    }

    /// Proves leadership at some moment that, for every reader on the group's clocks, lies after this call began.
    pub async fn fresh_enough_to_read(&self) -> Result<()> {
        if self.is_leased() {
            return Ok(());
        }
        let began = self.clock.now();
        let _asking = self.asking.lock().await;
        // Another reader may have asked while this one waited.
        if self.is_leased() || self.newest.lock().is_some_and(|at| at >= began) {
            return Ok(());
        }
        self.ask().await
    }

    fn is_leased(&self) -> bool {
        let now = self.clock.now();
        self.newest.lock().is_some_and(|at| now.saturating_sub(at) < self.lease)
    }

    /// Proves leadership at a moment after this call began, whatever was proved before.
    pub async fn ask(&self) -> Result<()> {
        let sent = self.clock.now();
        let next = self.epoch.next();
        match self.store.head(&keys::claim(next)).await {
            Ok(_) => Err(MetaError::Deposed(next)),
            Err(e) if e.is_not_found() => {
                let mut newest = self.newest.lock();
                *newest = (*newest).max(Some(sent));
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }
}
