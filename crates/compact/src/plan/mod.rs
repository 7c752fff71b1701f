//! What is due for a shard, decided from its manifest alone: no I/O, no clock.

mod aside;
mod codes;
mod order;
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lodestone_manifest::{Collection, SegmentEntry, SegmentId, Shard, Slot, Tail, TailRange};
use lodestone_segment::{PartKind, SegmentMeta};
use lodestone_types::{FieldIndex, JsonPath, Result};

pub use self::aside::{Aside, Kind};
pub use self::codes::Codes;
pub use self::order::OrderTask;
pub use self::vectors::{
    FoldIndex, IndexTask, Indexed, Purpose, fold_indexes, index_due, indexed_from, indexed_vectors,
    is_index_wanted, merge_threads, segment_of,
};

/// When work is due, and how much is done at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactOptions {
    /// Rows in the tail that make folding due.
    pub fold_rows: u64,
    /// Bytes in the tail that make folding due.
    pub fold_bytes: u64,
    /// Requests that it takes to read the tail from the log that make folding due, for whoever reads the shard first.
    pub fold_requests: usize,
    /// Slices in the tail that make folding due, one for each write: the manifest names each of them.
    pub fold_slices: usize,
    /// How long a tail may rest until folding is due; never if zero.
    pub idle: Duration,
    /// Rows that a tail has at least to be folded because it rests: where there are very many small collections, each would
    /// get an object of its own, and a tail so small is as quickly read from the log.
    pub idle_rows: u64,
    /// Bytes of the tail that are folded at once; more are folded piece by piece.
    pub fold_at_once: u64,
    /// Bytes of rows after which a fold begins another segment: a small tail may change many large rows.
    pub fold_segment_bytes: usize,
    /// Segments of about one size that are merged into one; at least 2.
    pub merge_fan_in: usize,
    /// Share of deleted rows that makes a segment due for rewriting.
    pub deleted_share: f64,
    /// Rows below which deletions alone never make a rewrite due.
    pub vacuum_min_rows: u32,
    /// Bytes that a merged segment may have, where the collection asks for no fewer; larger ones are left alone. Whoever searches
    /// looks into each segment, so few large ones are better; a merge has the codes of the old ones and of the new one in
    /// memory, up to about a fifth of these bytes each.
    pub max_segment_bytes: u64,
    /// Rows that a merged segment may have: where vectors are short, codes are as large as they are.
    pub max_segment_rows: u64,
    /// Rows below which an index of a segment's vectors is of no use, however large they are.
    pub index_rows: u64,
    /// Bytes of level codes that a search from afar may as well read whole: where a segment has no more, they are in the order of no field but
    /// those that most searches ask for, and rows of a value that take more are searched like all rows.
    pub code_bytes_at_once: u64,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            fold_rows: 10_000,
            fold_bytes: 16 << 20,
            fold_requests: 256,
            fold_slices: 1024,
            idle: Duration::from_secs(30),
            idle_rows: 1000,
            fold_at_once: 64 << 20,
            fold_segment_bytes: 128 << 20,
            merge_fan_in: 8,
            deleted_share: 0.2,
            vacuum_min_rows: 1000,
            max_segment_bytes: 4 << 30,
            max_segment_rows: 4_000_000,
            index_rows: 256,
            code_bytes_at_once: 4 << 20,
        }
    }
}

impl CompactOptions {
    /// As `collection` wants it. Folds make segments of up to `fold_segment_bytes` whatever it wants, and smaller ones would never
    /// become fewer.
    fn of(&self, collection: &Collection) -> Self {
        let asked = collection.config.optimizers.max_segment_size.map(|kib| kib.saturating_mul(1024));
        let most = asked.unwrap_or(u64::MAX).max(2 * self.fold_segment_bytes as u64);
        Self { max_segment_bytes: most.min(self.max_segment_bytes), ..*self }
    }
}

/// One piece of work on the segments of a shard.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Makes one segment of several, or of one that has many deleted rows.
    Merge {
        /// Which.
        segments: Vec<SegmentId>,
    },
    /// Brings the payload indexes of a segment in line with the collection's.
    Reindex {
        /// Which.
        segment: SegmentId,
        /// Indexes to build.
        build: BTreeMap<JsonPath, FieldIndex>,
        /// Indexes to drop.
        drop: Vec<JsonPath>,
    },
    /// Writes codes of a segment in the order of fields.
    Order(OrderTask),
}

impl Task {
    /// What is done, with which segments.
    pub fn about(&self) -> (Kind, Vec<SegmentId>) {
        match self {
            Self::Merge { segments } => (Kind::Merge, segments.clone()),
            Self::Reindex { segment, .. } => (Kind::Reindex, vec![*segment]),
            Self::Order(task) => (Kind::Order, vec![task.segment]),
        }
    }
}

