use lodestone_manifest::{Epoch, Refused, Slot, Violation};
use lodestone_store::StoreError;
use lodestone_types::Error;

/// A result with a [`MetaError`].
pub type Result<T, E = MetaError> = std::result::Result<T, E>;

/// Why the meta group did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MetaError {
    /// Another process has claimed the bucket; this one must stop.
    #[error("another process has taken over the bucket (claim {0}); this one serves nothing more")]
    Deposed(Epoch),
    /// The leader is stopping.
    #[error("the process is stopping; send the request again to its successor")]
    Stopping,
    /// See [`Refused`].
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What became of the slot is not known here.
    #[error("it is not known whether the write in slot {0} was applied; read, or send the same write again")]
    Unknown(Slot),
    /// Who was writing is gone.
    #[error(
        "the process stopped while it wrote; it is not known whether the write was applied; read, or send the same write again"
    )]
    Abandoned,
    /// The bucket failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the bucket holds cannot be.
    #[error("the bucket is damaged: {0}")]
    Damaged(String),
    /// The state broke an invariant; nothing more is written.
    #[error("internal error, nothing more is written down: {0}")]
    Violation(#[from] Violation),
    /// What a write depends on could not be read; nothing was written.
    #[error(transparent)]
    Resolve(Error),
    /// This process only reads.
    #[error(
        "this process only answers reads, its role is `query`; send this to a process with all roles on the same store"
    )]
    ReadOnly,
    /// The instance that holds the claim answers.
    #[error("{0}")]
    Held(String),
}

impl From<MetaError> for Error {
    fn from(error: MetaError) -> Self {
        let message = error.to_string();
        match error {
            MetaError::Deposed(_) | MetaError::Stopping => Error::unavailable(message),
            MetaError::Refused(_) => Error::busy(message, std::time::Duration::from_millis(200)),
            MetaError::Unknown(_) | MetaError::Abandoned => Error::outcome_unknown(message),
            MetaError::Store(e) => e.into(),
            MetaError::Damaged(_) => Error::damaged(message),
            MetaError::Violation(_) => Error::internal(message),
            MetaError::Resolve(e) => e,
            MetaError::ReadOnly => Error::forbidden(message),
            MetaError::Held(_) => Error::unavailable(message),
        }
    }
}
