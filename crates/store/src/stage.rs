//! Where the time of a read goes: stages that may run side by side, each from its first beginning to its last end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A part of the work of a read, as users understand it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Finding out what is newest: the state of the log, and the tail of the shards.
    State,
    /// Of what is read where it is: where things lie, and what the models make of queries.
    Outline,
    /// Of what is read where it is: the codes of rows that may be near.
    Codes,
    /// Of what is read where it is: single rows.
    Rows,
    /// Bringing parts of segments here whole.
    Load,
    /// Computing.
    Search,
}

impl Stage {
    /// All of them, in the order in which they begin as a rule.
    pub const ALL: [Self; 6] =
        [Self::State, Self::Outline, Self::Codes, Self::Rows, Self::Load, Self::Search];

    /// Its name, one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Outline => "outline",
            Self::Codes => "codes",
            Self::Rows => "rows",
            Self::Load => "load",
            Self::Search => "search",
        }
    }
}

/// When a stage first began and last ended, after a beginning that its owner knows.
#[derive(Debug)]
pub(crate) struct Span {
    first_nanos: AtomicU64,
    last_nanos: AtomicU64,
}

impl Default for Span {
    fn default() -> Self {
        Self { first_nanos: AtomicU64::new(u64::MAX), last_nanos: AtomicU64::new(0) }
    }
}

impl Span {
    pub fn begin(&self, at: Duration) {
        self.first_nanos.fetch_min(nanos(at), Relaxed);
    }

    pub fn end(&self, at: Duration) {
        self.last_nanos.fetch_max(nanos(at), Relaxed);
    }

    /// Zero for one that never began.
    pub fn length(&self) -> Duration {
        let (first, last) = (self.first_nanos.load(Relaxed), self.last_nanos.load(Relaxed));
        Duration::from_nanos(last.saturating_sub(first))
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}
