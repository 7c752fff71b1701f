//! What is true now? The catalog, every shard's manifest and the sequence of the log, as one pure state
//! machine: [`State::apply`] takes the record of the next slot and returns what became of it.
//!
//! The state at slot `s` is a function of the slots up to `s` and of nothing else: no clock, no randomness,
//! no I/O. Whoever has the bucket can therefore compute it, and Raft only keeps a copy near.
//!
//! - [`ids`]: slots, epochs, shards and the like
//! - [`record`]: what a slot of the log holds, as far as the manifest cares
//! - [`state`]: the state and its transition
//! - [`tail`]: the slices of a shard that are not in segments yet
//! - [`catalog`]: the part of the transition that changes collections, aliases and payload indexes
//! - [`invariants`]: what must hold after every transition, by name
//! - [`sequencer`]: which slots are reserved, and which is decided next
//! - [`checkpoint`]: the state as pages and a root, to and from bytes

pub mod catalog;
pub mod checkpoint;
pub mod ids;
pub mod invariants;
pub mod record;
pub mod sequencer;
pub mod state;
pub mod tail;

pub use catalog::CatalogError;
pub use ids::{CollectionId, Epoch, InstanceId, JobId, NodeId, Nonce, SegmentId, ShardId, Slot};
pub use invariants::{Violation, check};
pub use record::{Batch, Claim, Record, Rewrite, SegmentEntry, SliceHeader, SystemOp};
pub use sequencer::{Refused, Reservation, ReserveRequest, Sequencer, SliceRequest};
pub use state::{Applied, Collection, OpOutcome, Shard, State, TailRange};
pub use tail::Tail;
