//! Since when was nothing written to a shard? Noted as the state goes by, so that nothing needs to look at all shards.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use lodestone_manifest::{Shard, ShardId, Slot};
use tokio::time::Instant;

/// Shards where a rest makes something due, and when each was seen to have been written to last.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    since: HashMap<ShardId, (Slot, Instant)>,
    /// The same, the longest rest first; those that were handed out are not here.
    waiting: BTreeSet<(Instant, ShardId)>,
}

impl Resting {
    /// Takes note of a shard as it is `now`; `None` if it is no more.
    pub fn note(&mut self, id: ShardId, shard: Option<&Shard>, now: Instant) {
        let lsn = shard.filter(|shard| matters(shard)).map(|shard| shard.lsn);
        let known = self.since.get(&id).copied();
        if known.map(|(lsn, _)| lsn) == lsn {
            return;
        }
        if let Some((_, since)) = known {
            self.since.remove(&id);
            self.waiting.remove(&(since, id));
        }
        if let Some(lsn) = lsn {
            self.since.insert(id, (lsn, now));
            self.waiting.insert((now, id));
        }
    }

    /// How long nothing was written to the shard; zero if that makes nothing due.
    pub fn rested(&self, id: ShardId, now: Instant) -> Duration {
        self.since.get(&id).map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since))
    }

    /// When the next shard will have rested for `idle`.
    pub fn next(&self, idle: Duration) -> Option<Instant> {
        self.waiting.first().and_then(|(since, _)| since.checked_add(idle))
    }

    /// A shard that has rested for `idle`, each once per rest.
    pub fn pop(&mut self, idle: Duration, now: Instant) -> Option<ShardId> {
        let rested = |since: &Instant| now.saturating_duration_since(*since) >= idle;
        if !self.waiting.first().is_some_and(|(since, _)| rested(since)) {
            return None;
        }
        self.waiting.pop_first().map(|(_, id)| id)
    }
}

/// Whether a rest can make something due: a tail can be folded, segments merged.
fn matters(shard: &Shard) -> bool {
    !shard.tail.is_empty() || shard.segments.len() > 1
}

#[cfg(test)]
mod tests {
    use lodestone_manifest::{SliceHeader, TailRange};

    use super::*;

    fn shard(lsn: u64, has_tail: bool) -> Shard {
        let mut shard = Shard { lsn: Slot(lsn), ..Shard::default() };
        if has_tail {
            let slice = SliceHeader { shard: ShardId(1), side: None, offset: 0, len: 1, crc: 0, rows: 1 };
            shard.tail.push_back(TailRange { slot: Slot(lsn), slice });
        }
        shard
    }

    #[test]
    fn a_rest_begins_with_each_write_and_is_handed_out_once() {
        const IDLE: Duration = Duration::from_secs(30);
        let (start, at) = (Instant::now(), |seconds| Duration::from_secs(seconds));
        let (one, other) = (ShardId(1), ShardId(2));
        let mut resting = Resting::default();
        resting.note(one, Some(&shard(5, true)), start);
        resting.note(other, Some(&shard(6, false)), start);
        assert_eq!(
            (resting.next(IDLE), resting.rested(other, start + IDLE)),
            (Some(start + IDLE), Duration::ZERO)
        );
        assert_eq!(resting.pop(IDLE, start + at(29)), None);
        resting.note(one, Some(&shard(7, true)), start + at(20));
        // Something else about the shard changed.
        resting.note(one, Some(&shard(7, true)), start + at(25));
        assert_eq!(resting.pop(IDLE, start + at(49)), None);
        assert_eq!(resting.pop(IDLE, start + at(50)), Some(one));
        assert_eq!((resting.pop(IDLE, start + at(99)), resting.next(IDLE)), (None, None));
        assert_eq!(resting.rested(one, start + at(99)), at(79), "it is due until it is folded");
        resting.note(one, Some(&shard(7, false)), start + at(99));
        assert_eq!(resting.rested(one, start + at(99)), Duration::ZERO);
        resting.note(other, Some(&shard(8, true)), start);
        resting.note(other, None, start);
        assert_eq!(resting.next(IDLE), None);
    }
}
