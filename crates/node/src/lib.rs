//! From a config to running roles: what the binary and a Lambda shell start.
//!
//! - [`NodeOptions`]: everything a node can be told
//! - [`Roles`]: all jobs, or reads alone
//! - [`Node`]: the roles of one process over one store and one cache
//! - [`engine`](crate::Node::engine): what the interfaces call
//! - [`instance`]: is the process that holds the bucket still running?
//! - [`raft_http`]: how voters of a meta group reach each other
//! - [`inspect`]: what a bucket holds, misses and has too much of

mod engine;
mod inspect;
pub mod instance;
mod load;
mod location;
mod memory;
mod metrics;
mod node;
mod options;
pub mod raft_http;
mod roles;
pub mod units;

pub use inspect::{CollectionSummary, Inspection, inspect, write_checkpoint};
pub use location::StoreLocation;
pub use node::{Node, open_store};
pub use options::{
    CacheOptions, CheckpointOptions, CompactOptions, GcOptions, NodeOptions, QueryOptions, S3Options,
    WalOptions,
};
pub use roles::Roles;
