//! An ingest's way to whichever leader it believes in: by calls that take time, whose answers may be lost, and which
//! may go to a leader that was deposed and does not know it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use lodestone_manifest::{Applied, Batch, Epoch, Nonce, Reservation, ReserveRequest, Slot, State};
use lodestone_meta::{Consistency, Job, Leader, Meta, MetaError, Result};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::node::Life;
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(4);

pub struct Roaming {
    world: Arc<World>,
    home: Weak<Life>,
    belief: Mutex<Option<(Weak<Life>, Weak<Leader>)>>,
    rng: Mutex<SmallRng>,
}

impl std::fmt::Debug for Roaming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Roaming")
    }
}

impl Roaming {
    pub fn new(home: &Arc<Life>) -> Arc<Self> {
        let rng = Mutex::new(home.world.rng());
        Arc::new(Self {
            world: home.world.clone(),
            home: Arc::downgrade(home),
            belief: Mutex::default(),
            rng,
        })
    }

    /// The leader it believes in; most often the one of the highest epoch.
    fn leader(&self) -> Result<(Arc<Life>, Arc<Leader>)> {
        let mut belief = self.belief.lock();
        if let Some((life, leader)) = &*belief
            && let (Some(life), Some(leader)) = (life.upgrade(), leader.upgrade())
            && !life.gate.is_dead()
        {
            return Ok((life, leader));
        }
        let mut known: Vec<(Arc<Life>, Arc<Leader>)> = Vec::new();
        for node in self.world.nodes.lock().iter() {
            if let Some(life) = node.life()
                && let Some(leader) = life.leader()
            {
                known.push((life, leader));
            }
        }
        known.sort_by_key(|(_, leader)| std::cmp::Reverse(leader.epoch()));
        let wrong = known.len() > 1 && self.rng.lock().random_bool(0.15);
        let (life, leader) = known.into_iter().nth(usize::from(wrong)).ok_or(MetaError::Stopping)?;
        *belief = Some((Arc::downgrade(&life), Arc::downgrade(&leader)));
        Ok((life, leader))
    }

    /// Calls the leader. `lost` is what a caller hears who got no answer.
    async fn call<T, F, R>(&self, lost: MetaError, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Leader>) -> R + Send + 'static,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        if let Some(home) = self.home.upgrade() {
            home.gate.pass().await;
        }
        let (life, leader) = self.leader()?;
        let remote = self.home.upgrade().is_none_or(|home| !Arc::ptr_eq(&home, &life));
        let answer = if remote {
            let (travel, loses, drops) = {
                let mut rng = self.rng.lock();
                let loses = !self.world.is_calm() && rng.random_bool(self.world.profile.lost_replies);
                (rng.random_range(1..8), loses, rng.random_bool(0.3))
            };
            sleep(Duration::from_millis(travel)).await;
            let there = life.clone();
            let work = async move { there.call(request(leader)).await };
            // Some callers take their request with them when they go, others leave it behind.
            let answer = if drops {
                timeout(PATIENCE, work).await.ok().flatten()
            } else {
                timeout(PATIENCE, tokio::spawn(work)).await.ok().and_then(|joined| joined.ok()).flatten()
            };
            sleep(Duration::from_millis(travel)).await;
            answer.filter(|_| !loses).unwrap_or(Err(lost))
        } else {
            request(leader).await
        };
        if let Some(home) = self.home.upgrade() {
            home.gate.pass().await;
        }
        let doubtful =
            matches!(answer, Err(MetaError::Deposed(_) | MetaError::Stopping | MetaError::Unknown(_)));
        if doubtful || self.rng.lock().random_bool(0.02) {
            *self.belief.lock() = None;
        }
        answer
    }
}

#[async_trait]
impl Meta for Roaming {
    async fn reserve(&self, request: ReserveRequest) -> Result<Reservation> {
        self.call(MetaError::Stopping, move |leader| async move { leader.reserve(request).await }).await
    }

    async fn commit(&self, slot: Slot, batch: Batch) -> Result<Applied> {
        self.call(MetaError::Unknown(slot), move |leader| async move { leader.commit(slot, batch).await })
            .await
    }

    async fn contest(&self, slot: Slot, epoch: Epoch, nonce: Nonce) -> Result<Applied> {
        self.call(
            MetaError::Unknown(slot),
            move |leader| async move { leader.contest(slot, epoch, nonce).await },
        )
        .await
    }

    async fn read(&self, consistency: Consistency) -> Result<Arc<State>> {
        self.call(MetaError::Stopping, move |leader| async move { leader.read(consistency).await }).await
    }

    fn watch(&self) -> watch::Receiver<Arc<State>> {
        match self.leader() {
            Ok((_, leader)) => leader.watch(),
            Err(_) => watch::channel(Arc::default()).1,
        }
    }

    async fn begin_job(&self) -> Result<Job> {
        self.call(MetaError::Stopping, move |leader| async move { leader.begin_job().await }).await
    }
}
