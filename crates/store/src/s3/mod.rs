//! S3 and its kind, through the `object_store` crate.
//!
//! That crate's own retries are off: only our caller knows whether a lost create-only write may be sent again,
//! and [`Retrying`](crate::Retrying) does the rest. Conditions are used for `If-None-Match: *` alone.

mod classify;
mod upload;

use std::fmt::Display;
use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, GetResult, HeaderValue, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, RetryConfig,
};

use self::classify::store_error;
use self::upload::S3Upload;
use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::key::{is_key_prefix, validate_key};
use crate::open::OpenOptions;
use crate::port::{ObjectInfo, ObjectMeta, Store, beyond_the_end, exact_length, range_is_empty};
use crate::upload::Upload;

/// The slowest transfer that is waited for.
const LEAST_BYTES_PER_SECOND: u64 = 1 << 20;
/// What S3 returns in one list request.
const KEYS_PER_REQUEST: usize = 1000;

/// Objects of a bucket, under an optional prefix that callers do not see.
#[derive(Debug)]
pub struct S3Store {
    client: AmazonS3,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    request_timeout: Duration,
}

impl S3Store {
    /// A store on `bucket` that keeps everything below `prefix`. Credentials and region come from the usual
    /// AWS variables, or from the role of the container or machine.
    pub fn open(bucket: &str, prefix: &str, options: &OpenOptions) -> Result<Self> {
        let location = format!("s3://{bucket}/{prefix}");
        let invalid = |why: &dyn Display| StoreError::new(Op::Open, StoreErrorKind::Invalid, &location, why);
        let prefix = prefix.trim_end_matches('/');
        if bucket.is_empty() {
            return Err(invalid(&"the bucket's name is missing: write s3://bucket or s3://bucket/prefix"));
        }
        if !prefix.is_empty() {
            validate_key(Op::Open, prefix).map_err(|e| invalid(&e.detail))?;
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        // One TLS provider for the whole process; if the binary has installed one already, that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder(bucket, options).build().map_err(|e| invalid(&e))?;
        Ok(Self { client, bucket: bucket.to_owned(), prefix, request_timeout: options.request_timeout })
    }

    fn path(&self, op: Op, key: &str) -> Result<Path> {
        validate_key(op, key)?;
        Path::parse(format!("{}{key}", self.prefix))
            .map_err(|e| StoreError::new(op, StoreErrorKind::Invalid, key, e))
    }

    /// Runs one request with a limit that grows with the bytes it moves.
    async fn request<T>(
        &self,
        op: Op,
        key: &str,
        bytes: u64,
        request: impl Future<Output = object_store::Result<T>> + Send,
    ) -> Result<T> {
        let limit = self.request_timeout + Duration::from_secs(bytes / LEAST_BYTES_PER_SECOND);
        match tokio::time::timeout(limit, request).await {
            Ok(result) => result.map_err(|e| store_error(op, key, &self.bucket, e)),
            Err(_) => {
                let why = format!("no reply within {limit:?}");
                Err(StoreError::new(op, StoreErrorKind::Timeout, key, why))
            }
        }
    }

    async fn write(&self, op: Op, key: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(op, key)?;
        let mode = if op == Op::PutNew { PutMode::Create } else { PutMode::Overwrite };
        let length = bytes.len() as u64;
        let put = self.client.put_opts(&path, PutPayload::from(bytes), PutOptions::from(mode));
        self.request(op, key, length, put).await.map(drop)
    }

    async fn open_object(&self, op: Op, key: &str, options: GetOptions) -> Result<GetResult> {
        let path = self.path(op, key)?;
        self.request(op, key, 0, self.client.get_opts(&path, options)).await
    }

    async fn body(&self, op: Op, key: &str, opened: GetResult, length: u64) -> Result<Bytes> {
        let bytes = self.request(op, key, length, opened.bytes()).await?;
        exact_length(op, key, bytes, length)
    }

    async fn list_request(
        &self,
        prefix: &str,
        options: PaginatedListOptions,
    ) -> Result<(Vec<ObjectInfo>, Option<String>)> {
        let full = format!("{}{prefix}", self.prefix);
        let sent = Some(full.as_str()).filter(|p| !p.is_empty());
        let reply = self.request(Op::List, prefix, 0, self.client.list_paginated(sent, options)).await?;
        let objects = reply.result.objects.into_iter().filter_map(|object| {
            Some(ObjectInfo {
                key: object.location.as_ref().strip_prefix(&self.prefix)?.to_owned(),
                size: object.size,
                last_modified: object.last_modified.timestamp_millis(),
            })
        });
        Ok((objects.collect(), reply.page_token))
    }
}

#[async_trait]
impl Store for S3Store {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.write(Op::PutNew, key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.write(Op::Put, key, bytes).await
    }

