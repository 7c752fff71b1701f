//! The current view of every shard in use: follows the manifest, reads the tail from the log, reuses what it has.
//!
//! A view that nobody asks for is forgotten ([`Views::sweep`]), and what it has loaded is let go before that where memory is wanted
//! for others.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use lodestone_manifest::{
    Collection, SegmentEntry, SegmentId, Shard, ShardId, SliceHeader, Slot, State, Tail, TailRange,
};
use lodestone_segment::{CheckFile, DiskPart, Fetch, PartKind, SegmentMeta, SegmentReader};
use lodestone_store::{PartCache, Store};
use lodestone_types::{Error, Result};
use lodestone_wal::{Op, SlotCache, decode_slice, keys, object};
use parking_lot::Mutex;

use crate::allowance::{paid, paid_once};
use crate::memtable::Memtable;
use crate::residence::Residence;
use crate::room::Needs;
use crate::schema::ShardSchema;
use crate::vector_memory::{VectorMemory, VectorUsage};
use crate::view::ShardView;

mod admission;
mod slices;

use self::slices::together;

/// Slots of a tail that are fetched side by side.
const FETCHES_AT_ONCE: usize = 32;
/// Parts of at least so many bytes become files without being in memory whole. Smaller ones take less time if they are checked
/// there.
const BRING_FROM: u64 = 64 << 20;

/// A shard as it was at one state.
#[derive(Clone)]
pub struct Snapshot {
    /// The state's slot.
    pub slot: Slot,
    /// The collection's settings.
    pub collection: Arc<Collection>,
    /// The manifest that the view shows; its segments are the view's, in the same order.
    pub manifest: Arc<Shard>,
    /// The rows.
    pub view: ShardView,
}

impl Snapshot {
    /// The view as it was at `slot`, which must not be before the segments.
    pub fn view_at(&self, slot: Slot) -> Result<ShardView> {
        if slot.0 >= self.view.lsn() {
            return Ok(self.view.clone());
        }
        let mut tail = Memtable::new(self.view.memtable().folded());
        for batch in self.view.memtable().batches().take_while(|batch| batch.lsn <= slot.0) {
            tail = tail.apply(batch.lsn, batch.ops.clone())?;
        }
        Ok(ShardView::new(self.view.schema().clone(), self.view.segments().cloned().collect(), tail))
    }
}

/// Where views get their bytes from.
#[derive(Debug)]
struct Source {
    store: Arc<dyn Store>,
    parts: Arc<PartCache>,
    slots: Arc<SlotCache>,
    vectors: Arc<VectorMemory>,
    /// Who else has something in memory.
    shards: Weak<Shards>,
    /// How many ranges the cache had dropped when that was looked into last.
    evictions: AtomicU64,
    /// Shards that stay, and what they need here.
    pinned: Mutex<HashMap<ShardId, Needs>>,
}

type Shards = Mutex<HashMap<ShardId, Arc<Entry>>>;

/// Views of shards, made when first asked for and kept current from then on.
pub struct Views {
    source: Arc<Source>,
    shards: Arc<Shards>,
    round: AtomicU64,
    reads: AtomicU64,
}

/// What one use counts; a round later it counts a little less.
const USE: u32 = 1 << 8;

#[derive(Default)]
struct Entry {
    /// The round in which it was last asked for.
    used: AtomicU64,
    /// The number of the read that asked for it last; 0 before the first.
    last: AtomicU64,
    /// How often it was asked for lately, in parts of [`USE`].
    uses: AtomicU32,
    current: Mutex<Option<Snapshot>>,
    updating: tokio::sync::Mutex<()>,
    /// Segments that are about to be named by the manifest, with what reads will ask of them.
    prepared: Mutex<HashMap<SegmentId, SegmentReader>>,
}

