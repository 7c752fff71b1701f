use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::{io_error, parent};
use crate::error::{Op, Result, StoreError, StoreErrorKind};
use crate::key::STAGING;
use crate::pieces::in_pieces;

/// Staging files older than this belong to writers that are gone.
const STALE: Duration = Duration::from_secs(3600);
/// Directories known to be durable that are remembered at most.
const REMEMBERED_DIRECTORIES: usize = 10_000;
/// How deep below the root opening syncs directories: the logs whose names decide lie this high.
const SYNCED_DEPTH: usize = 2;

/// The blocking half of the local store: how a write gets its name, and when that name is durable.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    staging: PathBuf,
    /// Distinguishes the staging files of processes that share the directory.
    instance: String,
    next: AtomicU64,
    /// Directories whose own names are synced.
    durable: Mutex<HashSet<PathBuf>>,
    /// Keys that have their name but whose directory is not synced yet, with the number of their writers.
    publishing: Mutex<HashMap<String, usize>>,
}

impl Directory {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let failed = |e: &io::Error| open_error(root, e);
        make_root(root).map_err(|e| failed(&e))?;
        let root = fs::canonicalize(root).map_err(|e| failed(&e))?;
        let staging = root.join(STAGING);
        match fs::create_dir(&staging) {
            // Staging may be missing in a directory that can only be read: writes will say so.
            Err(e)
                if !matches!(
                    e.kind(),
                    io::ErrorKind::AlreadyExists
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                return Err(failed(&e));
            }
            _ => {}
        }
        sweep(&staging, SystemTime::now());
        sync_below(&root, SYNCED_DEPTH).map_err(|e| failed(&e))?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok(Self {
            durable: Mutex::new(HashSet::from([root.clone()])),
            root,
            staging,
            instance: format!("{}-{started}", std::process::id()),
            next: AtomicU64::new(0),
            publishing: Mutex::default(),
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        // The key was validated: relative, and without `..`.
        self.root.join(key)
    }

    /// Writes `bytes` under `key`; with [`Op::PutNew`] only if the name is free.
    pub(super) fn write(&self, op: Op, key: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(key);
        self.refuse_taken(op, key, &path)?;
        let staged = self.stage(op, key, bytes)?;
        let published = self.publish(op, key, &staged, &path);
        if op == Op::PutNew || published.is_err() {
            // The name under `.staging`; a rename has taken it along. What stays is swept later.
            let _ = fs::remove_file(&staged);
        }
        published
    }

    /// Makes an object durable whose writer has not got so far yet; nothing to do for all others.
    pub(super) fn settle(&self, op: Op, key: &str) -> Result<()> {
        let pending = self.publishing.lock().contains_key(key);
        if pending { self.sync_parent(op, key, &self.path(key)) } else { Ok(()) }
    }

    fn refuse_taken(&self, op: Op, key: &str, path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let why = "other keys lie below it, and a directory cannot hold both";
                Err(StoreError::new(op, StoreErrorKind::Invalid, key, why))
            }
            Ok(_) if op == Op::PutNew => Err(self.taken(key, path)),
            _ => Ok(()),
        }
    }

    /// The error for a name that is taken, after making sure that it stays taken.
    fn taken(&self, key: &str, path: &Path) -> StoreError {
        match self.sync_parent(Op::PutNew, key, path) {
            Ok(()) => StoreError::new(Op::PutNew, StoreErrorKind::AlreadyExists, key, ""),
            Err(error) => error,
        }
    }

    fn stage(&self, op: Op, key: &str, bytes: &[u8]) -> Result<PathBuf> {
        let staged = self.next_staged();
        let written = self.create_staged(&staged).and_then(|mut file| {
            in_pieces(bytes.len(), |range| file.write_all(&bytes[range]))?;
            file.sync_all()
        });
        match written {
            Ok(()) => Ok(staged),
            Err(error) => {
                let _ = fs::remove_file(&staged);
                Err(directory_error(op, key, &error))
            }
        }
    }

    /// The path of a staging file that nobody else has.
    pub(super) fn next_staged(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.staging.join(format!("{}-{number}", self.instance))
    }

    /// Gives a staged file that is synced its name, and replaces what has it.
    pub(super) fn publish_staged(&self, key: &str, staged: &Path) -> Result<()> {
        let path = self.path(key);
        self.refuse_taken(Op::Put, key, &path)?;
        self.publish(Op::Put, key, staged, &path)
    }

    pub(super) fn create_staged(&self, staged: &Path) -> io::Result<File> {
        match File::create_new(staged) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.staging)?;
                File::create_new(staged)
            }
            other => other,
        }
    }

    fn publish(&self, op: Op, key: &str, staged: &Path, path: &Path) -> Result<()> {
        self.ensure_directory(&parent(path)).map_err(|e| directory_error(op, key, &e))?;
        let _publishing = Publishing::enter(self, key);
        let mut named = name(op, staged, path);
        if named.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            // Somebody removed the directory that was known to be there.
            self.durable.lock().retain(|known| known == &self.root);
            self.ensure_directory(&parent(path)).map_err(|e| directory_error(op, key, &e))?;
            named = name(op, staged, path);
        }
        match named {
            Ok(()) => self.sync_parent(op, key, path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(self.taken(key, path)),
            Err(e) if op == Op::PutNew && lacks_hard_links(&e) => {
                let why = format!(
                    "this file system has no hard links, so nothing can be created exactly once: {e}"
                );
                Err(StoreError::new(op, StoreErrorKind::Invalid, key, why))
            }
            Err(e) => Err(directory_error(op, key, &e)),
        }
    }

    fn sync_parent(&self, op: Op, key: &str, path: &Path) -> Result<()> {
        // An error here leaves the name in place: the outcome is unknown, whatever the cause.
        sync_directory(&parent(path)).map_err(|e| StoreError::new(op, StoreErrorKind::Other, key, e))
    }

    /// Makes `directory` and what is above it, each synced into its parent before anything is put below it.
    /// The lock covers it all, so nobody takes for durable what another is just making.
    fn ensure_directory(&self, directory: &Path) -> io::Result<()> {
        let mut durable = self.durable.lock();
        if durable.contains(directory) {
            return Ok(());
        }
        let Ok(relative) = directory.strip_prefix(&self.root) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if durable.len() > REMEMBERED_DIRECTORIES {
            durable.clear();
        }
        let mut current = self.root.clone();
        for segment in relative {
            let above = current.clone();
            current.push(segment);
            if durable.contains(&current) {
                continue;
            }
            match fs::create_dir(&current) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && current.is_dir() => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                other => other?,
            }
            sync_directory(&above)?;
            durable.insert(current.clone());
        }
        Ok(())
    }
}

