//! Stopping work that nobody waits for any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lodestone_types::{Error, Result};

/// A flag that whoever waits raises when the time is up or the client is gone, and that work looks at between
/// chunks. Clones are one flag. This crate knows no clock: a deadline is a timer that calls [`Cancel::cancel`].
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error once [`Cancel::cancel`] was called.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::timeout(
                "the read was stopped: it took longer than its timeout, or nobody waits",
            ));
        }
        Ok(())
    }
}
