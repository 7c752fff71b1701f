//! Where the bucket is, as a user names it: a directory, or `s3://bucket/prefix`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lodestone_types::{Error, Result};
use serde::Deserialize;

/// The bucket that holds everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreLocation {
    /// A local directory used as a bucket.
    Directory(PathBuf),
    /// A bucket of S3 or of a store that speaks its protocol.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// What every key starts with; empty, or without `/` at either end.
        prefix: String,
    },
}

impl StoreLocation {
    /// Where what is disposable goes unless the user says otherwise: beside a local store, else a directory of
    /// its own under `cache_root`, so that two stores never share one.
    pub fn default_local(&self, endpoint: Option<&str>, cache_root: &Path) -> PathBuf {
        match self {
            StoreLocation::Directory(dir) => {
                let mut name = dir.as_os_str().to_owned();
                name.push(".local");
                PathBuf::from(name)
            }
            StoreLocation::S3 { .. } => {
                let whole = format!("{}|{self}", endpoint.unwrap_or_default());
                cache_root.join(file_name(&whole))
            }
        }
    }
}

/// Letters, digits, `.` and `-` stay; every other byte becomes `_` and its hex, so no two texts meet.
fn file_name(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => char::from(b).to_string(),
            _ => format!("_{b:02x}"),
        })
        .collect()
}

impl FromStr for StoreLocation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return directory(text);
        };
        match scheme {
            "file" => directory(rest),
            "s3" => s3(rest),
            _ => Err(Error::unsupported(format!(
                "store `{text}`: not supported yet: `{scheme}://`; use a directory or s3://bucket/prefix"
            ))),
        }
    }
}

fn directory(path: &str) -> Result<StoreLocation> {
    // A slash at the end would put `.local` inside the store instead of beside it.
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return Err(Error::bad_request(format!(
            "store `{path}`: name a directory other than the root, or s3://bucket/prefix"
        )));
    }
    Ok(StoreLocation::Directory(PathBuf::from(trimmed)))
}

fn s3(rest: &str) -> Result<StoreLocation> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if bucket.is_empty() || !bucket.bytes().all(legal) {
        return Err(Error::bad_request(format!(
            "store `s3://{rest}`: `{bucket}` is not a bucket's name; write s3://bucket or s3://bucket/prefix"
        )));
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
        return Err(Error::bad_request(format!(
            "store `s3://{rest}`: a prefix must not have empty, `.` or `..` parts"
        )));
    }
    Ok(StoreLocation::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

impl TryFrom<String> for StoreLocation {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreLocation::Directory(dir) => dir.display().fmt(f),
            StoreLocation::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            StoreLocation::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> StoreLocation {
        text.parse().unwrap()
    }

    #[test]
    fn both_kinds_are_read() {
        assert_eq!(parse("./data/"), StoreLocation::Directory("./data".into()));
        assert_eq!(parse("file:///srv/data"), StoreLocation::Directory("/srv/data".into()));
        let s3 = |b: &str, p: &str| StoreLocation::S3 { bucket: b.into(), prefix: p.into() };
        assert_eq!(parse("s3://b"), s3("b", ""));
        assert_eq!(parse("s3://b/"), s3("b", ""));
        assert_eq!(parse("s3://b/x/y/"), s3("b", "x/y"));
        assert_eq!(parse("s3://b/x/y/").to_string(), "s3://b/x/y");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "/", "s3://", "s3:///x", "s3://b ucket", "s3://b/../x", "s3://b/x//y", "gs://b", "file://"]
        {
            assert!(text.parse::<StoreLocation>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_disposable_has_a_place_of_its_own() {
        let root = Path::new("/cache");
        assert_eq!(parse("data/").default_local(None, root), Path::new("data.local"));
        let places = [
            parse("s3://b/a-b").default_local(None, root),
            parse("s3://b/a/b").default_local(None, root),
            parse("s3://b/a/b").default_local(Some("http://127.0.0.1:9000"), root),
            parse("s3://b/a/b").default_local(Some("http://127.0.0.1:9001"), root),
        ];
        for (i, place) in places.iter().enumerate() {
            assert_eq!(place.parent(), Some(root), "{place:?}");
            assert!(!places[..i].contains(place), "{place:?}");
        }
    }
}
