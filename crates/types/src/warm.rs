//! What is brought near before it is searched, and what is kept there.

/// What of a collection is to be brought near.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmRequest {
    /// What searches by the vectors of these names need; by all where `None`.
    pub vectors: Option<Vec<String>>,
    /// And what it takes to show payloads.
    pub payloads: bool,
}

impl WarmRequest {
    /// All that there is.
    pub const ALL: Self = Self { vectors: None, payloads: true };
}

/// How much of a collection is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warmth {
    /// Whether it is to stay there.
    pub pin: Pin,
    /// Bytes of its segments that were asked for.
    pub bytes: u64,
    /// Of these, bytes that are read without asking the bucket.
    pub here: u64,
    /// Bytes that are in memory.
    pub in_memory: u64,
}

/// Whether a collection is to stay near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// No.
    None,
    /// It stays in this process.
    Kept,
    /// It is pinned, and this process has no room for it.
    NoRoom,
}
