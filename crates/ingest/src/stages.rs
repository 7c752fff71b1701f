//! Where the time of writes goes, by stage.
//!
//! Each write adds what it spent in a stage, also where it shares a window with others. So the seconds of all stages
//! together are what writers waited for, and their shares say for what.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

/// A part of a write's way into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The collection is looked up and the operation checked against it.
    Check,
    /// Rows take their storage types and become slices.
    Encode,
    /// It waits for writes to its shards that it must not pass.
    Gate,
    /// What it depends on is read, and the result encoded.
    Resolve,
    /// It waits for room among the bytes that are not decided yet.
    Room,
    /// It waits for its window to start.
    Window,
    /// The window gets its slot.
    Reserve,
    /// The window's object is put together and into the bucket.
    Put,
    /// The slot is decided, applied and visible.
    Commit,
}

impl Stage {
    /// All, in the order of a write.
    pub const ALL: [Stage; 9] = [
        Stage::Check,
        Stage::Encode,
        Stage::Gate,
        Stage::Resolve,
        Stage::Room,
        Stage::Window,
        Stage::Reserve,
        Stage::Put,
        Stage::Commit,
    ];

    /// One lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Check => "check",
            Stage::Encode => "encode",
            Stage::Gate => "gate",
            Stage::Resolve => "resolve",
            Stage::Room => "room",
            Stage::Window => "window",
            Stage::Reserve => "reserve",
            Stage::Put => "put",
            Stage::Commit => "commit",
        }
    }
}

/// What writes spent in each stage.
#[derive(Debug, Default)]
pub struct Stages([Spent; Stage::ALL.len()]);

#[derive(Debug, Default)]
struct Spent {
    writes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Stages {
    /// How many writes went through `stage`, one that went twice counted twice, and how long they took together.
    pub fn spent(&self, stage: Stage) -> (u64, Duration) {
        let spent = &self.0[stage as usize];
        (spent.writes.load(Relaxed), Duration::from_nanos(spent.nanoseconds.load(Relaxed)))
    }

    /// `writes` spent `each` in `stage`.
    pub(crate) fn add(&self, stage: Stage, writes: u64, each: Duration) {
        let spent = &self.0[stage as usize];
        spent.writes.fetch_add(writes, Relaxed);
        let nanoseconds = u64::try_from(each.as_nanos()).unwrap_or(u64::MAX).saturating_mul(writes);
        spent.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// Waits for `work`, which is `stage` of so many writes.
    pub(crate) async fn wait<T>(&self, stage: Stage, writes: u64, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.add(stage, writes, began.elapsed());
        done
    }

    /// Runs `work`, which is `stage` of one write.
    pub(crate) fn run<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.add(stage, 1, began.elapsed());
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_write_of_a_window_adds_what_it_waited() {
        let stages = Stages::default();
        let work = tokio::time::sleep(Duration::from_millis(20));
        stages.wait(Stage::Put, 3, work).await;
        assert_eq!(stages.run(Stage::Encode, || 7), 7);
        assert_eq!(stages.spent(Stage::Put), (3, Duration::from_millis(60)));
        assert_eq!(stages.spent(Stage::Encode), (1, Duration::ZERO));
        assert_eq!(stages.spent(Stage::Commit), (0, Duration::ZERO));
    }

    #[test]
    fn stages_lie_where_they_are_listed() {
        assert!(Stage::ALL.iter().enumerate().all(|(i, stage)| *stage as usize == i));
    }
}