/// How much larger than all smaller segments together one is at least, where a shard rests: so a row is written anew some
/// fifteen times until there are a hundred times as many.
const REST_GROWTH: u64 = 3;

/// Whether anything is due for a shard to which nothing was written for as long as `rested`.
pub fn is_anything_due(
    collection: &Collection,
    shard: &Shard,
    rested: Duration,
    options: &CompactOptions,
) -> Result<bool> {
    let nothing = Aside::default();
    Ok(fold_due(shard, rested, options).is_some()
        || due(collection, shard, rested, &nothing, options)?.is_some()
        || index_due(Purpose::Need, collection, shard, rested, &nothing, options)?.is_some()
        || index_due(Purpose::Refinement, collection, shard, rested, &nothing, options)?.is_some())
}

/// The slot up to which the tail is to be folded now, if it is.
pub fn fold_due(shard: &Shard, rested: Duration, options: &CompactOptions) -> Option<Slot> {
    let is_due = is_fold_due(shard, options) || is_rest_due(shard, rested, options);
    is_due.then(|| fold_end(shard, options))
}

/// The most urgent work that is due for the segments of a shard and not left aside, if any. Indexes of vectors are [`index_due`] apart.
pub fn due(
    collection: &Collection,
    shard: &Shard,
    rested: Duration,
    aside: &Aside,
    options: &CompactOptions,
) -> Result<Option<Task>> {
    if let Some(segments) = merge_due(&aside.without(&Kind::Merge, shard), rested, &options.of(collection)) {
        return Ok(Some(Task::Merge { segments }));
    }
    let left = |kind| shard.segments.iter().filter(move |entry| !aside.has(&kind, entry.id));
    for entry in left(Kind::Reindex) {
        if let Some(task) = reindex_due(collection, entry)? {
            return Ok(Some(task));
        }
    }
    let options = options.of(collection);
    let stays_all = is_at_rest(rested, &options) || (shard.tail.is_empty() && shard.segments.len() == 1);
    for entry in left(Kind::Order).filter(|entry| stays_all || is_large(entry, &options)) {
        if let Some(task) = order::order_due(collection, entry, &options)? {
            return Ok(Some(Task::Order(task)));
        }
    }
    Ok(None)
}

/// Whether a segment is more than what folds make before they are merged, or too large to be merged: it stays for a while.
fn is_large(entry: &SegmentEntry, options: &CompactOptions) -> bool {
    u64::from(live(entry)) > options.fold_rows * options.merge_fan_in as u64 || !is_mergeable(entry, options)
}

/// Whether the tail has grown enough to be folded. All that can change when only the tail did.
pub fn is_fold_due(shard: &Shard, options: &CompactOptions) -> bool {
    let grown = shard.tail_rows >= options.fold_rows
        || shard.tail_bytes >= options.fold_bytes
        || shard.tail.len() >= options.fold_slices
        || takes_requests(&shard.tail, options.fold_requests);
    grown && !shard.tail.is_empty()
}

/// Whether it takes so many requests or more to read a tail from the log: slices of a slot that lie near each other are read by one.
fn takes_requests(tail: &Tail, many: usize) -> bool {
    if tail.len() < many {
        return false;
    }
    let (before, ranges) = (std::iter::once(None).chain(tail.iter().map(Some)), tail.iter());
    let begins = |(before, range): &(Option<&TailRange>, &TailRange)| {
        !before.is_some_and(|before| before.slot == range.slot && range.slice.follows(&before.slice))
    };
    before.zip(ranges).filter(begins).count() >= many
}

/// Whether a tail that is not very small has rested long enough to be folded: then searches need not compare its rows one
/// by one, and a start does not read it from the log. Once per rest: after it the tail is empty.
pub fn is_rest_due(shard: &Shard, rested: Duration, options: &CompactOptions) -> bool {
    !shard.tail.is_empty() && shard.tail_rows >= options.idle_rows && is_at_rest(rested, options)
}

/// Whether a shard to which nothing was written for so long is expected to stay as it is.
fn is_at_rest(rested: Duration, options: &CompactOptions) -> bool {
    !options.idle.is_zero() && rested >= options.idle
}

/// The last slot of the piece of the tail that is folded next: at least one slot, and never a part of one.
fn fold_end(shard: &Shard, options: &CompactOptions) -> Slot {
    let mut bytes = 0;
    let mut before = None;
    for range in &shard.tail {
        bytes += range.slice.len;
        match before {
            Some(end) if end != range.slot && bytes > options.fold_at_once => return end,
            _ => before = Some(range.slot),
        }
    }
    shard.lsn
}

