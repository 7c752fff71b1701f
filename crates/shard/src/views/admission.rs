//! Who may come, who goes for that, and who stays: where views meet what [`crate::room`] decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lodestone_manifest::ShardId;
use lodestone_segment::{PartMeta, SegmentReader};
use lodestone_types::{Error, Result};

use super::{Entry, Shards, Source, Views, each_part};
use crate::room::{self, Needs, Resident};

impl Views {
    /// Makes room for a shard that is to be brought here, where others are read less for what they take, and says whether
    /// there is some now.
    pub fn admit(&self, shard: ShardId, takes: Needs) -> bool {
        let Source { parts, vectors, .. } = &*self.source;
        let mut residents = self.source.residents(&self.shards);
        let own = residents.iter().position(|resident| resident.shard == shard);
        let own = own.map_or(0, |at| residents.swap_remove(at).takes.memory);
        let uses = self.shards.lock().get(&shard).map_or(0, |entry| entry.uses.load(Relaxed));
        // Vectors leave memory for what comes, wherever they are.
        let here = Needs {
            memory: parts.in_memory().saturating_sub(vectors.usage().in_memory),
            disk: residents.iter().map(|resident| resident.takes.disk).sum(),
        };
        let coming = self.coming_pins(&residents, shard);
        let room = Needs { memory: vectors.limit().saturating_add(own), disk: parts.max_bytes() };
        let over = here.plus(coming).plus(takes).less(room);
        residents.retain(|resident| resident.takes.memory > 0 || over.disk > 0);
        let Some(goes) = room::for_one_more(residents, shard, uses, takes, over) else { return false };
        self.source.unload(&goes, over.disk > 0);
        true
    }

    /// Makes room for shards that are to be brought here however much others are read, but for what is pinned: where these do
    /// not fit beside it, an error says so, and nobody goes.
    pub fn make_room_for(&self, coming: &[(ShardId, Needs)]) -> Result<()> {
        let is_coming = |shard: &ShardId| coming.iter().any(|(coming, _)| coming == shard);
        let takes = coming.iter().fold(Needs::default(), |sum, (_, needs)| sum.plus(*needs));
        let pinned = {
            let pinned = self.source.pinned.lock();
            let others = pinned.iter().filter(|(shard, _)| !is_coming(shard));
            others.fold(Needs::default(), |sum, (_, needs)| sum.plus(*needs))
        };
        self.check_room(takes, pinned)?;
        let mut others = self.source.residents(&self.shards);
        others.retain(|resident| !is_coming(&resident.shard));
        let disk: u64 = others.iter().map(|resident| resident.takes.disk).sum();
        let over = Needs { memory: 0, disk: (disk + takes.disk).saturating_sub(self.room().disk) };
        // Memory is given back as parts come; files of one shard go together, since half of them are of no use.
        self.source.unload(&room::least_recent(others, over), true);
        Ok(())
    }

    /// Whether there is room for what takes so much beside what is pinned; an error says what is missing.
    pub fn check_room(&self, takes: Needs, pinned: Needs) -> Result<()> {
        let room = self.room();
        if takes.plus(pinned).fits_in(room) { Ok(()) } else { Err(no_room(takes, pinned, room)) }
    }

    /// What may be here of all shards together.
    pub fn room(&self) -> Needs {
        Needs { memory: self.source.vectors.limit(), disk: self.source.parts.max_bytes() }
    }

    /// Has these parts of these shards stay here, once they are here, whatever else comes; and of others nothing. They fit into
    /// [`Views::room`].
    pub fn pin(&self, pinned: &HashMap<ShardId, Vec<PartMeta>>) {
        *self.source.pinned.lock() = pinned.iter().map(|(shard, parts)| (*shard, Needs::of(parts))).collect();
        let parts = pinned.values().flatten();
        let ranges =
            parts.map(|part| (part.object.as_str(), part.offset..part.offset.saturating_add(part.length)));
        self.source.parts.pin(ranges);
    }

