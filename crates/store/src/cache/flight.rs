//! Work that those share who want the same of the same range at once.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use super::slot::PartId;
use crate::error::Result;

type Work<T> = BoxFuture<'static, Result<T>>;

/// What is under way, by range.
#[derive(Debug)]
pub(super) struct Flights<T>(Mutex<Known<T>>);

#[derive(Debug)]
struct Known<T> {
    flights: HashMap<PartId, Flight<T>>,
    next: u64,
}

/// Work that others may join, by a number of its own: it may be abandoned and another begun at once.
#[derive(Debug)]
struct Flight<T> {
    number: u64,
    work: WeakShared<Work<T>>,
}

/// Ends a flight when its future is done or nobody waits for it any more.
struct Landing<T> {
    flights: Arc<Flights<T>>,
    id: PartId,
    number: u64,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        let flights = &mut self.flights.0.lock().flights;
        if flights.get(&self.id).is_some_and(|flight| flight.number == self.number) {
            flights.remove(&self.id);
        }
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::new(Known { flights: HashMap::new(), next: 0 }))
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Joins what is under way for `id`, or begins `work`; says whether it joined. It advances as long as anybody waits for it,
    /// so one who gives up takes nobody with him.
    pub(super) fn join(
        self: &Arc<Self>,
        id: &PartId,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> (Shared<Work<T>>, bool) {
        let mut known = self.0.lock();
        if let Some(work) = known.flights.get(id).and_then(|flight| flight.work.upgrade()) {
            return (work, true);
        }
        let number = known.next;
        known.next += 1;
        let landing = Landing { flights: self.clone(), id: id.clone(), number };
        let future = async move {
            let _landing = landing;
            work.await
        };
        let work = future.boxed().shared();
        if let Some(weak) = work.downgrade() {
            known.flights.insert(id.clone(), Flight { number, work: weak });
        }
        (work, false)
    }

    /// Has the next one who comes begin anew.
    pub(super) fn forget(&self, id: &PartId) {
        self.0.lock().flights.remove(id);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().flights.is_empty()
    }
}
