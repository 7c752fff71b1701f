use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::JsonPath;

/// How near two vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Distance {
    /// Vectors are normalised when written; the score is their product. Greater is nearer.
    Cosine,
    /// Inner product. Greater is nearer.
    Dot,
    /// L2 distance (not squared). Smaller is nearer.
    Euclid,
    /// L1 distance. Smaller is nearer.
    Manhattan,
}

impl Distance {
    /// Whether a greater score is a nearer point.
    pub fn greater_is_nearer(self) -> bool {
        matches!(self, Distance::Cosine | Distance::Dot)
    }
}

/// How each component of a vector is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Datatype {
    /// 4 bytes.
    #[default]
    Float32,
    /// 2 bytes.
    Float16,
    /// 1 byte; components are whole numbers from 0 to 255 (others are rounded towards zero and clamped).
    Uint8,
}

impl Datatype {
    /// Bytes per component.
    pub fn bytes(self) -> usize {
        match self {
            Datatype::Float32 => 4,
            Datatype::Float16 => 2,
            Datatype::Uint8 => 1,
        }
    }
}

/// The settings of an index of vectors that a user may give, in Qdrant's words. Indexes here are lists, not graphs: `m` of 0
/// turns indexing off, `full_scan_threshold` and `max_indexing_threads` hold; the others are kept and reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HnswConfig {
    /// Links per node.
    pub m: Option<u64>,
    /// Candidates while building.
    pub ef_construct: Option<u64>,
    /// KiB of vectors of a segment that match up to which each is compared, but for segments that are searched in the bucket; where
    /// nothing is said, whatever takes less time is done.
    pub full_scan_threshold: Option<u64>,
    /// Threads for building, 0 is automatic.
    pub max_indexing_threads: Option<u64>,
    /// Graph on disk.
    pub on_disk: Option<bool>,
    /// Links per node within a payload value.
    pub payload_m: Option<u64>,
    /// Vectors beside the links.
    pub inline_storage: Option<bool>,
}

/// The optimiser settings a user may give. Kept and reported.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct OptimizersConfig {
    /// Share of deleted rows that makes a segment due for rewriting.
    pub deleted_threshold: Option<f64>,
    /// Rows below which rewriting never pays.
    pub vacuum_min_vector_number: Option<u64>,
    /// Wanted number of segments, 0 is automatic.
    pub default_segment_number: Option<u64>,
    /// Largest segment in KiB.
    pub max_segment_size: Option<u64>,
    /// KiB above which vectors are mapped from disk.
    pub memmap_threshold: Option<u64>,
    /// KiB above which a segment gets an index.
    pub indexing_threshold: Option<u64>,
    /// Seconds between flushes.
    pub flush_interval_sec: Option<u64>,
    /// Threads for optimising.
    pub max_optimization_threads: Option<u64>,
}

impl OptimizersConfig {
    /// Bytes of vectors, counted as `f32`, from which on a segment gets an index: 10,000 KiB where the user says nothing,
    /// none ever gets one if the user says 0.
    pub fn indexing_bytes(&self) -> Option<u64> {
        let kib = self.indexing_threshold.unwrap_or(10_000);
        (kib > 0).then(|| kib.saturating_mul(1024))
    }
}

/// One named vector of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorParams {
    /// Dimensions, 1 to 65,536.
    pub size: u64,
    /// The metric.
    pub distance: Distance,
    /// Storage of components.
    pub datatype: Option<Datatype>,
    /// Graph settings of this vector alone.
    pub hnsw: Option<HnswConfig>,
    /// Whether vectors are read from disk one by one rather than kept in memory, and their index made small.
    pub on_disk: Option<bool>,
    /// Quantization settings as the user wrote them (Qdrant's JSON as text, checked by `api`).
    pub quantization: Option<String>,
}

impl VectorParams {
    /// Vectors of `size` components with no settings of their own.
    pub fn new(size: u64, distance: Distance) -> Self {
        Self { size, distance, datatype: None, hnsw: None, on_disk: None, quantization: None }
    }

    /// The storage of components, f32 unless set.
    pub fn datatype(&self) -> Datatype {
        self.datatype.unwrap_or_default()
    }
}

/// Changes to one vector's settings; `None` keeps what is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VectorParamsPatch {
    /// Graph settings; given fields replace.
    pub hnsw: Option<HnswConfig>,
    /// Quantization settings as JSON text.
    pub quantization: Option<String>,
    /// See [`VectorParams::on_disk`].
    pub on_disk: Option<bool>,
}

