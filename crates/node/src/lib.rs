//! From a config to running roles: what the binary and a Lambda shell start.

mod location;
mod options;
pub mod units;

pub use location::StoreLocation;
pub use options::{CacheOptions, CompactOptions, GcOptions, NodeOptions, S3Options, WalOptions};