    /// What pinned shards but `shard` will take beyond what they take now.
    fn coming_pins(&self, residents: &[Resident], shard: ShardId) -> Needs {
        let here: HashMap<ShardId, Needs> =
            residents.iter().map(|resident| (resident.shard, resident.takes)).collect();
        let pinned = self.source.pinned.lock();
        let missing =
            |(pinned, needs): (&ShardId, &Needs)| here.get(pinned).map_or(*needs, |takes| needs.less(*takes));
        let others = pinned.iter().filter(|(pinned, _)| **pinned != shard);
        others.map(missing).fold(Needs::default(), Needs::plus)
    }
}

fn no_room(takes: Needs, pinned: Needs, room: Needs) -> Error {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let beside = |bytes| {
        if bytes > 0 { format!(", of which pinned collections take {}", mib(bytes)) } else { String::new() }
    };
    Error::limit_reached(format!(
        "Limit reached: the collection takes {} of memory and {} of disk here, and there are {} (`cache.memory`{}) and {} \
         (`cache.disk`{})",
        mib(takes.memory),
        mib(takes.disk),
        mib(room.memory),
        beside(pinned.memory),
        mib(room.disk),
        beside(pinned.disk),
    ))
}

impl Source {
    /// Lets go of what shards have loaded, and of their files too if asked.
    pub(super) fn unload(&self, shards: &[ShardId], files: bool) {
        let Some(known) = self.shards.upgrade() else { return };
        for shard in shards {
            let Some(entry) = known.lock().get(shard).cloned() else { continue };
            let mut current = entry.current.lock();
            let Some(snapshot) = current.as_mut() else { continue };
            snapshot.view = snapshot.view.unloaded();
            if files {
                each_part(&snapshot.view, |object, range| self.parts.remove(object, range));
            }
        }
    }

    /// Has memory given back, if it takes that to have room for what is coming: of vectors first, which can be read from disk,
    /// then of all that those have loaded that were not read lately. So no index goes where letting go of vectors is enough, as
    /// [`Views::admit`] has it. The shard that was read last keeps all else, however large it is, and so do pinned ones.
    pub(super) fn make_room(&self) {
        let wanted = self.parts.in_memory().saturating_add(self.vectors.coming());
        // What lets go counts as gone, though who reads it just then has it a little longer.
        let mut over = wanted.saturating_sub(self.vectors.limit());
        let Some(known) = self.shards.upgrade().filter(|_| over > 0) else { return };
        let last = known.lock().values().map(|entry| entry.last.load(Relaxed)).max();
        let mut residents = self.residents(&known);
        residents.sort_unstable_by_key(|resident| (resident.pinned, resident.last));
        for resident in &residents {
            let entry = known.lock().get(&resident.shard).cloned();
            let Some(view) = entry.and_then(|entry| entry.view()) else { continue };
            for segment in view.segments() {
                if over == 0 {
                    return;
                }
                over = over.saturating_sub(segment.leave_memory());
            }
        }
        residents.retain(|resident| resident.takes.memory > 0 && Some(resident.last) != last);
        self.unload(&room::least_recent(residents, Needs { memory: over, disk: 0 }), false);
    }

    /// The shards that have something in memory; what they take of it is without vectors.
    fn residents(&self, shards: &Shards) -> Vec<Resident> {
        let entries: Vec<_> = shards.lock().iter().map(|(shard, entry)| (*shard, entry.clone())).collect();
        let pinned = self.pinned.lock();
        entries.iter().filter_map(|entry| resident(entry, pinned.contains_key(&entry.0))).collect()
    }
}

fn resident((shard, entry): &(ShardId, Arc<Entry>), pinned: bool) -> Option<Resident> {
    let view = entry.view()?;
    let sum = |of: fn(&SegmentReader) -> u64| view.segments().map(of).sum::<u64>();
    let takes = Needs { memory: sum(SegmentReader::staying_bytes), disk: view.segment_bytes() };
    let (uses, last) = (entry.uses.load(Relaxed), entry.last.load(Relaxed));
    let is_here = sum(SegmentReader::loaded_bytes) > 0;
    is_here.then_some(Resident { shard: *shard, uses, last, takes, pinned })
}
