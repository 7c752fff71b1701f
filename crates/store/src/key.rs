use crate::error::{Op, Result, StoreError, StoreErrorKind};

/// Where [`LocalStore`](crate::LocalStore) prepares files; no key may start with it, in any store.
pub(crate) const STAGING: &str = ".staging";

/// What [`probe`](crate::probe) puts its objects under; nobody else does.
pub(crate) const PROBE: &str = "probe";

const MAX_KEY_BYTES: usize = 900;
const MAX_SEGMENT_BYTES: usize = 255;

/// Refuses a key that some store could not hold: at most 900 bytes, segments of 1 to 255 bytes between single
/// slashes, none of them `.` or `..`, no control characters, and nothing under `.staging`.
pub fn validate_key(op: Op, key: &str) -> Result<()> {
    fault(key).map_or(Ok(()), |why| Err(StoreError::new(op, StoreErrorKind::Invalid, key, why)))
}

/// Whether any key can start with `prefix`; some services refuse to list what cannot.
pub(crate) fn is_key_prefix(prefix: &str) -> bool {
    let directory = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
    !prefix.starts_with('/')
        && (directory.is_empty() || fault(directory).is_none())
        && !prefix.chars().any(char::is_control)
}

fn fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("a key must not be empty");
    }
    if key.len() > MAX_KEY_BYTES {
        return Some("a key must not be longer than 900 bytes");
    }
    if key.chars().any(char::is_control) {
        return Some("a key must not hold control characters");
    }
    if key.split('/').next() == Some(STAGING) {
        return Some("keys under `.staging` are reserved");
    }
    for segment in key.split('/') {
        match segment {
            "" => return Some("a key must not start or end with a slash or hold two in a row"),
            "." | ".." => return Some("a key must not hold a `.` or `..` segment"),
            _ if segment.len() > MAX_SEGMENT_BYTES => {
                return Some("a segment must not be longer than 255 bytes");
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_every_store_can_hold_pass() {
        for good in ["a", "a/b", "wal/0001", "ä ö#1", "a/.b", "...", "a%2Fb", "a+b=c&d?e", "x.staging"] {
            assert!(validate_key(Op::Put, good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        let longer = "x/".repeat(451) + "x";
        for bad in ["", "/", "/a", "a/", "a//b", ".", "a/../b", "a\nb", "a\0", ".staging/x", &long, &longer] {
            assert!(validate_key(Op::Put, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_good_if_some_key_starts_with_it() {
        for good in ["", "a", "a/", "a/b", "a/.", "a/..", ".stag"] {
            assert!(is_key_prefix(good), "{good}");
        }
        for bad in ["/", "/a", "a//", "a//b", "../a", "a/../", "./", "a\n", ".staging/"] {
            assert!(!is_key_prefix(bad), "{bad:?}");
        }
    }
}
