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
    /// Of what only makes searches quicker: a tenth. While they come without pause, they are quicker without it.
    Refine = 10,
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
#[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
fn stand_back(niceness: Niceness) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(niceness as i32) {
        tracing::debug!(%error, "a building thread keeps its priority");
    }
}

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
        for niceness in [Niceness::Fold, Niceness::Rebuild, Niceness::Refine] {
            let inside = build(niceness, 1, || Ok(rustix::process::nice(0).unwrap())).unwrap();
            let expected = (before + niceness as i32).min(19);
            assert_eq!((inside, rustix::process::nice(0).unwrap()), (expected, before));
        }
    }
}
