use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::key::validate_key;
use crate::upload::{Collected, Upload};

/// Milliseconds since 1970, from outside, so that simulations can have their own time.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| unix_ms(SystemTime::now()))
}

pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    let ms = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    }
}

/// Size and age of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectMeta {
    /// In bytes.
    pub size: u64,
    /// By the store's clock, in milliseconds since 1970; some stores round to seconds.
    pub last_modified: i64,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The object's key.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// By the store's clock, in milliseconds since 1970; some stores round to seconds.
    pub last_modified: i64,
}

/// Objects of bytes under string keys (see [`validate_key`](crate::validate_key)).
///
/// What returned `Ok` from a write is durable, and every read and list that starts later sees it. A key must
/// not also be another key's directory: `a` and `a/b` exclude each other, for a directory cannot hold both.
/// There is no conditional replacement on purpose: not every store has it.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Creates an object if the key is free, else [`AlreadyExists`](StoreErrorKind::AlreadyExists). Of several
    /// at once exactly one wins. An error for which
    /// [`outcome_unknown`](StoreError::outcome_unknown) holds says nothing about the outcome.
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()>;

    /// Creates or replaces an object.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<()>;

    /// Begins an object that is sent in pieces of [`UPLOAD_PIECE`](crate::UPLOAD_PIECE). Stores that do not say otherwise hold
    /// all of it in memory until it is complete, and [`put`](Self::put) it.
    async fn begin_upload<'a>(&'a self, key: &'a str) -> Result<Box<dyn Upload + 'a>> {
        validate_key(Op::Put, key)?;
        Ok(Box::new(Collected::new(self, key)))
    }

    /// The whole object.
    async fn get(&self, key: &str) -> Result<Bytes>;

    /// Exactly the bytes of `range`, or an error: [`Invalid`](StoreErrorKind::Invalid) where the object is
    /// shorter. An empty range is empty without asking.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes>;

    /// Size and age.
    async fn head(&self, key: &str) -> Result<ObjectMeta>;

    /// Up to `limit` objects whose key starts with the string `prefix` (not only at a slash) and is greater
    /// than `start_after`, in ascending byte order of keys; fewer than `limit` only at the end.
    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>>;

    /// Removes an object; removing what is absent is `Ok`. A removal may be forgotten in a power failure.
    async fn delete(&self, key: &str) -> Result<()>;
}

/// Everything under `prefix`, page by page.
pub async fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectInfo>> {
    const PAGE: usize = 1000;
    let mut all: Vec<ObjectInfo> = Vec::new();
    loop {
        let page = store.list(prefix, all.last().map(|o| o.key.as_str()), PAGE).await?;
        let more = page.len() == PAGE;
        all.extend(page);
        if !more {
            return Ok(all);
        }
    }
}

/// Checks a range before it is asked for; `true` when it is empty and needs no request.
pub(crate) fn range_is_empty(key: &str, range: &Range<u64>) -> Result<bool> {
    // Some services read a longer number as no range at all, and send the whole object.
    if range.start > range.end || range.end > i64::MAX as u64 {
        let why = format!("{}..{} is no range of an object", range.start, range.end);
        return Err(StoreError::new(Op::GetRange, StoreErrorKind::Invalid, key, why));
    }
    Ok(range.start == range.end)
}

/// The error for a range that the object does not have.
pub(crate) fn beyond_the_end(key: &str, range: &Range<u64>, size: u64) -> StoreError {
    let why = format!("range {}..{} of an object of {size} bytes", range.start, range.end);
    StoreError::new(Op::GetRange, StoreErrorKind::Invalid, key, why)
}

/// Holds a reply to the length that was promised; a short one is an error that a retry may cure.
pub(crate) fn exact_length(op: Op, key: &str, bytes: Bytes, expected: u64) -> Result<Bytes> {
    if bytes.len() as u64 == expected {
        return Ok(bytes);
    }
    let why = format!("{} bytes came instead of {expected}", bytes.len());
    Err(StoreError::new(op, StoreErrorKind::Transient, key, why))
}
