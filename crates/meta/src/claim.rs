//! How a process becomes leader (rule 8).

use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::{Claim, Epoch, InstanceId, Record, Slot, State};
use lodestone_store::Store;
use lodestone_wal::{SlotCache, keys, object};

use crate::bucket::{self, Created};
use crate::proof::Proofs;
use crate::recover::{self, Recovered};
use crate::{Clock, LeaderOptions, MetaError, Result, Rules};

/// A claim that took effect.
#[derive(Debug)]
pub struct Claimed {
    /// What proves that the new leader is one.
    pub proofs: Proofs,
    /// The state after the claim record.
    pub recovered: Recovered,
    /// When the claim came to be in the bucket: leases of earlier leaders end a lease after this.
    pub since: Duration,
    /// Whether the leader before had released the bucket, and so has no lease.
    pub released: bool,
}

/// What a process reads before it claims, so that its claim need not wait for it. None of it is believed before a listing
/// after the claim's record shows no newer root.
#[derive(Debug)]
pub struct Ahead {
    /// The highest claim there was.
    pub highest: Option<Epoch>,
    recovered: Recovered,
}

impl Ahead {
    /// Reads the bucket; what is in slots is left in `slots` too. `check` looks meanwhile whether this process may claim,
    /// given the highest claim.
    pub async fn read<C, E>(
        store: &Arc<dyn Store>,
        slots: Option<&Arc<SlotCache>>,
        rules: Rules,
        check: impl FnOnce(Option<Epoch>) -> C,
    ) -> Result<Self, E>
    where
        C: Future<Output = Result<(), E>>,
        E: From<MetaError>,
    {
        let checked = async {
            let highest = bucket::highest_claim(store.as_ref()).await?;
            check(highest).await?;
            Ok::<_, E>(highest)
        };
        let read = async { Ok::<_, E>(recover::read_once(store, slots, rules).await?) };
        let (highest, recovered) = futures::future::try_join(checked, read).await?;
        Ok(Self { highest, recovered })
    }
}

/// Claims the bucket for `instance`. Any leader before it is fenced when this returns. `remembered` is what its
/// replica holds from earlier; it is not believed.
pub async fn claim(
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    instance: InstanceId,
    address: &str,
    ahead: Ahead,
    remembered: &State,
    options: &LeaderOptions,
) -> Result<Claimed> {
    let rules = options.rules;
    let claim = take_number(store.as_ref(), ahead.highest, instance, address).await?;
    let since = clock.now();
    let epoch = claim.epoch;
    let proofs = Proofs::new(store.clone(), clock.clone(), epoch, options.lease);
    let record = Record::Claim(claim);
    let bytes = object::encode_record(&record);
    let mut read = Some(ahead.recovered);
    'over: loop {
        let mut recovered = match read.take() {
            Some(recovered) => recovered,
            None => recover::read_once(store, None, rules).await?,
        };
        if !rules.recover_from_bucket() && remembered.slot > Slot(0) {
            recovered.state = remembered.clone();
            recover::read_to_end(store, &mut recovered, rules).await?;
        }
        // The listing after the record says this too.
        if !rules.claim_recheck() && !recover::is_newest(store, &recovered, rules).await? {
            continue 'over;
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
            if rules.claim_recheck() {
                // With a proof beside it, which serves the first reads; without one, they ask themselves.
                let (newest, proof) = tokio::join!(bucket::newest_checkpoint(store.as_ref()), proofs.ask());
                if let Err(e @ MetaError::Deposed(_)) = proof {
                    return Err(e);
                }
                let newest = newest?.unwrap_or_default();
                if newest >= slot || (rules.relist_at_end() && newest > recovered.root()) {
                    continue 'over;
                }
            }
            if rules.claim_record() {
                recovered.adopt(record, rules);
            } else {
                recovered.state.epoch = epoch;
            }
            return Ok(Claimed { proofs, recovered, since, released });
        }
    }
}

/// Creates the claim after the highest.
async fn take_number(
    store: &dyn Store,
    highest: Option<Epoch>,
    instance: InstanceId,
    address: &str,
) -> Result<Claim> {
    let mut epoch = highest.unwrap_or_default().next();
    loop {
        let claim = Claim { epoch, instance, address: address.to_owned() };
        let bytes = object::encode_record(&Record::Claim(claim.clone()));
        match bucket::create(store, &keys::claim(epoch), &bytes).await? {
            Created::Yes => return Ok(claim),
            Created::Taken(_) => epoch = epoch.next(),
        }
    }
}