impl Views {
    /// Views over what `store` holds. Parts come through `parts`; tails through `slots`, where it has them. Vectors are
    /// in memory as far as `vectors` has room.
    pub fn new(
        store: Arc<dyn Store>,
        parts: Arc<PartCache>,
        slots: Arc<SlotCache>,
        vectors: Arc<VectorMemory>,
    ) -> Self {
        let shards = Arc::new(Shards::default());
        let known = Arc::downgrade(&shards);
        Self {
            source: Arc::new(Source {
                store,
                parts,
                slots,
                vectors,
                shards: known,
                evictions: AtomicU64::new(0),
                pinned: Mutex::default(),
            }),
            shards,
            round: AtomicU64::new(0),
            reads: AtomicU64::new(1),
        }
    }

    /// The view of `shard` at `state`, or at a later state that was asked for before.
    pub async fn snapshot(&self, state: &State, shard: ShardId) -> Result<Snapshot> {
        let entry = self.entry(state, shard)?;
        entry.note_use(self.round.load(Relaxed), self.reads.fetch_add(1, Relaxed));
        self.update(&entry, state, shard).await
    }

    /// As [`Views::snapshot`], for who does not read for users: it does not count as use.
    pub async fn follow(&self, state: &State, shard: ShardId) -> Result<Snapshot> {
        let entry = self.entry(state, shard)?;
        self.update(&entry, state, shard).await
    }

    fn entry(&self, state: &State, shard: ShardId) -> Result<Arc<Entry>> {
        let mut shards = self.shards.lock();
        if !state.shards.contains_key(&shard) {
            shards.remove(&shard);
            return Err(missing());
        }
        Ok(shards.entry(shard).or_default().clone())
    }

    async fn update(&self, entry: &Entry, state: &State, shard: ShardId) -> Result<Snapshot> {
        if let Some(current) = entry.current_at(state, shard) {
            return Ok(current);
        }
        let _one_at_a_time = entry.updating.lock().await;
        if let Some(current) = entry.current_at(state, shard) {
            return Ok(current);
        }
        let manifest = state.shards.get(&shard).ok_or_else(missing)?;
        let collection = state.collections.get(&shard.collection()).ok_or_else(missing)?;
        let before = entry.current.lock().clone();
        let view = self.source.view(before.as_ref(), &entry.prepared, collection, manifest).await?;
        let next =
            Snapshot { slot: state.slot, collection: collection.clone(), manifest: manifest.clone(), view };
        *entry.current.lock() = Some(next.clone());
        Ok(next)
    }

    /// Loads of segments that a job is about to put into the manifest of `shard` what is loaded of those that are there, so
    /// that the first read after it does not wait. Loads nothing of a shard that nobody reads.
    pub async fn prepare(&self, shard: ShardId, coming: &[SegmentEntry]) -> Result<()> {
        let Some(entry) = self.shards.lock().get(&shard).cloned() else { return Ok(()) };
        let Some(current) = entry.current.lock().clone() else { return Ok(()) };
        let kinds = parts_in_use(&current.view);
        for next in coming {
            let meta = Arc::new(SegmentMeta::from_entry(next)?);
            let before = entry.prepared.lock().get(&next.id).cloned();
            let known = || current.view.segments().find(|reader| reader.meta().id == next.id).cloned();
            let known = before.or_else(known).map(|reader| reader.with_meta(meta.clone()));
            let is_new = known.is_none();
            let reader = known.unwrap_or_else(|| self.source.open(meta, current.view.schema()));
            reader.load(&kinds).await?;
            if is_new {
                settle_vectors(&reader, &kinds, current.view.schema()).await;
            }
            entry.prepared.lock().insert(next.id, reader);
        }
        Ok(())
    }

    /// The segments of `shard` without its tail, if no view of it is kept: for those who begin to read from them before they
    /// know the tail.
    pub fn ahead(&self, state: &State, shard: ShardId) -> Result<Option<ShardView>> {
        let is_known = |entry: &Arc<Entry>| entry.current.lock().is_some();
        if self.shards.lock().get(&shard).is_some_and(is_known) {
            return Ok(None);
        }
        let (Some(manifest), Some(collection)) =
            (state.shards.get(&shard), state.collections.get(&shard.collection()))
        else {
            return Ok(None);
        };
        let (schema, memtable) = (schema(collection)?, Memtable::new(manifest.folded.0));
        let segments = self.source.segments(None, &Mutex::default(), &schema, manifest)?;
        Ok(Some(ShardView::new(schema, segments, memtable)))
    }

