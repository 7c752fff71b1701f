//! What the log holds, and what becomes of it.

use std::sync::Arc;

use bytes::Bytes;
use lodestone_manifest::{Applied, Record, Slot};
use serde::{Deserialize, Serialize};

use super::image::{Contents, Image};

/// A voter's number within its group.
pub type VoterId = u64;

openraft::declare_raft_types!(
    /// The types Raft works with here.
    pub Group:
        D = Command,
        R = Answer,
        NodeId = VoterId,
        Node = openraft::BasicNode,
        SnapshotData = Contents,
);

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Decided slots, in order.
    Decided {
        /// The slot of the first record.
        first: Slot,
        /// One per slot.
        records: Arc<Vec<Record>>,
    },
    /// Start over from this state.
    Install(Image),
    /// The root of a state to start over from; pages follow. Forgets what was begun before.
    InstallRoot(Bytes),
    /// The next page of the state that was begun.
    InstallPage(Bytes),
    /// All pages are there: start over from the state that was begun.
    InstallEnd,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// It was done, and there is nothing to say about it.
    Done,
    /// What became of each record.
    Applied(Vec<Applied>),
    /// The records are not those after the last applied slot, which is this one. Nothing was applied.
    ///
    /// A leader that was deposed and does not know it yet meets this if its process was elected again: its successor
    /// has put a claim record into the slot that the old one would decide next.
    OutOfOrder(Slot),
    /// What was to be installed is no state. Nothing has changed.
    Refused(String),
}
