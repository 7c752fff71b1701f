//! Everything a node can be told. Each section is a table of the config file; each field has the default that
//! is right unless something was measured.

use std::path::PathBuf;
use std::time::Duration;

use lodestone_shard::FarBudget;
use lodestone_types::Prices;
use serde::Deserialize;

use crate::memory::default_budget;
use crate::units;
use crate::{Roles, StoreLocation};

/// Segments may become as large as this wherever they are merged.
const SMALLEST_LIMIT: u64 = 512 << 20;

/// What a node needs to start.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeOptions {
    /// The bucket that holds everything.
    pub store: StoreLocation,
    /// What the process does.
    pub roles: Roles,
    /// How to reach an S3 store; nothing here matters to a directory.
    pub s3: S3Options,
    /// Where what is disposable goes; it may be deleted whenever no process runs on it.
    pub local: PathBuf,
    /// `host:port` of this process's REST interface as others reach it. It is written into the claim, so that a
    /// process that starts on the same bucket can ask here whether we are alive.
    pub address: String,
    /// Start even if the process that holds the store answers; it will stop by itself.
    pub take_over: bool,
    /// How writes are gathered and proven.
    pub wal: WalOptions,
    /// How reads are answered.
    pub query: QueryOptions,
    /// When the tail is folded and segments are merged.
    pub compact: CompactOptions,
    /// When objects that nothing needs are removed.
    pub gc: GcOptions,
    /// When the state is written down. Not a setting, as the next: right as they are, but tests want more of it.
    pub checkpoint: CheckpointOptions,
    /// How jobs go about it; what [`NodeOptions::compact`] has counts.
    pub jobs: lodestone_compact::CompactOptions,
    /// What is kept near.
    pub cache: CacheOptions,
    /// Whether pinned collections are. Not a setting either: a process that serves nobody has no use for them.
    pub keep_pins: bool,
    /// What the bucket charges, for the metrics.
    pub price: Prices,
}

impl NodeOptions {
    /// A node on `store` with every default; what is disposable goes to `local`.
    pub fn new(store: StoreLocation, local: PathBuf) -> Self {
        Self {
            store,
            roles: Roles::default(),
            local,
            address: String::new(),
            take_over: false,
            s3: S3Options::default(),
            wal: WalOptions::default(),
            query: QueryOptions::default(),
            compact: CompactOptions::default(),
            gc: GcOptions::default(),
            checkpoint: CheckpointOptions::default(),
            jobs: lodestone_compact::CompactOptions::default(),
            cache: CacheOptions::default(),
            keep_pins: true,
            price: Prices::default(),
        }
    }

    /// Bytes of what is used that may be in memory.
    pub(crate) fn memory(&self) -> u64 {
        self.cache.memory.unwrap_or_else(default_budget)
    }

    /// What jobs there are, and how they go about it.
    pub(crate) fn compaction(&self) -> lodestone_compact::CompactOptions {
        // A merge has up to three fifths of the segment in memory, and reads what it merges from files.
        let within = self.memory().min(self.cache.disk / 2).max(SMALLEST_LIMIT);
        lodestone_compact::CompactOptions {
            fold_rows: self.compact.fold_rows,
            fold_bytes: self.compact.fold_bytes,
            idle: self.compact.idle,
            merge_fan_in: self.compact.merge_fan_in as usize,
            index_rows: self.compact.index_rows,
            max_segment_bytes: self.jobs.max_segment_bytes.min(within),
            ..self.jobs
        }
    }

    /// How reads go about what is not here yet.
    pub(crate) fn reading(&self) -> lodestone_query::QueryOptions {
        lodestone_query::QueryOptions {
            far: match self.store {
                StoreLocation::Directory(_) => FarBudget::of_directory(),
                StoreLocation::S3 { .. } => FarBudget::default(),
            },
            hydrate: self.cache.hydrate,
        }
    }

