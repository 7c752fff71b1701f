//! What must hold after every transition, by name. Checked after each command in tests, and before each
//! checkpoint in production: a state that breaks one is never written down.

use std::collections::{BTreeMap, HashSet};

use crate::{CollectionId, ShardId, Slot, State};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {detail}")]
pub struct Violation {
    /// The invariant's name.
    pub name: &'static str,
    /// Where it broke.
    pub detail: String,
}

type Check = fn(&State) -> Result<(), String>;

const INVARIANTS: [(&str, Check); 7] = [
    ("names and aliases point to collections", names_point_to_collections),
    ("what is pinned is a collection", pins_point_to_collections),
    ("every shard belongs to a collection and every collection has its shards", shards_match_collections),
    ("a tail lies above the folded slot, in order, and not above the state's slot", tails_are_ordered),
    ("the tail's totals are the sums of its slices", totals_add_up),
    ("slots are needed as often as tails say", tail_uses_add_up),
    ("no segment id occurs twice", segments_are_unique),
];

/// Checks all invariants.
pub fn check(state: &State) -> Result<(), Violation> {
    INVARIANTS.iter().try_for_each(|(name, holds)| holds(state).map_err(|detail| Violation { name, detail }))
}

fn ensure(condition: bool, detail: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(detail()) }
}

fn names_point_to_collections(state: &State) -> Result<(), String> {
    ensure(state.names.len() == state.collections.len(), || "as many names as collections".into())?;
    for (name, id) in &state.names {
        let collection = state.collections.get(id).ok_or_else(|| format!("`{name}` points to {id}"))?;
        ensure(collection.name == *name && collection.id == *id, || {
            format!("`{name}` is `{}`", collection.name)
        })?;
        ensure(*id < state.next_collection, || format!("id {id} is not given out yet"))?;
    }
    for (alias, id) in &state.aliases {
        ensure(state.collections.contains_key(id), || format!("alias `{alias}` points to {id}"))?;
        ensure(!state.names.contains_key(alias), || format!("alias `{alias}` is a name too"))?;
    }
    Ok(())
}

fn pins_point_to_collections(state: &State) -> Result<(), String> {
    let is_gone = |id: &&CollectionId| !state.collections.contains_key(*id);
    state.pinned.iter().find(is_gone).map_or(Ok(()), |id| Err(format!("{id} is pinned")))
}

fn shards_match_collections(state: &State) -> Result<(), String> {
    let expected: HashSet<ShardId> = state.collections.values().flat_map(|c| c.shards()).collect();
    ensure(expected.len() == state.shards.len(), || {
        format!("{} shards, not {}", state.shards.len(), expected.len())
    })?;
    for id in state.shards.keys() {
        ensure(expected.contains(id), || format!("shard {id} has no collection"))?;
    }
    Ok(())
}

fn tails_are_ordered(state: &State) -> Result<(), String> {
    for (id, shard) in &state.shards {
        let mut last = shard.folded;
        for range in &shard.tail {
            // One slot may hold several slices of a shard, but none at or below what is folded.
            let follows = range.slot >= last && range.slot > shard.folded;
            ensure(follows, || format!("shard {id}: slot {} after {last}", range.slot))?;
            last = range.slot;
        }
        ensure(shard.lsn <= state.slot && last <= shard.lsn.max(shard.folded), || {
            format!("shard {id}: lsn {}", shard.lsn)
        })?;
        ensure(shard.folded <= state.slot, || format!("shard {id}: folded to {}", shard.folded))?;
    }
    Ok(())
}

fn totals_add_up(state: &State) -> Result<(), String> {
    for (id, shard) in &state.shards {
        let rows: u64 = shard.tail.iter().map(|r| r.slice.rows).sum();
        let bytes: u64 = shard.tail.iter().map(|r| r.slice.len).sum();
        ensure(rows == shard.tail_rows && bytes == shard.tail_bytes, || {
            format!("shard {id}: {rows} rows, {bytes} bytes")
        })?;
    }
    Ok(())
}

fn tail_uses_add_up(state: &State) -> Result<(), String> {
    let mut uses: BTreeMap<Slot, u32> = BTreeMap::new();
    for range in state.shards.values().flat_map(|s| &s.tail) {
        *uses.entry(range.slot).or_default() += 1;
    }
    ensure(uses.iter().eq(state.tail.iter()), || {
        format!("{} slots in use, {} known", uses.len(), state.tail.len())
    })
}

fn segments_are_unique(state: &State) -> Result<(), String> {
    let mut seen = HashSet::new();
    for segment in state.shards.values().flat_map(|s| &s.segments) {
        ensure(seen.insert(segment.id), || format!("segment {}", segment.id))?;
        ensure(segment.deleted <= segment.rows, || {
            format!("segment {} has more deletions than rows", segment.id)
        })?;
    }
    Ok(())
}
