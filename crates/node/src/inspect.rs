//! What a bucket holds, misses and has too much of, found out from the bucket alone and without changing it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_manifest::{Epoch, Slot, State};
use lodestone_meta::{Rules, bucket, recover};
use lodestone_segment::{Fetch, SegmentMeta, SegmentReader};
use lodestone_store::{Store, list_all};
use lodestone_types::Result;
use lodestone_wal::{keys, object};

/// One collection in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionSummary {
    /// Its name.
    pub name: String,
    /// Its shards.
    pub shards: u32,
    /// Segments in all shards.
    pub segments: usize,
    /// Rows in segments that are not deleted there.
    pub segment_rows: u64,
    /// Rows written and not yet folded.
    pub tail_rows: u64,
    /// The last slot that wrote to it.
    pub lsn: Slot,
}

/// What a bucket holds.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// The newest checkpoint, if there is one.
    pub checkpoint: Option<Slot>,
    /// The last decided slot.
    pub slot: Slot,
    /// The last leader's epoch.
    pub epoch: Epoch,
    /// Whether that leader stopped in an orderly way.
    pub released: bool,
    /// Slots whose operations are not in segments yet.
    pub tail_slots: usize,
    /// By name.
    pub collections: Vec<CollectionSummary>,
    /// Objects that were looked at.
    pub objects: usize,
    /// Objects that are needed and not there.
    pub missing: Vec<String>,
    /// Objects that nothing needs. Some are normal while a process works; it collects them.
    pub orphans: Vec<String>,
    /// Objects whose content is not what was written, and what is wrong.
    pub damaged: Vec<(String, String)>,
}

impl Inspection {
    /// Whether everything needed is there and whole.
    pub fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.damaged.is_empty()
    }
}

/// Looks at everything in `store`. `check_content` reads every object of `only` (or of all collections) and compares
/// its checksums.
pub async fn inspect(store: &Arc<dyn Store>, only: Option<&str>, check_content: bool) -> Result<Inspection> {
    // Listed first: what comes later is not missed, what goes later is noticed below.
    let listed = list_all(store.as_ref(), "").await?;
    let recovered = recover::recover(store, Rules::default()).await?;
    let state = &recovered.state;
    let mut inspection = Inspection {
        checkpoint: bucket::newest_checkpoint(store.as_ref()).await?,
        slot: state.slot,
        epoch: state.epoch,
        released: state.released,
        tail_slots: state.tail.len(),
        collections: summaries(state),
        objects: listed.len(),
        ..Inspection::default()
    };
    let present: HashSet<&str> = listed.iter().map(|o| o.key.as_str()).collect();
    let needed = needed(state);
    for key in needed.iter().filter(|key| !present.contains(key.as_str())) {
        // It may have been collected, or written, since the list.
        if store.head(key).await.is_err_and(|e| e.is_not_found()) {
            inspection.missing.push(key.clone());
        }
    }
    inspection.orphans = orphans(store, state, &needed, &present).await?;
    let mut damaged = if check_content { damaged(store, state, only).await } else { Vec::new() };
    damaged.retain(|(objects, _)| !objects.iter().any(|key| inspection.missing.contains(key)));
    if !(inspection.missing.is_empty() && damaged.is_empty()) {
        // Looking takes a while, and a process that works may have collected meanwhile what its newer state no longer
        // needs. What that state does need must be there.
        let needed = self::needed(&recover::recover(store, Rules::default()).await?.state);
        inspection.missing.retain(|key| needed.contains(key));
        damaged.retain(|(objects, _)| objects.iter().all(|key| needed.contains(key)));
    }
    inspection.damaged = damaged.into_iter().map(|(objects, why)| (objects.join(", "), why)).collect();
    Ok(inspection)
}

/// Writes a checkpoint of everything decided, by claiming the store for a moment.
pub async fn write_checkpoint(options: crate::NodeOptions) -> Result<()> {
    let options = crate::NodeOptions { roles: crate::Roles::All, ..options };
    crate::Node::start(options).await?.shutdown().await;
    Ok(())
}

