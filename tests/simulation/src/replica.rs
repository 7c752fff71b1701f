//! A replica whose every state is witnessed.

use std::sync::Arc;

use async_trait::async_trait;
use lodestone_manifest::{Applied, Record, Slot, State};
use lodestone_meta::{LocalReplica, Replica, Result};
use tokio::sync::watch;

use crate::world::World;

#[derive(Debug)]
pub struct Witnessed {
    pub name: String,
    pub world: Arc<World>,
    pub inner: LocalReplica,
}

#[async_trait]
impl Replica for Witnessed {
    async fn install(&self, state: State) -> Result<()> {
        self.world.witness(&self.name, &state);
        self.inner.install(state).await
    }

    async fn apply(&self, first: Slot, records: Vec<Record>) -> Result<Vec<Applied>> {
        let mut all = Vec::with_capacity(records.len());
        for (i, record) in records.into_iter().enumerate() {
            all.extend(self.inner.apply(Slot(first.0 + i as u64), vec![record]).await?);
            let state = self.watch().borrow().clone();
            self.world.witness(&self.name, &state);
        }
        Ok(all)
    }

    fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.inner.watch()
    }
}
