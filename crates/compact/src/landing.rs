//! Rewrites are proposed to the state, which refuses them where anything that they read has changed.

use std::sync::Arc;

use lodestone_manifest::{CatalogError, Rewrite, State, SystemOp};
use lodestone_meta::{Consistency, SystemLog};
use lodestone_types::{Error, Result};

use crate::worker::Compactor;

/// How often what a job made is proposed for the shard as it is then.
const TRIES: u32 = 10;

/// What became of a rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landed {
    /// The manifest names the new parts.
    Yes,
    /// Something the job read has changed; it has to be planned again.
    Stale,
}

/// Proposes a rewrite whose objects are written.
pub(crate) async fn propose(rewrite: Rewrite, log: &dyn SystemLog) -> Result<Landed> {
    let mut outcomes = log.propose(vec![SystemOp::Rewrite(rewrite)]).await?;
    match outcomes.pop() {
        Some(Ok(_)) => Ok(Landed::Yes),
        Some(Err(CatalogError::Stale(_) | CatalogError::NoCollection)) => Ok(Landed::Stale),
        Some(Err(e)) => Err(Error::internal(format!("a rewrite was refused: {e}"))),
        None => Err(Error::internal("a rewrite was not answered")),
    }
}

impl Compactor {
    /// Proposes a rewrite once what it brings is near: the reads that come after would wait for it.
    pub(crate) async fn land(&self, rewrite: Rewrite) -> Result<Landed> {
        let shard = rewrite.shard;
        if let Err(error) = self.views().prepare(shard, &rewrite.put).await {
            tracing::debug!(%error, %shard, "the parts of a job are loaded later");
        }
        propose(rewrite, self.log()).await
    }

    /// Lands what `rewrite` makes of the state as it is now, once more where something else has landed meanwhile. For jobs that
    /// take long: rows may be deleted and indexes come while they run, which is no reason to do them again. `None` says that what
    /// was made is of no use any more. `rewrite` is also given the number of the try.
    pub(crate) async fn land_on_latest<F>(&self, rewrite: impl Fn(Arc<State>, u32) -> F) -> Result<Landed>
    where
        F: Future<Output = Result<Option<Rewrite>>>,
    {
        for number in 0..TRIES {
            let state = self.meta().read(Consistency::Strong).await?;
            let Some(rewrite) = rewrite(state, number).await? else { return Ok(Landed::Stale) };
            if self.land(rewrite).await? == Landed::Yes {
                return Ok(Landed::Yes);
            }
        }
        Ok(Landed::Stale)
    }
}