    async fn begin_upload<'a>(&'a self, key: &'a str) -> Result<Box<dyn Upload + 'a>> {
        Ok(Box::new(S3Upload::begin(self, key).await?))
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        let opened = self.open_object(Op::Get, key, GetOptions::default()).await?;
        let length = opened.meta.size;
        self.body(Op::Get, key, opened, length).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        validate_key(Op::GetRange, key)?;
        if range_is_empty(key, &range)? {
            return Ok(Bytes::new());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let opened = self.open_object(Op::GetRange, key, options).await?;
        if opened.range != range {
            return Err(beyond_the_end(key, &range, opened.meta.size));
        }
        self.body(Op::GetRange, key, opened, range.end - range.start).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        let path = self.path(Op::Head, key)?;
        let meta = self.request(Op::Head, key, 0, self.client.head(&path)).await?;
        Ok(ObjectMeta { size: meta.size, last_modified: meta.last_modified.timestamp_millis() })
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        let mut page: Vec<ObjectInfo> = Vec::new();
        if !is_key_prefix(prefix) {
            return Ok(page);
        }
        let mut token = None;
        while page.len() < limit {
            let options = PaginatedListOptions {
                offset: start_after.map(|after| format!("{}{after}", self.prefix)),
                max_keys: Some((limit - page.len()).min(KEYS_PER_REQUEST)),
                page_token: token,
                ..PaginatedListOptions::default()
            };
            let (objects, next) = self.list_request(prefix, options).await?;
            page.extend(objects);
            token = next;
            if token.is_none() {
                break;
            }
        }
        page.truncate(limit);
        in_order(prefix, start_after, page)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(Op::Delete, key)?;
        match self.request(Op::Delete, key, 0, self.client.delete(&path)).await {
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        }
    }
}

/// Recovery rests on the order of lists; S3's directory buckets, for one, do not keep it.
fn in_order(prefix: &str, start_after: Option<&str>, page: Vec<ObjectInfo>) -> Result<Vec<ObjectInfo>> {
    let starts_late =
        page.first().is_none_or(|first| start_after.is_none_or(|after| first.key.as_str() > after));
    if starts_late && page.is_sorted_by(|a, b| a.key < b.key) {
        return Ok(page);
    }
    let why = "this store does not list in the order of keys, which is needed";
    Err(StoreError::new(Op::List, StoreErrorKind::Invalid, prefix, why))
}

fn builder(bucket: &str, options: &OpenOptions) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env();
    if let Some(endpoint) = &options.s3_endpoint {
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint.trim_end_matches('/'));
    }
    if let Some(region) = &options.s3_region {
        builder = builder.with_region(region);
    }
    // An endpoint from the environment says by its scheme, as the option does, whether to encrypt.
    let endpoint = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    let plain = endpoint.is_some_and(|e| e.starts_with("http://"));
    // Certificates take longer to load than all else at the start, and with given keys there is nobody to check.
    let unchecked = plain && builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_some();
    builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(false)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_client_options(
            client_options(options).with_allow_http(plain).with_no_system_certificates(unchecked),
        )
}

fn client_options(options: &OpenOptions) -> ClientOptions {
    ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(concat!("lodestone/", env!("CARGO_PKG_VERSION"))))
        .with_connect_timeout(options.connect_timeout)
        // Requests are limited one by one, by their size.
        .with_timeout_disabled()
        // S3 closes what is idle for longer; a request on a closed connection would fail for nothing.
        .with_pool_idle_timeout(Duration::from_secs(15))
}
