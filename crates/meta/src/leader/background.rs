//! What a leader does by itself: apply decided slots in order, close silent ones, write checkpoints, collect
//! garbage. Every task holds the leader weakly and ends with it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use lodestone_manifest::{NodeId, Nonce, Record, ReserveRequest, Slot};
use lodestone_store::list_all;
use lodestone_wal::keys;

use super::{Leader, REMEMBERED_OUTCOMES, REMEMBERED_RESERVATIONS, Roots, Standing};
use crate::checkpoint::Draft;
use crate::garbage::{Needs, keeps_more};
use crate::recover::{self, Outcome};
use crate::{MetaError, Result, bucket};

const TICK: Duration = Duration::from_millis(100);

pub(super) fn spawn(leader: &Arc<Leader>) {
    tokio::spawn(decide(Arc::downgrade(leader)));
    tokio::spawn(watch_owners(Arc::downgrade(leader)));
    tokio::spawn(keep_house(Arc::downgrade(leader)));
}

/// Applies decided slots in order and tells their owners.
async fn decide(leader: Weak<Leader>) {
    if let Some(leader) = leader.upgrade() {
        let wait = leader.may_decide_from.saturating_sub(leader.clock.now());
        drop(leader);
        tokio::time::sleep(wait).await;
    }
    loop {
        let Some(strong) = leader.upgrade() else { return };
        if strong.not_failed().is_err() {
            return;
        }
        if let Err(e) = strong.apply_decided().await {
            strong.fail(e);
            return;
        }
        // A commit notifies; the time-out lets the task notice that the leader is gone.
        let notified = async { strong.decided.notified().await };
        let _ = tokio::time::timeout(TICK * 10, notified).await;
    }
}

async fn watch_owners(leader: Weak<Leader>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(leader) = leader.upgrade() else { return };
        if leader.not_failed().is_err() {
            return;
        }
        let overdue = leader.inner.lock().sequencer.overdue(leader.clock.now(), leader.options.patience);
        if let Some(slot) = overdue
            && let Err(e) = leader.settle(slot).await
        {
            tracing::warn!(error = %e, %slot, "cannot settle a silent slot");
        }
    }
}

/// Checkpoints and garbage. Nothing is asked of the bucket while nothing changes.
async fn keep_house(leader: Weak<Leader>) {
    let mut last_slot = Slot(0);
    let mut quiet_since = Duration::ZERO;
    let mut next_sweep = Duration::ZERO;
    let mut sweep_wanted = true;
    loop {
        tokio::time::sleep(TICK).await;
        let Some(leader) = leader.upgrade() else { return };
        if !matches!(*leader.standing.borrow(), Standing::Leading) {
            return;
        }
        let now = leader.clock.now();
        let slot = leader.replica.watch().borrow().slot;
        if slot != last_slot {
            (last_slot, quiet_since) = (slot, now);
        }
        let behind = slot.0 - leader.roots.lock().newest.as_ref().map_or(0, |b| b.state.slot.0).min(slot.0);
        let quiet = now.saturating_sub(quiet_since) >= leader.options.checkpoint_idle;
        if behind >= leader.options.checkpoint_slots || (behind > 0 && quiet) {
            match leader.checkpoint().await {
                Ok(()) => sweep_wanted = true,
                Err(e) => tracing::warn!(error = %e, "cannot write a checkpoint; trying again"),
            }
        } else if quiet && leader.previous_root_keeps_more() {
            match leader.checkpoint_again().await {
                Ok(()) => sweep_wanted = true,
                Err(e) => tracing::warn!(error = %e, "cannot write a second checkpoint; trying again"),
            }
        }
        if now >= next_sweep && (sweep_wanted || leader.sweeper.lock().is_waiting()) {
            next_sweep = now + (leader.options.gc_grace / 2).max(TICK);
            sweep_wanted = false;
            if let Err(e) = leader.sweep().await {
                tracing::warn!(error = %e, "cannot collect garbage; trying again");
                sweep_wanted = true;
            }
        }
    }
}

impl Leader {
    async fn apply_decided(&self) -> Result<()> {
        const AT_ONCE: usize = 64;
        loop {
            let mut records: Vec<Record> = Vec::new();
            let mut first = Slot(0);
            {
                let mut inner = self.inner.lock();
                while records.len() < AT_ONCE
                    && let Some((slot, record)) = inner.sequencer.take_decided()
                {
                    if records.is_empty() {
                        first = slot;
                    }
                    records.push(record);
                }
            }
            if records.is_empty() {
                return Ok(());
            }
            let attempts: Vec<_> = records.iter().map(recover::attempt).collect();
            let rules = self.options.rules;
            let records = records.into_iter().map(|record| rules.as_read(self.epoch, record)).collect();
            let applied = self.replica.apply(first, records).await?;
            let mut inner = self.inner.lock();
            for (i, (applied, attempt)) in applied.into_iter().zip(attempts).enumerate() {
                let slot = Slot(first.0 + i as u64);
                let outcome = Outcome { attempt, applied };
                for waiter in inner.waiters.remove(&slot).into_iter().flatten() {
                    // An owner that went away needs no answer.
                    let _ = waiter.sender.send(outcome.of_attempt(self.epoch, waiter.nonce));
                }
                inner.outcomes.insert(slot, outcome);
                inner.contested.remove(&slot);
                inner.applied = slot;
            }
            while inner.outcomes.len() > REMEMBERED_OUTCOMES {
                inner.outcomes.pop_first();
            }
            let decided = Slot(inner.sequencer.next_slot().0 - inner.sequencer.undecided() as u64);
            inner.sequencer.forget(decided, REMEMBERED_RESERVATIONS);
        }
    }

