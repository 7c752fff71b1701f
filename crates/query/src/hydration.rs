//! Brings segments here that were read where they are, so that the next reads are quick. In the background and one at a
//! time: it takes from the network what queries leave.

use std::sync::Arc;

use lodestone_manifest::ShardId;
use lodestone_shard::{ShardView, Views};
use lodestone_types::Result;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Brings segments here.
pub(crate) struct Hydration {
    one_at_a_time: Arc<Semaphore>,
    views: Arc<Views>,
}

impl Hydration {
    /// Of shards that `views` has room for.
    pub fn new(views: Arc<Views>) -> Self {
        Self { one_at_a_time: Arc::new(Semaphore::new(1)), views }
    }

    /// Waits until nobody else brings something, and until what is returned is dropped has nobody begin.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.one_at_a_time.clone().acquire_owned().await.ok()
    }

    /// Begins to bring something of a shard, which is searched by the vectors called `using`, unless another one is on its way or
    /// others are of more use. Whoever finds it far again asks again.
    pub fn begin<F>(&self, shard: ShardId, view: &ShardView, using: &str, bring: impl FnOnce(ShardView) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let Ok(permit) = self.one_at_a_time.clone().try_acquire_owned() else { return };
        if !self.views.admit(shard, view.needs(using)) {
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
