//! Objects that are sent in pieces, for they are larger than memory should be filled with.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::error::Result;
use crate::port::Store;

/// All pieces of an upload but the last have this many bytes: S3 takes 10,000 of them, and none below 5 MiB.
pub const UPLOAD_PIECE: u64 = 16 << 20;

/// An object on its way into a store, of which nothing is to be seen until it is complete. What is sent and never completed nor
/// aborted may take room in the store.
#[async_trait]
pub trait Upload: Debug + Send + Sync {
    /// Sends a piece, counted from zero. Pieces may come in any order, side by side and again.
    async fn send(&self, number: u32, bytes: Bytes) -> Result<()>;

    /// Makes the object of all pieces, or replaces the one that is there. May be asked again where the outcome is not known.
    async fn complete(&self) -> Result<()>;

    /// Removes what was sent.
    async fn abort(&self) -> Result<()>;
}

/// An upload to a store that takes objects whole: in memory until it is complete.
#[derive(Debug)]
pub(crate) struct Collected<'a, S: ?Sized> {
    store: &'a S,
    key: &'a str,
    pieces: Mutex<BTreeMap<u32, Bytes>>,
}

impl<'a, S: Store + ?Sized> Collected<'a, S> {
    pub(crate) fn new(store: &'a S, key: &'a str) -> Self {
        Self { store, key, pieces: Mutex::default() }
    }
}

#[async_trait]
impl<S: Store + ?Sized> Upload for Collected<'_, S> {
    async fn send(&self, number: u32, bytes: Bytes) -> Result<()> {
        self.pieces.lock().insert(number, bytes);
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        let mut object = BytesMut::new();
        self.pieces.lock().values().for_each(|piece| object.extend_from_slice(piece));
        self.store.put(self.key, object.freeze()).await
    }

    async fn abort(&self) -> Result<()> {
        self.pieces.lock().clear();
        Ok(())
    }
}