    /// Ends a round: forgets shards that no longer exist and views that were not asked for in so many rounds. Nothing here is
    /// lost: the next read brings it back.
    pub fn sweep(&self, state: &State, idle_rounds: u64) {
        let round = self.round.fetch_add(1, Relaxed) + 1;
        let age = |entry: &Entry| round.saturating_sub(entry.used.load(Relaxed));
        let kept: Vec<Arc<Entry>> = {
            let mut shards = self.shards.lock();
            let pinned = self.source.pinned.lock();
            let stays =
                |shard: &ShardId, entry: &Entry| pinned.contains_key(shard) || age(entry) <= idle_rounds;
            shards.retain(|shard, entry| state.shards.contains_key(shard) && stays(shard, entry));
            if shards.len() < shards.capacity() / 4 {
                shards.shrink_to_fit();
            }
            shards.values().cloned().collect()
        };
        for entry in kept {
            // Of a job that came to nothing.
            entry.prepared.lock().clear();
            entry.uses.fetch_update(Relaxed, Relaxed, |uses| Some(uses - uses / 8)).ok();
            if age(&entry) <= 1 {
                self.source.note_use(&entry);
            }
        }
    }

    /// Lets go of all that the view of `shard` has loaded; the next read brings back what it needs.
    pub fn unload(&self, shard: ShardId) {
        self.source.unload(&[shard], false);
    }

    /// Which vectors are in memory.
    pub fn vectors(&self) -> VectorUsage {
        self.source.vectors.usage()
    }

    /// Views that are kept, and bytes of parts that they have loaded.
    pub fn size(&self) -> (usize, u64) {
        let entries: Vec<Arc<Entry>> = self.shards.lock().values().cloned().collect();
        let loaded = |entry: &Arc<Entry>| -> u64 {
            let current = entry.current.lock();
            current.iter().flat_map(|s| s.view.segments()).map(SegmentReader::loaded_bytes).sum()
        };
        (entries.len(), entries.iter().map(loaded).sum())
    }
}

fn missing() -> Error {
    Error::not_found("Not found: the collection was deleted")
}

impl Entry {
    fn view(&self) -> Option<ShardView> {
        self.current.lock().as_ref().map(|snapshot| snapshot.view.clone())
    }

    fn note_use(&self, round: u64, read: u64) {
        self.used.store(round, Relaxed);
        self.last.store(read, Relaxed);
        self.uses.fetch_update(Relaxed, Relaxed, |uses| Some(uses.saturating_add(USE))).ok();
    }

    /// The current snapshot, if nothing of the shard has changed up to `state`, or it is of a later state.
    fn current_at(&self, state: &State, shard: ShardId) -> Option<Snapshot> {
        let mut current = self.current.lock();
        let snapshot = current.as_mut()?;
        if snapshot.slot >= state.slot {
            return Some(snapshot.clone());
        }
        let same = state
            .shards
            .get(&shard)
            .is_some_and(|m| Arc::ptr_eq(m, &snapshot.manifest) || **m == *snapshot.manifest)
            && state
                .collections
                .get(&shard.collection())
                .is_some_and(|c| Arc::ptr_eq(c, &snapshot.collection));
        if !same {
            return None;
        }
        snapshot.slot = state.slot;
        Some(snapshot.clone())
    }
}

