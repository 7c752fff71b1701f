//! Threads that fold, merge and build indexes, while others answer.

use lodestone_types::{Error, Result};
use rayon::ThreadPoolBuilder;

/// How much nicer a building thread is than one that answers: with this the scheduler gives it about two fifths of a
/// processor that both want, and all of one that nobody else does. With less, searches that lack an index keep it from
/// being built, and writes wait for folds.
const NICE: i32 = 2;
/// For how long a building thread would like to go on at a stretch, in nanoseconds: the most that may be asked for. Whoever wakes with
/// shorter turns need not wait until this one is over (Linux 6.12 and newer; older ones take no notice), so that an answer, which
/// passes through several threads, does not wait for a turn at each. What a thread gets in all is as it was.
#[cfg(target_os = "linux")]
const TURN: u64 = 100_000_000;

/// Runs `work`, and what it does in parallel, on threads of its own that stand back behind all others; as many as there
/// are processors if `threads` is 0.
pub(crate) fn build<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("build-{number}"))
        .start_handler(|_| stand_back())
        .build()
        .map_err(|e| Error::internal(format!("no threads to build an index with: {e}")))?;
    pool.install(work)
}

/// Where this is refused, building only slows down what else goes on.
fn stand_back() {
    #[cfg(target_os = "linux")]
    match rustix::process::nice(NICE) {
        Ok(nice) => take_long_turns(nice),
        Err(error) => tracing::debug!(%error, "a building thread keeps its priority"),
    }
}

/// Asks for long turns for this thread, which is as `nice` as before.
#[cfg(target_os = "linux")]
fn take_long_turns(nice: i32) {
    let wish = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: TURN,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of a struct that lives until it returns, and writes none.
    let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wish, 0) } != 0;
    if refused {
        tracing::debug!(error = %std::io::Error::last_os_error(), "a building thread keeps its turns");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_threads_as_asked_for() {
        let on = |threads| build(threads, || Ok(rayon::current_num_threads())).unwrap();
        assert_eq!((on(1), on(3)), (1, 3));
        let failed = build(2, || Err::<(), _>(Error::internal("broken")));
        assert!(failed.unwrap_err().to_string().contains("broken"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn they_stand_back_and_others_do_not() {
        let before = rustix::process::nice(0).unwrap();
        let inside = build(1, || Ok(rustix::process::nice(0).unwrap())).unwrap();
        assert_eq!((inside, rustix::process::nice(0).unwrap()), ((before + NICE).min(19), before));
    }
}
