//! The state as pages and a root, to and from bytes.
//!
//! Collections are spread over pages by a hash of their id, so that a change touches one page and a checkpoint
//! rewrites only those. The root names every page with its checksum and carries what is small. The number of
//! pages is a power of two and doubles when pages outgrow [`PAGE_COLLECTIONS`]. An only page of up to [`INLINE_BYTES`]
//! lies in the root itself, so that a small state is read in one trip.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use lodestone_types::CollectionConfig;
use serde::{Deserialize, Serialize};

use crate::state::{Collection, Shard};
use crate::{CollectionId, Epoch, ShardId, Slot, State};

/// Collections per page, on average, above which the number of pages doubles: about 1 MiB.
pub const PAGE_COLLECTIONS: usize = 1024;

/// Bytes up to which an only page lies in the root.
pub const INLINE_BYTES: usize = 256 << 10;

/// Of pages.
const VERSION: u16 = 1;
/// Of roots; the first had no page in them, the second no pins.
const ROOT_VERSION: u16 = 3;

/// A page's place in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRef {
    /// The object; it holds only this page.
    pub object: String,
    /// Its length.
    pub len: u64,
    /// Its CRC-32C.
    pub crc: u32,
}

/// The root object of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Root {
    version: u16,
    /// The state's slot.
    pub slot: Slot,
    /// The state's epoch, which wrote it.
    pub epoch: Epoch,
    released: bool,
    next_collection: CollectionId,
    aliases: OrdMap<String, CollectionId>,
    kept: imbl::OrdSet<Slot>,
    /// A power of two of them; those that are empty or lie in the root are absent.
    pub pages: Vec<Option<PageRef>>,
    /// The only page, where it is small.
    pub inline: Option<Bytes>,
    pinned: imbl::OrdSet<CollectionId>,
}

/// The content of a page: collections with their shards, by id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    version: u16,
    collections: Vec<(Arc<Collection>, Shards)>,
}

type Shards = Vec<(ShardId, Arc<Shard>)>;

/// Why bytes are no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They are damaged.
    #[error("damaged: {0}")]
    Damaged(String),
    /// They were written by a later version of the program.
    #[error(
        "written in format {0}, which this version does not know; use the version that wrote it, or a newer one"
    )]
    Version(u16),
}

/// How many pages a state of so many collections has, given how many its last checkpoint had.
pub fn page_count(collections: usize, before: usize) -> usize {
    collections.div_ceil(PAGE_COLLECTIONS).next_power_of_two().max(before).max(1)
}

/// The page that holds a collection. Multiplicative hashing (Knuth, TAOCP 3, 6.4).
pub fn page_of(collection: CollectionId, pages: usize) -> usize {
    let hash = collection.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 32) as usize & (pages - 1)
}

/// The pages in which `new` differs from `old`.
pub fn dirty_pages(old: &State, new: &State, pages: usize) -> BTreeSet<usize> {
    use imbl::ordmap::DiffItem;
    let collections = old.collections.diff(&new.collections).map(|item| match item {
        DiffItem::Add(id, _) | DiffItem::Remove(id, _) | DiffItem::Update { new: (id, _), .. } => *id,
    });
    let shards = old.shards.diff(&new.shards).map(|item| match item {
        DiffItem::Add(id, _) | DiffItem::Remove(id, _) | DiffItem::Update { new: (id, _), .. } => {
            id.collection()
        }
    });
    collections.chain(shards).map(|id| page_of(id, pages)).collect()
}

/// The bytes of the given pages; `None` where a page has become empty. One pass over the state.
pub fn encode_pages(state: &State, wanted: &BTreeSet<usize>, pages: usize) -> Vec<(usize, Option<Vec<u8>>)> {
    let mut contents: std::collections::BTreeMap<usize, Page> =
        wanted.iter().map(|p| (*p, Page { version: VERSION, collections: Vec::new() })).collect();
    for (id, collection) in &state.collections {
        let Some(page) = contents.get_mut(&page_of(*id, pages)) else { continue };
        let shards = collection.shards().filter_map(|s| Some((s, state.shards.get(&s)?.clone()))).collect();
        page.collections.push((collection.clone(), shards));
    }
    contents.into_iter().map(|(n, page)| (n, (!page.collections.is_empty()).then(|| encode(&page)))).collect()
}

/// The root of `state` over `pages`, or with its only page `inline`.
pub fn encode_root(state: &State, pages: Vec<Option<PageRef>>, inline: Option<Bytes>) -> Vec<u8> {
    encode(&Root {
        version: ROOT_VERSION,
        slot: state.slot,
        epoch: state.epoch,
        released: state.released,
        next_collection: state.next_collection,
        aliases: state.aliases.clone(),
        kept: state.kept.clone(),
        pages,
        inline,
        pinned: state.pinned.clone(),
    })
}

// Plain data without maps of foreign keys: postcard cannot fail on it except for want of memory.
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data always encodes")
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], known: u16) -> Result<T, DecodeError> {
    let (version, _) =
        postcard::take_from_bytes::<u16>(bytes).map_err(|e| DecodeError::Damaged(e.to_string()))?;
    if version != known {
        return Err(DecodeError::Version(version));
    }
    postcard::from_bytes(bytes).map_err(|e| DecodeError::Damaged(e.to_string()))
}

/// Reads a root.
pub fn decode_root(bytes: &[u8]) -> Result<Root, DecodeError> {
    let root: Root = match decode(bytes, ROOT_VERSION) {
        // It ends where the pins begin, of which it has none.
        Err(DecodeError::Version(2)) => decode(&[bytes, &[0]].concat(), 2)?,
        decoded => decoded?,
    };
    if !root.pages.len().is_power_of_two() {
        return Err(DecodeError::Damaged(format!("{} pages", root.pages.len())));
    }
    Ok(root)
}

/// Reads a page.
pub fn decode_page(bytes: &[u8]) -> Result<Page, DecodeError> {
    decode(bytes, VERSION)
}

/// The state of a root and its pages.
pub fn assemble(root: &Root, pages: Vec<Page>) -> State {
    let mut state = State {
        slot: root.slot,
        epoch: root.epoch,
        released: root.released,
        next_collection: root.next_collection,
        aliases: root.aliases.clone(),
        kept: root.kept.clone(),
        pinned: root.pinned.clone(),
        ..State::default()
    };
    let mut settings = Settings::default();
    for (mut collection, shards) in pages.into_iter().flat_map(|p| p.collections) {
        if let Some(collection) = Arc::get_mut(&mut collection) {
            settings.share(&mut collection.config);
        }
        state.names.insert(collection.name.clone(), collection.id);
        state.collections.insert(collection.id, collection);
        for (id, shard) in shards {
            for range in &shard.tail {
                *state.tail.entry(range.slot).or_default() += 1;
            }
            state.shards.insert(id, shard);
        }
    }
    state
}

/// Settings seen lately; most collections of a store have the same few.
#[derive(Default)]
struct Settings(Vec<Arc<CollectionConfig>>);

impl Settings {
    const REMEMBERED: usize = 8;

    /// Makes equal settings one.
    fn share(&mut self, config: &mut Arc<CollectionConfig>) {
        match self.0.iter().find(|known| **known == *config) {
            Some(known) => *config = known.clone(),
            None => {
                self.0.truncate(Self::REMEMBERED - 1);
                self.0.insert(0, config.clone());
            }
        }
    }
}
