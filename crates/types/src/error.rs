use std::borrow::Cow;

/// What the caller should do about an error. Each kind has one HTTP status and one gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong; the message says what to change (400, `INVALID_ARGUMENT`).
    BadRequest,
    /// A well-formed body that fails validation (422, `INVALID_ARGUMENT`).
    Invalid,
    /// No or a wrong key (401, `UNAUTHENTICATED`).
    Unauthorized,
    /// The key does not allow this (403, `PERMISSION_DENIED`).
    Forbidden,
    /// The named thing does not exist (404, `NOT_FOUND`).
    NotFound,
    /// The named thing exists already (409, `ALREADY_EXISTS`).
    Conflict,
    /// The body is over the limit (413, `RESOURCE_EXHAUSTED`).
    TooLarge,
    /// The answer would take more than the request allows; the message says how much (422, `RESOURCE_EXHAUSTED`).
    LimitReached,
    /// Slow down and come back after the named time (429, `RESOURCE_EXHAUSTED`).
    Busy,
    /// A known feature of Qdrant that Lodestone does not have yet (501, `UNIMPLEMENTED`).
    Unsupported,
    /// The request took longer than its own limit; reads may simply be sent again (408, `DEADLINE_EXCEEDED`).
    Timeout,
    /// The bucket or the leader cannot be reached; nothing was changed, send again later (503, `UNAVAILABLE`).
    Unavailable,
    /// It is not known whether the write was applied. Read, or send the same write again (500, `UNKNOWN`).
    OutcomeUnknown,
    /// Stored bytes are missing or damaged (500, `DATA_LOSS`).
    Damaged,
    /// What this process keeps of the bucket is gone or damaged, and is fetched anew when asked again (503, `UNAVAILABLE`).
    LostCopy,
    /// A fault of ours (500, `INTERNAL`).
    Internal,
}

/// The one error type that reaches a user: a kind, and a sentence that says what to change.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller should do.
    pub kind: ErrorKind,
    /// One sentence for a person.
    pub message: Cow<'static, str>,
    /// For [`ErrorKind::Busy`]: when to come back.
    pub retry_after: Option<std::time::Duration>,
}

/// A result with the shared [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
                Self::new(ErrorKind::$kind, message)
            })*
        }
    };
}

constructors! {
    /// See [`ErrorKind::BadRequest`].
    bad_request => BadRequest,
    /// See [`ErrorKind::Invalid`].
    invalid => Invalid,
    /// See [`ErrorKind::Unauthorized`].
    unauthorized => Unauthorized,
    /// See [`ErrorKind::Forbidden`].
    forbidden => Forbidden,
    /// See [`ErrorKind::NotFound`].
    not_found => NotFound,
    /// See [`ErrorKind::Conflict`].
    conflict => Conflict,
    /// See [`ErrorKind::TooLarge`].
    too_large => TooLarge,
    /// See [`ErrorKind::LimitReached`].
    limit_reached => LimitReached,
    /// See [`ErrorKind::Unsupported`].
    unsupported => Unsupported,
    /// See [`ErrorKind::Timeout`].
    timeout => Timeout,
    /// See [`ErrorKind::Unavailable`].
    unavailable => Unavailable,
    /// See [`ErrorKind::OutcomeUnknown`].
    outcome_unknown => OutcomeUnknown,
    /// See [`ErrorKind::Damaged`].
    damaged => Damaged,
    /// See [`ErrorKind::LostCopy`].
    lost_copy => LostCopy,
    /// See [`ErrorKind::Internal`].
    internal => Internal,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// See [`ErrorKind::Busy`].
    pub fn busy(message: impl Into<Cow<'static, str>>, retry_after: std::time::Duration) -> Self {
        Self { kind: ErrorKind::Busy, message: message.into(), retry_after: Some(retry_after) }
    }

    /// The error for a collection that does not exist.
    pub fn no_collection(name: &str) -> Self {
        Self::not_found(format!("Not found: Collection `{name}` doesn't exist!"))
    }

    /// Whether sending the same request again may succeed without changing it.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::LostCopy | ErrorKind::Timeout
        )
    }
}
