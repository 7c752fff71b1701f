//! A kept range as a file to be read here and there.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::slot::PartId;
use super::{PartCache, file};
use crate::direct::{Backend, DirectFile};

/// How a kept range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Past the page cache, many reads at once.
    Direct,
    /// Through the page cache.
    Cached,
}

/// The open file of a part.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: DirectFile,
    /// CRC-32C of each page.
    pages: Vec<u32>,
    pub(super) access: Access,
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
    pub(super) fn open(
        cache: &PartCache,
        dir: &std::path::Path,
        id: PartId,
        access: Access,
    ) -> io::Result<Self> {
        let (file, pages) = file::open(dir, &id, access)?;
        let open = Arc::new(OpenFile { file, pages, access, gone: AtomicBool::new(false) });
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

    /// Appends the bytes of `ranges`, counted from the start of the part, to `out`; see [`DirectFile::read_many`].
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
