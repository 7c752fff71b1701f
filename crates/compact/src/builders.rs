//! Threads that fold, merge and build indexes, while others answer.

use lodestone_types::{Error, Result};
use rayon::ThreadPoolBuilder;

/// How much nicer a thread is than one that answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Niceness {
    /// Of a fold, for which writes wait: the scheduler gives it about two fifths of a processor that both want, and all of one that
    /// nobody else does.
    Fold = 2,
    /// Of what takes all processors for seconds, and for which nobody waits: a fifth. With less, searches that lack an index keep it from
    /// being built.
    Rebuild = 6,
    /// Of what only makes searches quicker: what nobody else wants. Whoever wakes up has its processor at once, where at any other
    /// priority it would go on for milliseconds first.
    Refine = 19,
}

/// Runs `work`, and what it does in parallel, on threads of its own that stand back behind all others; as many as there
/// are processors if `threads` is 0.
pub(crate) fn build<T: Send>(
    niceness: Niceness,
    threads: usize,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("build-{number}"))
        .start_handler(move |_| stand_back(niceness))
        .build()
        .map_err(|e| Error::internal(format!("no threads to build an index with: {e}")))?;
    pool.install(work)
}

/// Where this is refused, building only slows down what else goes on.
#[cfg(target_os = "linux")]
fn stand_back(niceness: Niceness) {
    if matches!(niceness, Niceness::Refine) && join_idle_class() {
        return;
    }
    if let Err(error) = rustix::process::nice(niceness as i32) {
        tracing::debug!(%error, "a building thread keeps its priority");
    }
}

/// Puts this thread behind all that are not of the same class; whether it may.
#[cfg(target_os = "linux")]
fn join_idle_class() -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters are read, and outlive the call; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn stand_back(_: Niceness) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_threads_as_asked_for() {
        let on = |threads| build(Niceness::Fold, threads, || Ok(rayon::current_num_threads())).unwrap();
        assert_eq!((on(1), on(3)), (1, 3));
        let failed = build(Niceness::Fold, 2, || Err::<(), _>(Error::internal("broken")));
        assert!(failed.unwrap_err().to_string().contains("broken"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn they_stand_back_and_others_do_not() {
        let before = rustix::process::nice(0).unwrap();
        for niceness in [Niceness::Fold, Niceness::Rebuild] {
            let inside = build(niceness, 1, || Ok(rustix::process::nice(0).unwrap())).unwrap();
            let expected = (before + niceness as i32).min(19);
            assert_eq!((inside, rustix::process::nice(0).unwrap()), (expected, before));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_only_makes_searches_quicker_has_what_nobody_else_wants() {
        // SAFETY: asks for a number; 0 is this thread.
        let class = || unsafe { libc::sched_getscheduler(0) };
        let before = class();
        let inside = || Ok((class(), rustix::process::nice(0).unwrap()));
        let (of_builder, nice) = build(Niceness::Refine, 1, inside).unwrap();
        assert!(of_builder == libc::SCHED_IDLE || nice == 19, "{of_builder}, {nice}");
        assert_eq!(class(), before);
    }
}
