//! Who may do what: an API key for everything and one for reading only.

use std::fmt;

use lodestone_types::{Error, Result};
use subtle::ConstantTimeEq;

/// A secret. It is never printed, and comparing it takes the same time whatever was guessed.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes the secret. An empty one matches nothing.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    fn matches(&self, given: &str) -> bool {
        !self.0.is_empty() && bool::from(self.0.as_bytes().ct_eq(given.as_bytes()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Full,
    /// Whatever changes nothing.
    ReadOnly,
}

impl Access {
    /// An error unless writing is allowed.
    pub fn require_write(self) -> Result<()> {
        match self {
            Access::Full => Ok(()),
            Access::ReadOnly => {
                Err(Error::forbidden("Forbidden: this API key is read-only; write access is required"))
            }
        }
    }
}

/// The keys of a server. With none at all, everybody may do everything.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    /// Allows everything.
    pub full: Option<ApiKey>,
    /// Allows reading. Needs `full` beside it: alone it would lock every writer out.
    pub read_only: Option<ApiKey>,
}

impl ApiKeys {
    /// What the bearer of `given` may do. Both keys are always compared.
    pub fn access(&self, given: Option<&str>) -> Result<Access> {
        if self.full.is_none() && self.read_only.is_none() {
            return Ok(Access::Full);
        }
        let Some(given) = given else {
            return Err(Error::unauthorized("Must provide an API key or an Authorization bearer token"));
        };
        let full = self.full.as_ref().is_some_and(|k| k.matches(given));
        let read_only = self.read_only.as_ref().is_some_and(|k| k.matches(given));
        match (full, read_only) {
            (true, _) => Ok(Access::Full),
            (_, true) => Ok(Access::ReadOnly),
            _ => Err(Error::unauthorized("Invalid API key or bearer token")),
        }
    }

    /// The key within an `Authorization` header: what follows `Bearer`.
    pub fn bearer(header: &str) -> Option<&str> {
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestone_types::ErrorKind;

    #[test]
    fn each_key_opens_its_own_door() {
        let keys = ApiKeys { full: Some(ApiKey::new("all")), read_only: Some(ApiKey::new("some")) };
        assert_eq!(keys.access(Some("all")).unwrap(), Access::Full);
        assert_eq!(keys.access(Some("some")).unwrap(), Access::ReadOnly);
        for wrong in [None, Some(""), Some("al"), Some("alll"), Some("ALL")] {
            assert_eq!(keys.access(wrong).unwrap_err().kind, ErrorKind::Unauthorized, "{wrong:?}");
        }
        assert_eq!(Access::ReadOnly.require_write().unwrap_err().kind, ErrorKind::Forbidden);
    }

    #[test]
    fn no_key_is_an_open_door_and_an_empty_key_a_closed_one() {
        assert_eq!(ApiKeys::default().access(None).unwrap(), Access::Full);
        let closed = ApiKeys { full: Some(ApiKey::new("")), read_only: None };
        assert!(closed.access(Some("")).is_err());
    }

    #[test]
    fn bearer_tokens_are_found_and_keys_not_printed() {
        assert_eq!(ApiKeys::bearer("Bearer abc"), Some("abc"));
        assert_eq!(ApiKeys::bearer("bearer abc"), Some("abc"));
        assert_eq!(ApiKeys::bearer("Basic abc"), None);
        assert!(!format!("{:?}", ApiKey::new("hush")).contains("hush"));
    }
}
