//! Which vectors are in memory? Those that fit a budget, first come first served, and none that users want on disk.
//!
//! Vectors in memory are memory maps, which the kernel may take back; the budget bounds what it is asked for. The others
//! are read from disk as they are needed, and move into memory when room is made. Nothing here affects answers.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use lodestone_segment::DiskPart;
use lodestone_store::{Backend, KeptPart, PartCache};
use lodestone_types::{Error, Result};
use parking_lot::Mutex;

/// How many bytes of vectors may be mapped, and what became of it.
#[derive(Debug)]
pub struct VectorMemory {
    limit: u64,
    mapped: AtomicU64,
    on_disk: AtomicU64,
    rows_by_io_uring: AtomicU64,
    rows_by_pread: AtomicU64,
}

/// What is where, as far as it was searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VectorUsage {
    /// Bytes that may be mapped.
    pub limit: u64,
    /// Bytes that are.
    pub mapped: u64,
    /// Bytes that are read from disk when needed.
    pub on_disk: u64,
    /// Vectors read from disk by io_uring.
    pub rows_by_io_uring: u64,
    /// Vectors read from disk by `pread`.
    pub rows_by_pread: u64,
}

impl VectorMemory {
    /// Room for `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let zero = AtomicU64::default;
        Self { limit, mapped: zero(), on_disk: zero(), rows_by_io_uring: zero(), rows_by_pread: zero() }
    }

    /// What is where.
    pub fn usage(&self) -> VectorUsage {
        VectorUsage {
            limit: self.limit,
            mapped: self.mapped.load(Relaxed),
            on_disk: self.on_disk.load(Relaxed),
            rows_by_io_uring: self.rows_by_io_uring.load(Relaxed),
            rows_by_pread: self.rows_by_pread.load(Relaxed),
        }
    }

    /// Takes room for `bytes` if there is some.
    fn try_take(&self, bytes: u64) -> bool {
        let grown = |mapped: u64| mapped.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.mapped.fetch_update(Relaxed, Relaxed, grown).is_ok()
    }

    fn count(&self, rows: usize, backend: Backend) {
        let counter = match backend {
            Backend::IoUring => &self.rows_by_io_uring,
            Backend::Pread => &self.rows_by_pread,
        };
        counter.fetch_add(rows as u64, Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nobody asked for single vectors yet.
    Undecided,
    Memory,
    Disk,
}

/// The vectors of one part.
#[derive(Debug)]
pub(crate) struct Residence {
    memory: Arc<VectorMemory>,
    parts: Arc<PartCache>,
    object: String,
    range: Range<u64>,
    place: Mutex<Place>,
    /// Opened when first needed; `None` if it is not kept as a file.
    file: OnceLock<Option<KeptPart>>,
}

impl Residence {
    pub(crate) fn new(
        memory: Arc<VectorMemory>,
        parts: Arc<PartCache>,
        object: &str,
        range: Range<u64>,
    ) -> Self {
        let (object, place) = (object.to_owned(), Mutex::new(Place::Undecided));
        Self { memory, parts, object, range, place, file: OnceLock::new() }
    }

    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn file(&self) -> Option<&KeptPart> {
        self.file.get_or_init(|| self.parts.open_kept(&self.object, self.range.clone())).as_ref()
    }

    /// Moves the part from `place`, giving back what it held there.
    fn leave(&self, place: Place) {
        match place {
            Place::Undecided => {}
            Place::Memory => drop(self.memory.mapped.fetch_sub(self.bytes(), Relaxed)),
            Place::Disk => drop(self.memory.on_disk.fetch_sub(self.bytes(), Relaxed)),
        }
    }
}

impl DiskPart for Residence {
    fn is_in_use(&self, wanted: bool) -> bool {
        let mut place = self.place.lock();
        let next = match *place {
            Place::Memory if !wanted => Place::Memory,
            Place::Disk if wanted => Place::Disk,
            before => {
                let taken = !wanted && self.memory.try_take(self.bytes());
                let next = if taken || self.file().is_none() { Place::Memory } else { Place::Disk };
                if next == before {
                    return next == Place::Disk;
                }
                self.leave(before);
                match next {
                    // What is no file is in memory whatever the budget says.
                    Place::Memory if !taken => drop(self.memory.mapped.fetch_add(self.bytes(), Relaxed)),
                    Place::Disk => drop(self.memory.on_disk.fetch_add(self.bytes(), Relaxed)),
                    _ => {}
                }
                next
            }
        };
        if next == Place::Disk && *place != next {
            // Checking the part took all of it into memory.
            self.forget_map();
        }
        *place = next;
        next == Place::Disk
    }

    fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> Result<()> {
        let file =
            self.file().ok_or_else(|| Error::internal("vectors that are no file were read from disk"))?;
        let backend = file.read_many(ranges, out).map_err(|e| {
            Error::unavailable(format!("vectors of '{}' cannot be read from disk: {e}", self.object))
        })?;
        self.memory.count(ranges.len(), backend);
        Ok(())
    }

    fn forget_map(&self) {
        if let Some(file) = self.file() {
            file.forget_map();
        }
    }
}

impl Drop for Residence {
    fn drop(&mut self) {
        self.leave(*self.place.lock());
    }
}

#[cfg(test)]
mod tests {
    use lodestone_store::{MemoryStore, Store};

    use super::*;

    const PART: u64 = 50_000;

    /// Three parts of an object, kept in `dir` or in memory.
    async fn parts(dir: Option<&std::path::Path>, limit: u64) -> (Arc<VectorMemory>, Vec<Residence>) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let object: Vec<u8> = (0..3 * PART).map(|i| (i % 251) as u8).collect();
        store.put("o", object.into()).await.unwrap();
        let cache = Arc::new(PartCache::open(dir.map(Into::into), 1 << 20));
        let memory = Arc::new(VectorMemory::new(limit));
        let mut all = Vec::new();
        for number in 0..3 {
            let range = number * PART..(number + 1) * PART;
            cache.get(&store, "o", range.clone(), None).await.unwrap();
            all.push(Residence::new(memory.clone(), cache.clone(), "o", range));
        }
        (memory, all)
    }

    fn places(memory: &VectorMemory) -> (u64, u64) {
        let usage = memory.usage();
        (usage.mapped / PART, usage.on_disk / PART)
    }

    #[tokio::test]
    async fn who_comes_first_is_in_memory_until_the_room_is_wanted_back() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, mut parts) = parts(Some(dir.path()), 2 * PART).await;
        assert_eq!(places(&memory), (0, 0));
        for _ in 0..2 {
            let on_disk: Vec<bool> = parts.iter().map(|part| part.is_in_use(false)).collect();
            assert_eq!((on_disk, places(&memory)), (vec![false, false, true], (2, 1)));
        }
        assert!(parts[0].is_in_use(true), "the user's word counts");
        assert_eq!(places(&memory), (1, 2));
        assert!(!parts[2].is_in_use(false), "there is room again");
        assert!(parts[0].is_in_use(false), "and now there is none");
        assert_eq!(places(&memory), (2, 1));
        parts.remove(1);
        assert!(!parts[0].is_in_use(false));
        assert_eq!(places(&memory), (2, 0));
        drop(parts);
        assert_eq!(places(&memory), (0, 0));
    }

    #[tokio::test]
    async fn rows_are_read_from_the_file_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, parts) = parts(Some(dir.path()), 0).await;
        assert!(parts[1].is_in_use(false));
        let mut out = Vec::new();
        parts[1].read_many(&[0..3, PART - 1..PART], &mut out).unwrap();
        let expected = [PART, PART + 1, PART + 2, 2 * PART - 1].map(|i| (i % 251) as u8);
        assert_eq!(out, expected);
        let usage = memory.usage();
        assert_eq!(usage.rows_by_io_uring + usage.rows_by_pread, 2);
        assert!(parts[1].read_many(&[0..1, PART - 1..PART + 1], &mut out).is_err());
    }

    #[tokio::test]
    async fn what_is_no_file_is_in_memory_and_counted() {
        let (memory, parts) = parts(None, PART).await;
        assert_eq!(parts.iter().filter(|part| part.is_in_use(false) || part.is_in_use(true)).count(), 0);
        assert_eq!(places(&memory), (3, 0));
        drop(parts);
        assert_eq!(places(&memory), (0, 0));
    }
}
