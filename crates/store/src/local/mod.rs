//! A directory used as a bucket.
//!
//! A write goes to a file of its own under `.staging`, is synced, gets its name by a rename (replace) or by a
//! hard link (create-only: the file system lets exactly one link win), and the directory is synced before the
//! write returns. Three things go beyond that, so that nobody acts on what a power failure would take back:
//! new directories are made and synced one at a time under a lock; whoever loses a create-only write syncs the
//! directory before hearing so; and a read of an object whose writer has not finished syncs it first. Opening
//! syncs the upper directories, because a killed writer may have left names there that were not yet synced.
//!
//! `object_store::local` was looked at and not used: with `with_fsync(true)` a put into a directory that another
//! put is just making may return before that directory's own name is synced, a losing create-only put returns
//! before the winner is durable, lists come unsorted from a walk of everything below the prefix, and crashed
//! puts leave `key#1` files among the objects that no list shows.

mod directory;
mod listing;
mod upload;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use self::directory::Directory;
use self::upload::{LocalUpload, StagedFile};
use crate::direct::DirectReader;
use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::key::{PROBE, validate_key};
use crate::port::{ObjectInfo, ObjectMeta, Store, beyond_the_end, exact_length, range_is_empty, unix_ms};
use crate::upload::Upload;

/// Ranges of so many bytes or more are read past the page cache, unless that has them: who asks for so much keeps it.
const LARGE: usize = 1 << 20;

/// Objects as files under a directory. File work runs on tokio's blocking threads.
#[derive(Debug, Clone)]
pub struct LocalStore {
    directory: Arc<Directory>,
}

