//! Brings segments here that were searched where they are, so that the next searches are quick. In the background and one at a
//! time: it takes from the network what queries leave.

use std::sync::Arc;

use lodestone_shard::ShardView;
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

    /// Begins with a shard, unless another one is on its way. Whoever finds it far again asks again.
    pub fn begin(&self, view: &ShardView, using: &str, with_payload: bool) {
        let Ok(permit) = self.one_at_a_time.clone().try_acquire_owned() else { return };
        if view.segment_bytes() > self.most {
            return;
        }
        let (view, using) = (view.clone(), using.to_owned());
        tokio::spawn(async move {
            let _permit = permit;
            // A search that needs the bytes meets the error itself.
            if let Err(error) = view.hydrate(&using, with_payload).await {
                tracing::debug!(%error, "segments stay where they are");
            }
        });
    }
}