/// The tier of a segment: segments within a factor of four of each other are of about one size.
fn tier(rows: u32) -> u32 {
    rows.max(1).ilog2() / 2
}

fn live(entry: &SegmentEntry) -> u32 {
    entry.rows - entry.deleted
}

fn merge_due(shard: &Shard, rested: Duration, options: &CompactOptions) -> Option<Vec<SegmentId>> {
    merge_of_one_size(shard, options)
        .or_else(|| rewrite_of_worn(shard, options))
        .or_else(|| merge_at_rest(shard, options).filter(|_| is_at_rest(rested, options)))
}

/// Whether a segment is small enough to be merged with one of its size.
fn is_mergeable(entry: &SegmentEntry, options: &CompactOptions) -> bool {
    entry.bytes < options.max_segment_bytes / 2 && u64::from(live(entry)) < options.max_segment_rows / 2
}

fn merge_of_one_size(shard: &Shard, options: &CompactOptions) -> Option<Vec<SegmentId>> {
    let mut tiers: BTreeMap<u32, Vec<&SegmentEntry>> = BTreeMap::new();
    for entry in shard.segments.iter().filter(|entry| is_mergeable(entry, options)) {
        tiers.entry(tier(live(entry))).or_default().push(entry);
    }
    for segments in tiers.values().filter(|s| s.len() >= options.merge_fan_in.max(2)) {
        let (mut bytes, mut rows) = (0, 0);
        let within = segments.iter().take_while(|entry| {
            bytes += entry.bytes;
            rows += u64::from(live(entry));
            bytes <= options.max_segment_bytes && rows <= options.max_segment_rows
        });
        let ids: Vec<SegmentId> = within.map(|entry| entry.id).collect();
        if ids.len() >= 2 {
            return Some(ids);
        }
    }
    None
}

fn rewrite_of_worn(shard: &Shard, options: &CompactOptions) -> Option<Vec<SegmentId>> {
    let worn = shard.segments.iter().find(|entry| {
        entry.rows >= options.vacuum_min_rows
            && f64::from(entry.deleted) > f64::from(entry.rows) * options.deleted_share
    });
    worn.map(|entry| vec![entry.id])
}

/// The smallest segments that together are not much smaller than the next. Nobody waits for this while nothing is written;
/// and whoever comes with nothing here later asks for something of each segment.
fn merge_at_rest(shard: &Shard, options: &CompactOptions) -> Option<Vec<SegmentId>> {
    let mut segments: Vec<&SegmentEntry> = shard.segments.iter().collect();
    segments.sort_by_key(|entry| (live(entry), entry.id));
    let (mut group, mut rows, mut bytes) = (Vec::new(), 0, 0);
    for entry in segments {
        let next = u64::from(live(entry));
        let fits =
            bytes + entry.bytes <= options.max_segment_bytes && rows + next <= options.max_segment_rows;
        if next <= REST_GROWTH * rows && fits {
            group.push(entry.id);
            rows += next;
            bytes += entry.bytes;
        } else if group.len() < 2 {
            (group, rows, bytes) = (vec![entry.id], next, entry.bytes);
        } else {
            break;
        }
    }
    (group.len() >= 2).then_some(group)
}

fn reindex_due(collection: &Collection, entry: &SegmentEntry) -> Result<Option<Task>> {
    let meta = SegmentMeta::from_entry(entry)?;
    let mut has: BTreeMap<&JsonPath, &FieldIndex> = BTreeMap::new();
    for part in &meta.parts {
        if let PartKind::FieldIndex { path, index } = &part.kind {
            has.insert(path, index);
        }
    }
    let wanted: BTreeMap<&JsonPath, &FieldIndex> =
        collection.fields.iter().map(|(path, (index, _))| (path, index)).collect();
    let build: BTreeMap<JsonPath, FieldIndex> = wanted
        .iter()
        .filter(|(path, index)| has.get(*path) != Some(index))
        .map(|(path, index)| ((*path).clone(), (*index).clone()))
        .collect();
    let drop: Vec<JsonPath> =
        has.keys().filter(|path| !wanted.contains_key(*path)).map(|p| (*p).clone()).collect();
    if build.is_empty() && drop.is_empty() {
        return Ok(None);
    }
    Ok(Some(Task::Reindex { segment: entry.id, build, drop }))
}

