//! Jobs that write parts before a slot names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lodestone_manifest::{Epoch, JobId, Slot};
use parking_lot::Mutex;

/// A job that writes parts.
#[derive(Debug)]
pub struct Job {
    /// Its epoch; what it proposes is refused under any other.
    pub epoch: Epoch,
    /// Its number, part of the names of what it writes.
    pub id: JobId,
    jobs: Arc<Mutex<Jobs>>,
}

impl Job {
    pub(crate) fn new(epoch: Epoch, id: JobId, jobs: Arc<Mutex<Jobs>>) -> Self {
        jobs.lock().running.insert(id);
        Self { epoch, id, jobs }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut jobs = self.jobs.lock();
        jobs.running.remove(&self.id);
        jobs.ended.insert(self.id, None);
    }
}

/// The jobs of a leader whose parts may still come to be named.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    running: BTreeSet<JobId>,
    // With the last slot that may name their parts, once it is known.
    ended: BTreeMap<JobId, Option<Slot>>,
}

impl Jobs {
    /// Whose parts are safe, where slots up to `reserved` are given out and those up to `decided` are decided. Whoever
    /// dropped a job may have left a slot behind that names its parts and is decided later.
    pub(crate) fn safe(&mut self, reserved: Slot, decided: Slot) -> BTreeSet<JobId> {
        for last in self.ended.values_mut() {
            last.get_or_insert(reserved);
        }
        self.ended.retain(|_, last| last.is_some_and(|slot| slot > decided));
        self.running.iter().chain(self.ended.keys()).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_safe_until_the_slots_it_may_have_left_behind_are_decided() {
        let jobs = Arc::new(Mutex::new(Jobs::default()));
        let safe = |reserved, decided| jobs.lock().safe(Slot(reserved), Slot(decided)).len();
        let job = Job::new(Epoch(1), JobId(7), jobs.clone());
        assert_eq!(safe(5, 5), 1);
        drop(job);
        assert_eq!(safe(8, 6), 1);
        assert_eq!(safe(20, 7), 1);
        assert_eq!(safe(20, 8), 0);
    }
}
