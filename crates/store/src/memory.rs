//! A store in memory: a sorted map behind a lock, with a clock from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::key::validate_key;
use crate::port::{Clock, ObjectInfo, ObjectMeta, Store, beyond_the_end, range_is_empty, system_clock};

/// Objects in memory; gone with the value.
pub struct MemoryStore {
    objects: Mutex<Objects>,
    clock: Clock,
}

/// The map itself, shared with [`Unsynced`](crate::Unsynced).
pub(crate) type Objects = BTreeMap<String, Object>;

#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) last_modified: i64,
}

impl Object {
    pub(crate) fn meta(&self) -> ObjectMeta {
        ObjectMeta { size: self.bytes.len() as u64, last_modified: self.last_modified }
    }
}

impl MemoryStore {
    /// An empty store on the machine's clock.
    pub fn new() -> Self {
        Self::with_clock(system_clock())
    }

    /// An empty store whose objects are dated by `clock`.
    pub fn with_clock(clock: Clock) -> Self {
        Self { objects: Mutex::default(), clock }
    }

    fn object(&self, bytes: Bytes) -> Object {
        Object { bytes, last_modified: (self.clock)() }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("objects", &self.objects.lock().len()).finish()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        validate_key(Op::PutNew, key)?;
        let object = self.object(bytes);
        let mut objects = self.objects.lock();
        if objects.contains_key(key) {
            return Err(StoreError::new(Op::PutNew, StoreErrorKind::AlreadyExists, key, ""));
        }
        objects.insert(key.to_owned(), object);
        Ok(())
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        validate_key(Op::Put, key)?;
        let object = self.object(bytes);
        self.objects.lock().insert(key.to_owned(), object);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        validate_key(Op::Get, key)?;
        find(&self.objects.lock(), Op::Get, key).map(|object| object.bytes.clone())
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        validate_key(Op::GetRange, key)?;
        if range_is_empty(key, &range)? {
            return Ok(Bytes::new());
        }
        slice(key, &find(&self.objects.lock(), Op::GetRange, key)?.bytes, range)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        validate_key(Op::Head, key)?;
        find(&self.objects.lock(), Op::Head, key).map(Object::meta)
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        Ok(page(&self.objects.lock(), prefix, start_after, limit))
    }

    async fn delete(&self, key: &str) -> Result<()> {
        validate_key(Op::Delete, key)?;
        self.objects.lock().remove(key);
        Ok(())
    }
}

pub(crate) fn find<'a>(objects: &'a Objects, op: Op, key: &str) -> Result<&'a Object> {
    objects.get(key).ok_or_else(|| StoreError::new(op, StoreErrorKind::NotFound, key, ""))
}

pub(crate) fn slice(key: &str, bytes: &Bytes, range: Range<u64>) -> Result<Bytes> {
    let size = bytes.len() as u64;
    if range.end > size {
        return Err(beyond_the_end(key, &range, size));
    }
    // Both ends are at most the length of a buffer in memory, so they fit.
    Ok(bytes.slice(range.start as usize..range.end as usize))
}

pub(crate) fn page(
    objects: &Objects,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> Vec<ObjectInfo> {
    let from = match start_after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    objects
        .range::<str, _>((from, Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(prefix))
        .take(limit)
        .map(|(key, object)| ObjectInfo {
            key: key.clone(),
            size: object.bytes.len() as u64,
            last_modified: object.last_modified,
        })
        .collect()
}
