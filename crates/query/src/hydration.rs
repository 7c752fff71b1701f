//! Brings segments here that were read where they are, so that the next reads are quick. In the background and one at a
//! time: it takes from the network what queries leave.

use std::sync::Arc;

use lodestone_shard::ShardView;
use lodestone_types::Result;
use tokio::sync::Semaphore;

/// Brings segments here.
#[derive(Debug)]
pub(crate) struct Hydration {
    one_at_a_time: Arc<Semaphore>,
    /// Bytes above which a shard stays where it is.
    most: u64,
}

impl Hydration {
    /// Of shards of at most `most` bytes: there is no room for more.
    pub fn new(most: u64) -> Self {
        Self { one_at_a_time: Arc::new(Semaphore::new(1)), most }
    }

    /// Begins to bring something of a shard, unless another one is on its way. Whoever finds it far again asks again.
    pub fn begin<F>(&self, view: &ShardView, bring: impl FnOnce(ShardView) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let Ok(permit) = self.one_at_a_time.clone().try_acquire_owned() else { return };
        if view.segment_bytes() > self.most {
            return;
        }
        let brought = bring(view.clone());
        tokio::spawn(async move {
            let _permit = permit;
            // A read that needs the bytes meets the error itself.
            if let Err(error) = brought.await {
                tracing::debug!(%error, "segments stay where they are");
            }
        });
    }
}
