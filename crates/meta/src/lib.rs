//! Who decides? One leader at a time, whose right to decide is recorded in the bucket.
//!
//! ```text
//!            reserve ┌──────────┐  decided slots, in order   ┌─────────┐
//!  ingest ──────────▶│  leader  │───────────────────────────▶│ replica │──▶ the state, watched by readers
//!     │      commit  └────┬─────┘                            └─────────┘
//!     │ PUT wal/<slot>    │ claims, voids, proofs, checkpoints, garbage
//!     ▼                   ▼
//!   ════════════════ bucket ════════════════
//! ```
//!
//! - [`Meta`]: what ingest, query and compact see of all this
//! - [`Leader`]: reserves, commits, voids; owns the background work
//! - [`BucketReader`]: the same port for reads alone, without any leader
//! - [`claim`]: how a process becomes leader; [`recover`]: how the bucket becomes a state; `forward`: reading
//!   several slots at once
//! - [`proof`]: how a leader knows that it still is one
//! - [`checkpoint`], [`garbage`]: what it writes down, and what it removes
//! - [`replica`]: where decided slots are applied; [`raft`]: the same on several voters
//! - [`rules`]: the rules of the protocol by number, which a simulation can switch off
//!
//! The protocol itself is described, rule by rule, in `docs/0001-write-protocol.md`.

pub mod bucket;
pub mod checkpoint;
pub mod claim;
mod clock;
mod error;
mod forward;
pub mod garbage;
mod job;
mod leader;
mod port;
pub mod proof;
pub mod raft;
mod reader;
pub mod recover;
pub mod replica;
pub mod rules;

pub use claim::{Ahead, Claimed, claim};
pub use clock::{BootClock, Clock};
pub use error::{MetaError, Result};
pub use job::Job;
pub use leader::{Leader, LeaderOptions};
pub use port::{Consistency, Meta, SystemLog};
pub use raft::RaftReplica;
pub use reader::{BucketReader, ReaderOptions};
pub use replica::{LocalReplica, Replica};
pub use rules::Rules;