fn summaries(state: &State) -> Vec<CollectionSummary> {
    let summary = |id| {
        let collection = state.collections.get(id)?;
        let shards: Vec<_> = collection.shards().filter_map(|shard| state.shards.get(&shard)).collect();
        let segments = || shards.iter().flat_map(|s| &s.segments);
        Some(CollectionSummary {
            name: collection.name.clone(),
            shards: collection.config.params.shard_number,
            segments: segments().count(),
            segment_rows: segments().map(|s| u64::from(s.rows - s.deleted)).sum(),
            tail_rows: shards.iter().map(|s| s.tail_rows).sum(),
            lsn: shards.iter().map(|s| s.lsn).max().unwrap_or_default(),
        })
    };
    state.names.values().filter_map(summary).collect()
}

/// What the current state needs.
fn needed(state: &State) -> BTreeSet<String> {
    let parts = state.objects().map(str::to_owned);
    parts.chain(state.tail.keys().map(|slot| keys::wal(*slot))).collect()
}

/// Objects that neither the state nor one of the two newest checkpoints needs, and that are no marks.
async fn orphans(
    store: &Arc<dyn Store>,
    state: &State,
    needed: &BTreeSet<String>,
    present: &HashSet<&str>,
) -> Result<Vec<String>> {
    let mut kept: HashSet<String> = needed.iter().cloned().chain([keys::NEWEST.to_owned()]).collect();
    let mut roots: Vec<Slot> = present.iter().filter_map(|key| keys::parse_checkpoint(key)).collect();
    roots.sort_unstable_by(|a, b| b.cmp(a));
    roots.truncate(2);
    for root in &roots {
        let Ok((root, old)) = bucket::read_checkpoint(store.as_ref(), *root).await else { continue };
        kept.extend(self::needed(&old));
        kept.extend(root.pages.iter().flatten().map(|page| page.object.clone()));
    }
    // Until there are two roots nothing is collected, and so nothing before the one is left over.
    let oldest = roots.get(1).copied().unwrap_or_default();
    let is_orphan = |key: &&&str| {
        if kept.contains(**key) || keys::parse_claim(key).is_some() {
            return false;
        }
        if let Some(slot) = keys::parse_wal(key) {
            return slot <= oldest && !state.kept.contains(&slot);
        }
        match keys::parse_checkpoint(key) {
            Some(slot) => slot < oldest,
            None => true,
        }
    };
    let mut orphans: Vec<String> = present.iter().filter(is_orphan).map(|key| (*key).to_owned()).collect();
    orphans.sort_unstable();
    Ok(orphans)
}

/// The objects of each segment and slot whose content is wrong, and what is wrong with it.
async fn damaged(store: &Arc<dyn Store>, state: &State, only: Option<&str>) -> Vec<(Vec<String>, String)> {
    let mut damaged = BTreeMap::new();
    let wanted = only.and_then(|name| state.collection(name)).map(|c| c.id);
    let fetch: Arc<dyn Fetch> = Arc::new(Direct(store.clone()));
    for (id, shard) in &state.shards {
        if only.is_some() && wanted != Some(id.collection()) {
            continue;
        }
        for range in &shard.tail {
            let key = range.slice.side.clone().unwrap_or_else(|| keys::wal(range.slot));
            let bytes = store.get_range(&key, range.slice.offset..range.slice.offset + range.slice.len).await;
            let checked = match bytes {
                Ok(bytes) => object::check_slice(bytes, &range.slice).map(|_| ()).map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            };
            if let Err(why) = checked {
                damaged.insert(vec![key], why);
            }
        }
        for entry in &shard.segments {
            let checked = match SegmentMeta::from_entry(entry) {
                Ok(meta) => SegmentReader::open(Arc::new(meta), fetch.clone()).check().await,
                Err(e) => Err(e),
            };
            if let Err(why) = checked {
                damaged.insert(entry.objects.clone(), why.to_string());
            }
        }
    }
    damaged.into_iter().collect()
}

/// Reads from the store itself: a cache would hide what is wrong there.
struct Direct(Arc<dyn Store>);

#[async_trait]
impl Fetch for Direct {
    async fn fetch(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        Ok(self.0.get_range(object, range).await?)
    }
}
