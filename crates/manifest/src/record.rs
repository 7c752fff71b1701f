//! What a slot of the log holds, as far as the manifest cares: headers and catalog changes, never a vector.

use bytes::Bytes;
use lodestone_types::{AliasAction, CollectionConfig, CollectionPatch, FieldIndex, JsonPath};
use serde::{Deserialize, Serialize};

use crate::{CollectionId, Epoch, InstanceId, Nonce, SegmentId, ShardId, Slot};

/// The content of one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Writes. Counts only if its epoch is that of the last claim before it.
    Batch(Batch),
    /// A new leader's mark: from here on only its epoch counts.
    Claim(Claim),
    /// The leader of this epoch has stopped and acknowledges nothing more.
    Release {
        /// Whose.
        epoch: Epoch,
    },
    /// Nothing: the owner of the slot was silent and the leader closed it.
    Void,
}

/// Writes of one commit window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's epoch that reserved the slot.
    pub epoch: Epoch,
    /// Tells this attempt from others.
    pub nonce: Nonce,
    /// Operations per shard, in order.
    pub slices: Vec<SliceHeader>,
    /// The slice of the system shard.
    pub system: Vec<SystemOp>,
}

/// Where one slice's operations lie, and how much they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceHeader {
    /// Whose.
    pub shard: ShardId,
    /// A side object that holds it alone, or the slot's own object.
    pub side: Option<String>,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// CRC-32C of those bytes.
    pub crc: u32,
    /// Rows it puts, deletes or patches; for the thresholds of folding.
    pub rows: u64,
}

/// Bytes between two slices that are rather read with them than left out by another request.
const BETWEEN: u64 = 8 << 10;

impl SliceHeader {
    /// Whether it lies close behind `before`, of the same slot, so that one request reads both.
    pub fn follows(&self, before: &Self) -> bool {
        let end = before.offset.saturating_add(before.len);
        let is_near = (end..=end.saturating_add(BETWEEN)).contains(&self.offset);
        before.side.is_none() && self.side.is_none() && is_near
    }
}

/// The mark of a new leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The number of the claim.
    pub epoch: Epoch,
    /// The process.
    pub instance: InstanceId,
    /// Where it can be asked whether it still runs.
    pub address: String,
}

/// A change of the catalog or of a shard's segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SystemOp {
    /// Creates a collection.
    CreateCollection {
        /// Its name.
        name: String,
        /// Its settings.
        config: CollectionConfig,
    },
    /// Changes settings.
    UpdateCollection {
        /// Which.
        collection: CollectionId,
        /// What.
        patch: CollectionPatch,
    },
    /// Deletes a collection, its aliases and all its rows.
    DeleteCollection {
        /// Which.
        collection: CollectionId,
    },
    /// Applies all actions or none.
    Aliases(Vec<AliasAction>),
    /// Creates or replaces a payload index.
    CreateFieldIndex {
        /// Where.
        collection: CollectionId,
        /// On what.
        field: JsonPath,
        /// Which.
        index: FieldIndex,
    },
    /// Drops a payload index.
    DeleteFieldIndex {
        /// Where.
        collection: CollectionId,
        /// On what.
        field: JsonPath,
    },
    /// Replaces segments of a shard: a fold, a merge, a new part.
    Rewrite(Rewrite),
    /// Has processes keep a collection near for as long as it is pinned.
    Pin {
        /// Which.
        collection: CollectionId,
        /// Or not any more.
        pinned: bool,
    },
}

/// A change of a shard's segments, valid only if nothing it read has changed since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The epoch in which the job ran; older ones are refused.
    pub epoch: Epoch,
    /// Whose segments.
    pub shard: ShardId,
    /// Every segment the job read, with the revision it saw.
    pub read: Vec<(SegmentId, u32)>,
    /// Segments that go.
    pub remove: Vec<SegmentId>,
    /// Segments that come, or that stay with other parts.
    pub put: Vec<SegmentEntry>,
    /// For a fold: the folded slot it started from and the one it reached.
    pub fold: Option<(Slot, Slot)>,
}

/// What the manifest knows of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Which.
    pub id: SegmentId,
    /// Grows with every change of its parts.
    pub revision: u32,
    /// Rows, deleted ones too.
    pub rows: u32,
    /// Of which are deleted.
    pub deleted: u32,
    /// Bytes of its parts, as merges count them.
    pub bytes: u64,
    /// Every object that one of its parts lies in.
    pub objects: Vec<String>,
    /// Parts and section tables, in the segment crate's own encoding.
    pub meta: Bytes,
}
