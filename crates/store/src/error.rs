use std::fmt;

use lodestone_types::ErrorKind;

/// A result with a [`StoreError`].
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Which request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Opening the store itself.
    Open,
    /// A create-only write.
    PutNew,
    /// A write that may replace.
    Put,
    /// A read of a whole object.
    Get,
    /// A read of a range.
    GetRange,
    /// A question for size and time.
    Head,
    /// A list of keys.
    List,
    /// A removal.
    Delete,
}

impl Op {
    /// Whether the request may change the store.
    pub fn is_write(self) -> bool {
        matches!(self, Op::PutNew | Op::Put | Op::Delete)
    }

    fn verb(self) -> &'static str {
        match self {
            Op::Open => "open",
            Op::PutNew => "create",
            Op::Put => "write",
            Op::Get | Op::GetRange => "read",
            Op::Head => "look up",
            Op::List => "list",
            Op::Delete => "delete",
        }
    }
}

/// What went wrong, as far as the caller has to tell the cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No object has this key.
    NotFound,
    /// An object with this key exists, and a create-only write did not touch it.
    AlreadyExists,
    /// The credentials are missing or wrong, or do not allow this.
    Denied,
    /// No space is left; nothing was written.
    Full,
    /// No reply in time; a write may have happened, or may still happen.
    Timeout,
    /// The connection or the store failed for now (5xx, 429, 409, a short reply); a write may have happened.
    Transient,
    /// The request cannot be right: a bad key, a range beyond the end, a bucket that does not exist.
    Invalid,
    /// The bytes are not the ones that were written.
    Damaged,
    /// Anything else; a write may have happened.
    Other,
}

/// An error of a [`Store`](crate::Store): which request, what kind, which key, and the source's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// Which request failed.
    pub op: Op,
    /// What the caller should tell apart.
    pub kind: StoreErrorKind,
    /// The key or prefix it was about.
    pub key: String,
    /// What the source said.
    pub detail: String,
}

impl StoreError {
    /// An error of `kind` that happened to `op` on `key`.
    pub fn new(op: Op, kind: StoreErrorKind, key: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { op, kind, key: key.into(), detail: detail.to_string() }
    }

    /// Whether the object is absent.
    pub fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::NotFound
    }

    /// Whether a create-only write met an object.
    pub fn is_already_exists(&self) -> bool {
        self.kind == StoreErrorKind::AlreadyExists
    }

    /// Whether the same request may succeed later. For a create-only write the caller must first find out
    /// what became of this one: see [`outcome_unknown`](Self::outcome_unknown).
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Timeout | StoreErrorKind::Transient)
    }

    /// Whether this was a write that may have happened, or may still happen.
    pub fn outcome_unknown(&self) -> bool {
        use StoreErrorKind::{Other, Timeout, Transient};
        self.op.is_write() && matches!(self.kind, Timeout | Transient | Other)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use StoreErrorKind as K;
        let (verb, key, detail) = (self.op.verb(), &self.key, &self.detail);
        match self.kind {
            K::NotFound => write!(f, "the store has no object `{key}`")?,
            K::AlreadyExists => write!(f, "the store has an object `{key}` already")?,
            K::Denied => {
                write!(f, "the store does not allow to {verb} `{key}`: check credentials and permissions")?
            }
            K::Full => write!(f, "cannot {verb} `{key}`: no space is left in the store")?,
            K::Timeout => write!(f, "the store did not answer in time to {verb} `{key}`")?,
            K::Transient => write!(f, "the store could not {verb} `{key}` for now")?,
            K::Damaged => write!(f, "the bytes of `{key}` are damaged")?,
            K::Invalid | K::Other => write!(f, "cannot {verb} `{key}`")?,
        }
        if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
    }
}

impl std::error::Error for StoreError {}

/// What a user sees where no caller knew better: a missing object is damage, since the manifest named it.
impl From<StoreError> for lodestone_types::Error {
    fn from(error: StoreError) -> Self {
        use StoreErrorKind as K;
        let kind = match error.kind {
            _ if error.outcome_unknown() => ErrorKind::OutcomeUnknown,
            K::NotFound | K::Damaged => ErrorKind::Damaged,
            K::AlreadyExists => ErrorKind::Conflict,
            K::Denied | K::Full | K::Transient => ErrorKind::Unavailable,
            K::Timeout => ErrorKind::Timeout,
            K::Invalid if error.op == Op::Open => ErrorKind::BadRequest,
            K::Invalid | K::Other => ErrorKind::Internal,
        };
        lodestone_types::Error::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_write_is_unknown_and_a_lost_read_is_not() {
        let lost = |op| StoreError::new(op, StoreErrorKind::Timeout, "wal/1", "no reply");
        assert!(lost(Op::PutNew).outcome_unknown());
        assert!(!lost(Op::Get).outcome_unknown());
        assert_eq!(lodestone_types::Error::from(lost(Op::Put)).kind, ErrorKind::OutcomeUnknown);
        assert_eq!(lodestone_types::Error::from(lost(Op::Get)).kind, ErrorKind::Timeout);
    }

    #[test]
    fn the_sentence_names_the_request_the_key_and_the_source() {
        let error = StoreError::new(Op::Put, StoreErrorKind::Denied, "wal/1", "403");
        let text = error.to_string();
        assert!(
            text.contains("write `wal/1`") && text.contains("credentials") && text.contains("(403)"),
            "{text}"
        );
    }
}
