//! Where are parts that can be read from their files? Vectors are in memory where the budget has room, first come first served,
//! but for those that users want on disk. The others, and all payloads, are read from disk as they are needed; vectors move into
//! memory when room is made. Nothing here affects answers.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use lodestone_segment::{DiskPart, PartKind};
use lodestone_store::{Backend, KeptPart, PartCache};
use lodestone_types::{Error, Result};
use parking_lot::Mutex;

/// How many bytes of vectors are where.
#[derive(Debug)]
pub struct VectorMemory {
    limit: u64,
    /// Taken, and not in memory yet.
    coming: AtomicU64,
    in_memory: AtomicU64,
    on_disk: AtomicU64,
    reads_by_io_uring: AtomicU64,
    reads_by_pread: AtomicU64,
}

/// What is where, as far as it was searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VectorUsage {
    /// Bytes that may be in memory, of vectors and all else.
    pub limit: u64,
    /// Bytes of vectors that are.
    pub in_memory: u64,
    /// Bytes that are read from disk when needed.
    pub on_disk: u64,
    /// Reads of vectors from disk by io_uring, each of one or of some in a row.
    pub reads_by_io_uring: u64,
    /// The same by `pread`.
    pub reads_by_pread: u64,
}

impl VectorMemory {
    /// Room for `limit` bytes of vectors and of all else that is in memory because it is used.
    pub fn new(limit: u64) -> Self {
        let zero = AtomicU64::default;
        Self {
            limit,
            coming: zero(),
            in_memory: zero(),
            on_disk: zero(),
            reads_by_io_uring: zero(),
            reads_by_pread: zero(),
        }
    }

    /// What is where.
    pub fn usage(&self) -> VectorUsage {
        VectorUsage {
            limit: self.limit,
            in_memory: self.in_memory.load(Relaxed),
            on_disk: self.on_disk.load(Relaxed),
            reads_by_io_uring: self.reads_by_io_uring.load(Relaxed),
            reads_by_pread: self.reads_by_pread.load(Relaxed),
        }
    }

    /// Takes room for `bytes` beside what is in memory, if there is some.
    fn try_take(&self, bytes: u64, in_memory: u64) -> bool {
        let grown = |coming: u64| {
            let sum = coming.checked_add(bytes)?;
            (in_memory.checked_add(sum)? <= self.limit).then_some(sum)
        };
        self.coming.fetch_update(Relaxed, Relaxed, grown).is_ok()
    }

    /// Bytes that are on their way into memory.
    pub(crate) fn coming(&self) -> u64 {
        self.coming.load(Relaxed)
    }

    /// Notes that so many bytes are on their way, until what is returned is dropped.
    pub(crate) fn expect(&self, bytes: u64) -> impl Drop {
        struct Expected<'a>(&'a AtomicU64, u64);
        impl Drop for Expected<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(self.1, Relaxed);
            }
        }
        self.coming.fetch_add(bytes, Relaxed);
        Expected(&self.coming, bytes)
    }

    /// Bytes that may be in memory.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    fn count(&self, reads: usize, backend: Backend) {
        let counter = match backend {
            Backend::IoUring => &self.reads_by_io_uring,
            Backend::Pread => &self.reads_by_pread,
        };
        counter.fetch_add(reads as u64, Relaxed);
    }
}

/// A part that has a file.
#[derive(Debug)]
pub(crate) struct Residence {
    memory: Arc<VectorMemory>,
    parts: Arc<PartCache>,
    object: String,
    range: Range<u64>,
    is_vectors: bool,
    place: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    /// Read from its file; whether vectors are to be in memory was not asked yet.
    Undecided(Arc<KeptPart>),
    /// On its way into memory, and read from its file meanwhile.
    Coming(Arc<KeptPart>),
    Disk(Arc<KeptPart>),
    Memory(Bytes),
    /// The file could not be read.
    Lost,
}

impl Place {
    fn file(&self) -> Option<&Arc<KeptPart>> {
        match self {
            Place::Undecided(file) | Place::Coming(file) | Place::Disk(file) => Some(file),
            Place::Memory(_) | Place::Lost => None,
        }
    }

