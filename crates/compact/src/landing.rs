//! Rewrites are proposed to the state, which refuses them where anything that they read has changed.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use lodestone_manifest::{CatalogError, Rewrite, SegmentEntry, ShardId, State, SystemOp};
use lodestone_meta::{Consistency, Job, SystemLog};
use lodestone_segment::SegmentMeta;
use lodestone_types::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

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

/// The rewrite that gives a segment, as it is now, other parts.
pub(crate) fn with_parts(
    entry: &SegmentEntry,
    meta: &SegmentMeta,
    shard: ShardId,
    job: &Job,
) -> Result<Rewrite> {
    Ok(Rewrite {
        epoch: job.epoch,
        shard,
        read: vec![(entry.id, entry.revision)],
        remove: Vec::new(),
        put: vec![meta.to_entry(entry.revision + 1)?],
        fold: None,
    })
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
        self.prepare(&rewrite).await;
        propose(rewrite, self.log()).await
    }

    /// Lands what `rewrite` makes of the state as it is now, once more where something else has landed meanwhile. For jobs that
    /// take long: rows may be deleted and indexes come while they run, which is no reason to do them again. `None` says that what
    /// was made is of no use any more. `rewrite` is also given the number of the try, of which the first is only prepared: that may
    /// take long, and no fold runs while the others are made.
    pub(crate) async fn land_on_latest<F>(
        &self,
        shard: ShardId,
        rewrite: impl Fn(Arc<State>, u32) -> F,
    ) -> Result<Landed>
    where
        F: Future<Output = Result<Option<Rewrite>>>,
    {
        let state = self.meta().read(Consistency::Eventual).await?;
        let Some(first) = rewrite(state, 0).await? else { return Ok(Landed::Stale) };
        self.prepare(&first).await;
        let _turn = self.turns().wait(shard).await;
        for number in 1..=TRIES {
            let state = self.meta().read(Consistency::Strong).await?;
            let Some(rewrite) = rewrite(state, number).await? else { return Ok(Landed::Stale) };
            if self.land(rewrite).await? == Landed::Yes {
                return Ok(Landed::Yes);
            }
        }
        Ok(Landed::Stale)
    }

    async fn prepare(&self, rewrite: &Rewrite) {
        let shard = rewrite.shard;
        if let Err(error) = self.views().prepare(shard, &rewrite.put).await {
            tracing::debug!(%error, %shard, "the parts of a job are loaded later");
        }
    }
}

/// Whose turn it is to change the segments of a shard: that of a fold from its beginning on, for it reads all of them and would be
/// done in vain; of other jobs only when they land.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<ShardId, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for those who came before.
    pub(crate) async fn wait(&self, shard: ShardId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            turns.retain(|_, turn| turn.strong_count() > 0);
            let turn = turns.get(&shard).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(shard, Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn turns_are_of_one_shard_and_in_the_order_of_those_who_came() {
        let turns = Turns::default();
        let fold = turns.wait(ShardId(1)).await;
        drop(turns.wait(ShardId(2)).await);
        let mut merge = Box::pin(turns.wait(ShardId(1)));
        assert!((&mut merge).now_or_never().is_none());
        let mut next = Box::pin(turns.wait(ShardId(1)));
        assert!((&mut next).now_or_never().is_none());
        drop(fold);
        assert!((&mut next).now_or_never().is_none(), "the merge was here before");
        let landing = merge.await;
        assert!((&mut next).now_or_never().is_none());
        drop(landing);
        drop(next.await);
        drop(turns.wait(ShardId(2)).await);
        assert_eq!(turns.0.lock().len(), 1, "nothing is kept of those that are done");
    }
}
