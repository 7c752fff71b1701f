//! Ranges of immutable objects, kept near.
//!
//! A range that was fetched is kept as a file. Whoever asks for it has it in memory, shared with all who ask meanwhile, and
//! whoever needs little of it reads that from the file ([`KeptPart`]). A file is written aside and renamed, carries what it
//! holds and checksums, and is checked whenever it is read: what was cut, flipped or removed is fetched again. Nothing here
//! is needed for anything but speed: where files cannot be written, ranges are kept in memory.

mod book;
mod file;
mod flight;
mod held;
mod kept;
mod slot;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use self::book::{Book, Found, Kept, Part, Removed};
use self::flight::Flights;
use self::held::{Gathering, Held, Meter};
pub use self::kept::KeptPart;
use self::kept::OpenFile;
use self::slot::PartId;
use crate::account;
use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::port::{Store, range_is_empty};

/// What is kept in memory at most where a directory was asked for and fails.
const MEMORY_INSTEAD_OF_FILES: u64 = 256 << 20;
/// How often a range is fetched before its checksum is believed.
const FETCHES: u32 = 2;
/// Larger ranges are fetched in pieces of so many bytes: one connection to S3 brings less than a machine can take, and what is under way
/// is in memory beside what has come.
const PIECE: u64 = 16 << 20;
const PIECES_AT_ONCE: usize = 4;

/// Reads the bytes of a file from some place on.
pub type ReadAt<'a> = dyn Fn(&mut [u8], u64) -> io::Result<()> + 'a;

/// Looks whether what a file begins with, which has so many bytes, is what it should be. It is not where that ends with
/// [`io::ErrorKind::InvalidData`].
pub type CheckFile = Arc<dyn Fn(&ReadAt, u64) -> io::Result<()> + Send + Sync>;

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
    /// Bytes of ranges that are in memory because somebody uses them.
    pub in_memory: u64,
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
    meter: Arc<Meter>,
    loads: Arc<Flights<Bytes>>,
    brings: Arc<Flights<bool>>,
    /// Numbers files that are being written.
    next: AtomicU64,
    warned: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    damaged: AtomicU64,
}

impl PartCache {
    /// Bytes that are in memory at most while a range is [brought](PartCache::bring).
    pub const MOST_UNDER_WAY: u64 = PIECE * (PIECES_AT_ONCE as u64 + 1);