impl Source {
    async fn view(
        self: &Arc<Self>,
        before: Option<&Snapshot>,
        prepared: &Mutex<HashMap<SegmentId, SegmentReader>>,
        collection: &Arc<Collection>,
        manifest: &Shard,
    ) -> Result<ShardView> {
        let schema = match before {
            Some(b) if Arc::ptr_eq(&b.collection, collection) => b.view.schema().clone(),
            _ => schema(collection)?,
        };
        let unchanged =
            before.filter(|b| b.manifest.folded == manifest.folded && same_segments(&b.manifest, manifest));
        let mut view = match unchanged {
            Some(b) => b.view.with_schema(schema),
            None => {
                let memtable = match before {
                    Some(b) if b.manifest.folded == manifest.folded => b.view.memtable().clone(),
                    Some(b) => b.view.memtable().after_fold(manifest.folded.0)?,
                    None => Memtable::new(manifest.folded.0),
                };
                let segments = self.segments(before, prepared, &schema, manifest)?;
                let view = ShardView::new(schema, segments, memtable);
                match before {
                    Some(b) => view.with_overlays_of(&b.view),
                    None => view,
                }
            }
        };
        let slots = tail_after(manifest, Slot(view.lsn())).into_iter();
        let mut batches =
            stream::iter(slots.map(|(slot, ranges)| self.batch(slot, ranges))).buffered(FETCHES_AT_ONCE);
        while let Some((slot, ops)) = batches.try_next().await? {
            view = view.apply(slot.0, ops)?;
        }
        Ok(view)
    }

    /// Has views let go of files that the cache has dropped, so that the disk has the room. Who is reading reads on.
    fn leave_dropped_files(&self) {
        let evictions = self.parts.evictions();
        if self.evictions.swap(evictions, Relaxed) == evictions {
            return;
        }
        let Some(known) = self.shards.upgrade() else { return };
        let entries: Vec<_> = known.lock().iter().map(|(shard, entry)| (*shard, entry.clone())).collect();
        let has_lost =
            |entry: &Entry| entry.view().is_some_and(|v| v.segments().any(SegmentReader::has_lost));
        let lost = entries.iter().filter(|(_, entry)| has_lost(entry)).map(|(shard, _)| *shard);
        self.unload(&lost.collect::<Vec<_>>(), false);
    }

    /// Tells the cache that the parts of a view are in use though nobody asks it for them.
    fn note_use(&self, entry: &Entry) {
        let Some(view) = entry.view() else { return };
        if view.segments().any(|reader| reader.loaded_bytes() > 0) {
            each_part(&view, |object, range| self.parts.note_use(object, range));
        }
    }

    async fn batch(self: &Arc<Self>, slot: Slot, ranges: Vec<TailRange>) -> Result<(Slot, Vec<Op>)> {
        let slices = together(ranges.into_iter().map(|range| range.slice));
        let ops = stream::iter(slices.into_iter().map(|slices| self.ops(slot, slices)));
        Ok((slot, ops.buffered(FETCHES_AT_ONCE).try_concat().await?))
    }

    fn open(self: &Arc<Self>, meta: Arc<SegmentMeta>, schema: &ShardSchema) -> SegmentReader {
        SegmentReader::open(meta, self.clone()).with_vectors_on_disk(schema.on_disk())
    }

    fn segments(
        self: &Arc<Self>,
        before: Option<&Snapshot>,
        prepared: &Mutex<HashMap<SegmentId, SegmentReader>>,
        schema: &ShardSchema,
        manifest: &Shard,
    ) -> Result<Vec<SegmentReader>> {
        let mut prepared = prepared.lock();
        let known: HashMap<_, _> = before
            .iter()
            .flat_map(|b| b.manifest.segments.iter().zip(b.view.segments()))
            .map(|(entry, reader)| (entry.id, (entry.revision, reader)))
            .collect();
        let mut open = |entry: &SegmentEntry| {
            let before = known.get(&entry.id);
            if let Some((revision, reader)) = before
                && *revision == entry.revision
            {
                return Ok((*reader).clone());
            }
            let meta = Arc::new(SegmentMeta::from_entry(entry)?);
            // What was prepared shares all that was known before.
            Ok(match (prepared.remove(&entry.id), before) {
                (Some(reader), _) => reader.with_meta(meta),
                (None, Some((_, reader))) => reader.with_meta(meta),
                (None, None) => self.open(meta, schema),
            })
        };
        manifest.segments.iter().map(&mut open).collect()
    }

