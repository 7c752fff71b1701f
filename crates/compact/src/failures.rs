//! Which jobs failed, and until when what they were about rests.

use std::collections::HashMap;
use std::time::Duration;

use lodestone_manifest::{SegmentId, ShardId};
use tokio::time::Instant;

use crate::plan::{Aside, Kind};
use crate::worker::Lane;

/// How long something rests the first time; twice as long after each further failure.
const REST: Duration = Duration::from_millis(500);
/// The longest rest.
const MAX_REST: Duration = Duration::from_secs(60);
/// A failure that long after its rest has no successor: what it was about is no more, or was done with something else. A job that fails
/// late takes less.
const FORGOTTEN: Duration = Duration::from_secs(6 * 3600);

/// What a job is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// All that a lane does, as far as is known: the tail, or what could not be planned.
    Lane(Lane),
    /// Something to be done with segments.
    Segments(Kind, Vec<SegmentId>),
}

impl About {
    /// Whether a failure of one is probably that of the other: the segments of a merge become more while it rests.
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Segments(kind, some), Self::Segments(of, others)) => {
                kind == of && some.iter().any(|segment| others.contains(segment))
            }
            _ => self == other,
        }
    }
}

/// Jobs that failed, by shard.
#[derive(Debug, Default)]
pub(crate) struct Failures(HashMap<ShardId, Vec<Failure>>);

#[derive(Debug)]
struct Failure {
    about: About,
    rest: Duration,
    until: Instant,
}

impl Failures {
    /// Takes note of a job that failed `now`. How long what it was about rests.
    pub fn note(&mut self, shard: ShardId, about: About, now: Instant) -> Duration {
        self.0.retain(|_, failures| {
            failures.retain(|failure| now < failure.until + FORGOTTEN);
            !failures.is_empty()
        });
        let failures = self.0.entry(shard).or_default();
        let before = failures.extract_if(.., |failure| failure.about.overlaps(&about));
        let rest = before.map(|failure| (2 * failure.rest).min(MAX_REST)).max().unwrap_or(REST);
        failures.push(Failure { about, rest, until: now + rest });
        rest
    }

    /// Forgets failures of a lane and of what a job of it was about that is done.
    pub fn forget(&mut self, shard: ShardId, lane: Lane, about: &About) {
        if let Some(failures) = self.0.get_mut(&shard) {
            let is_over = |of: &About| of.overlaps(about) || *of == About::Lane(lane);
            failures.retain(|failure| !is_over(&failure.about));
            if failures.is_empty() {
                self.0.remove(&shard);
            }
        }
    }

    /// Whether a lane of a shard rests.
    pub fn rests(&self, shard: ShardId, lane: Lane, now: Instant) -> bool {
        self.resting(shard, now).any(|about| *about == About::Lane(lane))
    }

    /// What of the segments of a shard rests.
    pub fn aside(&self, shard: ShardId, now: Instant) -> Aside {
        let mut aside = Vec::new();
        for about in self.resting(shard, now) {
            if let About::Segments(kind, segments) = about {
                aside.extend(segments.iter().map(|segment| (kind.clone(), *segment)));
            }
        }
        aside.into_iter().collect()
    }

    fn resting(&self, shard: ShardId, now: Instant) -> impl Iterator<Item = &About> {
        let failures = self.0.get(&shard).into_iter().flatten();
        failures.filter(move |failure| now < failure.until).map(|failure| &failure.about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(7);

    fn merge(segments: &[u64]) -> About {
        About::Segments(Kind::Merge, segments.iter().map(|id| SegmentId(*id)).collect())
    }

    fn has(failures: &Failures, kind: Kind, segment: u64, now: Instant) -> bool {
        failures.aside(SHARD, now).has(&kind, SegmentId(segment))
    }

    #[test]
    fn what_failed_rests_longer_each_time_and_other_things_do_not() {
        let (mut failures, begun) = (Failures::default(), Instant::now());
        assert_eq!(failures.note(SHARD, merge(&[1, 2]), begun), REST);
        assert!(has(&failures, Kind::Merge, 1, begun) && has(&failures, Kind::Merge, 2, begun));
        assert!(!has(&failures, Kind::Merge, 3, begun) && !has(&failures, Kind::Reindex, 1, begun));
        assert!(!failures.rests(SHARD, Lane::Segments, begun));
        assert_eq!(failures.aside(ShardId(8), begun), Aside::default());
        let again = begun + REST;
        assert!(!has(&failures, Kind::Merge, 1, again), "it is tried again");
        // It took an hour to fail, and there was one more segment.
        let again = again + Duration::from_secs(3600);
        assert_eq!(failures.note(SHARD, merge(&[1, 2, 3]), again), 2 * REST);
        assert_eq!(failures.note(SHARD, merge(&[4, 5]), again), REST, "something else");
        assert!(
            has(&failures, Kind::Merge, 1, again + REST) && !has(&failures, Kind::Merge, 4, again + REST)
        );
        failures.forget(SHARD, Lane::Segments, &merge(&[2, 6]));
        assert!(!has(&failures, Kind::Merge, 1, again) && has(&failures, Kind::Merge, 4, again));
    }

    #[test]
    fn indexes_of_other_vectors_are_built() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let index = |name: &str| Kind::Index(name.to_owned());
        failures.note(SHARD, About::Segments(index("a"), vec![SegmentId(1)]), now);
        assert!(has(&failures, index("a"), 1, now) && !has(&failures, index("b"), 1, now));
    }

    #[test]
    fn a_lane_rests_until_one_of_its_jobs_succeeds() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert_eq!(failures.note(SHARD, About::Lane(Lane::Tail), now), REST);
        let rests = |failures: &Failures, lane, now| failures.rests(SHARD, lane, now);
        assert!(rests(&failures, Lane::Tail, now) && !rests(&failures, Lane::Tail, now + REST));
        assert!(!rests(&failures, Lane::Vectors, now));
        assert_eq!(failures.note(SHARD, About::Lane(Lane::Segments), now), REST);
        failures.forget(SHARD, Lane::Segments, &merge(&[1]));
        assert!(!rests(&failures, Lane::Segments, now) && rests(&failures, Lane::Tail, now));
        failures.forget(SHARD, Lane::Tail, &About::Lane(Lane::Tail));
        assert!(failures.0.is_empty());
    }

    #[test]
    fn rests_and_memory_are_bounded() {
        let (mut failures, mut now) = (Failures::default(), Instant::now());
        for times in 0..20 {
            let rest = failures.note(SHARD, merge(&[1]), now);
            assert_eq!(rest, (REST * 2u32.pow(times.min(10))).min(MAX_REST), "{times}");
            now += rest;
        }
        for shard in 0..1000 {
            failures.note(ShardId(shard), merge(&[shard]), now);
        }
        assert_eq!(failures.note(SHARD, About::Lane(Lane::Tail), now + 2 * FORGOTTEN), REST);
        assert_eq!(failures.0.len(), 1, "what is long over is forgotten");
    }
}
