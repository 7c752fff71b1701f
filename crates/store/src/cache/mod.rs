//! Ranges of immutable objects, kept near.
//!
//! A range that was fetched is kept as a file and served as a memory map of it, so that what is hot stays in the
//! page cache and what is not costs no memory. A file is written aside and renamed, carries what it holds and a
//! checksum, and is checked when this process opens it first: what was cut, flipped or removed is fetched again.
//! Nothing here is needed for anything but speed: where files cannot be written, ranges are kept in memory.

mod book;
mod file;
mod kept;
mod slot;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use self::book::{Book, Found, Kept, Part};
pub use self::kept::KeptPart;
use self::slot::PartId;
use crate::account;
use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::port::{Store, range_is_empty};

/// What is kept in memory at most where a directory was asked for and fails.
const MEMORY_INSTEAD_OF_FILES: u64 = 256 << 20;
/// How often a range is fetched before its checksum is believed.
const FETCHES: u32 = 2;

/// A bounded cache of ranges of objects that never change. One process at a time uses a directory.
#[derive(Debug, Clone)]
pub struct PartCache {
    state: Arc<State>,
}

/// What the cache holds and what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Bytes kept.
    pub bytes: u64,
    /// Ranges kept.
    pub parts: u64,
    /// Requests served from what was kept, or by joining another's fetch.
    pub hits: u64,
    /// Requests that fetched.
    pub misses: u64,
    /// Ranges dropped to make room.
    pub evictions: u64,
    /// Files that were not what they should be and were fetched again.
    pub damaged: u64,
}

#[derive(Debug)]
struct State {
    dir: Option<PathBuf>,
    max_bytes: u64,
    max_memory: u64,
    book: Mutex<Book>,
    flights: Mutex<HashMap<PartId, Flight>>,
    next: AtomicU64,
    warned: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    damaged: AtomicU64,
}

type Load = Shared<BoxFuture<'static, Result<Bytes>>>;

/// A load that others may join, by a number of its own: it may be abandoned and another begun at once.
#[derive(Debug)]
struct Flight {
    number: u64,
    load: WeakShared<BoxFuture<'static, Result<Bytes>>>,
}

/// Ends a flight when its future is done or nobody waits for it any more.
struct Landing {
    state: Arc<State>,
    id: PartId,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.state.flights.lock();
        if flights.get(&self.id).is_some_and(|flight| flight.number == self.number) {
            flights.remove(&self.id);
        }
    }
}

impl PartCache {
    /// A cache of at most `max_bytes` in `dir`, which is made if needed and whose earlier content is used; in
    /// memory without a `dir`. A directory that cannot be used costs a warning and some memory.
    pub fn open(dir: Option<PathBuf>, max_bytes: u64) -> Self {
        let max_memory = if dir.is_some() { max_bytes.min(MEMORY_INSTEAD_OF_FILES) } else { max_bytes };
        let mut state = State {
            dir: None,
            max_bytes,
            max_memory,
            book: Mutex::default(),
            flights: Mutex::default(),
            next: AtomicU64::new(0),
            warned: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        };
        if let Some(dir) = dir {
            match file::scan(&dir) {
                Ok(found) => {
                    found.into_iter().for_each(|f| state.book.lock().adopt(f.slot, f.size));
                    state.dir = Some(dir);
                }
                Err(error) => state.warn(&dir, &error),
            }
        }
        state.make_room();
        Self { state: Arc::new(state) }
    }

    /// The bytes of `range` of the object `key`, which must never change. With `crc32c` they are held to it.
    /// Those who ask for the same range at once share one fetch.
    pub async fn get(
        &self,
        store: &Arc<dyn Store>,
        key: &str,
        range: Range<u64>,
        crc32c: Option<u32>,
    ) -> Result<Bytes> {
        if range_is_empty(key, &range)? {
            return Ok(Bytes::new());
        }
        let id = PartId { key: key.into(), start: range.start, end: range.end };
        if let Found::Open(part) = self.state.book.lock().find(&id)
            && crc32c.is_none_or(|expected| part.crc == expected)
        {
            self.state.hits.fetch_add(1, Relaxed);
            account::hit();
            return Ok(part.bytes);
        }
        self.join(store, id, crc32c).await
    }

    /// Whether the range is kept, so that getting it asks the bucket for nothing unless its file is damaged.
    pub fn has(&self, key: &str, range: Range<u64>) -> bool {
        let id = PartId { key: key.into(), start: range.start, end: range.end };
        !matches!(self.state.book.lock().find(&id), Found::Nothing)
    }

    /// As [`PartCache::get`], of a range whose bytes made no sense: what is kept of it is not believed.
    pub async fn get_again(&self, store: &Arc<dyn Store>, key: &str, range: Range<u64>) -> Result<Bytes> {
        let id = PartId { key: key.into(), start: range.start, end: range.end };
        self.state.flights.lock().remove(&id);
        if self.state.book.lock().remove(id.slot())
            && let Some(dir) = &self.state.dir
        {
            // A file that stays is replaced.
            let _ = std::fs::remove_file(dir.join(id.slot().file_name()));
        }
        self.state.damaged.fetch_add(1, Relaxed);
        self.get(store, key, range, None).await
    }

