//! A strong read begins with the state that this process knows, while it is found out whether that is new enough: the
//! proof or the look takes a trip to the bucket, and so does the search's first step. If the collection has changed
//! meanwhile, what was begun is dropped and the read begins anew.

use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};
use lodestone_manifest::State;
use lodestone_meta::{Consistency, Meta};
use lodestone_shard::in_time;
use lodestone_store::{Stage, stage};
use lodestone_types::{ReadConsistency, Result};

/// Answers a read of `collection` by `at`, at a state as fresh as asked.
pub(crate) async fn answer<T, F>(
    meta: &dyn Meta,
    collection: &str,
    consistency: ReadConsistency,
    at: impl Fn(Arc<State>) -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let known = match consistency {
        ReadConsistency::Eventual => stage(Stage::State, in_time(meta.read(Consistency::Eventual))).await?,
        ReadConsistency::Strong => meta.watch().borrow().clone(),
    };
    if known.collection(collection).is_none() {
        // One that this process has not heard of may have been created just now.
        return at(stage(Stage::State, in_time(meta.read(Consistency::Strong))).await?).await;
    }
    if consistency == ReadConsistency::Eventual {
        return at(known).await;
    }
    let confirmed = pin!(stage(Stage::State, in_time(meta.confirm(known.clone()))));
    // In a box, so that it is gone, with the locks that it holds, when it is dropped below.
    let early = Box::pin(at(known.clone()));
    // What is confirmed at once costs nothing; so it is asked first.
    let state = match select(confirmed, early).await {
        Either::Left((state, early)) => {
            let state = state?;
            if is_same(&known, &state, collection) {
                return early.await;
            }
            drop(early);
            state
        }
        Either::Right((answer, confirmed)) => {
            let state = confirmed.await?;
            if is_same(&known, &state, collection) {
                return answer;
            }
            state
        }
    };
    at(state).await
}

/// Whether a collection and all its rows are the same in both states.
fn is_same(a: &Arc<State>, b: &Arc<State>, name: &str) -> bool {
    if Arc::ptr_eq(a, b) {
        return true;
    }
    let (Some(left), Some(right)) = (a.collection(name), b.collection(name)) else { return false };
    same(left, right)
        && left.shards().all(|shard| match (a.shards.get(&shard), b.shards.get(&shard)) {
            (Some(left), Some(right)) => same(left, right),
            _ => false,
        })
}

fn same<T: PartialEq>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
