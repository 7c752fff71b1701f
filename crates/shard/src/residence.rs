//! Where are parts that can be read from their files? Vectors are in memory where the budget has room, first come first served,
//! but for those that users want on disk. The others, and all payloads, are read from disk as they are needed; vectors move into
//! memory when room is made, and are read from disk until they are there. Nothing here affects answers.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use lodestone_segment::{DiskPart, PartKind};
use lodestone_store::{KeptPart, PartCache};
use lodestone_types::{Error, Result};
use parking_lot::{Condvar, Mutex};

use crate::vector_memory::{Room, VectorMemory};

/// Parts of at most so many bytes are brought into memory by who wants them there first: that takes no longer than a search.
const AT_ONCE: u64 = 1 << 20;

/// A part that has a file, shared with who brings it into memory.
#[derive(Debug)]
pub(crate) struct Residence(Arc<Part>);

#[derive(Debug)]
struct Part {
    memory: Arc<VectorMemory>,
    parts: Arc<PartCache>,
    object: String,
    range: Range<u64>,
    is_vectors: bool,
    place: Mutex<Place>,
    /// Told when a part that was coming is there, or will not be.
    settled: Condvar,
}

#[derive(Debug)]
enum Place {
    /// Read from its file; whether vectors are to be in memory was not asked yet.
    Undecided(Arc<KeptPart>),
    /// On its way into memory, for which it has room, and read from its file meanwhile.
    Coming {
        file: Arc<KeptPart>,
        _room: Room,
    },
    Disk(Arc<KeptPart>),
    Memory(Bytes),
    /// The file could not be read.
    Lost,
}

impl Place {
    fn file(&self) -> Option<&Arc<KeptPart>> {
        match self {
            Place::Undecided(file) | Place::Coming { file, .. } | Place::Disk(file) => Some(file),
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
        let settled = Condvar::new();
        Some(Self(Arc::new(Part { memory, parts, object, range, is_vectors, place, settled })))
    }
}

impl Part {
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
        if matches!(place, Place::Coming { .. }) {
            self.settled.notify_all();
        }
        *place = next;
    }

    fn counter(&self, place: &Place) -> Option<&AtomicU64> {
        match place {
            Place::Memory(_) => Some(&self.memory.in_memory),
            Place::Disk(_) | Place::Coming { .. } => Some(&self.memory.on_disk),
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

    /// Where it is to be from now on.
    fn decide(&self, on_disk: bool) -> Result<Decision> {
        let mut place = self.place.lock();
        let file = match &*place {
            Place::Memory(bytes) if !on_disk => return Ok(Decision::InMemory(bytes.clone())),
            Place::Disk(_) if on_disk => return Ok(Decision::OnDisk),
            Place::Coming { .. } if !on_disk => return Ok(Decision::IsComing),
            Place::Lost => return Err(self.lost("it was damaged before")),
            Place::Undecided(file) | Place::Disk(file) | Place::Coming { file, .. } => file.clone(),
            Place::Memory(bytes) => match self.open_file() {
                Some(file) => file,
                // What has no file any more stays.
                None => return Ok(Decision::InMemory(bytes.clone())),
            },
        };
        let wanted = !on_disk && self.is_vectors;
        let room = wanted.then(|| self.memory.try_take(self.bytes(), || self.parts.in_memory())).flatten();
        Ok(match room {
            None => {
                self.set(&mut place, Place::Disk(file));
                Decision::OnDisk
            }
            Some(room) => {
                self.set(&mut place, Place::Coming { file: file.clone(), _room: room });
                Decision::Comes(file)
            }
        })
    }

    /// Brings what was decided to come into memory, unless it was decided otherwise meanwhile. Others go on reading the file.
    fn bring(&self, file: &Arc<KeptPart>) -> Option<Bytes> {
        let mut coming = Coming { part: self, file, bytes: None };
        if coming.is_current(&self.place.lock()) {
            coming.bytes = self.kept();
        }
        coming.bytes.clone()
    }
}

/// A part that is being brought into memory, where it is when this is dropped, if it could be read and was not decided otherwise.
struct Coming<'a> {
    part: &'a Part,
    file: &'a Arc<KeptPart>,
    bytes: Option<Bytes>,
}

impl Coming<'_> {
    fn is_current(&self, place: &Place) -> bool {
        matches!(place, Place::Coming { file: now, .. } if Arc::ptr_eq(now, self.file))
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut place = self.part.place.lock();
        if self.is_current(&place) {
            // What had to go can still be read here and there, and what is damaged will be found out so.
            let next = self.bytes.take().map_or_else(|| Place::Disk(self.file.clone()), Place::Memory);
            self.part.set(&mut place, next);
        }
    }
}

/// Where a part is to be.
enum Decision {
    InMemory(Bytes),
    OnDisk,
    /// In memory, where somebody else is bringing it.
    IsComing,
    /// In memory, where it is to be brought.
    Comes(Arc<KeptPart>),
}

impl DiskPart for Residence {
    fn is_lost(&self) -> bool {
        self.0.place.lock().is_lost()
    }

    fn renew(&self, bytes: Option<Bytes>) {
        let mut place = self.0.place.lock();
        // Somebody else may have been quicker.
        if place.is_lost()
            && let Some(next) = self.0.open_file().map(Place::Undecided).or(bytes.map(Place::Memory))
        {
            self.0.set(&mut place, next);
        }
    }

