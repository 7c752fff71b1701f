//! The numbers the protocol speaks in.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A place in the log. Dense, never reused; the first is 1. It is also the LSN of everything written there:
    /// operations within a slot are ordered by their position.
    Slot
}
number! {
    /// A term of leadership, one per claim. The first is 1.
    Epoch
}
number! {
    /// A collection; never reused.
    CollectionId
}
number! {
    /// A shard; see [`ShardId::new`].
    ShardId
}
number! {
    /// A segment; see [`SegmentId::new`].
    SegmentId
}
number! {
    /// A job that writes parts, numbered within its epoch.
    JobId
}
number! {
    /// A process that reserves slots. Chosen at random when it starts.
    NodeId
}

/// A random number that tells one attempt to write a slot from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nonce(pub u128);

/// A random number that tells one started process from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstanceId(pub u128);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

const SHARD_BITS: u32 = 16;

impl ShardId {
    /// The `index`-th shard of `collection`.
    pub fn new(collection: CollectionId, index: u16) -> Self {
        Self(collection.0 << SHARD_BITS | u64::from(index))
    }

    /// Its collection.
    pub fn collection(self) -> CollectionId {
        CollectionId(self.0 >> SHARD_BITS)
    }
}

impl SegmentId {
    /// The `index`-th segment that `job` of `epoch` made. Unique because jobs are.
    pub fn new(epoch: Epoch, job: JobId, index: u8) -> Self {
        Self(epoch.0 << 40 | (job.0 & 0xffff_ffff) << 8 | u64::from(index))
    }
}
