//! The write protocol under every fault that section 10 of the design names, from seeds.
//!
//! One run is one seed: a bucket, two or three nodes that run the real leader, ingest and updater, clients that
//! write and read through them, a compactor that folds and indexes, and a director who pauses, kills, deposes and restarts.
//! Time is tokio's paused clock and every choice comes from the seed, so a run repeats exactly and takes
//! milliseconds.
//!
//! ```text
//!  clients ──▶ updater ─ ingest ─┬─ leader          (node 1, real code)
//!     │                          └─ or another node's leader: roaming
//!     │                 gate: pauses, kills, traps
//!     ▼                 network: latency, faults, late and doubled copies
//!   model ◀─ contents ◀──────── bucket (in memory, or a directory that forgets)
//! ```
//!
//! - [`profile`]: what a seed does, and which misfortunes look for the absence of which rule
//! - [`run`]: one seed from start to verdict
//! - `world`: what all actors share; `gate`: what lies between a node and the bucket
//! - `node`, `roaming`, `client`, `compactor`, `director`: the actors
//! - `contents`: what a state's objects hold; `model`: what they must hold; `ending`: what must be left

mod client;
mod compactor;
mod contents;
mod director;
mod ending;
mod gate;
mod model;
mod node;
pub mod profile;
mod replica;
mod roaming;
pub mod run;
mod watched;
mod world;

pub use profile::Profile;
pub use run::{Verdict, run};
