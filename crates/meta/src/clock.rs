//! Time that only goes forward and does not stop while the machine sleeps.

use std::time::Duration;

/// A clock whose readings grow with real time, suspend included. Only differences mean something.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
}

/// The machine's clock since boot. On Linux it counts suspend, so a lease cannot outlive a closed lid.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const ID: libc::clockid_t = libc::CLOCK_BOOTTIME;
        // On Apple systems CLOCK_MONOTONIC counts suspend.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const ID: libc::clockid_t = libc::CLOCK_MONOTONIC;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid timespec for the call to fill.
        let code = unsafe { libc::clock_gettime(ID, &mut time) };
        assert_eq!(code, 0, "the machine has no clock since boot");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}
