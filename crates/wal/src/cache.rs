//! Slot objects that were written or read lately, so that the tail need not be fetched back from the bucket.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lodestone_manifest::Slot;

/// A bounded map of slot objects; the lowest slots go first, for the tail's end is what is asked for.
#[derive(Debug)]
pub struct SlotCache {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: usize,
    objects: BTreeMap<Slot, Bytes>,
}

impl SlotCache {
    /// Holds at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default() }
    }

    /// Remembers an object whose slot is decided to hold it.
    pub fn insert(&self, slot: Slot, object: Bytes) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.bytes += object.len();
        if let Some(old) = inner.objects.insert(slot, object) {
            inner.bytes -= old.len();
        }
        while inner.bytes > self.limit
            && let Some((_, gone)) = inner.objects.pop_first()
        {
            inner.bytes -= gone.len();
        }
    }

    /// The object of a slot, if it is remembered.
    pub fn get(&self, slot: Slot) -> Option<Bytes> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).objects.get(&slot).cloned()
    }

    /// Forgets the objects of slots before `slot`.
    pub fn forget_before(&self, slot: Slot) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = inner.objects.split_off(&slot);
        let gone: usize = inner.objects.values().map(Bytes::len).sum();
        inner.objects = kept;
        inner.bytes -= gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_limit() {
        let cache = SlotCache::new(10);
        for slot in 1..=4 {
            cache.insert(Slot(slot), Bytes::from_static(b"1234"));
        }
        assert_eq!(cache.get(Slot(2)), None);
        assert!(cache.get(Slot(3)).is_some() && cache.get(Slot(4)).is_some());
        cache.forget_before(Slot(4));
        assert!(cache.get(Slot(3)).is_none() && cache.get(Slot(4)).is_some());
        cache.insert(Slot(5), Bytes::from_static(b"123456"));
        assert!(cache.get(Slot(4)).is_some() && cache.get(Slot(5)).is_some());
    }
}
