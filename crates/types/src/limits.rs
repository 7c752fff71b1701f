//! Every limit of the interface in one place. Going over one is a clear error before any work is done.

/// Bytes of one request body.
pub const MAX_BODY_BYTES: usize = 64 << 20;
/// Points in one write request.
pub const MAX_POINTS_PER_WRITE: usize = 100_000;
/// Operations in one batch.
pub const MAX_OPS_PER_BATCH: usize = 1_000;
/// Ids in one selector, `has_id` condition or retrieve.
pub const MAX_IDS: usize = 1_000_000;
/// `limit + offset` of one query or the `limit` of one scroll.
pub const MAX_WINDOW: usize = 1_000_000;
/// Searches in one batch.
pub const MAX_SEARCHES_PER_BATCH: usize = 1_000;
/// How deep filters may nest.
pub const MAX_FILTER_DEPTH: usize = 32;
/// Conditions in one filter, all levels together.
pub const MAX_FILTER_CONDITIONS: usize = 10_000;
/// Bytes of one point's payload as JSON.
pub const MAX_PAYLOAD_BYTES: usize = 8 << 20;
/// How deep objects and arrays of a payload may nest, the payload itself counted. Clients of gRPC decode some 100
/// messages within each other, and an object takes three.
pub const MAX_PAYLOAD_DEPTH: usize = 32;
/// Dimensions of one vector.
pub const MAX_DIMENSIONS: u64 = 65_536;
/// Named vectors of one collection.
pub const MAX_VECTORS_PER_COLLECTION: usize = 64;
/// Bytes of a collection's, alias's or vector's name.
pub const MAX_NAME_BYTES: usize = 255;
/// Shards of one collection.
pub const MAX_SHARDS: u32 = 256;
/// Payload indexes of one collection.
pub const MAX_FIELD_INDEXES: usize = 128;
/// Collections in one bucket.
pub const MAX_COLLECTIONS: usize = 1_000_000;
