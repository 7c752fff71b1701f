//! A kept range as a file to be read here and there.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::slot::PartId;
use super::{PartCache, file};
use crate::batch::{Backend, BatchFile};

/// The open file of a part.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: BatchFile,
    /// CRC-32C of each page.
    pages: Vec<u32>,
    /// Whether the cache has forgotten it.
    gone: AtomicBool,
}

impl OpenFile {
    /// Says whether it was gone before.
    pub(super) fn note_gone(&self) -> bool {
        self.gone.swap(true, Relaxed)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }
}

/// A range that is kept as a file. What is read is checked page by page, each time. A range that is damaged gives an error; who
/// then asks the cache for it again gets what the bucket has. One that had to go stays readable, and takes its room on the disk,
/// until all who have it let go.
#[derive(Debug)]
pub struct KeptPart {
    cache: PartCache,
    id: PartId,
    open: Arc<OpenFile>,
}

impl KeptPart {
    pub(super) fn open(cache: &PartCache, dir: &std::path::Path, id: PartId) -> io::Result<Self> {
        let (file, pages) = file::open(dir, &id)?;
        let open = Arc::new(OpenFile { file, pages, gone: AtomicBool::new(false) });
        Ok(Self { cache: cache.clone(), id, open })
    }

    pub(super) fn share(cache: &PartCache, id: PartId, open: Arc<OpenFile>) -> Self {
        Self { cache: cache.clone(), id, open }
    }

    pub(super) fn opened(&self) -> &Arc<OpenFile> {
        &self.open
    }

    /// Whether it had to go or turned out to be damaged.
    pub fn is_gone(&self) -> bool {
        self.open.is_gone()
    }

    /// Appends the bytes of `ranges`, counted from the start of the part, to `out`; see [`BatchFile::read_many`].
    pub fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> io::Result<Backend> {
        if ranges.iter().any(|range| range.end > self.id.end - self.id.start) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the part"));
        }
        let read = self.open.file.read_checked(ranges, &self.open.pages, out);
        if let Err(error) = &read {
            self.cache.forget_damaged(&self.id, Some(&self.open), error);
        }
        read
    }
}
