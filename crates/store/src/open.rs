use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::local::LocalStore;
use crate::memory::MemoryStore;
use crate::port::Store;
use crate::s3::S3Store;

/// How to reach a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Base URL of an S3 service other than AWS; before `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL`.
    pub s3_endpoint: Option<String>,
    /// Region of the bucket; before `AWS_REGION` and `AWS_DEFAULT_REGION`, and `us-east-1` without any.
    pub s3_region: Option<String>,
    /// The longest wait for a connection: 3 s.
    pub connect_timeout: Duration,
    /// The longest wait for a reply, and a second more for each MiB that moves: 15 s.
    pub request_timeout: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            s3_endpoint: None,
            s3_region: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(15),
        }
    }
}

/// Opens the store at `url`: a directory (`DIR` or `file:///DIR`), `s3://bucket/prefix`, or `memory://`.
/// A directory is made if needed; a bucket is not asked yet ([`probe`](crate::probe) does that).
pub fn open(url: &str, options: &OpenOptions) -> Result<Arc<dyn Store>> {
    let invalid = |why: &str| StoreError::new(Op::Open, StoreErrorKind::Invalid, url, why);
    match url.split_once("://") {
        None if url.is_empty() => Err(invalid("name a directory or s3://bucket/prefix")),
        None => Ok(Arc::new(LocalStore::open(Path::new(url))?)),
        Some(("file", path)) if path.starts_with('/') => Ok(Arc::new(LocalStore::open(Path::new(path))?)),
        Some(("file", _)) => Err(invalid("write file:///DIR with three slashes")),
        Some(("s3", rest)) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            Ok(Arc::new(S3Store::open(bucket, prefix, options)?))
        }
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::new())),
        Some(("memory", _)) => Err(invalid("write memory:// and nothing after it")),
        Some(_) => Err(invalid("not supported yet: use a directory, s3://bucket/prefix or memory://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_open_or_say_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, url) = (dir.path().join("a"), format!("file://{}", dir.path().join("b").display()));
        let open = |url: &str| open(url, &OpenOptions::default());
        assert!(open(plain.to_str().unwrap()).is_ok() && open(&url).is_ok());
        assert!(plain.is_dir() && dir.path().join("b").is_dir());
        assert!(open("memory://").is_ok());
        for bad in ["", "file://a", "s3://", "s3:///p", "s3://b/../x", "gs://b", "memory://x"] {
            let error = open(bad).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Invalid, "{bad}: {error}");
            assert_eq!(lodestone_types::Error::from(error).kind, lodestone_types::ErrorKind::BadRequest);
        }
    }
}
