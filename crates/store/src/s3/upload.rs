//! Multipart uploads. What is begun and neither completed nor aborted, as when a process is killed, stays in the bucket unseen and is
//! paid for until a lifecycle rule of the bucket removes it (`AbortIncompleteMultipartUpload`).

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use parking_lot::Mutex;

use super::S3Store;
use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::port::Store;
use crate::upload::Upload;

#[derive(Debug)]
pub(super) struct S3Upload<'a> {
    store: &'a S3Store,
    key: &'a str,
    path: Path,
    id: String,
    /// Of each piece what S3 calls it, and its length.
    pieces: Mutex<BTreeMap<u32, (PartId, u64)>>,
}

impl<'a> S3Upload<'a> {
    pub(super) async fn begin(store: &'a S3Store, key: &'a str) -> Result<Self> {
        let path = store.path(Op::Put, key)?;
        let id = store.request(Op::Put, key, 0, store.client.create_multipart(&path)).await?;
        Ok(Self { store, key, path, id, pieces: Mutex::default() })
    }

    /// Whether the object is there, as large as this one is. Nobody else writes under its key.
    async fn is_there(&self) -> Result<bool> {
        let length: u64 = self.pieces.lock().values().map(|(_, length)| length).sum();
        match self.store.head(self.key).await {
            Ok(meta) => Ok(meta.size == length),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Upload for S3Upload<'_> {
    async fn send(&self, number: u32, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        let payload = PutPayload::from(bytes);
        let put = self.store.client.put_part(&self.path, &self.id, number as usize, payload);
        let part = self.store.request(Op::Put, self.key, length, put).await?;
        self.pieces.lock().insert(number, (part, length));
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        let parts: Vec<PartId> = self.pieces.lock().values().map(|(part, _)| part.clone()).collect();
        let complete = self.store.client.complete_multipart(&self.path, &self.id, parts);
        let completed = self.store.request(Op::Put, self.key, 0, complete).await;
        match completed {
            // Where a reply was lost, the upload is no more because it has become the object.
            Err(error) if is_gone(&error) => match self.is_there().await? {
                true => Ok(()),
                false => Err(error),
            },
            completed => completed.map(drop),
        }
    }

    async fn abort(&self) -> Result<()> {
        let abort = self.store.client.abort_multipart(&self.path, &self.id);
        match self.store.request(Op::Delete, self.key, 0, abort).await {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }
}

fn is_gone(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::NotFound || error.detail.contains("NoSuchUpload")
}