/// What cannot change after creation, and on-disk hints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionParams {
    /// By name; the unnamed vector is `""`. May be empty (payload only).
    pub vectors: BTreeMap<String, VectorParams>,
    /// Units of write order, at least 1. A point's shard is a hash of its id.
    pub shard_number: u32,
    /// Reported only; the bucket replicates.
    pub replication_factor: u32,
    /// Reported only.
    pub write_consistency_factor: u32,
    /// Reported only.
    pub on_disk_payload: bool,
}

/// Everything a collection is created with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionConfig {
    /// Vectors and shards.
    pub params: CollectionParams,
    /// Graph settings for all vectors.
    pub hnsw: HnswConfig,
    /// Optimiser settings.
    pub optimizers: OptimizersConfig,
    /// Quantization for all vectors, as JSON text.
    pub quantization: Option<String>,
    /// Free JSON of the user's, as text.
    pub metadata: Option<String>,
    /// Strict-mode settings as JSON text; kept and reported.
    pub strict_mode: Option<String>,
}

impl CollectionConfig {
    /// A collection of these vectors in one shard, and otherwise what users get who set nothing.
    pub fn new(vectors: BTreeMap<String, VectorParams>) -> Self {
        let params = CollectionParams {
            vectors,
            shard_number: 1,
            replication_factor: 1,
            write_consistency_factor: 1,
            on_disk_payload: true,
        };
        Self {
            params,
            hnsw: HnswConfig::default(),
            optimizers: OptimizersConfig::default(),
            quantization: None,
            metadata: None,
            strict_mode: None,
        }
    }
}

/// Changes to a collection; `None` keeps what is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CollectionPatch {
    /// By vector name.
    pub vectors: BTreeMap<String, VectorParamsPatch>,
    /// Given fields replace.
    pub hnsw: Option<HnswConfig>,
    /// Given fields replace.
    pub optimizers: Option<OptimizersConfig>,
    /// JSON text.
    pub quantization: Option<String>,
    /// JSON object as text, merged into what is.
    pub metadata: Option<String>,
    /// JSON text; given fields replace.
    pub strict_mode: Option<String>,
    /// See [`CollectionParams`].
    pub replication_factor: Option<u32>,
    /// See [`CollectionParams`].
    pub write_consistency_factor: Option<u32>,
    /// See [`CollectionParams`].
    pub on_disk_payload: Option<bool>,
}

/// The kind of a payload index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FieldIndexKind {
    /// Exact texts.
    Keyword,
    /// 64-bit integers.
    Integer,
    /// Numbers.
    Float,
    /// Truth values.
    Bool,
    /// RFC 3339 texts.
    Datetime,
    /// UUID texts.
    Uuid,
    /// `{lon, lat}` objects.
    Geo,
    /// Tokenised text.
    Text,
}

impl FieldIndexKind {
    /// Whether rows can lie in the order of such values.
    pub fn has_order(self) -> bool {
        !matches!(self, Self::Geo | Self::Text)
    }
}

/// A payload index: a kind and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldIndex {
    /// What is indexed and how.
    pub kind: FieldIndexKind,
    /// Qdrant's parameter object as JSON text (tokenizer, lowercase, min_token_len...), as given; `None` if the
    /// index was asked for by its kind alone. `api` has checked it.
    pub params: Option<String>,
}

/// Green, yellow, grey or red; see `docs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionStatus {
    /// Nothing is due.
    Green,
    /// Folding, merging or index building is due or running.
    Yellow,
}

/// What is known about a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionInfo {
    /// Whether background work is due.
    pub status: CollectionStatus,
    /// Settings.
    pub config: CollectionConfig,
    /// Payload indexes, and how many points each covers.
    pub payload_schema: BTreeMap<JsonPath, (FieldIndex, u64)>,
    /// Rows in all shards; may count rows that the tail overwrites twice.
    pub points_count: u64,
    /// Vectors that an index covers.
    pub indexed_vectors_count: u64,
    /// Segments in all shards, the tail counted as one.
    pub segments_count: u64,
}

/// A change of aliases. Several are applied as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AliasAction {
    /// `alias` now means `collection`, whatever it meant before.
    Create {
        /// Target.
        collection: String,
        /// Name.
        alias: String,
    },
    /// `alias` means nothing any more.
    Delete {
        /// Name.
        alias: String,
    },
    /// `old` is now called `new`.
    Rename {
        /// Name before.
        old: String,
        /// Name after.
        new: String,
    },
}
