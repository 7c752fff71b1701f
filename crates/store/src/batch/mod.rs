//! Few bytes here and there out of large files, many reads at once.
//!
//! A memory map is read one page fault after another by whoever touches it. Here all reads of a batch are under way at
//! once: by io_uring, or, where the kernel refuses it (containers often do), by `pread` after telling the kernel all that
//! will be wanted. Which of the two is found out once per process. Waiting is sleeping: nothing here spins, and no thread of
//! its own is needed.
//!
//! Reads go through the page cache, which keeps what it has room for and gives it back when that is wanted for something
//! else. Nothing is read ahead. Measured in `docs/0004-vector-index.md`.

mod piece;
#[cfg(target_os = "linux")]
mod uring;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use self::piece::{Piece, Plan};

/// Bytes that have a checksum of their own where reads are checked.
pub const PAGE: usize = 4096;
/// Bytes that one batch reads into.
const BUFFER: usize = 1 << 20;
/// Reads of one batch.
const BATCH: usize = 64;
/// Buffers, and rings with them, that wait for the next batch; more than are ever busy on most machines.
const IDLE: usize = 64;

/// How batches are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// All at once, by the kernel.
    IoUring,
    /// One after the other.
    Pread,
}

impl Backend {
    /// What this process uses, found out when first asked for.
    pub fn of_process() -> Self {
        static CHOSEN: OnceLock<Backend> = OnceLock::new();
        *CHOSEN.get_or_init(|| match Desk::with_ring() {
            Ok(desk) => {
                DESKS.put_back(desk);
                Backend::IoUring
            }
            Err(error) => {
                tracing::info!(%error, "the kernel gives no io_uring; vectors on disk are read with pread");
                Backend::Pread
            }
        })
    }

    /// The name, for people and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Backend::IoUring => "io_uring",
            Backend::Pread => "pread",
        }
    }
}

/// A file that is read here and there. It stays readable after it was deleted.
#[derive(Debug)]
pub struct BatchFile {
    file: File,
    length: u64,
    backend: Backend,
}

