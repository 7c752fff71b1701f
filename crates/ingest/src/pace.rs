//! When the next PUT may start: once per gap on average, and a few without a gap after a pause.
//!
//! This is the generic cell rate algorithm (ITU-T I.371, annex A, virtual scheduling).

use std::time::Duration;

use tokio::time::Instant;

/// PUTs that may start at once after a pause.
pub(crate) const BURST: u32 = 4;

/// Spaces starts.
#[derive(Debug)]
pub(crate) struct Pace {
    gap: Duration,
    // When the next start would be due if all were spaced evenly; one may be early by `BURST - 1` gaps.
    due: Instant,
}

impl Pace {
    /// At most one start per `gap` on average, the first at once.
    pub(crate) fn new(gap: Duration) -> Self {
        Self { gap, due: Instant::now() }
    }

    /// How long the next start has to wait at `now`.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now).saturating_sub(self.gap * (BURST - 1))
    }

    /// One started at `now`.
    pub(crate) fn started(&mut self, now: Instant) {
        self.due = self.due.max(now) + self.gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(100);

    /// Starts one after the other, each as early as it may and at least `busy` after the one before, for ten seconds.
    fn starts(busy: Duration) -> Vec<Duration> {
        let mut pace = Pace::new(GAP);
        let began = pace.due;
        let (mut now, mut starts) = (began, Vec::new());
        while now < began + Duration::from_secs(10) {
            now += pace.wait(now);
            pace.started(now);
            starts.push(now - began);
            now += busy;
        }
        starts
    }

    #[test]
    fn in_the_long_run_there_is_one_per_gap() {
        for busy in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(80)] {
            let starts = starts(busy);
            assert!((100..=100 + BURST as usize).contains(&starts.len()), "{busy:?}: {}", starts.len());
            for (i, first) in starts.iter().enumerate() {
                let within = starts[i..].iter().take_while(|at| **at < *first + GAP * 10).count();
                assert!(within < 10 + BURST as usize, "{busy:?}: {within} in ten gaps from {first:?}");
            }
        }
    }

    #[test]
    fn one_who_comes_less_often_never_waits() {
        let busy = Duration::from_millis(110);
        assert!(starts(busy).iter().enumerate().all(|(i, at)| *at == busy * i as u32));
    }

    #[test]
    fn a_pause_gives_the_burst_back_and_no_more() {
        let mut pace = Pace::new(GAP);
        let mut now = pace.due;
        for _ in 0..3 {
            now += GAP * 100;
            for _ in 0..BURST {
                assert_eq!(pace.wait(now), Duration::ZERO);
                pace.started(now);
            }
            assert_eq!(pace.wait(now), GAP);
            now += GAP;
            pace.started(now);
        }
    }
}