/// Marks a key as named but not yet durable, for as long as it lives.
struct Publishing<'a> {
    directory: &'a Directory,
    key: &'a str,
}

impl<'a> Publishing<'a> {
    fn enter(directory: &'a Directory, key: &'a str) -> Self {
        *directory.publishing.lock().entry(key.to_owned()).or_default() += 1;
        Self { directory, key }
    }
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        let mut publishing = self.directory.publishing.lock();
        if let Some(writers) = publishing.get_mut(self.key) {
            *writers -= 1;
            if *writers == 0 {
                publishing.remove(self.key);
            }
        }
    }
}

fn name(op: Op, staged: &Path, path: &Path) -> io::Result<()> {
    if op == Op::PutNew { fs::hard_link(staged, path) } else { fs::rename(staged, path) }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Making the directory for a key fails as a write fails, never as "not found".
pub(super) fn directory_error(op: Op, key: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotADirectory => {
            let why = "a key above it is an object, and a directory cannot hold both";
            StoreError::new(op, StoreErrorKind::Invalid, key, why)
        }
        io::ErrorKind::NotFound => StoreError::new(op, StoreErrorKind::Other, key, error),
        _ => io_error(op, key, error),
    }
}

fn open_error(root: &Path, error: &io::Error) -> StoreError {
    let key = root.display().to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            StoreError::new(Op::Open, StoreErrorKind::Invalid, key, "it is a file, not a directory")
        }
        _ => io_error(Op::Open, &key, error),
    }
}

/// The file was just written there, so a refusal of a second name means the file system has none to give.
fn lacks_hard_links(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, Unsupported};
    matches!(error.kind(), Unsupported | PermissionDenied | CrossesDevices)
}

/// Makes the root and syncs its name and those of the directories made above it.
fn make_root(root: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        root.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    fs::create_dir_all(root)?;
    for made in missing {
        let above = match made.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        sync_directory(above)?;
    }
    Ok(())
}

/// Syncs `directory` and the directories below it down to `depth`.
fn sync_below(directory: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if depth > 0 && entry.file_type()?.is_dir() && entry.file_name() != STAGING {
            sync_below(&entry.path(), depth - 1)?;
        }
    }
    sync_directory(directory)
}

/// Removes staging files of writers that are gone; what cannot be removed waits for the next time.
fn sweep(staging: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(staging) else { return };
    for entry in entries.flatten() {
        let age =
            entry.metadata().and_then(|m| m.modified()).map(|t| now.duration_since(t).unwrap_or_default());
        if age.is_ok_and(|age| age > STALE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
