//! Chunks read in one thread and worked on by several tasks, a bounded number at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures::stream::{self, Stream, StreamExt};
use lodestone_types::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::source::{Chunk, Chunks};

/// Chunks that were read and wait, beside the one that the reader has in hand.
const AHEAD: usize = 1;

/// What `work` makes of each chunk, in the order in which it ends; `parallel` at once. After the first error nothing begins, and what
/// is under way ends.
pub fn run<T, F>(
    mut chunks: Chunks,
    parallel: usize,
    work: impl Fn(Chunk) -> F,
) -> impl Stream<Item = Result<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let (send, receive) = mpsc::channel(AHEAD);
    spawn_blocking(move || {
        while let Some(read) = chunks.next().transpose() {
            let last = read.is_err();
            // Nobody receives any more once the work has failed.
            if send.blocking_send(read).is_err() || last {
                break;
            }
        }
    });
    let failed = Arc::new(AtomicBool::new(false));
    let read = stream::unfold((receive, failed.clone()), async |(mut receive, failed)| {
        let item = if failed.load(Relaxed) { None } else { receive.recv().await };
        item.map(|item| (item, (receive, failed)))
    });
    read.map(move |chunk| {
        let task = chunk.map(|chunk| tokio::spawn(work(chunk)));
        async move { joined(task?).await? }
    })
    .buffer_unordered(parallel)
    .inspect(move |done| failed.store(failed.load(Relaxed) || done.is_err(), Relaxed))
}

/// Runs what computes where it holds nobody up.
pub async fn computed<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    joined(spawn_blocking(work)).await?
}

async fn joined<T>(task: JoinHandle<T>) -> Result<T> {
    task.await.map_err(|e| Error::internal(format!("a task failed: {e}")))
}
