//! From the one [`Error`] to a gRPC status, the code of its kind and its sentence, and back.

use std::time::Duration;

use lodestone_types::{Error, ErrorKind};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// A status travels in a header, and headers are small; messages may quote what the user sent.
const MAX_MESSAGE_BYTES: usize = 2048;

/// The status that tells a client of `error`.
pub(super) fn from_error(error: Error) -> Status {
    if matches!(error.kind, ErrorKind::Internal | ErrorKind::Damaged | ErrorKind::OutcomeUnknown) {
        tracing::error!(kind = ?error.kind, "{}", error.message);
    }
    let mut status = Status::new(code(error.kind), shortened(error.message.into_owned()));
    if let Some(wait) = error.retry_after {
        // Clients read whole seconds; too early only costs another refusal, so never 0.
        let seconds = (wait.as_secs_f64().ceil() as u64).max(1);
        status.metadata_mut().insert("retry-after", MetadataValue::from(seconds));
    }
    status
}

/// The code of each kind.
fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::BadRequest | ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Unauthorized => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::TooLarge | ErrorKind::LimitReached | ErrorKind::Busy => Code::ResourceExhausted,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Unavailable | ErrorKind::LostCopy => Code::Unavailable,
        ErrorKind::OutcomeUnknown => Code::Unknown,
        ErrorKind::Damaged => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

/// What a server's answer means to the caller: [`from_error`] read backwards, as far as codes tell kinds apart.
pub(super) fn to_error(status: &Status) -> Error {
    let wait = status.metadata().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
    let kind = match status.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => ErrorKind::BadRequest,
        Code::Unauthenticated => ErrorKind::Unauthorized,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::Conflict,
        Code::ResourceExhausted if wait.is_some() => ErrorKind::Busy,
        Code::ResourceExhausted => ErrorKind::TooLarge,
        Code::Unimplemented => ErrorKind::Unsupported,
        // `Cancelled` is what a request gets that was cut off on its way.
        Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Timeout,
        Code::Unavailable | Code::Aborted => ErrorKind::Unavailable,
        Code::DataLoss => ErrorKind::Damaged,
        Code::Unknown => ErrorKind::OutcomeUnknown,
        Code::Internal | Code::Ok => ErrorKind::Internal,
    };
    Error { retry_after: wait.map(Duration::from_secs), ..Error::new(kind, status.message().to_owned()) }
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_must_know_comes_back() {
        for kind in [
            ErrorKind::BadRequest,
            ErrorKind::Unauthorized,
            ErrorKind::Forbidden,
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::TooLarge,
            ErrorKind::Unsupported,
            ErrorKind::Timeout,
            ErrorKind::Unavailable,
            ErrorKind::OutcomeUnknown,
            ErrorKind::Damaged,
            ErrorKind::Internal,
        ] {
            let back = to_error(&from_error(Error::new(kind, "why")));
            assert_eq!((back.kind, &*back.message), (kind, "why"));
        }
        let back = to_error(&from_error(Error::busy("slow down", Duration::from_secs(3))));
        assert_eq!((back.kind, back.retry_after), (ErrorKind::Busy, Some(Duration::from_secs(3))));
    }

    #[test]
    fn busy_says_when_to_come_back() {
        let status = from_error(Error::busy("slow down", Duration::from_millis(1200)));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get("retry-after").unwrap(), "2");
        let status = from_error(Error::busy("slow down", Duration::ZERO));
        assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let status = from_error(Error::bad_request("ä".repeat(100_000)));
        assert!(status.message().len() <= MAX_MESSAGE_BYTES + 3);
        assert!(status.message().ends_with("ä..."));
    }
}