    fn is_lost(&self) -> bool {
        match self {
            Place::Memory(_) => false,
            place => place.file().is_none_or(|file| file.is_gone()),
        }
    }
}

impl Residence {
    /// Of a part that is kept as a file now.
    pub(crate) fn open(
        memory: &Arc<VectorMemory>,
        parts: &Arc<PartCache>,
        object: &str,
        range: Range<u64>,
        kind: &PartKind,
    ) -> Option<Self> {
        let is_vectors = matches!(kind, PartKind::Vector(_));
        let file = parts.open_kept(object, range.clone())?;
        let place = Mutex::new(Place::Undecided(Arc::new(file)));
        let (memory, parts, object) = (memory.clone(), parts.clone(), object.to_owned());
        Some(Self { memory, parts, object, range, is_vectors, place })
    }

    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Puts the part where it is now, and counts vectors there.
    fn set(&self, place: &mut Place, next: Place) {
        if self.is_vectors {
            if let Some(counter) = self.counter(place) {
                counter.fetch_sub(self.bytes(), Relaxed);
            }
            if let Some(counter) = self.counter(&next) {
                counter.fetch_add(self.bytes(), Relaxed);
            }
        }
        *place = next;
    }

    fn counter(&self, place: &Place) -> Option<&AtomicU64> {
        match place {
            Place::Memory(_) => Some(&self.memory.in_memory),
            Place::Disk(_) => Some(&self.memory.on_disk),
            _ => None,
        }
    }

    fn lost(&self, why: &str) -> Error {
        Error::lost_copy(format!("what is kept here of '{}' cannot be read: {why}; ask again", self.object))
    }

    fn open_file(&self) -> Option<Arc<KeptPart>> {
        self.parts.open_kept(&self.object, self.range.clone()).map(Arc::new)
    }

    fn kept(&self) -> Option<Bytes> {
        self.parts.get_kept(&self.object, self.range.clone())
    }
}

impl DiskPart for Residence {
    fn is_lost(&self) -> bool {
        self.place.lock().is_lost()
    }

    fn renew(&self, bytes: Option<Bytes>) {
        let mut place = self.place.lock();
        // Somebody else may have been quicker.
        if place.is_lost()
            && let Some(next) = self.open_file().map(Place::Undecided).or(bytes.map(Place::Memory))
        {
            self.set(&mut place, next);
        }
    }

    fn memory(&self, on_disk: bool) -> Result<Option<Bytes>> {
        let file = {
            let mut place = self.place.lock();
            let file = match &*place {
                Place::Memory(bytes) if !on_disk => return Ok(Some(bytes.clone())),
                Place::Disk(_) if on_disk => return Ok(None),
                Place::Coming(_) => return Ok(None),
                Place::Lost => return Err(self.lost("it was damaged before")),
                Place::Undecided(file) | Place::Disk(file) => file.clone(),
                Place::Memory(bytes) => match self.open_file() {
                    Some(file) => file,
                    // What has no file any more stays.
                    None => return Ok(Some(bytes.clone())),
                },
            };
            let wanted = !on_disk && self.is_vectors;
            if !wanted || !self.memory.try_take(self.bytes(), self.parts.in_memory()) {
                self.set(&mut place, Place::Disk(file));
                return Ok(None);
            }
            self.set(&mut place, Place::Coming(file.clone()));
            file
        };
        // Others go on meanwhile.
        let bytes = self.kept();
        self.memory.coming.fetch_sub(self.bytes(), Relaxed);
        let mut place = self.place.lock();
        if let Place::Coming(now) = &*place
            && Arc::ptr_eq(now, &file)
        {
            // What had to go can still be read here and there, and what is damaged will be found out so.
            let next = bytes.clone().map_or(Place::Disk(file), Place::Memory);
            self.set(&mut place, next);
        }
        Ok(bytes)
    }

    fn leave_memory(&self) -> bool {
        let mut place = self.place.lock();
        let file = match &*place {
            Place::Memory(_) if self.is_vectors => self.open_file(),
            Place::Coming(file) => Some(file.clone()),
            _ => None,
        };
        let leaves = file.is_some();
        if let Some(file) = file {
            self.set(&mut place, Place::Disk(file));
        }
        leaves
    }

