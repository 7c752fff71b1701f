//! Decided slots on several voters: a [`Replica`](crate::Replica) over Raft.
//!
//! ```text
//!  leader ──install, apply──▶ RaftReplica ──command──▶ log ──▶ state machine ──▶ the state, watched by readers
//!                                  │ append, vote, snapshot
//!                                  ▼
//!                            RaftTransport ──▶ RaftReplica::answer of the other voters
//! ```
//!
//! Raft keeps a copy of the state near and elects who claims the bucket next. It decides nothing: a slot comes here
//! after the bucket has decided it (rule 5), and a new leader brings the state it recovered from the bucket and never
//! looks at what Raft held (rule 8). So a voter that lost its log costs nobody a write.
//!
//! Starting over is a **command** in the log and no snapshot made aside: its place in the log says for every voter
//! alike that what came before it does not count and what comes after it does, whatever an earlier leader had left
//! unfinished there. A group of one passes the state by reference and never encodes it. In a larger group the state
//! travels as the root and the pages of a checkpoint, one entry each, because an entry must reach a follower within a
//! heartbeat however large the state is.
//!
//! - [`RaftReplica`]: the replica; [`GroupOptions`]: a group of several
//! - `command`: what the log holds and what becomes of it; `image`: the state as bytes
//! - [`MemoryLog`]: the log in memory; `machine`: the state machine and its snapshots
//! - [`RaftTransport`]: how a request reaches another voter; `wire`: what its bytes are
//!
//! A log in memory forgets the voter's vote too. That is right for a group of one, which starts anew every time. In a
//! group of several a voter whose log is in memory must not come back under its number while the others live.

mod command;
mod image;
mod log;
mod machine;
mod replica;
#[cfg(test)]
mod tests;
mod wire;

pub use command::{Answer, Command, Group, VoterId};
pub use image::{Contents, Image, Pieces};
pub use log::MemoryLog;
pub use replica::{GroupOptions, RaftReplica};
pub use wire::{RaftTransport, Rpc, TransportError};
