//! A kept range as a file to be read here and there.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

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

/// The open file of a part. It is closed when the part has to go, so that its room on the disk is free.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: Mutex<Option<Arc<DirectFile>>>,
    /// CRC-32C of each page.
    pages: Vec<u32>,
    pub(super) access: Access,
}

impl OpenFile {
    pub(super) fn close(&self) {
        self.file.lock().take();
    }
}

/// A range that is kept as a file. What is read is checked page by page, each time. A range that had to go meanwhile, or is
/// damaged, gives an error; who then asks the cache for it again gets what the bucket has.
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
        let open = Arc::new(OpenFile { file: Mutex::new(Some(Arc::new(file))), pages, access });
        Ok(Self { cache: cache.clone(), id, open })
    }

    pub(super) fn share(cache: &PartCache, id: PartId, open: Arc<OpenFile>) -> Self {
        Self { cache: cache.clone(), id, open }
    }

    pub(super) fn opened(&self) -> &Arc<OpenFile> {
        &self.open
    }

    /// Whether it had to go or turned out to be damaged.
    pub fn is_closed(&self) -> bool {
        self.open.file.lock().is_none()
    }

    /// Appends the bytes of `ranges`, counted from the start of the part, to `out`; see [`DirectFile::read_many`].
    pub fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> io::Result<Backend> {
        if ranges.iter().any(|range| range.end > self.id.end - self.id.start) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the part"));
        }
        let file = self.open.file.lock().clone();
        let file = file.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it had to go"))?;
        let read = file.read_checked(ranges, &self.open.pages, out);
        if let Err(error) = &read {
            self.cache.forget_damaged(&self.id, error);
        }
        read
    }
}