    async fn kept(&self, object: &str, range: Range<u64>, crc32c: Option<u32>) -> Result<Bytes> {
        let is_here = || self.parts.has(object, range.clone());
        let _coming = self.vectors.expect(range.end.saturating_sub(range.start));
        self.make_room();
        let got = self.parts.get(&self.store, object, range.clone(), crc32c);
        let got = paid_once(object, range.clone(), is_here, got).await;
        self.leave_dropped_files();
        got
    }

    /// The operations of some slices of one object, by one request unless the object is remembered.
    async fn ops(&self, slot: Slot, slices: Vec<SliceHeader>) -> Result<Vec<Op>> {
        let (Some(first), Some(last)) = (slices.first(), slices.last()) else { return Ok(Vec::new()) };
        let key = first.side.clone().unwrap_or_else(|| keys::wal(slot));
        let damaged = |e: lodestone_wal::DecodeError| Error::damaged(format!("`{key}`: {e}"));
        let remembered = if first.side.is_none() { self.slots.get(slot) } else { None };
        let (bytes, start) = match remembered {
            Some(bytes) => (bytes, 0),
            None => {
                let range = first.offset..last.offset.saturating_add(last.len);
                let got = self.store.get_range(&key, range.clone());
                (paid(&key, range, got).await?, first.offset)
            }
        };
        let mut ops = Vec::new();
        for header in slices {
            let header = SliceHeader { offset: header.offset - start, ..header };
            let slice = object::slice(&bytes, &header).map_err(damaged)?;
            // A small part must not keep a large object in memory.
            let slice = if slice.len() < bytes.len() / 2 { Bytes::copy_from_slice(&slice) } else { slice };
            ops.extend(decode_slice(slice).map_err(damaged)?);
        }
        Ok(ops)
    }
}

/// Calls `act` with the place of each part of each segment.
fn each_part(view: &ShardView, act: impl Fn(&str, Range<u64>)) {
    for part in view.segments().flat_map(|reader| &reader.meta().parts) {
        act(&part.object, part.offset..part.offset.saturating_add(part.length));
    }
}

/// The kinds of parts that reads of `view` loaded, and the indexes of vectors among them: a new segment may be the first to
/// have one. All kinds where there is no segment yet to learn from.
fn parts_in_use(view: &ShardView) -> Vec<PartKind> {
    let mut kinds: Vec<PartKind> = vec![PartKind::Ids, PartKind::Deletes];
    kinds.extend(view.segments().flat_map(|reader| reader.loaded_kinds().cloned().collect::<Vec<_>>()));
    // Of a merge or an order: no read wants them whole.
    kinds.retain(|kind| !matches!(kind, PartKind::LevelCodes(_) | PartKind::OrderedCodes { .. }));
    let names: BTreeSet<String> = if view.segments().next().is_none() {
        kinds.push(PartKind::Payload);
        view.schema().vectors().keys().cloned().collect()
    } else {
        vector_names(&kinds).collect()
    };
    kinds.extend(names.into_iter().flat_map(|name| {
        [PartKind::Model(name.clone()), PartKind::VectorIndex(name.clone()), PartKind::Vector(name)]
    }));
    kinds
}

fn vector_names(kinds: &[PartKind]) -> impl Iterator<Item = String> {
    kinds.iter().filter_map(|kind| if let PartKind::Vector(name) = kind { Some(name.clone()) } else { None })
}