/// How many rows of a shard's segments each payload index of the collection covers.
pub fn indexed_rows(collection: &Collection, shard: &Shard) -> Result<BTreeMap<JsonPath, u64>> {
    let mut covered: BTreeMap<JsonPath, u64> = collection.fields.keys().map(|p| (p.clone(), 0)).collect();
    for entry in &shard.segments {
        let meta = SegmentMeta::from_entry(entry)?;
        let mut seen = BTreeSet::new();
        for part in &meta.parts {
            if let PartKind::FieldIndex { path, index } = &part.kind
                && collection.fields.get(path).is_some_and(|(wanted, _)| wanted == index)
                && seen.insert(path)
                && let Some(rows) = covered.get_mut(path)
            {
                *rows += u64::from(entry.rows - entry.deleted);
            }
        }
    }
    Ok(covered)
}

#[cfg(test)]
mod tests {
    use lodestone_manifest::{CollectionId, ShardId, SliceHeader};
    use lodestone_types::{CollectionConfig, Distance, VectorParams};

    use super::*;

    fn entry(id: u64, rows: u32, deleted: u32) -> SegmentEntry {
        let meta = bytes::Bytes::new();
        SegmentEntry {
            id: SegmentId(id),
            revision: 0,
            rows,
            deleted,
            bytes: u64::from(rows),
            objects: vec![],
            meta,
        }
    }

    fn shard(segments: Vec<SegmentEntry>) -> Shard {
        Shard { segments, ..Shard::default() }
    }

    fn tail_range(slot: u64, len: u64) -> TailRange {
        let slice = SliceHeader { shard: ShardId(1), side: None, offset: 0, len, crc: 0, rows: 1 };
        TailRange { slot: Slot(slot), slice }
    }

    #[test]
    fn merges_segments_of_about_one_size() {
        let options = CompactOptions { merge_fan_in: 3, ..CompactOptions::default() };
        let segments = vec![entry(1, 100_000, 0), entry(2, 1000, 0), entry(3, 900, 0), entry(4, 800, 0)];
        let due = merge_due(&shard(segments), Duration::MAX, &options).unwrap();
        assert_eq!(due, vec![SegmentId(2), SegmentId(3), SegmentId(4)]);
    }

    #[test]
    fn what_is_left_aside_keeps_nothing_waiting() {
        let entries = shard((1..=16).map(|id| entry(id, 1000, 0)).collect());
        let merged = |kind: Kind, ids: std::ops::RangeInclusive<u64>| {
            let aside: Aside = ids.map(|id| (kind.clone(), SegmentId(id))).collect();
            let left = aside.without(&Kind::Merge, &entries);
            merge_due(&left, Duration::ZERO, &CompactOptions::default()).map(|segments| segments.len())
        };
        assert_eq!(merged(Kind::Merge, 3..=3), Some(15));
        assert_eq!(merged(Kind::Reindex, 3..=3), Some(16), "something else failed");
        assert_eq!(merged(Kind::Merge, 1..=9), None, "seven are too few");
    }

    #[test]
    fn a_collection_may_ask_for_smaller_segments_and_not_for_larger_ones() {
        let of = |kib| {
            let vector = VectorParams::new(4, Distance::Dot);
            let mut config = CollectionConfig::new([(String::new(), vector)].into());
            config.optimizers.max_segment_size = kib;
            let (name, fields) = ("c".into(), Default::default());
            let collection = Collection { id: CollectionId(1), name, config: config.into(), fields };
            CompactOptions::default().of(&collection).max_segment_bytes
        };
        assert_eq!(of(None), 4 << 30);
        assert_eq!(of(Some(1_000_000)), 1_024_000_000);
        assert_eq!(of(Some(1000)), 256 << 20, "twice what a fold makes");
        assert_eq!(of(Some(u64::MAX)), 4 << 30);
    }

    #[test]
    fn rewrites_worn_segments() {
        let options = CompactOptions::default();
        let due = |segments| merge_due(&shard(segments), Duration::ZERO, &options);
        assert_eq!(due(vec![entry(1, 1000, 200)]), None);
        assert_eq!(due(vec![entry(1, 1000, 201)]), Some(vec![SegmentId(1)]));
    }