    /// Writes a checkpoint of what is applied, if it is newer than the last. One that was begun is finished first.
    pub async fn checkpoint(&self) -> Result<()> {
        let mut draft = self.draft.lock().await;
        self.finish(&mut draft).await?;
        let state = self.replica.watch().borrow().clone();
        if state.epoch != self.epoch {
            return Err(MetaError::Deposed(state.epoch));
        }
        let base = self.roots.lock().newest.clone();
        if base.as_ref().is_some_and(|b| b.state.slot >= state.slot) {
            return Ok(());
        }
        *draft = Some(self.note(Draft::new(base.as_ref(), state, self.job(), self.options.inline_page))?);
        self.finish(&mut draft).await
    }

    async fn finish(&self, draft: &mut Option<Draft>) -> Result<()> {
        self.not_failed()?;
        let Some(begun) = draft.as_ref() else { return Ok(()) };
        self.note(begun.write(self.store.as_ref(), self.options.rules).await)?;
        let written = begun.base().clone();
        tracing::debug!(slot = %written.state.slot, "checkpoint");
        {
            let mut roots = self.roots.lock();
            *roots = Roots { previous: roots.newest.take(), newest: Some(written), keeps_more: None };
        }
        // Its job ends here, when the roots name its pages.
        if let Some(written) = draft.take() {
            bucket::copy_root(self.store.as_ref(), written.root()).await;
        }
        Ok(())
    }

    /// Whether the second newest root keeps something in the bucket that the newest does not need.
    fn previous_root_keeps_more(&self) -> bool {
        let mut roots = self.roots.lock();
        let Roots { newest: Some(newest), previous, .. } = &*roots else { return false };
        let look = || previous.as_ref().is_none_or(|previous| keeps_more(&previous.state, &newest.state));
        let keeps_more = roots.keeps_more.unwrap_or_else(look);
        roots.keeps_more = Some(keeps_more);
        keeps_more
    }

    /// Closes one slot empty and writes a checkpoint of the same state again, so that a bucket that has gone quiet
    /// does not keep for ever what only the state before needed.
    async fn checkpoint_again(&self) -> Result<()> {
        let slot = {
            let mut inner = self.inner.lock();
            // Who stops has counted the slots that are undecided.
            self.leading()?;
            let nonce = Nonce(u128::from(inner.sequencer.next_slot().0));
            let request = ReserveRequest { node: NodeId(0), nonce, slices: Vec::new() };
            inner.sequencer.reserve(self.clock.now(), &request)?.slot
        };
        self.settle(slot).await?;
        let mut states = self.replica.watch();
        let applied = states.wait_for(|state| state.slot >= slot);
        match tokio::time::timeout(self.options.patience, applied).await {
            Ok(Ok(_)) => {}
            _ => return Err(MetaError::Unknown(slot)),
        }
        self.checkpoint().await
    }

    /// Removes what nothing has needed for the grace period. Returns how many objects went.
    pub async fn sweep(&self) -> Result<usize> {
        const AT_ONCE: usize = 1000;
        const PARALLEL: usize = 16;
        let mut listed = Vec::new();
        for prefix in [keys::PARTS, keys::WAL, keys::CHECKPOINTS] {
            listed.extend(list_all(self.store.as_ref(), prefix).await?.into_iter().map(|o| o.key));
        }
        // After the list and in this order: a job that ended before it was looked for is in the state.
        let live = {
            let inner = self.inner.lock();
            let reserved = Slot(inner.sequencer.next_slot().0 - 1);
            self.jobs.lock().safe(reserved, inner.applied)
        };
        let state = self.replica.watch().borrow().clone();
        let mut due = {
            let roots = self.roots.lock();
            let (Some(newest), Some(previous)) = (&roots.newest, &roots.previous) else { return Ok(0) };
            let Some(needs) = Needs::of(self.epoch, &state, newest, previous, live, self.options.rules)
            else {
                return Ok(0);
            };
            let garbage = listed.into_iter().filter(|key| needs.is_garbage(key)).collect();
            self.sweeper.lock().due(garbage, self.clock.now(), self.options.gc_grace)
        };
        // The rest comes with the next sweep, so that checkpoints need not wait for all of it.
        due.truncate(AT_ONCE);
        if due.is_empty() {
            return Ok(0);
        }
        self.note(self.proofs.ask().await)?;
        let count = due.len();
        let deleted = futures::stream::iter(due).map(|key| async move {
            self.store.delete(&key).await?;
            self.sweeper.lock().removed(&key);
            Ok::<(), MetaError>(())
        });
        deleted.buffer_unordered(PARALLEL).try_collect::<()>().await?;
        tracing::debug!(objects = count, "collected garbage");
        Ok(count)
    }
}