/// Waits until loaded vectors are in memory, if that is where they are to be: the first searches would read them from a disk, since
/// what just came here past the page cache is not in that either.
async fn settle_vectors(reader: &SegmentReader, kinds: &[PartKind], schema: &Arc<ShardSchema>) {
    let names: Vec<String> = vector_names(kinds).collect();
    if names.is_empty() {
        return;
    }
    let (reader, schema) = (reader.clone(), schema.clone());
    let settle = move || -> Result<()> {
        for name in &names {
            if let Some(column) = reader.vector(name)? {
                column.settle(schema.vector(name)?.on_disk)?;
            }
        }
        Ok(())
    };
    // What cannot be read will be found out, and brought again, by who wants it.
    if let Ok(Err(error)) = tokio::task::spawn_blocking(settle).await {
        tracing::debug!(%error, "new vectors are not in memory");
    }
}

fn same_segments(a: &Shard, b: &Shard) -> bool {
    let names = |shard: &Shard| shard.segments.iter().map(|s| (s.id, s.revision)).collect::<Vec<_>>();
    names(a) == names(b)
}

/// The slices of the tail after `lsn`, those of one slot together.
fn tail_after(manifest: &Shard, lsn: Slot) -> Vec<(Slot, Vec<TailRange>)> {
    let start = lsn.max(manifest.folded);
    let mut slots: Vec<(Slot, Vec<TailRange>)> = Vec::new();
    let from = first_after(&manifest.tail, start);
    for range in manifest.tail.iter().skip(from) {
        match slots.last_mut() {
            Some((slot, ranges)) if *slot == range.slot => ranges.push(range.clone()),
            _ => slots.push((range.slot, vec![range.clone()])),
        }
    }
    slots
}

/// The tail is in the order of slots and most often only its end is new, so look from the back.
fn first_after(tail: &Tail, start: Slot) -> usize {
    let mut at = tail.len();
    while at > 0 && tail[at - 1].slot > start {
        at -= 1;
    }
    at
}

fn schema(collection: &Collection) -> Result<Arc<ShardSchema>> {
    let fields = collection.fields.iter().map(|(path, (index, _))| (path.clone(), index.clone())).collect();
    Ok(Arc::new(ShardSchema::new(&collection.config, fields)?))
}

#[async_trait]
impl Fetch for Source {
    async fn fetch(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.kept(object, range, None).await
    }

    async fn fetch_again(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        paid(object, range.clone(), self.parts.get_again(&self.store, object, range)).await
    }

    async fn fetch_checked(&self, object: &str, range: Range<u64>, crc32c: u32) -> Result<Bytes> {
        self.kept(object, range, Some(crc32c)).await
    }

    async fn fetch_once(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        paid(object, range.clone(), self.store.get_range(object, range)).await
    }

    async fn bring(
        &self,
        object: &str,
        range: Range<u64>,
        is_read_whole: bool,
        check: CheckFile,
    ) -> Result<bool> {
        if range.end.saturating_sub(range.start) < BRING_FROM {
            return Ok(false);
        }
        let is_here = || self.parts.has(object, range.clone());
        let _coming = self.vectors.expect(PartCache::MOST_UNDER_WAY);
        self.make_room();
        let take = || self.vectors.try_take(range.end - range.start, || self.parts.in_memory());
        let room = is_read_whole.then(take).flatten();
        let brought = self.parts.bring(&self.store, object, range.clone(), room.is_some(), check);
        let brought = paid_once(object, range.clone(), is_here, brought).await;
        self.leave_dropped_files();
        brought
    }

    fn distrust(&self, object: &str, range: Range<u64>) {
        self.parts.distrust(object, range);
    }

    fn has(&self, object: &str, range: Range<u64>) -> bool {
        self.parts.has(object, range)
    }

    fn disk(&self, object: &str, range: Range<u64>, kind: &PartKind) -> Option<Box<dyn DiskPart>> {
        let part = Residence::open(&self.vectors, &self.parts, object, range, kind)?;
        Some(Box::new(part))
    }

    fn hold(&self, length: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<Bytes> {
        let held = self.parts.hold(length, fill);
        held.map_err(|e| Error::internal(format!("no memory for {length} bytes of an index: {e}")))
    }
}