    /// A cache of at most `max_bytes` in `dir`, which is made if needed and whose earlier content is used; in
    /// memory without a `dir`. A directory that cannot be used costs a warning and some memory.
    pub fn open(dir: Option<PathBuf>, max_bytes: u64) -> Self {
        let max_memory = if dir.is_some() { max_bytes.min(MEMORY_INSTEAD_OF_FILES) } else { max_bytes };
        let mut state = State {
            dir: None,
            max_bytes,
            max_memory,
            book: Mutex::default(),
            meter: Arc::default(),
            loads: Arc::default(),
            brings: Arc::default(),
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
        if let Found::InMemory(part) = self.state.book.lock().find(&id)
            && crc32c.is_none_or(|expected| part.crc == expected)
        {
            self.state.hits.fetch_add(1, Relaxed);
            account::hit();
            return Ok(part.bytes());
        }
        let (state, store, wanted) = (self.state.clone(), store.clone(), id.clone());
        let load = async move { state.load(store.as_ref(), wanted, crc32c).await };
        let (load, joined) = self.state.loads.join(&id, load);
        self.state.hits.fetch_add(joined.into(), Relaxed);
        load.await
    }

    /// Has `range` of the object `key` kept as a file without taking all of it into memory, and says whether it is: not where
    /// files cannot be written, or it is more than the cache may hold. Those who ask for the same range at once share one fetch.
    /// `is_read_whole`: whether all of it will be read into memory and nothing here and there, so that the page cache need not have it.
    /// Nobody finds the file before it has passed `check`; what does not is fetched once more.
    pub async fn bring(
        &self,
        store: &Arc<dyn Store>,
        key: &str,
        range: Range<u64>,
        is_read_whole: bool,
        check: CheckFile,
    ) -> Result<bool> {
        let Some(dir) = self.state.dir.clone() else { return Ok(false) };
        if range_is_empty(key, &range)? || range.end - range.start > self.state.max_bytes {
            return Ok(false);
        }
        let id = PartId { key: key.into(), start: range.start, end: range.end };
        let (state, store, wanted) = (self.state.clone(), store.clone(), id.clone());
        let bring = async move { state.bring(store.as_ref(), wanted, dir, is_read_whole, check).await };
        let (bring, joined) = self.state.brings.join(&id, bring);
        self.state.hits.fetch_add(joined.into(), Relaxed);
        bring.await
    }

    /// As [`PartCache::get`], of a range whose bytes made no sense: what is kept of it is not believed.
    pub async fn get_again(&self, store: &Arc<dyn Store>, key: &str, range: Range<u64>) -> Result<Bytes> {
        let id = PartId { key: key.into(), start: range.start, end: range.end };
        self.state.loads.forget(&id);
        self.distrust(key, range.clone());
        self.get(store, key, range, None).await
    }

    /// Forgets a range whose bytes made no sense.
    pub fn distrust(&self, key: &str, range: Range<u64>) {
        self.remove(key, range);
        self.state.damaged.fetch_add(1, Relaxed);
    }

    /// Whether the range is kept, so that getting it asks the bucket for nothing unless its file is damaged.
    pub fn has(&self, key: &str, range: Range<u64>) -> bool {
        self.state.book.lock().has(&PartId { key: key.into(), start: range.start, end: range.end })
    }

    /// Counts a range as used that is read without asking for it.
    pub fn note_use(&self, key: &str, range: Range<u64>) {
        self.state.book.lock().find(&PartId { key: key.into(), start: range.start, end: range.end });
    }

    /// Has these ranges stay whatever else comes, and no others. They should not be more than the cache may hold.
    pub fn pin<'a>(&self, ranges: impl Iterator<Item = (&'a str, Range<u64>)>) {
        let slot = |(key, range): (&str, Range<u64>)| {
            PartId { key: key.into(), start: range.start, end: range.end }.slot()
        };
        self.state.book.lock().pin(ranges.map(slot).collect());
        self.state.make_room();
    }

    /// Forgets a range.
    pub fn remove(&self, key: &str, range: Range<u64>) {
        self.state.forget(&PartId { key: key.into(), start: range.start, end: range.end });
    }

    /// Bytes that are kept at most.
    pub fn max_bytes(&self) -> u64 {
        self.state.max_bytes
    }

    /// As [`PartCache::get`], if the range is kept, from there alone. Reads a file, so it may block.
    pub fn get_kept(&self, key: &str, range: Range<u64>) -> Option<Bytes> {
        let id = PartId { key: key.into(), start: range.start, end: range.end };
        let found = self.state.book.lock().find(&id);
        match found {
            Found::InMemory(part) => Some(part.bytes()),
            Found::Nothing => None,
            Found::File => {
                let read = file::read(self.state.dir.as_deref()?, &id, &self.state.meter);
                self.state.note_read(&id, read).map(|part| part.bytes())
            }
        }
    }

    /// The file that a range is kept as, to be read here and there; `None` if it is not kept as one (any more). Opens a file,
    /// so it may block.
    pub fn open_kept(&self, key: &str, range: Range<u64>) -> Option<KeptPart> {
        let dir = self.state.dir.as_deref()?;
        let id = PartId { key: key.into(), start: range.start, end: range.end };
        if let Some(open) = self.state.book.lock().opened(&id) {
            return Some(KeptPart::share(self, id, open));
        }
        if !matches!(self.state.book.lock().find(&id), Found::File | Found::InMemory(_)) {
            return None;
        }
        match KeptPart::open(self, dir, id.clone()) {
            Ok(kept) => self.state.book.lock().note_open(&id, kept.opened()).then_some(kept),
            Err(error) => {
                self.forget_damaged(&id, None, &error);
                None
            }
        }
    }

    /// Ranges dropped to make room so far.
    pub fn evictions(&self) -> u64 {
        self.state.evictions.load(Relaxed)
    }

    /// Bytes of ranges that are in memory because somebody uses them.
    pub fn in_memory(&self) -> u64 {
        self.state.meter.bytes()
    }

    /// Memory that `fill` writes, counted as long as anybody has it, as ranges are.
    pub fn hold(&self, length: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<Bytes> {
        let filled = |place: &mut [u8]| {
            fill(place);
            Ok(())
        };
        Ok(Held::filled(length, &self.state.meter, filled)?.share())
    }

    /// Forgets a range that cannot be read, unless that is not its file's fault, or it has another one than `open` by now.
    fn forget_damaged(&self, id: &PartId, open: Option<&Arc<OpenFile>>, error: &io::Error) {
        tracing::debug!(key = %id.key, %error, "a cached range cannot be read");
        if !is_of_file(error) {
            return;
        }
        // One that is gone already is not what is kept now.
        if open.is_some_and(|open| open.note_gone() || self.state.book.lock().has_other(id, open)) {
            return;
        }
        self.state.forget(id);
        self.state.damaged.fetch_add(1, Relaxed);
    }

    /// What the cache holds and what it did.
    pub fn stats(&self) -> CacheStats {
        let state = &self.state;
        let (parts, bytes) = state.book.lock().size();
        CacheStats {
            bytes,
            in_memory: state.meter.bytes(),
            parts,
            hits: state.hits.load(Relaxed),
            misses: state.misses.load(Relaxed),
            evictions: state.evictions.load(Relaxed),
            damaged: state.damaged.load(Relaxed),
        }
    }
}

