use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The warm connections of a client: since when each has been idle, the longest idle first.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    idle: Arc<Mutex<VecDeque<Instant>>>,
}

/// A connection in use. Returned to the pool when dropped, unless it was broken.
#[derive(Debug)]
pub(super) struct Lease {
    idle: Arc<Mutex<VecDeque<Instant>>>,
    pub(super) warm: bool,
    broken: bool,
}

impl Connections {
    pub(super) fn take(&self, idle_timeout: Duration) -> Lease {
        let mut idle = self.idle.lock();
        let now = Instant::now();
        while idle.front().is_some_and(|since| now.duration_since(*since) > idle_timeout) {
            idle.pop_front();
        }
        Lease { idle: self.idle.clone(), warm: idle.pop_back().is_some(), broken: false }
    }
}

impl Lease {
    pub(super) fn break_off(&mut self) {
        self.broken = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.broken {
            self.idle.lock().push_back(Instant::now());
        }
    }
}