impl BatchFile {
    /// Opens a file for the backend of this process.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_for(path, Backend::of_process())
    }

    fn open_for(path: &Path, backend: Backend) -> io::Result<Self> {
        let file = File::open(path)?;
        expect_random_reads(&file);
        let length = file.metadata()?.len();
        Ok(Self { file, length, backend })
    }

    /// Bytes of the file when it was opened.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Appends the bytes of `ranges` to `out`, one range after another, and says how they were read. A range past the
    /// end of the file is an error of kind `UnexpectedEof`, and then `out` is as it was.
    pub fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> io::Result<Backend> {
        self.read(ranges, None, out)
    }

    /// As [`BatchFile::read_many`], of whole pages of [`PAGE`] bytes, each with the checksum that `pages` has for it. Anything
    /// else is an error of kind `InvalidData`. Pages beyond those of `pages` are past the end.
    pub fn read_checked(
        &self,
        ranges: &[Range<u64>],
        pages: &[u32],
        out: &mut Vec<u8>,
    ) -> io::Result<Backend> {
        self.read(ranges, Some(pages), out)
    }

    fn read(&self, ranges: &[Range<u64>], pages: Option<&[u32]>, out: &mut Vec<u8>) -> io::Result<Backend> {
        self.read_at(&DESKS, ranges, pages, out)
    }

    fn read_at(
        &self,
        desks: &Desks,
        ranges: &[Range<u64>],
        pages: Option<&[u32]>,
        out: &mut Vec<u8>,
    ) -> io::Result<Backend> {
        if let Some(range) = ranges.iter().find(|r| r.start > r.end || r.end > self.length) {
            let why = format!("bytes {}..{} of a file of {}", range.start, range.end, self.length);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        let before = out.len();
        let mut desk = desks.take(self.backend);
        let mut plan = Plan::new(ranges, if pages.is_some() { PAGE as u64 } else { 1 });
        while let Some(mut pieces) = plan.next_batch(BATCH, BUFFER) {
            let read = desk.read(self, &mut pieces, desks);
            let checked = read.and_then(|()| pages.map_or(Ok(()), |pages| desk.check(&pieces, pages)));
            if let Err(error) = checked {
                out.truncate(before);
                desks.put_back(desk);
                return Err(error);
            }
            pieces.iter().for_each(|piece| out.extend_from_slice(&desk.buffer[piece.wanted()]));
        }
        let backend = desk.backend();
        desks.put_back(desk);
        Ok(backend)
    }

    /// Tells the page cache what will be read next, all at once.
    fn announce(&self, pieces: &[Piece]) {
        #[cfg(target_os = "linux")]
        if pieces.len() > 1 {
            use std::os::fd::AsRawFd;
            for piece in pieces {
                let (offset, length) = (piece.offset() as libc::off_t, piece.length() as libc::off_t);
                // SAFETY: advice about a descriptor that is open; no memory is involved.
                unsafe {
                    libc::posix_fadvise(self.file.as_raw_fd(), offset, length, libc::POSIX_FADV_WILLNEED)
                };
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = pieces;
    }
}

/// Has the page cache fetch what is read and nothing after it.
fn expect_random_reads(file: &File) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: advice about a descriptor that is open; no memory is involved.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// What one batch needs: a buffer, and a ring where there are any. Kept between batches.
struct Desk {
    buffer: Box<[u8]>,
    #[cfg(target_os = "linux")]
    ring: Option<uring::Ring>,
}

/// Desks that wait for the next batch.
struct Desks {
    with_ring: Mutex<Vec<Desk>>,
    plain: Mutex<Vec<Desk>>,
    /// A ring that failed takes its buffer with it, so none is tried again.
    ring_failed: AtomicBool,
}

static DESKS: Desks = Desks::new();

impl Desks {
    const fn new() -> Self {
        Self {
            with_ring: Mutex::new(Vec::new()),
            plain: Mutex::new(Vec::new()),
            ring_failed: AtomicBool::new(false),
        }
    }

    /// A desk for `backend`, or without a ring where the kernel has none to give at the moment, or one has failed.
    fn take(&self, backend: Backend) -> Desk {
        if backend == Backend::IoUring && !self.ring_failed.load(Ordering::Relaxed) {
            let idle = self.with_ring.lock().pop();
            if let Ok(desk) = idle.map_or_else(Desk::with_ring, Ok) {
                return desk;
            }
        }
        self.plain.lock().pop().unwrap_or_else(Desk::plain)
    }

    fn put_back(&self, desk: Desk) {
        let has_ring = desk.backend() == Backend::IoUring;
        if has_ring && self.ring_failed.load(Ordering::Relaxed) {
            // It was in use while another one failed.
            return;
        }
        let mut desks = if has_ring { self.with_ring.lock() } else { self.plain.lock() };
        if desks.len() < IDLE {
            desks.push(desk);
        }
    }

    fn note_ring_failed(&self) {
        self.ring_failed.store(true, Ordering::Relaxed);
        self.with_ring.lock().clear();
    }
}

impl Desk {
    fn plain() -> Self {
        Self {
            buffer: vec![0; BUFFER].into(),
            #[cfg(target_os = "linux")]
            ring: None,
        }
    }

    #[cfg(target_os = "linux")]
    fn with_ring() -> io::Result<Self> {
        Ok(Self { ring: Some(uring::Ring::new(BATCH as u32)?), ..Self::plain() })
    }

    #[cfg(not(target_os = "linux"))]
    fn with_ring() -> io::Result<Self> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn backend(&self) -> Backend {
        #[cfg(target_os = "linux")]
        if self.ring.is_some() {
            return Backend::IoUring;
        }
        Backend::Pread
    }

    /// Reads all `pieces` into the buffer.
    fn read(&mut self, file: &BatchFile, pieces: &mut [Piece], desks: &Desks) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(ring) = &mut self.ring
            && let Err(error) = ring.read(&file.file, pieces, &mut self.buffer)
        {
            tracing::warn!(%error, "io_uring failed; from now on vectors on disk are read with pread");
            desks.note_ring_failed();
            // The kernel may still write to the buffer: nobody may have it again.
            std::mem::forget(std::mem::replace(self, Self::plain()));
            pieces.iter_mut().for_each(Piece::restart);
        }
        if self.backend() == Backend::Pread {
            file.announce(pieces);
        }
        // What a ring left undone too: reads that were short or failed say here why.
        pieces.iter_mut().try_for_each(|piece| piece.finish(&file.file, &mut self.buffer))
    }

    /// Holds what was read to the checksums of its pages.
    fn check(&self, pieces: &[Piece], pages: &[u32]) -> io::Result<()> {
        let is_right = |piece: &Piece| {
            let first = (piece.offset() / PAGE as u64) as usize;
            let read = self.buffer[piece.place()].chunks(PAGE).map(crc32c::crc32c);
            piece.is_whole()
                && pages.get(first..).is_some_and(|expected| {
                    expected.len() >= read.len() && read.zip(expected).all(|(is, expected)| is == *expected)
                })
        };
        if pieces.iter().all(is_right) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a page does not have its checksum"))
    }
}

#[cfg(test)]
mod tests;
