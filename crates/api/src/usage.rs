//! What an answer cost, for those who ask: a request with the header [`HEADER`] gets one back that says what its work asked of
//! the bucket. Requests that other work had begun already, or that go on after the answer, are not counted.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use lodestone_store::{Account, Usage, charged};

/// Asks for the figures, with any value, and brings them. The same over gRPC.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-lodestone-usage");

/// Does `work`, and counts what it costs if `request` asks for that.
pub(crate) async fn counted<T>(
    request: &HeaderMap,
    work: impl Future<Output = T>,
) -> (T, Option<HeaderValue>) {
    if !request.contains_key(&HEADER) {
        return (work.await, None);
    }
    let account = Arc::new(Account::default());
    let done = charged(account.clone(), work).await;
    (done, HeaderValue::from_str(&shown(account.usage())).ok())
}

fn shown(usage: Usage) -> String {
    let Usage { trips, gets, heads, lists, puts, bytes } = usage;
    format!("trips={trips}, gets={gets}, heads={heads}, lists={lists}, puts={puts}, bytes={bytes}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lodestone_store::{Accounted, MemoryStore, Store};

    use super::*;

    #[tokio::test]
    async fn those_who_ask_are_told() {
        let store = Accounted::new(Arc::new(MemoryStore::new()));
        store.put("a", Bytes::from_static(b"abc")).await.unwrap();
        let mut headers = HeaderMap::new();
        let (read, told) = counted(&headers, store.get("a")).await;
        assert_eq!((read.unwrap().len(), told), (3, None));
        headers.insert(HEADER, HeaderValue::from_static("yes"));
        let (_, told) = counted(&headers, store.get("a")).await;
        assert_eq!(told.unwrap(), "trips=1, gets=1, heads=0, lists=0, puts=0, bytes=3");
    }
}