    fn peek(&self) -> Option<Bytes> {
        match &*self.place.lock() {
            Place::Memory(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    fn read_all(&self) -> Result<Bytes> {
        if let Some(bytes) = self.peek().or_else(|| self.kept()) {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        self.read_many(std::slice::from_ref(&(0..self.bytes())), &mut bytes)?;
        Ok(bytes.into())
    }

    fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> Result<()> {
        let file = {
            let place = self.place.lock();
            if let Place::Memory(bytes) = &*place {
                ranges.iter().for_each(|r| out.extend_from_slice(&bytes[r.start as usize..r.end as usize]));
                return Ok(());
            }
            place.file().cloned().ok_or_else(|| self.lost("it was damaged before"))?
        };
        let backend = file.read_many(ranges, out).map_err(|error| {
            let mut place = self.place.lock();
            if place.file().is_some_and(|now| Arc::ptr_eq(now, &file)) {
                self.set(&mut place, Place::Lost);
            }
            self.lost(&error.to_string())
        })?;
        if self.is_vectors {
            self.memory.count(ranges.len(), backend);
        }
        Ok(())
    }
}

impl Drop for Residence {
    fn drop(&mut self) {
        self.set(&mut self.place.lock(), Place::Lost);
    }
}

#[cfg(test)]
mod tests {
    use lodestone_store::{MemoryStore, Store};
    use lodestone_types::ErrorKind;

    use super::*;

    const PART: u64 = 50_000;

    struct Parts {
        memory: Arc<VectorMemory>,
        cache: Arc<PartCache>,
        store: Arc<dyn Store>,
    }

    impl Parts {
        /// An object of three parts, to be kept in `dir`.
        async fn new(dir: &std::path::Path, limit: u64) -> Self {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let object: Vec<u8> = (0..3 * PART).map(|i| (i % 251) as u8).collect();
            store.put("o", object.into()).await.unwrap();
            let cache = Arc::new(PartCache::open(Some(dir.into()), 3 * PART + 100));
            Self { memory: Arc::new(VectorMemory::new(limit)), cache, store }
        }

        async fn fetch(&self, number: u64) -> Bytes {
            self.cache.get(&self.store, "o", range(number), None).await.unwrap()
        }

        async fn open(&self, number: u64, kind: &PartKind) -> Residence {
            self.fetch(number).await;
            Residence::open(&self.memory, &self.cache, "o", range(number), kind).unwrap()
        }

        fn places(&self) -> (u64, u64) {
            let usage = self.memory.usage();
            (usage.in_memory / PART, usage.on_disk / PART)
        }
    }

    fn range(number: u64) -> Range<u64> {
        number * PART..(number + 1) * PART
    }

    fn vectors() -> PartKind {
        PartKind::Vector("v".to_owned())
    }

    fn is_in_memory(part: &Residence, on_disk: bool) -> bool {
        part.memory(on_disk).unwrap().is_some()
    }

    #[tokio::test]
    async fn who_comes_first_is_in_memory_until_the_room_is_wanted_back() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), 2 * PART).await;
        let mut parts = Vec::new();
        for number in 0..3 {
            parts.push(all.open(number, &vectors()).await);
        }
        assert_eq!(all.places(), (0, 0));
        for _ in 0..2 {
            let in_memory: Vec<bool> = parts.iter().map(|part| is_in_memory(part, false)).collect();
            assert_eq!((in_memory, all.places()), (vec![true, true, false], (2, 1)));
            assert_eq!(all.cache.in_memory(), 2 * PART);
        }
        assert!(!is_in_memory(&parts[0], true), "the user's word counts");
        assert_eq!((all.places(), all.cache.in_memory()), ((1, 2), PART));
        assert!(is_in_memory(&parts[2], false), "there is room again");
        assert!(!is_in_memory(&parts[0], false), "and now there is none");
        assert_eq!(all.places(), (2, 1));
        parts.remove(1);
        assert!(is_in_memory(&parts[0], false));
        assert_eq!(all.places(), (2, 0));
        drop(parts);
        assert_eq!((all.places(), all.cache.in_memory()), ((0, 0), 0));
    }

    #[tokio::test]
    async fn what_else_is_in_memory_takes_room_too() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), 2 * PART - 1).await;
        let part = all.open(0, &vectors()).await;
        let other = all.fetch(1).await;
        assert!(!is_in_memory(&part, false));
        drop(other);
        assert!(is_in_memory(&part, false));
    }

    #[tokio::test]
    async fn rows_are_read_from_the_file_and_counted_and_payloads_stay_there() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), 0).await;
        for (kind, counted) in [(vectors(), 2), (PartKind::Payload, 2)] {
            let part = all.open(1, &kind).await;
            assert!(!is_in_memory(&part, false));
            let mut out = Vec::new();
            part.read_many(&[0..3, PART - 1..PART], &mut out).unwrap();
            let expected = [PART, PART + 1, PART + 2, 2 * PART - 1].map(|i| (i % 251) as u8);
            assert_eq!(out, expected);
            let usage = all.memory.usage();
            assert_eq!(usage.reads_by_io_uring + usage.reads_by_pread, counted);
            assert!(part.read_many(&[0..1, PART - 1..PART + 1], &mut out).is_err());
        }
    }

    fn read(part: &Residence, range: Range<u64>) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        part.read_many(std::slice::from_ref(&range), &mut out)?;
        Ok(out)
    }

    #[tokio::test]
    async fn what_was_lost_says_so_until_it_is_brought_again() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), 0).await;
        for kind in [vectors(), PartKind::Payload] {
            let part = all.open(0, &kind).await;
            for file in std::fs::read_dir(dir.path()).unwrap() {
                std::fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_len(9).unwrap();
            }
            for _ in 0..2 {
                assert_eq!(read(&part, 0..3).unwrap_err().kind, ErrorKind::LostCopy);
                assert!(part.is_lost());
                assert_eq!(part.memory(false).unwrap_err().kind, ErrorKind::LostCopy);
            }
            part.renew(Some(all.fetch(0).await));
            assert_eq!((read(&part, 0..3).unwrap(), part.is_lost()), (vec![0, 1, 2], false));
        }
    }

    #[tokio::test]
    async fn what_had_to_go_is_lost_and_yet_read_by_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), 0).await;
        let part = all.open(0, &vectors()).await;
        for number in 1..3 {
            all.fetch(number).await;
        }
        assert!(!part.is_lost());
        all.cache.get(&all.store, "o", 0..200, None).await.unwrap();
        assert!(part.is_lost(), "there was no room for that too");
        assert_eq!(read(&part, 5..7).unwrap(), [5, 6]);
        assert_eq!(part.read_all().unwrap(), all.store.get_range("o", range(0)).await.unwrap());
        assert!(!is_in_memory(&part, false));
        part.renew(Some(all.fetch(0).await));
        assert!(!part.is_lost());
        assert_eq!(read(&part, 5..7).unwrap(), [5, 6]);
    }

    #[tokio::test]
    async fn memory_is_left_where_there_is_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), 2 * PART).await;
        let part = all.open(0, &vectors()).await;
        assert!(is_in_memory(&part, false));
        part.leave_memory();
        assert_eq!((all.places(), all.cache.in_memory()), ((0, 1), 0));
        assert_eq!(read(&part, 5..7).unwrap(), [5, 6]);
        assert!(is_in_memory(&part, false), "there is room");
        std::fs::remove_dir_all(dir.path()).unwrap();
        part.leave_memory();
        assert_eq!((all.places(), read(&part, 5..7).unwrap()), ((1, 0), vec![5, 6]));
    }

    #[tokio::test]
    async fn what_can_be_no_file_any_more_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), 0).await;
        let part = all.open(0, &vectors()).await;
        for file in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_len(9).unwrap();
        }
        read(&part, 0..3).unwrap_err();
        std::fs::remove_dir_all(dir.path()).unwrap();
        part.renew(Some(all.fetch(0).await));
        assert!(!part.is_lost() && is_in_memory(&part, true), "there is no file to read");
        assert_eq!(read(&part, 5..7).unwrap(), [5, 6]);
    }
}
