//! Give me these bytes: one small port to a bucket, what speaks to real ones, and what wraps them.
//!
//! [`Store`] is the port: create-only and plain writes, reads, lists, deletes of whole objects under string
//! keys, and nothing conditional beyond "create if absent". [`open`] turns a location into one:
//!
//! - [`MemoryStore`]: a map, for tests and simulations;
//! - [`LocalStore`]: a directory used as a bucket, synced before a write is acknowledged;
//! - [`S3Store`]: S3 and its kind, through the `object_store` crate.
//!
//! What is larger than memory should be filled with goes there in pieces: an [`Upload`].
//!
//! Decorators are stores around a store: [`Metered`] and [`Accounted`] count, [`Retrying`] repeats what may be
//! repeated, [`Simulated`] adds the latency and the faults of S3, [`Unsynced`] forgets at a crash what was not
//! synced. [`probe`] refuses stores that do not keep the promises the write protocol rests on. [`PartCache`]
//! keeps ranges of immutable objects on a local disk; [`BatchFile`] reads rows out of them without memory for the rest.

mod account;
mod batch;
mod cache;
mod direct;
mod error;
mod key;
mod local;
mod memory;
mod metered;
mod open;
mod pieces;
mod port;
mod probe;
mod retry;
mod s3;
mod simulated;
mod stage;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod unsynced;
mod upload;

pub use account::{Account, Accounted, Usage, charged, cut_short, stage};
pub use batch::{Backend, BatchFile};
pub use cache::{CacheStats, CheckFile, KeptPart, PartCache, ReadAt};
pub use error::{Op, Result, StoreError, StoreErrorKind};
pub use key::validate_key;
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use metered::{Metered, Metrics, MetricsSnapshot};
pub use open::{OpenOptions, open};
pub use port::{Clock, ObjectInfo, ObjectMeta, Store, list_all, system_clock};
pub use probe::{ProbeError, ProbeReport, probe};
pub use retry::{RetryPolicy, Retrying};
pub use s3::S3Store;
pub use simulated::{Faults, Latency, Quantiles, Simulated};
pub use stage::Stage;
pub use unsynced::Unsynced;
pub use upload::{UPLOAD_PIECE, Upload};
