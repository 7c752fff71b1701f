//! Bulk load: rows become segments without having been in the log.
//!
//! It is a fold (see [`crate::fold`]) of a tail that has these rows after everything else: they are written as segments, rows
//! that they replace are marked deleted, and what the tail had goes into the same segments. One slot of the log names it all, so it is there
//! whole or not at all, and what was written for a load that did not land is collected. The rows have the LSN after that of everything
//! they replace, which is at most that of the slot that names them.
//!
//! Nothing else may write to the shard meanwhile: a write that was decided while the segments were written stays above them, as if it had come
//! later. Jobs of the compactor wait, for two that read the same segments overtake each other.

use std::sync::Arc;

use lodestone_manifest::ShardId;
use lodestone_meta::Consistency;
use lodestone_types::{Error, Result};
use lodestone_wal::{Op, Row};

use crate::fold;
use crate::landing::{self, Landed};
use crate::output::{self, in_background};
use crate::worker::Compactor;

/// How often a load is begun again because something else has landed.
const TRIES: u32 = 10;

impl Compactor {
    /// Makes `rows` part of a shard; of those with the same id the last counts. When this returns they are in the bucket and in every
    /// read that begins later. Holds all of them in memory, about three times.
    pub async fn load(&self, shard: ShardId, rows: Vec<Row>) -> Result<()> {
        let _alone = self.pause().await?;
        for _ in 0..TRIES {
            if self.load_once(shard, rows.clone()).await? == Landed::Yes {
                return Ok(());
            }
        }
        Err(Error::unavailable(
            "the shard changes all the time; nothing else may write to it during a bulk load",
        ))
    }

    async fn load_once(&self, shard: ShardId, rows: Vec<Row>) -> Result<Landed> {
        let job = Arc::new(self.meta().begin_job().await?);
        let state = self.meta().read(Consistency::Strong).await?;
        let snapshot = self.views().snapshot(&state, shard).await?;
        let (to, manifest) = (snapshot.slot, snapshot.manifest.clone());
        // Above every row that is there, for none is newer than the slot that named it.
        let lsn = to.0 + 1;
        let view = in_background(move || snapshot.view.apply(lsn, vec![Op::Put(rows)])).await?;
        view.load_for_fold().await?;
        let (running, cancel) = (job.clone(), self.stopping().clone());
        let segment_bytes = self.options().fold_segment_bytes;
        let rewrite = output::write(self.store(), move |objects| {
            fold::fold(&view, &manifest, to, shard, &running, segment_bytes, &[], &cancel, objects)
        })
        .await?;
        let landed = landing::propose(rewrite, self.log()).await?;
        drop(job);
        // Of the segments before only ids are asked for again; their vectors would pile up.
        self.views().unload(shard);
        Ok(landed)
    }
}
