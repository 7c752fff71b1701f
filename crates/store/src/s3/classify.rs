//! What an error of `object_store` means to us.

use std::error::Error;

use object_store::Error as Source;
use object_store::client::{HttpError, HttpErrorKind};

use crate::error::{Op, StoreError, StoreErrorKind};

pub(super) fn store_error(op: Op, key: &str, bucket: &str, error: Source) -> StoreError {
    let text = chain(&error);
    if text.contains("NoSuchBucket") {
        let why = format!("the bucket `{bucket}` does not exist: create it first");
        return StoreError::new(op, StoreErrorKind::Invalid, key, why);
    }
    if text.contains("169.254.169.254") {
        let why =
            "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role";
        return StoreError::new(op, StoreErrorKind::Denied, key, why);
    }
    StoreError::new(op, kind(op, &error, &text), key, text)
}

fn kind(op: Op, error: &Source, text: &str) -> StoreErrorKind {
    use StoreErrorKind as K;
    match error {
        Source::NotFound { .. } if matches!(op, Op::PutNew | Op::Put | Op::List) => K::Invalid,
        Source::NotFound { .. } => K::NotFound,
        // A 412 says that the object exists. A 409 says only that two writes met, and not which one won.
        Source::AlreadyExists { source, .. } if is_precondition(source.as_ref()) => K::AlreadyExists,
        Source::AlreadyExists { .. } => K::Transient,
        Source::PermissionDenied { .. } | Source::Unauthenticated { .. } => K::Denied,
        Source::InvalidPath { .. } | Source::NotSupported { .. } | Source::NotImplemented { .. } => {
            K::Invalid
        }
        Source::Precondition { .. } | Source::NotModified { .. } => K::Invalid,
        Source::UnknownConfigurationKey { .. } => K::Invalid,
        _ => match (status(text), transport(error)) {
            (Some(status), _) => of_status(status, text),
            (None, Some(HttpErrorKind::Timeout)) => K::Timeout,
            (None, Some(_)) => K::Transient,
            // A 200 that turned out to be none: what takes S3 long begins its answer before it knows the end.
            (None, None) if text.contains("Server returned error response") => K::Transient,
            (None, None) => K::Other,
        },
    }
}

fn is_precondition(source: &(dyn Error + Send + Sync + 'static)) -> bool {
    matches!(source.downcast_ref(), Some(Source::Precondition { .. } | Source::NotModified { .. }))
}

fn of_status(status: u16, text: &str) -> StoreErrorKind {
    use StoreErrorKind as K;
    /// Answers with status 400 that concern credentials, or a connection that was too slow.
    const STALE_CREDENTIALS: [&str; 3] = ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"];
    match status {
        507 => K::Full,
        _ if text.contains("StorageFull") => K::Full,
        400 if text.contains("RequestTimeout") => K::Transient,
        400 if STALE_CREDENTIALS.iter().any(|code| text.contains(code)) => K::Denied,
        401 | 403 => K::Denied,
        404 => K::NotFound,
        408 | 425 | 429 | 500..=599 | 200..=299 => K::Transient,
        300..=499 => K::Invalid,
        _ => K::Other,
    }
}

/// The HTTP status, which `object_store` keeps in a private type and shows only in words.
fn status(text: &str) -> Option<u16> {
    const BEFORE: &str = "status code: ";
    let at = text.find(BEFORE)? + BEFORE.len();
    text.get(at..at + 3)?.parse().ok()
}

fn transport(error: &Source) -> Option<HttpErrorKind> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(http) = current.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        next = current.source();
    }
    None
}

/// The error and its causes in one line, each cause once: most of them repeat their own cause.
fn chain(error: &Source) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text.replace(['\r', '\n'], " ")
}