impl State {
    async fn load(self: Arc<Self>, store: &dyn Store, id: PartId, crc32c: Option<u32>) -> Result<Bytes> {
        let found = self.book.lock().find(&id);
        let kept = match found {
            Found::InMemory(part) => Some(part),
            Found::File => self.read(&id).await,
            Found::Nothing => None,
        };
        if let Some(part) = kept {
            if crc32c.is_none_or(|expected| part.crc == expected) {
                self.hits.fetch_add(1, Relaxed);
                account::hit();
                return Ok(part.bytes());
            }
            self.damaged.fetch_add(1, Relaxed);
        }
        self.misses.fetch_add(1, Relaxed);
        let part = fetch(store, &id, crc32c, &self.meter).await?;
        Ok(self.keep(id, part).await)
    }

    /// Brings the file of `id` into memory; one that is not what it should be is forgotten.
    async fn read(self: &Arc<Self>, id: &PartId) -> Option<Part> {
        let dir = self.dir.clone()?;
        let (wanted, meter) = (id.clone(), self.meter.clone());
        let read = blocking(move || file::read(&dir, &wanted, &meter)).await;
        self.note_read(id, read)
    }

    fn note_read(&self, id: &PartId, read: io::Result<(Arc<Held>, u32)>) -> Option<Part> {
        match read {
            Ok((held, crc)) => {
                let part = Part { held, crc };
                let mut book = self.book.lock();
                // Unless it had to go meanwhile.
                if book.has(id) {
                    book.insert(id, &part, Kept::File);
                }
                Some(part)
            }
            Err(error) => {
                if is_of_file(&error) {
                    self.forget(id);
                    self.damaged.fetch_add(1, Relaxed);
                }
                tracing::debug!(key = %id.key, %error, "a cached range is fetched again");
                None
            }
        }
    }

    /// Keeps what was fetched, as a file if possible, and returns it.
    async fn keep(self: &Arc<Self>, id: PartId, part: Part) -> Bytes {
        let (size, bytes) = (part.held.bytes().len() as u64, part.bytes());
        if size > self.max_bytes {
            return bytes;
        }
        if let Some(dir) = self.dir.clone() {
            let (state, id, part) = (self.clone(), id.clone(), part.clone());
            let number = self.next.fetch_add(1, Relaxed);
            let written = blocking(move || {
                let written = file::write(&dir, &id, part.held.bytes(), number);
                written.inspect_err(|e| state.warn(&dir, e))?;
                state.book.lock().insert(&id, &part, Kept::File);
                state.make_room();
                Ok(())
            });
            if written.await.is_ok() {
                return bytes;
            }
        }
        if size <= self.max_memory {
            self.book.lock().insert(&id, &part, Kept::Memory);
            self.make_room();
        }
        bytes
    }

