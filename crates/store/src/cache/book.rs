use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::held::Held;
use super::kept::OpenFile;
use super::slot::{PartId, Slot};
use crate::pieces;

/// A part in memory, with its checksum.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) held: Arc<Held>,
    pub(super) crc: u32,
}

impl Part {
    /// Of what was fetched; reads all of it.
    pub(super) fn new(held: Arc<Held>) -> Self {
        let crc = pieces::checksum(held.bytes());
        Self { held, crc }
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.held.share()
    }
}

/// How a part that is in hand is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Only in memory.
    Memory,
    /// As a file; in memory as long as somebody uses it.
    File,
}

/// What is known of a part.
#[derive(Debug)]
pub(super) enum Found {
    InMemory(Part),
    /// A file, which must be checked whenever it is read.
    File,
    Nothing,
}

/// How many slots had to go, and which of them have files, which are to be removed.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) evicted: u64,
    pub(super) files: Vec<Removed>,
}

/// A slot that was forgotten, where it has a file.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) slot: Slot,
    pub(super) open: Option<Arc<OpenFile>>,
}

/// What the cache holds, in the order of last use. Pure: it does no I/O.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<Slot, Entry>,
    /// Slots by the tick of their last use, but for those that stay. What is in memory only never does: there is a limit to it.
    order: BTreeMap<u64, Slot>,
    /// They stay, whether they are here already or not.
    pinned: HashSet<Slot>,
    tick: u64,
    bytes: u64,
    memory: u64,
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
    Memory {
        key: Arc<str>,
        part: Part,
    },
    File {
        key: Arc<str>,
        crc: u32,
        held: Weak<Held>,
        open: Weak<OpenFile>,
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
            Content::Unknown => Found::File,
            Content::Memory { key, part } if *key == id.key => Found::InMemory(part.clone()),
            Content::File { key, crc, held, .. } if *key == id.key => match held.upgrade() {
                Some(held) => Found::InMemory(Part { held, crc: *crc }),
                None => Found::File,
            },
            // Another key with the same hash lives here.
            _ => return Found::Nothing,
        };
        self.order.remove(&entry.used);
        entry.used = tick;
        if !self.pinned.contains(&slot) || matches!(entry.content, Content::Memory { .. }) {
            self.order.insert(tick, slot);
        }
        found
    }

    /// As [`Book::find`], of those that are files alone; whether there is one.
    pub(super) fn find_file(&mut self, id: &PartId) -> bool {
        !matches!(self.find(id), Found::Nothing) && !self.is_memory(&id.slot())
    }

    /// Whether `id` is kept, which is not counted as use.
    pub(super) fn has(&self, id: &PartId) -> bool {
        match self.entries.get(&id.slot()).map(|entry| &entry.content) {
            None => false,
            Some(Content::Unknown) => true,
            Some(Content::Memory { key, .. } | Content::File { key, .. }) => *key == id.key,
        }
    }

    /// The file of `id`, if somebody reads it.
    pub(super) fn opened(&self, id: &PartId) -> Option<Arc<OpenFile>> {
        match &self.entries.get(&id.slot())?.content {
            Content::File { key, open, .. } if *key == id.key => {
                open.upgrade().filter(|open| !open.is_gone())
            }
            _ => None,
        }
    }

    /// Whether the file of `id` is another than `file`, which was opened before.
    pub(super) fn has_other(&self, id: &PartId, file: &Arc<OpenFile>) -> bool {
        match self.entries.get(&id.slot()).map(|entry| &entry.content) {
            Some(Content::File { key, open, .. }) if *key == id.key => {
                open.upgrade().is_some_and(|open| !Arc::ptr_eq(&open, file))
            }
            _ => false,
        }
    }

    /// Notes that the file of `id` was opened; says whether it is (still) here.
    pub(super) fn note_open(&mut self, id: &PartId, file: &Arc<OpenFile>) -> bool {
        let Some(entry) = self.entries.get_mut(&id.slot()) else { return false };
        match &mut entry.content {
            Content::File { key, open, .. } if *key == id.key => *open = Arc::downgrade(file),
            Content::Unknown => {
                let (key, open) = (id.key.clone(), Arc::downgrade(file));
                entry.content = Content::File { key, crc: 0, held: Weak::new(), open };
            }
            _ => return false,
        }
        true
    }

    /// Enters a part in hand, in place of what its slot held.
    pub(super) fn insert(&mut self, id: &PartId, part: &Part, kept: Kept) {
        match kept {
            Kept::File => self.insert_file(id, part.crc, Arc::downgrade(&part.held)),
            Kept::Memory => {
                self.remove(id.slot());
                self.memory += id.end - id.start;
                self.enter(
                    id.slot(),
                    id.end - id.start,
                    Content::Memory { key: id.key.clone(), part: part.clone() },
                );
            }
        }
    }

    /// Enters a part that is a file, and in memory as long as there is `held`.
    pub(super) fn insert_file(&mut self, id: &PartId, crc: u32, held: Weak<Held>) {
        // Who reads the file that is there goes on: it has the same bytes.
        let open = match self.entries.get(&id.slot()).map(|entry| &entry.content) {
            Some(Content::File { key, open, .. }) if *key == id.key => open.clone(),
            _ => Weak::new(),
        };
        self.remove(id.slot());
        let content = Content::File { key: id.key.clone(), crc, held, open };
        self.enter(id.slot(), id.end - id.start, content);
    }

    /// Forgets a slot; says what file it has.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Removed> {
        let entry = self.entries.remove(&slot)?;
        self.order.remove(&entry.used);
        self.bytes -= entry.size;
        match entry.content {
            Content::Memory { .. } => {
                self.memory -= entry.size;
                None
            }
            Content::Unknown => Some(Removed { slot, open: None }),
            Content::File { open, .. } => Some(Removed { slot, open: open.upgrade() }),
        }
    }

    /// Has these slots stay, and no others.
    pub(super) fn pin(&mut self, pinned: HashSet<Slot>) {
        for slot in self.pinned.symmetric_difference(&pinned) {
            let Some(entry) = self.entries.get(slot) else { continue };
            if !pinned.contains(slot) {
                self.order.insert(entry.used, *slot);
            } else if !matches!(entry.content, Content::Memory { .. }) {
                self.order.remove(&entry.used);
            }
        }
        self.pinned = pinned;
    }

    /// Forgets what was not used for longest until both limits are kept, or nothing is left but what stays.
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
        room.files.extend(self.remove(slot));
    }

    fn is_memory(&self, slot: &Slot) -> bool {
        matches!(self.entries.get(slot), Some(Entry { content: Content::Memory { .. }, .. }))
    }

    fn enter(&mut self, slot: Slot, size: u64, content: Content) {
        let used = self.next_tick();
        if !self.pinned.contains(&slot) || matches!(content, Content::Memory { .. }) {
            self.order.insert(used, slot);
        }
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
        let held = Held::new(Bytes::from_static(b"0123456789"), &Arc::default()).unwrap();
        Part { held, crc: 1 }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_files_are_named() {
        let mut book = Book::default();
        let part = part();
        for key in ["a", "b", "c"] {
            book.insert(&id(key), &part, Kept::File);
        }
        assert!(matches!(book.find(&id("a")), Found::InMemory(_)));
        let room = book.make_room(20, 0);
        let files: Vec<Slot> = room.files.iter().map(|removed| removed.slot).collect();
        assert_eq!((room.evicted, files), (1, vec![id("b").slot()]));
        assert!(matches!(book.find(&id("b")), Found::Nothing));
        assert_eq!(book.size(), (2, 20));
    }

    #[test]
    fn what_is_in_memory_only_goes_even_if_it_is_pinned() {
        let mut book = Book::default();
        book.pin([id("a").slot()].into());
        book.insert(&id("a"), &part(), Kept::Memory);
        assert!(matches!(book.find(&id("a")), Found::InMemory(_)));
        book.pin([id("a").slot(), id("b").slot()].into());
        assert_eq!(book.make_room(u64::MAX, 0).evicted, 1);
        assert_eq!(book.size(), (0, 0));
    }

    #[test]
    fn what_is_pinned_stays_until_it_is_pinned_no_more() {
        let mut book = Book::default();
        let pinned = |keys: &[&str]| keys.iter().map(|key| id(key).slot()).collect::<HashSet<Slot>>();
        book.insert(&id("a"), &part(), Kept::File);
        book.pin(pinned(&["a", "b"]));
        for key in ["b", "c", "d"] {
            book.insert(&id(key), &part(), Kept::File);
            book.find(&id("a"));
        }
        assert_eq!(book.make_room(30, 0).files[0].slot, id("c").slot(), "b was pinned before it came");
        assert_eq!(book.make_room(0, 0).evicted, 1, "that was d");
        assert_eq!(book.size(), (2, 20));
        book.pin(pinned(&["b"]));
        assert_eq!(book.make_room(0, 0).files[0].slot, id("a").slot());
        book.pin(HashSet::new());
        book.find(&id("b"));
        book.make_room(0, 0);
        assert_eq!(book.size(), (0, 0));
    }

    #[test]
    fn memory_has_a_limit_of_its_own() {
        let mut book = Book::default();
        book.insert(&id("file"), &part(), Kept::File);
        book.insert(&id("m1"), &part(), Kept::Memory);
        book.insert(&id("m2"), &part(), Kept::Memory);
        let room = book.make_room(1000, 10);
        assert_eq!((room.evicted, room.files.len()), (1, 0));
        assert!(matches!(book.find(&id("m1")), Found::Nothing));
        assert!(matches!(book.find(&id("m2")), Found::InMemory(_)));
        assert!(matches!(book.find(&id("file")), Found::File), "nobody has it in memory");
        assert!(book.has(&id("file")) && !book.has(&id("m1")));
    }
}
