//! Which objects nothing needs any more (rule 13). The decision is pure; [`crate::Leader`] lists and deletes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use lodestone_manifest::{Epoch, JobId, State};
use lodestone_wal::keys;

use crate::Rules;
use crate::recover::Base;

/// What a leader knows of what is needed.
#[derive(Debug)]
pub struct Needs {
    epoch: Epoch,
    // Slots up to this one are in both newest roots.
    floor: u64,
    oldest_root: u64,
    tail: HashSet<u64>,
    marks: HashSet<u64>,
    parts: HashSet<String>,
    live: BTreeSet<JobId>,
    rules: Rules,
}

impl Needs {
    /// What the state and the two newest roots need. `None` until there are two roots, the newer one of this
    /// leader's epoch: only then has everything of earlier epochs been decided.
    pub fn of(
        epoch: Epoch,
        state: &State,
        newest: &Base,
        previous: &Base,
        live: BTreeSet<JobId>,
        rules: Rules,
    ) -> Option<Self> {
        if newest.state.epoch != epoch || state.epoch != epoch {
            return None;
        }
        let states = [state, &newest.state, &previous.state];
        let states = if rules.two_roots() { &states[..] } else { &states[..1] };
        let bases = if rules.two_roots() { vec![newest, previous] } else { vec![newest] };
        let mut parts: HashSet<String> = states.iter().flat_map(|s| s.objects()).map(str::to_owned).collect();
        parts.extend(bases.iter().flat_map(|b| b.pages.iter().flatten()).map(|p| p.object.clone()));
        let oldest = if rules.two_roots() { &previous.state } else { &newest.state };
        Some(Self {
            epoch,
            floor: oldest.slot.0,
            oldest_root: oldest.slot.0,
            tail: states.iter().flat_map(|s| s.tail.keys()).map(|slot| slot.0).collect(),
            marks: if rules.keep_marks() {
                state.kept.iter().map(|slot| slot.0).collect()
            } else {
                HashSet::new()
            },
            parts,
            live,
            rules,
        })
    }

    /// Whether nothing needs the object called `key`. Names of unknown form are left alone.
    pub fn is_garbage(&self, key: &str) -> bool {
        if let Some(slot) = keys::parse_wal(key) {
            return slot.0 <= self.floor && !self.tail.contains(&slot.0) && !self.marks.contains(&slot.0);
        }
        if let Some(slot) = keys::parse_checkpoint(key) {
            return slot.0 < self.oldest_root;
        }
        if let Some((epoch, job)) = keys::parse_part(key) {
            let may_come = epoch > self.epoch
                || (epoch == self.epoch && self.rules.live_jobs() && self.live.contains(&job));
            return !may_come && !self.parts.contains(key);
        }
        false
    }
}

/// Whether objects stay for the state of the second newest root alone: parts or slots that the newest no longer needs, or
/// slots between the two. One slot between them is none of these by itself, but it may be the merge that came last.
pub fn keeps_more(previous: &State, newest: &State) -> bool {
    let needed: HashSet<&str> = newest.objects().collect();
    previous.slot.next() < newest.slot
        || previous.tail.keys().any(|slot| !newest.tail.contains_key(slot))
        || previous.objects().any(|object| !needed.contains(object))
}

/// Remembers since when each object has been garbage.
#[derive(Debug, Default)]
pub struct Sweeper {
    since: HashMap<String, Duration>,
}

impl Sweeper {
    /// Takes what is garbage now, and returns what has been so for `grace`.
    pub fn due(&mut self, garbage: Vec<String>, now: Duration, grace: Duration) -> Vec<String> {
        let mut since = HashMap::with_capacity(garbage.len());
        let mut due = Vec::new();
        for key in garbage {
            let first = self.since.get(&key).copied().unwrap_or(now);
            if now.saturating_sub(first) >= grace {
                due.push(key.clone());
            }
            since.insert(key, first);
        }
        self.since = since;
        due
    }

    /// The object is gone.
    pub fn removed(&mut self, key: &str) {
        self.since.remove(key);
    }

    /// Whether something waits for its grace to end.
    pub fn is_waiting(&self) -> bool {
        !self.since.is_empty()
    }
}
