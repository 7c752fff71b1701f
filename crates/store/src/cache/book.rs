use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use super::slot::{PartId, Slot};

/// Maps that are held at once; a process may have some 65,000, and others need them too.
const MAX_MAPPED: usize = 16_384;

/// Bytes with their checksum.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) crc: u32,
    /// What the bytes are part of, where they are those of a file.
    pub(super) map: Option<Arc<Mmap>>,
}

/// How a part that is in hand is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Only here.
    Memory,
    /// As a file, mapped.
    Mapped,
}

/// What is known of a part.
#[derive(Debug)]
pub(super) enum Found {
    Open(Part),
    /// A file that is not open; `checked` if this process has checked it before.
    File {
        checked: bool,
    },
    Nothing,
}

/// Which slots had to go, and which of them have files.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) evicted: u64,
    pub(super) files: Vec<Slot>,
}

/// What the cache holds, in the order of last use. Pure: it does no I/O.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<Slot, Entry>,
    /// Slots by the tick of their last use.
    order: BTreeMap<u64, Slot>,
    tick: u64,
    bytes: u64,
    memory: u64,
    mapped: usize,
}

#[derive(Debug)]
struct Entry {
    used: u64,
    size: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A file of an earlier process.
    Unknown,
    /// A file that was checked, and is not mapped now.
    File(Arc<str>),
    Open {
        key: Arc<str>,
        part: Part,
        kept: Kept,
    },
}

impl Book {
    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.bytes)
    }

    /// Enters a file that was found; the least recently used first.
    pub(super) fn adopt(&mut self, slot: Slot, size: u64) {
        self.enter(slot, size, Content::Unknown);
    }

    /// Looks `id` up and counts that as use.
    pub(super) fn find(&mut self, id: &PartId) -> Found {
        let slot = id.slot();
        let tick = self.next_tick();
        let Some(entry) = self.entries.get_mut(&slot) else { return Found::Nothing };
        let found = match &entry.content {
            Content::Unknown => Found::File { checked: false },
            Content::File(key) if *key == id.key => Found::File { checked: true },
            Content::Open { key, part, .. } if *key == id.key => Found::Open(part.clone()),
            // Another key with the same hash lives here.
            _ => return Found::Nothing,
        };
        self.order.remove(&entry.used);
        entry.used = tick;
        self.order.insert(tick, slot);
        found
    }

    /// Enters a part in hand, in place of what its slot held.
    pub(super) fn insert(&mut self, id: &PartId, part: &Part, kept: Kept) {
        self.remove(id.slot());
        let size = part.bytes.len() as u64;
        match kept {
            Kept::Memory => self.memory += size,
            Kept::Mapped => self.mapped += 1,
        }
        self.enter(id.slot(), size, Content::Open { key: id.key.clone(), part: part.clone(), kept });
        if self.mapped > MAX_MAPPED {
            self.unmap_older_half();
        }
    }

    /// Forgets a slot; says whether it has a file.
    pub(super) fn remove(&mut self, slot: Slot) -> bool {
        let Some(entry) = self.entries.remove(&slot) else { return false };
        self.order.remove(&entry.used);
        self.bytes -= entry.size;
        match entry.content {
            Content::Open { kept: Kept::Memory, .. } => {
                self.memory -= entry.size;
                false
            }
            Content::Open { kept: Kept::Mapped, .. } => {
                self.mapped -= 1;
                true
            }
            Content::Unknown | Content::File(_) => true,
        }
    }

    /// Forgets what was not used for longest until both limits are kept.
    pub(super) fn make_room(&mut self, max_bytes: u64, max_memory: u64) -> Room {
        let mut room = Room::default();
        while self.bytes > max_bytes {
            let Some(slot) = self.order.values().next().copied() else { break };
            self.evict(slot, &mut room);
        }
        while self.memory > max_memory {
            let Some(slot) = self.order.values().copied().find(|slot| self.is_memory(slot)) else { break };
            self.evict(slot, &mut room);
        }
        room
    }

    fn evict(&mut self, slot: Slot, room: &mut Room) {
        room.evicted += 1;
        if self.remove(slot) {
            room.files.push(slot);
        }
    }

    fn is_memory(&self, slot: &Slot) -> bool {
        matches!(
            self.entries.get(slot),
            Some(Entry { content: Content::Open { kept: Kept::Memory, .. }, .. })
        )
    }

    fn unmap_older_half(&mut self) {
        for slot in self.order.values() {
            if self.mapped <= MAX_MAPPED / 2 {
                return;
            }
            let Some(entry) = self.entries.get_mut(slot) else { continue };
            if let Content::Open { key, kept: Kept::Mapped, .. } = &entry.content {
                entry.content = Content::File(key.clone());
                self.mapped -= 1;
            }
        }
    }

    fn enter(&mut self, slot: Slot, size: u64, content: Content) {
        let used = self.next_tick();
        self.order.insert(used, slot);
        self.bytes += size;
        if let Some(before) = self.entries.insert(slot, Entry { used, size, content }) {
            self.order.remove(&before.used);
            self.bytes -= before.size;
        }
    }

    fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: &str) -> PartId {
        PartId { key: key.into(), start: 0, end: 10 }
    }

    fn part() -> Part {
        Part { bytes: Bytes::from_static(b"0123456789"), crc: 1, map: None }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_files_are_named() {
        let mut book = Book::default();
        for key in ["a", "b", "c"] {
            book.insert(&id(key), &part(), Kept::Mapped);
        }
        assert!(matches!(book.find(&id("a")), Found::Open(_)));
        let room = book.make_room(20, 0);
        assert_eq!((room.evicted, room.files), (1, vec![id("b").slot()]));
        assert!(matches!(book.find(&id("b")), Found::Nothing));
        assert_eq!(book.size(), (2, 20));
    }

    #[test]
    fn memory_has_a_limit_of_its_own() {
        let mut book = Book::default();
        book.insert(&id("file"), &part(), Kept::Mapped);
        book.insert(&id("m1"), &part(), Kept::Memory);
        book.insert(&id("m2"), &part(), Kept::Memory);
        let room = book.make_room(1000, 10);
        assert_eq!((room.evicted, room.files.len()), (1, 0));
        assert!(matches!(book.find(&id("m1")), Found::Nothing));
        assert!(matches!(book.find(&id("file")), Found::Open(_)));
    }

    #[test]
    fn too_many_maps_are_closed_and_their_files_stay() {
        let mut book = Book::default();
        for i in 0..=MAX_MAPPED {
            book.insert(&id(&i.to_string()), &part(), Kept::Mapped);
        }
        assert_eq!(book.mapped, MAX_MAPPED / 2);
        assert!(matches!(book.find(&id("0")), Found::File { checked: true }));
        assert!(matches!(book.find(&id(&MAX_MAPPED.to_string())), Found::Open(_)));
    }
}
