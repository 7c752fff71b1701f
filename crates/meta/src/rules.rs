//! The rules of the write protocol by number. In production all hold. Built with the feature `simulation`, each
//! can be switched off, and the simulation must then find a violation: otherwise it would be too weak.

use lodestone_manifest::{Epoch, Record, SystemOp};

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One rule each; all hold by default.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Rules {
            $($(#[$doc])* pub(crate) $name: bool,)*
        }

        impl Default for Rules {
            fn default() -> Self {
                Self { $($name: true,)* }
            }
        }

        impl Rules {
            /// The names of all rules.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// All rules but one. `None` if there is no rule of that name.
            #[cfg(feature = "simulation")]
            pub fn without(name: &str) -> Option<Self> {
                let mut rules = Self::default();
                match name {
                    $(stringify!($name) => rules.$name = false,)*
                    _ => return None,
                }
                Some(rules)
            }

            $($(#[$doc])* pub fn $name(&self) -> bool {
                self.$name
            })*
        }
    };
}

impl Rules {
    /// A record as it is read under these rules; with all of them, as it is.
    pub(crate) fn as_read(&self, epoch: Epoch, mut record: Record) -> Record {
        if let Record::Batch(batch) = &mut record {
            if !self.epoch_counts {
                batch.epoch = epoch;
            }
            for op in &mut batch.system {
                if let (false, SystemOp::Rewrite(rewrite)) = (self.job_epoch, op) {
                    rewrite.epoch = epoch;
                }
            }
        }
        record
    }
}

rules! {
    /// 2: what was computed from a read is refused if another node has reserved in the shard since.
    contended,
    /// 4: slots are created, never replaced.
    create_only,
    /// 5: a slot of another epoch than the last claim's is void.
    epoch_counts,
    /// 6: slots are decided and acknowledged in order.
    ordered,
    /// 7: what a contested slot holds counts only with a proof begun after it was read.
    void_proof,
    /// 8b: a new leader reads from the newest checkpoint in the bucket, not from what it remembers.
    recover_from_bucket,
    /// 8c: a new leader marks the first free slot.
    claim_record,
    /// 8d: a checkpoint at or above the claim record voids it.
    claim_recheck,
    /// 9: a strong read needs a fresh proof.
    read_proof,
    /// 9: a new leader waits for the lease of the last one to end.
    lease_wait,
    /// 10: a root is written after its parts.
    parts_first,
    /// 11: a missing slot ends the log only if no newer checkpoint is listed after it was found missing.
    relist_at_end,
    /// 13: what one of the two newest roots needs is not removed.
    two_roots,
    /// 13: claim records and burned slots stay.
    keep_marks,
    /// 13: what a job of this leader has written and not yet committed is not removed.
    live_jobs,
    /// 13: a job of an earlier epoch is refused.
    job_epoch,
    /// 14: only a void slot is sent again.
    resend_only_void,
}