impl LocalStore {
    /// Opens `root`, making it if needed, and clears away what writers killed long ago were preparing.
    pub fn open(root: &Path) -> Result<Self> {
        Ok(Self { directory: Arc::new(Directory::open(root)?) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        op: Op,
        key: &str,
        work: impl FnOnce(&Directory, &str) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let directory = self.directory.clone();
        let owned = key.to_owned();
        match tokio::task::spawn_blocking(move || work(&directory, &owned)).await {
            Ok(result) => result,
            Err(join) => Err(StoreError::new(op, StoreErrorKind::Other, key, join)),
        }
    }

    async fn write(&self, op: Op, key: &str, bytes: Bytes) -> Result<()> {
        validate_key(op, key)?;
        self.blocking(op, key, move |directory, key| directory.write(op, key, &bytes)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        op: Op,
        key: &str,
        read: impl FnOnce(&Object) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(op, key, move |directory, key| {
            let object = Object::open(directory.path(key)).map_err(|e| io_error(op, key, &e))?;
            let value = read(&object)?;
            directory.settle(op, key)?;
            Ok(value)
        })
        .await
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.write(Op::PutNew, key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.write(Op::Put, key, bytes).await
    }

    async fn begin_upload<'a>(&'a self, key: &'a str) -> Result<Box<dyn Upload + 'a>> {
        validate_key(Op::Put, key)?;
        let file = self.blocking(Op::Put, key, StagedFile::create).await?;
        Ok(Box::new(LocalUpload { store: self, key, file: Arc::new(file) }))
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        validate_key(Op::Get, key)?;
        let owned = key.to_owned();
        self.read(Op::Get, key, move |object| read_exactly(Op::Get, &owned, object, 0..object.size)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        validate_key(Op::GetRange, key)?;
        if range_is_empty(key, &range)? {
            return Ok(Bytes::new());
        }
        let owned = key.to_owned();
        self.read(Op::GetRange, key, move |object| {
            if range.end > object.size {
                return Err(beyond_the_end(&owned, &range, object.size));
            }
            read_exactly(Op::GetRange, &owned, object, range)
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        validate_key(Op::Head, key)?;
        let owned = key.to_owned();
        self.read(Op::Head, key, move |object| {
            let modified = object.file.metadata().and_then(|m| m.modified());
            let modified = modified.map_err(|e| io_error(Op::Head, &owned, &e))?;
            Ok(ObjectMeta { size: object.size, last_modified: unix_ms(modified) })
        })
        .await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        let after = start_after.map(str::to_owned);
        self.blocking(Op::List, prefix, move |directory, prefix| {
            let page = listing::page(directory.root(), prefix, after.as_deref(), limit)
                .map_err(|e| io_error(Op::List, prefix, &e))?;
            for object in &page {
                directory.settle(Op::List, &object.key)?;
            }
            Ok(page)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        validate_key(Op::Delete, key)?;
        self.blocking(Op::Delete, key, |directory, key| {
            let path = directory.path(key);
            match fs::remove_file(&path) {
                Ok(()) => {
                    remove_empty_above(directory.root(), &path);
                    Ok(())
                }
                Err(e) if is_absent(&e) => Ok(()),
                Err(e) => Err(io_error(Op::Delete, key, &e)),
            }
        })
        .await
    }
}

/// Removes the directories that a probe leaves empty. Others stay: they fill again, and a write that finds its directory
/// gone has to make it durable anew.
fn remove_empty_above(root: &Path, path: &Path) {
    if path.starts_with(root.join(PROBE)) {
        let mut above = path.ancestors().skip(1).take_while(|directory| *directory != root);
        // The first that is not empty ends it.
        let _ = above.try_for_each(fs::remove_dir);
    }
}

/// An object that is open.
struct Object {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Object {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self { path, file, size: metadata.len() })
    }

    /// Fewer bytes where the file ends before.
    fn read(&self, range: &Range<u64>, length: usize) -> io::Result<Vec<u8>> {
        if length >= LARGE {
            let mut bytes = vec![0; length];
            let read = DirectReader::new(&self.file, &self.path).read_exact_at(&mut bytes, range.start);
            return match read {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
                read => read.map(|()| bytes),
            };
        }
        let mut bytes = Vec::with_capacity(length);
        (&self.file).seek(SeekFrom::Start(range.start))?;
        (&self.file).take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn read_exactly(op: Op, key: &str, object: &Object, range: Range<u64>) -> Result<Bytes> {
    let length = range.end - range.start;
    let in_memory = usize::try_from(length)
        .map_err(|_| StoreError::new(op, StoreErrorKind::Invalid, key, "the range does not fit in memory"))?;
    let bytes = object.read(&range, in_memory).map_err(|e| io_error(op, key, &e))?;
    exact_length(op, key, bytes.into(), length)
}

/// Whether nothing is there; a file where a directory would have to be says so too.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn io_error(op: Op, key: &str, error: &io::Error) -> StoreError {
    use StoreErrorKind as K;
    use io::ErrorKind as E;
    /// `EMFILE` and `ENFILE`, which have no [`io::ErrorKind`]: too many open files pass.
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    let kind = match error.kind() {
        _ if !op.is_write() && is_absent(error) => K::NotFound,
        E::NotFound => K::NotFound,
        E::AlreadyExists => K::AlreadyExists,
        E::PermissionDenied | E::ReadOnlyFilesystem => K::Denied,
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => K::Full,
        E::TimedOut => K::Timeout,
        E::Interrupted | E::WouldBlock | E::ResourceBusy => K::Transient,
        E::NotADirectory | E::IsADirectory | E::InvalidFilename => K::Invalid,
        _ if error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => K::Transient,
        _ => K::Other,
    };
    StoreError::new(op, kind, key, error)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::STAGING;

    fn open(root: &Path) -> LocalStore {
        LocalStore::open(root).unwrap()
    }

    #[tokio::test]
    async fn nothing_stays_in_staging_after_writes_that_win_or_lose() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.put_new("a/b/c", Bytes::from_static(b"1")).await.unwrap();
        store.put("a/b/c", Bytes::from_static(b"2")).await.unwrap();
        let lost = store.put_new("a/b/c", Bytes::from_static(b"3")).await.unwrap_err();
        assert!(lost.is_already_exists());
        assert_eq!(fs::read_dir(dir.path().join(STAGING)).unwrap().count(), 0);
        assert_eq!(store.get("a/b/c").await.unwrap(), "2");
    }

    #[tokio::test]
    async fn a_key_that_is_a_directory_is_refused_and_reads_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.put("a/b", Bytes::new()).await.unwrap();
        for op in [store.put("a", Bytes::new()).await, store.put_new("a", Bytes::new()).await] {
            assert_eq!(op.unwrap_err().kind, StoreErrorKind::Invalid);
        }
        assert_eq!(store.put("a/b/c", Bytes::new()).await.unwrap_err().kind, StoreErrorKind::Invalid);
        assert!(store.get("a").await.unwrap_err().is_not_found());
        assert!(store.head("a/b/c").await.unwrap_err().is_not_found());
        store.delete("a/b/c").await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_removed_behind_the_store_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.put("a/b/c", Bytes::from_static(b"1")).await.unwrap();
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        store.put_new("a/b/c", Bytes::from_static(b"2")).await.unwrap();
        assert_eq!(store.get("a/b/c").await.unwrap(), "2");
    }

    #[tokio::test]
    async fn opening_clears_old_staging_files_and_leaves_young_ones() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path());
        let (old, young) = (dir.path().join(STAGING).join("old"), dir.path().join(STAGING).join("young"));
        fs::write(&old, b"x").unwrap();
        fs::write(&young, b"x").unwrap();
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
        File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        let store = open(dir.path());
        assert!(!old.exists() && young.exists());
        assert!(store.list("", None, 10).await.unwrap().is_empty());
    }

    /// A staging directory on another device, from which no link leads to the keys.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn without_hard_links_a_create_says_so() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        if device(dir.path()) == device(other.path()) {
            eprintln!("skipped: needs two devices");
            return;
        }
        symlink(other.path(), dir.path().join(STAGING)).unwrap();
        let error = open(dir.path()).put_new("a", Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid);
        assert!(error.to_string().contains("no hard links"), "{error}");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_place_of_the_root_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        let error = LocalStore::open(&file).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    }
}
