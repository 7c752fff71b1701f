//! A kept range as a file to be read here and there.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use crate::direct::{Backend, DirectFile};

/// A range that is kept as a file. It can be read for as long as this lives, whatever becomes of the file's name.
#[derive(Debug)]
pub struct KeptPart {
    file: DirectFile,
    map: Arc<Mmap>,
    length: u64,
}

impl KeptPart {
    pub(super) fn new(file: DirectFile, map: Arc<Mmap>, length: u64) -> Self {
        Self { file, map, length }
    }

    /// Appends the bytes of `ranges`, counted from the start of the part, to `out`; see [`DirectFile::read_many`].
    pub fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> io::Result<Backend> {
        if ranges.iter().any(|range| range.end > self.length) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the part"));
        }
        self.file.read_many(ranges, out)
    }

    /// Lets go of the memory that reading through the map took. Whoever reads there again gets the same bytes, at the
    /// price of a page fault.
    pub fn forget_map(&self) {
        #[cfg(unix)]
        {
            // SAFETY: the map is of a file, shared and never written to, so what is let go of is read again from the
            // file, whose bytes do not change (see `file::open`).
            let let_go = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            if let Err(error) = let_go {
                tracing::debug!(%error, "the kernel keeps pages that are not needed");
            }
        }
    }
}
