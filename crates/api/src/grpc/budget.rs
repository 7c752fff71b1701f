//! How much memory request bodies may take at once, over all connections.
//!
//! A gRPC call does not say beforehand how long it is, so bytes are charged as they arrive and given back when
//! the call is answered. A call that finds nothing left is told to come back.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use http_body_util::{BodyStream, StreamBody};
use lodestone_types::Error;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::status::from_error;

/// When to come back: bodies take memory for about as long as their calls take.
const COME_BACK: Duration = Duration::from_secs(1);

/// The memory that all bodies share.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// What one call holds of the budget; dropping it gives it back.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Budget {
    /// A budget of `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// `body`, charged to the budget as it arrives, and what it holds. Keep that until the call is answered.
    pub(super) fn charge(&self, body: Body) -> (Body, Held) {
        let (budget, held) = (self.clone(), Held::default());
        let holder = held.clone();
        let frames = BodyStream::new(body).map(move |frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                budget.take(data.len(), &holder).map_err(|e| axum::Error::new(from_error(e)))?;
            }
            Ok::<_, axum::Error>(frame)
        });
        (Body::new(StreamBody::new(frames)), held)
    }

    fn take(&self, bytes: usize, held: &Held) -> Result<(), Error> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(permit) = self.0.clone().try_acquire_many_owned(bytes) else {
            return Err(Error::busy("too many bytes of requests are in work", COME_BACK));
        };
        let mut held = held.0.lock();
        match held.as_mut() {
            Some(all) => all.merge(permit),
            None => *held = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn bytes_are_charged_until_the_call_is_over() {
        let budget = Budget::new(10);
        let (body, first) = budget.charge(Body::from(vec![1; 8]));
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 8);
        let (body, _second) = budget.charge(Body::from(vec![1; 3]));
        assert!(body.collect().await.is_err());
        drop(first);
        let (body, _third) = budget.charge(Body::from(vec![1; 10]));
        assert!(body.collect().await.is_ok());
    }
}
