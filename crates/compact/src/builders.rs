//! Threads that fold, merge and build indexes, while others answer.

use lodestone_types::{Error, Result};
use rayon::ThreadPoolBuilder;

/// How much nicer a building thread is than one that answers: with this the scheduler gives it about two fifths of a
/// processor that both want, and all of one that nobody else does. With less, searches that lack an index keep it from
/// being built, and writes wait for folds.
const NICE: i32 = 2;

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
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "a building thread keeps its priority");
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