    async fn bring(
        self: Arc<Self>,
        store: &dyn Store,
        id: PartId,
        dir: PathBuf,
        is_read_whole: bool,
        check: CheckFile,
    ) -> Result<bool> {
        if self.book.lock().find_file(&id) {
            self.hits.fetch_add(1, Relaxed);
            account::hit();
            return Ok(true);
        }
        self.misses.fetch_add(1, Relaxed);
        let mut why = String::new();
        for _ in 0..FETCHES {
            match self.bring_to_file(store, &id, &dir, is_read_whole, &check).await {
                Ok(is_kept) => return Ok(is_kept),
                Err(Failed::Store(error)) => return Err(error),
                Err(Failed::File(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    self.damaged.fetch_add(1, Relaxed);
                    why = error.to_string();
                }
                Err(Failed::File(error)) => {
                    self.warn(&dir, &error);
                    return Ok(false);
                }
            }
        }
        Err(StoreError::new(Op::GetRange, StoreErrorKind::Damaged, &*id.key, why))
    }

    /// Fetches pieces side by side and writes one after the other; says whether there was room to keep them.
    async fn bring_to_file(
        self: &Arc<Self>,
        store: &dyn Store,
        id: &PartId,
        dir: &Path,
        is_read_whole: bool,
        check: &CheckFile,
    ) -> std::result::Result<bool, Failed> {
        let (dir, wanted, number) = (dir.to_owned(), id.clone(), self.next.fetch_add(1, Relaxed));
        let create = if is_read_whole { file::Writer::create_direct } else { file::Writer::create };
        let mut file = blocking(move || create(&dir, &wanted, number)).await?;
        let mut pieces = stream::iter(pieces(store, id)).buffered(PIECES_AT_ONCE);
        while let Some((_, bytes)) = pieces.try_next().await? {
            let add = move || {
                file.add(&bytes)?;
                Ok(file)
            };
            file = blocking(add).await?;
        }
        let (state, id, check) = (self.clone(), id.clone(), check.clone());
        let keep = move || {
            file.check(&*check)?;
            let crc = file.finish()?;
            state.book.lock().insert_file(&id, crc, Weak::new());
            state.make_room();
            Ok(state.book.lock().has(&id))
        };
        Ok(blocking(keep).await?)
    }

    fn make_room(&self) {
        let room = self.book.lock().make_room(self.max_bytes, self.max_memory);
        self.evictions.fetch_add(room.evicted, Relaxed);
        room.files.iter().for_each(|removed| self.remove_file(removed));
    }

    /// Forgets a range and removes its file.
    fn forget(&self, id: &PartId) {
        let removed = self.book.lock().remove(id.slot());
        removed.iter().for_each(|removed| self.remove_file(removed));
    }

    fn remove_file(&self, removed: &Removed) {
        if let Some(open) = &removed.open {
            open.note_gone();
        }
        if let Some(dir) = &self.dir {
            // A file that stays is replaced, or found again by the next scan.
            let _ = std::fs::remove_file(dir.join(removed.slot.file_name()));
        }
    }

    fn warn(&self, dir: &Path, error: &io::Error) {
        if !self.warned.swap(true, Relaxed) {
            tracing::warn!(dir = %dir.display(), %error, "the cache cannot write files and uses memory instead");
        }
    }
}

async fn fetch(store: &dyn Store, id: &PartId, crc32c: Option<u32>, meter: &Arc<Meter>) -> Result<Part> {
    for _ in 0..FETCHES {
        let part = attempt(store, id, meter).await?;
        if crc32c.is_none_or(|expected| part.crc == expected) {
            return Ok(part);
        }
    }
    let why = format!("range {}..{} does not have its checksum", id.start, id.end);
    Err(StoreError::new(Op::GetRange, StoreErrorKind::Damaged, &*id.key, why))
}

/// In one request, or in pieces side by side where that is faster. Who waits for what the store sends does not copy much itself:
/// other requests wait for that thread.
async fn attempt(store: &dyn Store, id: &PartId, meter: &Arc<Meter>) -> Result<Part> {
    let no_room = |error: io::Error| {
        let why = format!("{} bytes cannot be taken into memory: {error}", id.end - id.start);
        StoreError::new(Op::GetRange, StoreErrorKind::Other, &*id.key, why)
    };
    let meter = meter.clone();
    if id.end - id.start <= PIECE {
        let bytes = store.get_range(&id.key, id.start..id.end).await?;
        let is_large = bytes.len() >= held::LARGE;
        let made = move || Ok(Part::new(Held::new(bytes, &meter)?));
        return if is_large { blocking(made).await } else { made() }.map_err(no_room);
    }
    let mut gathered = Gathering::new((id.end - id.start) as usize).map_err(no_room)?;
    let mut pieces = stream::iter(pieces(store, id)).buffer_unordered(PIECES_AT_ONCE);
    while let Some((at, bytes)) = pieces.try_next().await? {
        let put = move || {
            gathered.put(at, &bytes);
            Ok(gathered)
        };
        gathered = blocking(put).await.map_err(no_room)?;
    }
    blocking(move || Ok(Part::new(gathered.finish(&meter)))).await.map_err(no_room)
}

/// Requests for the pieces of a range, in order; each gives its bytes and where they begin in the range.
fn pieces(
    store: &dyn Store,
    id: &PartId,
) -> impl Iterator<Item = impl Future<Output = Result<(usize, Bytes)>>> {
    (id.start..id.end).step_by(PIECE as usize).map(move |start| async move {
        let range = start..id.end.min(start + PIECE);
        Ok(((start - id.start) as usize, store.get_range(&id.key, range).await?))
    })
}

/// Why a range did not become a file.
#[derive(Debug)]
enum Failed {
    Store(StoreError),
    File(io::Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Errors that say that the process has too many files open, or too little memory, and nothing about a file.
#[cfg(target_os = "linux")]
const OF_PROCESS: &[i32] = &[libc::EMFILE, libc::ENFILE, libc::ENOMEM];
#[cfg(not(target_os = "linux"))]
const OF_PROCESS: &[i32] = &[];

fn is_of_file(error: &io::Error) -> bool {
    !error.raw_os_error().is_some_and(|code| OF_PROCESS.contains(&code))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|join| Err(io::Error::other(join)))
}

#[cfg(test)]
mod tests;
