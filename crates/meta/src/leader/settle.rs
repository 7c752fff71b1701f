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
        {
            let mut inner = self.inner.lock();
            if !inner.sequencer.is_unresolved(slot) || !inner.contested.insert(slot) {
                return Ok(());
            }
        }
        let found = self.close_or_read(slot).await;
        let mut inner = self.inner.lock();
        inner.contested.remove(&slot);
        match found {
            Ok(record) => {
                inner.sequencer.resolve(slot, record);
                drop(inner);
                self.decided.notify_one();
                Ok(())
            }
            Err(e) => {
                drop(inner);
                self.note(Err(e))
            }
        }
    }

    async fn close_or_read(&self, slot: Slot) -> Result<Record> {
        let key = keys::wal(slot);
        let mut attempt = 0u32;
        loop {
            self.not_failed()?;
            match self.store.put_new(&key, Bytes::new()).await {
                Ok(()) => return Ok(Record::Void),
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

    /// What was found in a slot counts only with a proof begun after it was read: a late copy may have landed
    /// where a newer leader has collected.
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
        let mut attempt = 0u32;
        while self.options.rules.void_proof() {
            match self.proofs.ask().await {
                Ok(()) => break,
                Err(MetaError::Store(e)) => tracing::warn!(error = %e, "cannot prove leadership; trying again"),
                Err(e) => return Err(e),
            }
            self.not_failed()?;
            tokio::time::sleep(Duration::from_millis(20 << attempt.min(6))).await;
            attempt += 1;
        }
        Ok(record)
    }
}