    /// The least mean gap between the starts of two writes to the bucket.
    pub fn wal_window(&self) -> Duration {
        self.wal.window.unwrap_or(match self.store {
            StoreLocation::Directory(_) => Duration::from_millis(2),
            StoreLocation::S3 { .. } => Duration::from_millis(100),
        })
    }
}

/// `[s3]`: where an S3 store is. Keys come from the usual AWS variables only (`AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, or the container's or machine's role).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Options {
    /// Base URL of the service, such as `http://127.0.0.1:9000` for MinIO; AWS unless given.
    pub endpoint: Option<String>,
    /// The region; `AWS_REGION`, `AWS_DEFAULT_REGION` or `us-east-1` unless given.
    pub region: Option<String>,
}

/// `[wal]`: how writes are gathered and proven.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalOptions {
    /// The least mean gap between the starts of two PUTs; 2 ms on a directory and 100 ms on S3 unless given.
    #[serde(deserialize_with = "units::some_duration")]
    pub window: Option<Duration>,
    /// How long one proof of leadership serves strong reads: 1 s.
    #[serde(deserialize_with = "units::duration")]
    pub lease: Duration,
    /// How long a read or a change of the catalog waits for a bucket that does not answer, before it is an error: 10 s.
    #[serde(deserialize_with = "units::duration")]
    pub patience: Duration,
    /// Unfolded bytes of a shard above which writes are asked to come back later: 256 MiB.
    #[serde(deserialize_with = "units::bytes")]
    pub tail_limit: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            window: None,
            lease: Duration::from_secs(1),
            patience: Duration::from_secs(10),
            tail_limit: 256 << 20,
        }
    }
}

/// `[query]`: how reads are answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryOptions {
    /// How old the state may be that answers an eventual read of a process that only reads: 5 s.
    #[serde(deserialize_with = "units::duration")]
    pub staleness: Duration,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { staleness: Duration::from_secs(5) }
    }
}

/// `[compact]`: when the tail is folded, and segments are merged and indexed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompactOptions {
    /// Rows in a shard's tail that make folding due: 10,000.
    pub fold_rows: u64,
    /// Bytes in a shard's tail that make folding due: 16 MiB.
    #[serde(deserialize_with = "units::bytes")]
    pub fold_bytes: u64,
    /// How long nothing may be written to a shard until its tail is folded, whatever its size: 30 s; never if 0.
    #[serde(deserialize_with = "units::duration")]
    pub idle: Duration,
    /// Segments of about one size that are merged into one: 8.
    pub merge_fan_in: u32,
    /// Rows below which the vectors of a segment get no index, however large they are: 256.
    pub index_rows: u64,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            fold_rows: 10_000,
            fold_bytes: 16 << 20,
            idle: Duration::from_secs(30),
            merge_fan_in: 8,
            index_rows: 256,
        }
    }
}

/// `[gc]`: when objects that nothing needs are removed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcOptions {
    /// How long an object stays after the last checkpoint that needed it; longer than the longest read: 15 min.
    #[serde(deserialize_with = "units::duration")]
    pub grace: Duration,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { grace: Duration::from_secs(15 * 60) }
    }
}

/// When the state is written down, so that a start has little to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// Slots after which it is due under load: 256.
    pub slots: u64,
    /// How long nothing may have been decided until it is due: 5 s, never more than `gc.grace`.
    pub idle: Duration,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self { slots: 256, idle: Duration::from_secs(5) }
    }
}

/// `[cache]`: what is kept near.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOptions {
    /// Bytes of segments that are in memory: codes, ids and indexes in use, and vectors as far as there is room; those beyond are
    /// read from disk as needed. Half of
    /// the memory of the machine, or of what its container may use, unless given.
    #[serde(deserialize_with = "units::some_bytes")]
    pub memory: Option<u64>,
    /// Bytes of segments kept as files under [`NodeOptions::local`]: 10 GiB.
    #[serde(deserialize_with = "units::bytes")]
    pub disk: u64,
    /// Whether segments that are searched in the bucket are brought here meanwhile: yes.
    pub hydrate: bool,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { memory: None, disk: 10 << 30, hydrate: true }
    }
}