    #[test]
    fn at_rest_a_segment_is_larger_than_the_smaller_ones_together() {
        let options = CompactOptions { max_segment_bytes: 100_000, ..CompactOptions::default() };
        let due = |segments: &[(u64, u32)], rested| {
            let segments = segments.iter().map(|(id, rows)| entry(*id, *rows, 0)).collect();
            merge_due(&shard(segments), rested, &options)
                .map(|due| due.iter().map(|id| id.0).collect::<Vec<_>>())
        };
        let segments = [(1, 40_000), (2, 3000), (3, 20_000), (4, 30_000)];
        assert_eq!(due(&segments, options.idle - Duration::from_secs(1)), None);
        assert_eq!(due(&segments, options.idle), Some(vec![3, 4, 1]), "the small one is not worth it");
        assert_eq!(due(&[(5, 90_000), (2, 3000)], options.idle), None);
        assert_eq!(due(&[(5, 50_000), (2, 3000), (6, 2000), (7, 9000)], options.idle), Some(vec![6, 2, 7]));
        assert_eq!(due(&[(5, 60_000), (6, 60_000)], options.idle), None, "it would be too large");
        let few = CompactOptions { max_segment_rows: 50_000, ..options };
        let of_few = merge_due(&shard(vec![entry(5, 40_000, 0), entry(6, 20_000, 0)]), options.idle, &few);
        assert_eq!(of_few, None, "it would have too many rows");
        assert_eq!(due(&[], options.idle), None);
    }

    #[test]
    fn folds_at_rows_or_bytes() {
        let options = CompactOptions { fold_rows: 10, fold_bytes: 100, ..CompactOptions::default() };
        let mut shard = Shard::default();
        assert!(!is_fold_due(&shard, &options));
        shard.tail.push_back(tail_range(3, 100));
        (shard.tail_rows, shard.tail_bytes) = (1, 99);
        assert!(!is_fold_due(&shard, &options));
        shard.tail_bytes = 100;
        assert!(is_fold_due(&shard, &options));
    }

    #[test]
    fn folds_a_tail_that_rests_and_no_empty_one() {
        let options =
            CompactOptions { idle: Duration::from_secs(30), idle_rows: 5, ..CompactOptions::default() };
        let (short, long) = (Duration::from_secs(29), Duration::from_secs(30));
        let mut shard = Shard { lsn: Slot(3), ..Shard::default() };
        assert!(!is_rest_due(&shard, long, &options), "nothing to fold");
        shard.tail.push_back(tail_range(3, 100));
        shard.tail_rows = 4;
        assert!(!is_rest_due(&shard, long, &options), "too small");
        shard.tail_rows = 5;
        assert!(!is_rest_due(&shard, short, &options));
        assert!(is_rest_due(&shard, long, &options));
        let never = CompactOptions { idle: Duration::ZERO, ..options };
        assert!(!is_rest_due(&shard, Duration::MAX, &never));
    }

    #[test]
    fn folds_a_tail_of_many_requests_or_slices() {
        let options = CompactOptions { fold_requests: 4, fold_slices: 9, ..CompactOptions::default() };
        // Slots, and where in these; or objects of their own.
        let is_due = |slices: &[(u64, Option<u64>)]| {
            let mut shard = Shard::default();
            for (slot, offset) in slices {
                let mut range = tail_range(*slot, 10);
                range.slice.side = offset.is_none().then(|| "side".to_owned());
                range.slice.offset = offset.unwrap_or_default();
                shard.tail.push_back(range);
            }
            is_fold_due(&shard, &options)
        };
        let (near, far) = (Some(10), Some(1 << 20));
        assert!(
            !is_due(&[(3, Some(0)), (3, near), (4, Some(0)), (4, near), (4, Some(20)), (5, near)]),
            "three"
        );
        assert!(is_due(&[(3, near), (4, near), (5, Some(0)), (5, near), (6, near)]));
        assert!(is_due(&[(3, Some(0)), (3, far), (4, Some(0)), (4, far)]), "they lie apart");
        assert!(is_due(&[(3, Some(0)), (3, None), (3, near), (3, None)]), "one lies between");
        let in_turn: Vec<_> = (0..9).map(|number| (3, Some(10 * number))).collect();
        assert!(!is_due(&in_turn[..8]) && is_due(&in_turn), "nine slices");
    }

    #[test]
    fn folds_a_long_tail_in_pieces_of_whole_slots() {
        let options = CompactOptions { fold_slices: 5, fold_at_once: 25, ..CompactOptions::default() };
        let mut shard = Shard { lsn: Slot(9), ..Shard::default() };
        for slot in [3, 4, 4, 4, 7] {
            assert!(!is_fold_due(&shard, &options));
            shard.tail.push_back(tail_range(slot, 10));
        }
        assert!(is_fold_due(&shard, &options));
        // The slices of slot 4 stay together, though they pass the limit.
        assert_eq!(fold_end(&shard, &options), Slot(4));
        shard.tail.pop_front();
        assert_eq!(fold_end(&shard, &options), Slot(4));
        (0..3).for_each(|_| drop(shard.tail.pop_front()));
        assert_eq!(fold_end(&shard, &options), Slot(9));
    }
}
