//! Brings segments here that were read where they are, so that the next reads are quick. In the background and one at a
//! time: it takes from the network what queries leave.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lodestone_manifest::ShardId;
use lodestone_shard::{ShardView, Views};
use lodestone_types::Result;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long a shard waits after it could not be brought, and at most after many times: an object that is damaged in the bucket
/// would be read again with every search.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Brings segments here.
pub(crate) struct Hydration {
    one_at_a_time: Arc<Semaphore>,
    views: Arc<Views>,
    failures: Arc<Mutex<Failures>>,
}

/// What could not be brought.
#[derive(Debug, Default)]
struct Failures(HashMap<Wanted, Failure>);

/// What is brought of a shard: what searches by the vectors of this name need, or for `None` what answers show.
pub(crate) type Wanted = (ShardId, Option<String>);

#[derive(Debug, Clone, Copy)]
struct Failure {
    again: Instant,
    wait: Duration,
}

impl Failures {
    /// Whether it may be brought.
    fn allow(&self, wanted: &Wanted, now: Instant) -> bool {
        self.0.get(wanted).is_none_or(|failure| failure.again <= now)
    }

    /// It was brought, or was not.
    fn note(&mut self, wanted: Wanted, is_here: bool, now: Instant) {
        // What nobody has asked for since is forgotten.
        self.0.retain(|_, failure| failure.again + LONGEST_WAIT > now);
        let before = self.0.remove(&wanted);
        if !is_here {
            let wait = before.map_or(WAIT, |failure| (2 * failure.wait).min(LONGEST_WAIT));
            self.0.insert(wanted, Failure { again: now + wait, wait });
        }
    }
}

impl Hydration {
    /// Of shards that `views` has room for.
    pub fn new(views: Arc<Views>) -> Self {
        Self { one_at_a_time: Arc::new(Semaphore::new(1)), views, failures: Arc::default() }
    }

    /// Waits until nobody else brings something, and until what is returned is dropped has nobody begin.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.one_at_a_time.clone().acquire_owned().await.ok()
    }

    /// Begins to bring something of a shard, unless another one is on its way, others are of more use, or it failed a moment
    /// ago. Whoever finds it far again asks again.
    pub fn begin<F>(&self, wanted: Wanted, view: &ShardView, bring: impl FnOnce(ShardView) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let Ok(permit) = self.one_at_a_time.clone().try_acquire_owned() else { return };
        let may = self.failures.lock().allow(&wanted, Instant::now());
        let using = wanted.1.as_deref().unwrap_or_default();
        if !may || !self.views.admit(wanted.0, view.needs(using)) {
            return;
        }
        let (brought, failures) = (bring(view.clone()), self.failures.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let brought = brought.await;
            // A read that needs the bytes meets the error itself.
            if let Err(error) = &brought {
                tracing::info!(%error, "segments cannot be brought here now and are searched where they are");
            }
            failures.lock().note(wanted, brought.is_ok(), Instant::now());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_waits_longer_each_time() {
        let of = |shard| (ShardId(shard), Some(String::new()));
        let (mut failures, begun) = (Failures::default(), Instant::now());
        let mut now = begun;
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert!(failures.allow(&of(0), now));
            failures.note(of(0), false, now);
            let wait = failures.0[&of(0)].wait;
            assert!(!failures.allow(&of(0), now + wait / 2) && failures.allow(&of(1), now));
            assert!(failures.allow(&(ShardId(0), None), now), "what answers show may be there");
            now += wait;
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        failures.note(of(0), true, now);
        failures.note(of(0), false, now);
        assert_eq!(failures.0[&of(0)].wait, WAIT, "what went well is where counting begins again");
        failures.note(of(0), false, now + 2 * LONGEST_WAIT);
        assert_eq!(failures.0[&of(0)].wait, WAIT, "and so is a long time");
        failures.note(of(1), true, now + 4 * LONGEST_WAIT);
        assert!(failures.0.is_empty(), "nobody has asked for it since");
    }
}
