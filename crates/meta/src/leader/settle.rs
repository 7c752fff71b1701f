//! Finding out what a slot holds whose owner cannot say (rule 7).

use std::time::Duration;

use bytes::Bytes;
use lodestone_manifest::{Record, Slot};
use lodestone_wal::keys;

use super::Leader;
use crate::{MetaError, Result, bucket};

impl Leader {
    /// Closes `slot` if it is free, else takes what it holds. Returns at once if somebody is at it already.
    pub(super) async fn settle(&self, slot: Slot) -> Result<()> {
        let _closing = {
            let mut inner = self.inner.lock();
            if !inner.sequencer.is_unresolved(slot) || !inner.closing.insert(slot) {
                return Ok(());
            }
            inner.contested.insert(slot);
            Closing { leader: self, slot }
        };
        let record = self.note(self.close_or_read(slot).await)?;
        self.inner.lock().sequencer.resolve(slot, record);
        self.decided.notify_one();
        Ok(())
    }

    async fn close_or_read(&self, slot: Slot) -> Result<Record> {
        let key = keys::wal(slot);
        let mut attempt = 0u32;
        loop {
            self.not_failed()?;
            match self.store.put_new(&key, Bytes::new()).await {
                Ok(()) => return self.proven(Record::Void).await,
                Err(e) if e.is_already_exists() || e.outcome_unknown() => {}
                // A full or read-only store: nothing can be decided until it is mended.
                Err(e) => tracing::warn!(error = %e, %slot, "cannot close a slot; trying again"),
            }
            match self.store.get(&key).await {
                Ok(bytes) => return self.take_found(slot, &bytes).await,
                Err(e) if e.is_not_found() => {}
                Err(e) => tracing::warn!(error = %e, %slot, "cannot read a slot; trying again"),
            }
            tokio::time::sleep(Duration::from_millis(20 << attempt.min(6))).await;
            attempt += 1;
        }
    }

    async fn take_found(&self, slot: Slot, bytes: &Bytes) -> Result<Record> {
        let record = bucket::decode_slot(slot, bytes)?;
        let epoch = match &record {
            Record::Batch(batch) => batch.epoch,
            Record::Claim(claim) => claim.epoch,
            Record::Release { epoch } => *epoch,
            Record::Void => self.epoch,
        };
        if epoch > self.epoch {
            return Err(MetaError::Deposed(epoch));
        }
        self.proven(record).await
    }

    /// What a contested slot holds counts only with a proof begun after that was found out. Where a newer leader has
    /// decided and collected the slot, a late copy may have landed in it, and the void that was just created is none.
    async fn proven(&self, record: Record) -> Result<Record> {
        let mut attempt = 0u32;
        while self.options.rules.void_proof() {
            match self.proofs.ask().await {
                Ok(()) => break,
                Err(MetaError::Store(e)) => {
                    tracing::warn!(error = %e, "cannot prove leadership; trying again")
                }
                Err(e) => return Err(e),
            }
            self.not_failed()?;
            tokio::time::sleep(Duration::from_millis(20 << attempt.min(6))).await;
            attempt += 1;
        }
        Ok(record)
    }
}

/// Somebody is finding out what a slot holds; ends with him, even if he is dropped on the way.
struct Closing<'a> {
    leader: &'a Leader,
    slot: Slot,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.leader.inner.lock().closing.remove(&self.slot);
    }
}