    /// The file that a range is kept as, to be read here and there instead of mapped; `None` if it is not kept as one
    /// (any more). Its bytes were checked when the range was fetched or first got. Opens a file, so it may block.
    pub fn open_kept(&self, key: &str, range: Range<u64>) -> Option<KeptPart> {
        let dir = self.state.dir.as_deref()?;
        let id = PartId { key: key.into(), start: range.start, end: range.end };
        let Found::Open(Part { map: Some(map), .. }) = self.state.book.lock().find(&id) else { return None };
        match file::open_direct(dir, &id) {
            Ok(file) => Some(KeptPart::new(file, map, range.end - range.start)),
            Err(error) => {
                tracing::debug!(key, %error, "a cached range cannot be read directly");
                None
            }
        }
    }

    /// What the cache holds and what it did.
    pub fn stats(&self) -> CacheStats {
        let state = &self.state;
        let (parts, bytes) = state.book.lock().size();
        CacheStats {
            bytes,
            parts,
            hits: state.hits.load(Relaxed),
            misses: state.misses.load(Relaxed),
            evictions: state.evictions.load(Relaxed),
            damaged: state.damaged.load(Relaxed),
        }
    }

    /// Joins the load of `id`, or begins one. It advances as long as anybody waits for it, so one who gives up
    /// takes nobody with him.
    fn join(&self, store: &Arc<dyn Store>, id: PartId, crc32c: Option<u32>) -> Load {
        let mut flights = self.state.flights.lock();
        if let Some(load) = flights.get(&id).and_then(|flight| flight.load.upgrade()) {
            self.state.hits.fetch_add(1, Relaxed);
            return load;
        }
        let number = self.state.next.fetch_add(1, Relaxed);
        let landing = Landing { state: self.state.clone(), id: id.clone(), number };
        let (state, store, wanted) = (self.state.clone(), store.clone(), id.clone());
        let future = async move {
            let _landing = landing;
            state.load(store.as_ref(), wanted, crc32c).await
        };
        let load = future.boxed().shared();
        if let Some(weak) = load.downgrade() {
            flights.insert(id, Flight { number, load: weak });
        }
        load
    }
}

impl State {
    async fn load(self: Arc<Self>, store: &dyn Store, id: PartId, crc32c: Option<u32>) -> Result<Bytes> {
        let found = self.book.lock().find(&id);
        let kept = match found {
            Found::Open(part) => Some(part),
            Found::File { checked } => self.reopen(&id, checked).await,
            Found::Nothing => None,
        };
        if let Some(part) = kept {
            if crc32c.is_none_or(|expected| part.crc == expected) {
                self.hits.fetch_add(1, Relaxed);
                account::hit();
                return Ok(part.bytes);
            }
            self.damaged.fetch_add(1, Relaxed);
        }
        self.misses.fetch_add(1, Relaxed);
        let part = fetch(store, &id, crc32c).await?;
        Ok(self.keep(id, part).await)
    }

    /// Opens the file of `id`; one that is not what it should be is forgotten.
    async fn reopen(self: &Arc<Self>, id: &PartId, checked: bool) -> Option<Part> {
        let dir = self.dir.clone()?;
        let wanted = id.clone();
        let opened = blocking(move || file::open(&dir, &wanted, !checked)).await;
        let mut book = self.book.lock();
        match opened {
            Ok(part) => {
                book.insert(id, &part, Kept::Mapped);
                Some(part)
            }
            Err(error) => {
                book.remove(id.slot());
                self.damaged.fetch_add(1, Relaxed);
                tracing::debug!(key = %id.key, %error, "a cached range is fetched again");
                None
            }
        }
    }

    /// Keeps what was fetched, as a file if possible, and returns it as it is kept.
    async fn keep(self: &Arc<Self>, id: PartId, part: Part) -> Bytes {
        let size = part.bytes.len() as u64;
        if size > self.max_bytes {
            return part.bytes;
        }
        if let Some(dir) = self.dir.clone() {
            let (state, id, part) = (self.clone(), id.clone(), part.clone());
            let number = self.next.fetch_add(1, Relaxed);
            let mapped = blocking(move || {
                file::write(&dir, &id, &part, number).inspect_err(|e| state.warn(&dir, e))?;
                let mapped = file::open(&dir, &id, false)?;
                state.book.lock().insert(&id, &mapped, Kept::Mapped);
                state.make_room();
                Ok(mapped.bytes)
            });
            if let Ok(bytes) = mapped.await {
                return bytes;
            }
        }
        if size <= self.max_memory {
            self.book.lock().insert(&id, &part, Kept::Memory);
            self.make_room();
        }
        part.bytes
    }

    fn make_room(&self) {
        let room = self.book.lock().make_room(self.max_bytes, self.max_memory);
        self.evictions.fetch_add(room.evicted, Relaxed);
        if let Some(dir) = &self.dir {
            for slot in room.files {
                // A file that stays is found again by the next scan.
                let _ = std::fs::remove_file(dir.join(slot.file_name()));
            }
        }
    }

    fn warn(&self, dir: &Path, error: &io::Error) {
        if !self.warned.swap(true, Relaxed) {
            tracing::warn!(dir = %dir.display(), %error, "the cache cannot write files and uses memory instead");
        }
    }
}

async fn fetch(store: &dyn Store, id: &PartId, crc32c: Option<u32>) -> Result<Part> {
    for _ in 0..FETCHES {
        let bytes = store.get_range(&id.key, id.start..id.end).await?;
        let crc = crc32c::crc32c(&bytes);
        if crc32c.is_none_or(|expected| crc == expected) {
            return Ok(Part { bytes, crc, map: None });
        }
    }
    let why = format!("range {}..{} does not have its checksum", id.start, id.end);
    Err(StoreError::new(Op::GetRange, StoreErrorKind::Damaged, &*id.key, why))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|join| Err(io::Error::other(join)))
}

#[cfg(test)]
mod tests;
