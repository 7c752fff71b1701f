//! SIGTERM and Ctrl-C: the first asks for a graceful stop, the second ends the process at once.

use lodestone_types::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, caught from the moment this exists.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub fn install() -> Result<Self> {
        let catch =
            |kind| signal(kind).map_err(|e| Error::internal(format!("signals cannot be caught: {e}")));
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for one and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// From now on a signal ends the process. The next start recovers whatever was acknowledged.
    pub fn exit_at_next(mut self) {
        tokio::spawn(async move {
            let signal = self.next().await;
            tracing::warn!("{signal} again: ending at once");
            std::process::exit(130);
        });
    }
}
