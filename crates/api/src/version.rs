//! What both interfaces answer to the question who they are.

/// The title that clients look for.
pub const TITLE: &str = "qdrant - vector search engine";
/// The version of Qdrant whose interface this is; clients compare it with their own.
pub const QDRANT_VERSION: &str = "1.19.0";
