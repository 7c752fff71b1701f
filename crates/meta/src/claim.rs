//! How a process becomes leader (rule 8).

use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::{Claim, Epoch, InstanceId, Record, Slot, State};
use lodestone_store::Store;
use lodestone_wal::{keys, object};

use crate::bucket::{self, Created};
use crate::recover::{self, Recovered};
use crate::{Clock, MetaError, Result, Rules};

/// A claim that took effect.
#[derive(Debug)]
pub struct Claimed {
    /// The new leader's epoch.
    pub epoch: Epoch,
    /// The state after the claim record.
    pub recovered: Recovered,
    /// When the claim came to be in the bucket: leases of earlier leaders end a lease after this.
    pub since: Duration,
    /// Whether the leader before had released the bucket, and so has no lease.
    pub released: bool,
}

/// Claims the bucket for `instance`. Any leader before it is fenced when this returns. `remembered` is what its
/// replica holds from earlier; it is not believed.
pub async fn claim(
    store: &Arc<dyn Store>,
    clock: &dyn Clock,
    instance: InstanceId,
    address: &str,
    remembered: &State,
    rules: Rules,
) -> Result<Claimed> {
    let claim = take_number(store.as_ref(), instance, address).await?;
    let since = clock.now();
    let epoch = claim.epoch;
    let record = Record::Claim(claim);
    let bytes = object::encode_record(&record);
    'over: loop {
        let mut recovered = recover::recover(store, rules).await?;
        if !rules.recover_from_bucket() && remembered.slot > Slot(0) {
            recovered.state = remembered.clone();
            recover::read_to_end(store, &mut recovered, rules).await?;
        }
        loop {
            if recovered.state.epoch > epoch {
                return Err(MetaError::Deposed(recovered.state.epoch));
            }
            let slot = recovered.next();
            let released = recovered.state.released || recovered.state.epoch == Epoch(0);
            if rules.claim_record()
                && let Created::Taken(_) = bucket::create(store.as_ref(), &keys::wal(slot), &bytes).await?
            {
                if recover::read_to_end(store, &mut recovered, rules).await? {
                    continue;
                }
                continue 'over;
            }
            if rules.claim_recheck()
                && bucket::newest_checkpoint(store.as_ref()).await?.is_some_and(|newest| newest >= slot)
            {
                continue 'over;
            }
            if rules.claim_record() {
                recovered.adopt(record, rules);
            } else {
                recovered.state.epoch = epoch;
            }
            return Ok(Claimed { epoch, recovered, since, released });
        }
    }
}

/// Creates the claim after the highest.
async fn take_number(store: &dyn Store, instance: InstanceId, address: &str) -> Result<Claim> {
    let mut epoch = bucket::highest_claim(store).await?.unwrap_or_default().next();
    loop {
        let claim = Claim { epoch, instance, address: address.to_owned() };
        let bytes = object::encode_record(&Record::Claim(claim.clone()));
        match bucket::create(store, &keys::claim(epoch), &bytes).await? {
            Created::Yes => return Ok(claim),
            Created::Taken(_) => epoch = epoch.next(),
        }
    }
}
