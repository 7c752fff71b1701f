//! An upload is a file of its own under `.staging`, as every write is, which gets its pieces one by one.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use bytes::Bytes;

use super::LocalStore;
use super::directory::{Directory, directory_error};
use crate::direct::DirectWriter;
use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::pieces::in_pieces;
use crate::upload::{UPLOAD_PIECE, Upload};

/// An upload, and the store that it goes to.
#[derive(Debug)]
pub(super) struct LocalUpload<'a> {
    pub(super) store: &'a LocalStore,
    pub(super) key: &'a str,
    pub(super) file: Arc<StagedFile>,
}

/// A file that is not under its name yet. What stays of it is swept, as all of that kind.
#[derive(Debug)]
pub(super) struct StagedFile {
    file: File,
    path: PathBuf,
    /// How long it is once all pieces are there.
    length: AtomicU64,
}

impl StagedFile {
    pub(super) fn create(directory: &Directory, key: &str) -> Result<Self> {
        let path = directory.next_staged();
        let file = directory.create_staged(&path).map_err(|e| directory_error(Op::Put, key, &e))?;
        Ok(Self { file, path, length: AtomicU64::new(0) })
    }

    /// Synced at once: all of a large file at its end would take longer than anybody waits.
    fn write(&self, number: u32, bytes: &[u8]) -> io::Result<()> {
        let start = u64::from(number) * UPLOAD_PIECE;
        let mut writer = DirectWriter::new(self.file.try_clone()?, &self.path, start)?;
        in_pieces(bytes.len(), |range| writer.add(&bytes[range]))?;
        writer.finish()?;
        self.file.sync_data()?;
        self.length.fetch_max(start + bytes.len() as u64, Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Upload for LocalUpload<'_> {
    async fn send(&self, number: u32, bytes: Bytes) -> Result<()> {
        let file = self.file.clone();
        let write = move |_: &Directory, key: &str| {
            file.write(number, &bytes).map_err(|e| directory_error(Op::Put, key, &e))
        };
        self.store.blocking(Op::Put, self.key, write).await
    }

    async fn complete(&self) -> Result<()> {
        let file = self.file.clone();
        let publish = move |directory: &Directory, key: &str| {
            file.file.sync_all().map_err(|e| directory_error(Op::Put, key, &e))?;
            match directory.publish_staged(key, &file.path) {
                // It may have its name already: who asks again did not hear so.
                Err(error) if !file.path.exists() => match fs::metadata(directory.path(key)) {
                    Ok(there) if there.len() == file.length.load(Relaxed) => Ok(()),
                    _ => Err(error),
                },
                published => published,
            }
        };
        self.store.blocking(Op::Put, self.key, publish).await
    }

    async fn abort(&self) -> Result<()> {
        let file = self.file.clone();
        let remove = move |_: &Directory, key: &str| match fs::remove_file(&file.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::new(Op::Delete, StoreErrorKind::Other, key, e))
            }
            _ => Ok(()),
        };
        self.store.blocking(Op::Delete, self.key, remove).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::STAGING;
    use crate::port::Store;

    #[tokio::test]
    async fn nothing_stays_in_staging_of_an_upload_that_ends() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path()).unwrap();
        let staged = || fs::read_dir(dir.path().join(STAGING)).unwrap().count();
        for completes in [true, false] {
            let upload = store.begin_upload("a/b").await.unwrap();
            upload.send(0, Bytes::from_static(b"1")).await.unwrap();
            assert_eq!(staged(), 1);
            let ended = if completes { upload.complete().await } else { upload.abort().await };
            ended.unwrap();
            assert_eq!((staged(), store.get("a/b").await.unwrap()), (0, Bytes::from_static(b"1")));
        }
    }

    #[tokio::test]
    async fn an_upload_that_has_lost_its_file_is_no_object() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path()).unwrap();
        store.put("a", Bytes::from_static(b"another")).await.unwrap();
        let upload = store.begin_upload("a").await.unwrap();
        upload.send(0, Bytes::from_static(b"12345")).await.unwrap();
        upload.abort().await.unwrap();
        assert!(upload.complete().await.is_err());
        assert_eq!(store.get("a").await.unwrap(), "another");
        assert!(store.begin_upload("a/b").await.unwrap().complete().await.is_err());
    }
}