    fn memory(&self, on_disk: bool) -> Result<Option<Bytes>> {
        Ok(match self.0.decide(on_disk)? {
            Decision::InMemory(bytes) => Some(bytes),
            Decision::OnDisk | Decision::IsComing => None,
            Decision::Comes(file) if self.0.bytes() <= AT_ONCE => self.0.bring(&file),
            Decision::Comes(file) => {
                let part = Arc::downgrade(&self.0);
                self.0.memory.move_in_turn(Box::new(move || {
                    part.upgrade().and_then(|part| part.bring(&file));
                }));
                None
            }
        })
    }

    fn settle(&self, on_disk: bool) -> Result<()> {
        match self.0.decide(on_disk)? {
            Decision::InMemory(_) | Decision::OnDisk => {}
            Decision::Comes(file) => drop(self.0.bring(&file)),
            Decision::IsComing => {
                let is_coming = |place: &mut Place| matches!(place, Place::Coming { .. });
                self.0.settled.wait_while(&mut self.0.place.lock(), is_coming);
            }
        }
        Ok(())
    }

    fn leave_memory(&self) -> bool {
        let mut place = self.0.place.lock();
        let file = match &*place {
            Place::Memory(_) if self.0.is_vectors => self.0.open_file(),
            Place::Coming { file, .. } => Some(file.clone()),
            _ => None,
        };
        let leaves = file.is_some();
        if let Some(file) = file {
            self.0.set(&mut place, Place::Disk(file));
        }
        leaves
    }

    fn peek(&self) -> Option<Bytes> {
        match &*self.0.place.lock() {
            Place::Memory(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    fn read_all(&self) -> Result<Bytes> {
        if let Some(bytes) = self.peek().or_else(|| self.0.kept()) {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        self.read_many(std::slice::from_ref(&(0..self.0.bytes())), &mut bytes)?;
        Ok(bytes.into())
    }

    fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> Result<()> {
        let file = {
            let place = self.0.place.lock();
            if let Place::Memory(bytes) = &*place {
                ranges.iter().for_each(|r| out.extend_from_slice(&bytes[r.start as usize..r.end as usize]));
                return Ok(());
            }
            place.file().cloned().ok_or_else(|| self.0.lost("it was damaged before"))?
        };
        let backend = file.read_many(ranges, out).map_err(|error| {
            let mut place = self.0.place.lock();
            if place.file().is_some_and(|now| Arc::ptr_eq(now, &file)) {
                self.0.set(&mut place, Place::Lost);
            }
            self.0.lost(&error.to_string())
        })?;
        if self.0.is_vectors {
            self.0.memory.count(ranges.len(), backend);
        }
        Ok(())
    }
}

impl Drop for Part {
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
    const LARGE: u64 = AT_ONCE + 1;

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
            store.put("large", vec![7; LARGE as usize].into()).await.unwrap();
            let cache = Arc::new(PartCache::open(Some(dir.into()), (3 * PART + 100).max(limit)));
            Self { memory: Arc::new(VectorMemory::new(limit)), cache, store }
        }

        async fn fetch(&self, number: u64) -> Bytes {
            self.cache.get(&self.store, "o", range(number), None).await.unwrap()
        }

        async fn open(&self, number: u64, kind: &PartKind) -> Residence {
            self.fetch(number).await;
            Residence::open(&self.memory, &self.cache, "o", range(number), kind).unwrap()
        }

        async fn open_large(&self) -> Residence {
            self.cache.get(&self.store, "large", 0..LARGE, None).await.unwrap();
            Residence::open(&self.memory, &self.cache, "large", 0..LARGE, &vectors()).unwrap()
        }

        /// Has whatever is to move wait until what is returned is dropped.
        fn hold_moves(&self) -> std::sync::mpsc::Sender<()> {
            let (held, until) = std::sync::mpsc::channel();
            self.memory.move_in_turn(Box::new(move || until.recv().unwrap_or_default()));
            held
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
    async fn large_parts_are_read_from_disk_until_they_are_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), LARGE).await;
        let part = all.open_large().await;
        let held = all.hold_moves();
        for _ in 0..2 {
            assert!(!is_in_memory(&part, false));
            assert_eq!((all.memory.coming(), read(&part, 5..7).unwrap()), (LARGE, vec![7, 7]));
        }
        let waits = std::thread::spawn({
            let part = Residence(part.0.clone());
            move || part.settle(false).map(|()| part.peek().map(|bytes| bytes.len() as u64))
        });
        drop(held);
        assert_eq!(waits.join().unwrap().unwrap(), Some(LARGE));
        assert!(is_in_memory(&part, false));
        assert_eq!((all.memory.coming(), all.memory.usage().in_memory), (0, LARGE));
    }

    #[tokio::test]
    async fn what_leaves_before_it_came_takes_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let all = Parts::new(dir.path(), LARGE).await;
        let part = all.open_large().await;
        let held = all.hold_moves();
        assert!(!is_in_memory(&part, false));
        assert!(part.leave_memory());
        assert_eq!((all.memory.coming(), all.memory.usage().on_disk), (0, LARGE));
        assert!(!is_in_memory(&part, false), "it comes once more");
        let gone = all.open_large().await;
        drop(held);
        part.settle(false).unwrap();
        assert!(is_in_memory(&part, false) && !is_in_memory(&gone, false), "there is room for one");
        drop(part);
        let held = all.hold_moves();
        assert!(!is_in_memory(&gone, false));
        drop(gone);
        assert_eq!(all.memory.coming(), 0, "nobody wants it any more");
        drop(held);
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
