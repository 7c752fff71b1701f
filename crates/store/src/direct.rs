//! Large files, written and read past the page cache.
//!
//! What goes to a file and is read from there once or twice soon after, whole, only takes room in the page cache from what is
//! read often. And a page that a machine has not used before may cost more than the write: where a virtual machine is
//! given memory when it is first touched, a GiB through the page cache takes three and a half seconds of a processor, past
//! it a tenth of one (`docs/0006-cache.md`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::MmapMut;
use parking_lot::Mutex;

use crate::pieces::{self, in_pieces};

/// Reads and writes past the page cache begin and end at multiples of this: hardly a disk has larger blocks.
const BLOCK: usize = 4096;
/// Bytes of one read or write: with fewer, asking takes longer than copying.
const STEP: usize = 1 << 20;
/// Buffers that wait to be used again.
const IDLE: usize = 8;

static IDLE_BUFFERS: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// Memory that begins at a page, as reads and writes past the page cache want it; the same for one after the other.
#[derive(Debug)]
struct Buffer(Option<MmapMut>);

impl Buffer {
    fn take() -> io::Result<Self> {
        let idle = IDLE_BUFFERS.lock().pop();
        Ok(Self(Some(idle.map_or_else(|| MmapMut::map_anon(STEP), Ok)?)))
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = IDLE_BUFFERS.lock();
        if idle.len() < IDLE {
            idle.extend(self.0.take());
        }
    }
}

/// Writes to a file, one byte after another: whole blocks past the page cache, where that is possible. Of no use after an error.
#[derive(Debug)]
pub(crate) struct DirectWriter {
    file: File,
    /// The same file, past the page cache.
    direct: Option<File>,
    buffer: Buffer,
    filled: usize,
    at: u64,
}

impl DirectWriter {
    /// Writes to `file`, which is called `path`, from `at` on, where a block begins.
    pub fn new(file: File, path: &Path, at: u64) -> io::Result<Self> {
        debug_assert!(at.is_multiple_of(BLOCK as u64), "a block begins there");
        let direct = open_direct(File::options().write(true), path, &file);
        Ok(Self { file, direct, buffer: Buffer::take()?, filled: 0, at })
    }

    /// Adds what comes next.
    pub fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(STEP - self.filled));
            self.buffer.bytes()[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = rest;
            if self.filled == STEP {
                self.write_blocks(STEP)?;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        let (filled, whole) = (self.filled, self.filled - self.filled % BLOCK);
        self.write_blocks(whole)?;
        self.file.write_all_at(&self.buffer.bytes()[whole..filled], self.at)
    }

    /// Writes so many bytes of the buffer.
    fn write_blocks(&mut self, length: usize) -> io::Result<()> {
        let (bytes, at) = (&self.buffer.bytes()[..length], self.at);
        let through = |bytes: &[u8], at| self.file.write_all_at(bytes, at);
        match &self.direct {
            None => through(bytes, at)?,
            Some(direct) => {
                if !put_blocks(bytes, at, |bytes, at| direct.write_at(bytes, at), through)? {
                    self.direct = None;
                }
            }
        }
        self.at += length as u64;
        Ok(())
    }
}

/// Writes whole blocks past the page cache, or through it as soon as that does not work; whether it did.
fn put_blocks(
    mut bytes: &[u8],
    mut at: u64,
    past: impl Fn(&[u8], u64) -> io::Result<usize>,
    through: impl Fn(&[u8], u64) -> io::Result<()>,
) -> io::Result<bool> {
    use io::ErrorKind::{Interrupted, QuotaExceeded, StorageFull};
    while !bytes.is_empty() {
        let written = match past(bytes, at) {
            Err(error) if error.kind() == Interrupted => continue,
            Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded) => return Err(error),
            // Some file systems open files so, and refuse to write.
            Err(_) => 0,
            Ok(written) => written,
        };
        (bytes, at) = (&bytes[written..], at + written as u64);
        if written == 0 || !written.is_multiple_of(BLOCK) {
            return through(bytes, at).map(|()| false);
        }
    }
    Ok(true)
}

/// Reads a file: what the page cache has from there, and the rest past it, where that is possible.
#[derive(Debug)]
pub(crate) struct DirectReader<'a> {
    file: &'a File,
    /// The same file, past the page cache.
    direct: Option<File>,
}

impl<'a> DirectReader<'a> {
    /// Reads `file`, which is called `path`.
    pub fn new(file: &'a File, path: &Path) -> Self {
        Self { file, direct: open_direct(File::options().read(true), path, file) }
    }

    /// Fills `out` with what there is from `at` on.
    pub fn read_exact_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) if page_cache_has(self.file, at, out.len()) == Some(false) => {
                self.read_past(direct, out, at)
            }
            _ => self.read_through(out, at),
        }
    }

    fn read_past(&self, direct: &File, out: &mut [u8], at: u64) -> io::Result<()> {
        let (Ok(mut buffer), mut done) = (Buffer::take(), 0) else { return self.read_through(out, at) };
        while done < out.len() {
            let wanted = at + done as u64;
            let before = (wanted % BLOCK as u64) as usize;
            let length = (before + out.len() - done).next_multiple_of(BLOCK).min(STEP);
            match direct.read_at(&mut buffer.bytes()[..length], wanted - before as u64) {
                Ok(read) if read > before => {
                    let found = &buffer.bytes()[before..read.min(before + out.len() - done)];
                    pieces::copy(found, &mut out[done..]);
                    done += found.len();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The end of the file, or a file system that opens files so and refuses to read: this tells.
                Ok(_) | Err(_) => return self.read_through(&mut out[done..], wanted),
            }
        }
        Ok(())
    }

    fn read_through(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        in_pieces(out.len(), |range| {
            self.file.read_exact_at(&mut out[range.clone()], at + range.start as u64)
        })
    }
}

/// The same file past the page cache; `None` where there is no such thing, or another file has the path by now. Nor where the kernel
/// does not tell what the page cache has: what was written past it would be read through it, which is no better than to write through it.
#[cfg(target_os = "linux")]
fn open_direct(options: &mut OpenOptions, path: &Path, file: &File) -> Option<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    page_cache_has(file, 0, 1)?;
    let direct = options.custom_flags(libc::O_DIRECT).open(path).ok()?;
    let (one, other) = (file.metadata().ok()?, direct.metadata().ok()?);
    ((one.dev(), one.ino()) == (other.dev(), other.ino())).then_some(direct)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &mut OpenOptions, _: &Path, _: &File) -> Option<File> {
    None
}

/// Whether the page cache has all these bytes, where the kernel tells (Linux 6.5 and later).
pub(crate) fn page_cache_has(file: &File, at: u64, length: usize) -> Option<bool> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let range = [at, length as u64];
        // Pages that are in the cache, dirty, being written, evicted, and evicted lately.
        let mut counts = [0u64; 5];
        // SAFETY: `cachestat` reads two numbers and writes five, to places that have so many.
        let told =
            unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), counts.as_mut_ptr(), 0) };
        // SAFETY: asks for a number.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let pages = (at + length as u64).div_ceil(page) - at / page;
        (told == 0).then_some(counts[0] >= pages)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, at, length);
        None
    }
}

/// The number of the system call `cachestat(2)` on the architectures that share new numbers. Others have nothing there.
#[cfg(target_os = "linux")]
const CACHESTAT: libc::c_long = 451;

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::{Cell, RefCell};
    use std::fs;

    use super::*;

    /// Beside what was built, which is on a disk as a rule; and in memory, where there is nothing past the page cache.
    fn folders() -> Vec<tempfile::TempDir> {
        let mut folders = vec![beside_what_was_built()];
        folders.extend(tempfile::tempdir_in("/dev/shm").ok());
        folders
    }

    fn beside_what_was_built() -> tempfile::TempDir {
        let built = std::env::current_exe().unwrap();
        tempfile::tempdir_in(built.parent().unwrap()).unwrap()
    }

    /// A folder of whose files it can be told whether they are in the page cache, and that need not be there.
    pub(crate) fn watched_folder() -> Option<tempfile::TempDir> {
        let folder = beside_what_was_built();
        let path = folder.path().join("probe");
        let file = create(&path);
        open_direct(File::options().read(true), &path, &file)?;
        file.write_all_at(&[1; BLOCK], 0).unwrap();
        file.sync_all().unwrap();
        forget_pages(&file);
        // A file in memory cannot be forgotten.
        let has = page_cache_has(&file, 0, BLOCK)?;
        fs::remove_file(&path).unwrap();
        (!has).then_some(folder)
    }

    #[cfg(target_os = "linux")]
    fn forget_pages(file: &File) {
        use std::os::fd::AsRawFd;
        // SAFETY: advice about a descriptor that is open; no memory is involved.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }

    #[cfg(not(target_os = "linux"))]
    fn forget_pages(_: &File) {}

    fn read(file: &File, path: &Path, out: &mut [u8], at: u64) -> io::Result<()> {
        DirectReader::new(file, path).read_exact_at(out, at)
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8 ^ (i >> 12) as u8).collect()
    }

    fn create(path: &Path) -> File {
        File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap()
    }

    fn written(path: &Path, content: &[u8], at_once: usize, forget: bool) -> File {
        let file = create(path);
        let mut writer = DirectWriter::new(file.try_clone().unwrap(), path, 0).unwrap();
        if forget {
            writer.direct = None;
        }
        content.chunks(at_once).for_each(|some| writer.add(some).unwrap());
        writer.finish().unwrap();
        file
    }

    #[test]
    fn what_is_written_in_any_pieces_is_there() {
        for folder in folders() {
            let path = folder.path().join("file");
            for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, STEP, STEP + BLOCK, 3 * STEP + 5] {
                let content = content(length);
                for at_once in [1 + length / 7, STEP, 10 * STEP] {
                    for forget in [false, true] {
                        written(&path, &content, at_once, forget);
                        assert!(fs::read(&path).unwrap() == content, "{length} {at_once}");
                    }
                }
            }
        }
    }

    #[test]
    fn pieces_side_by_side_are_one_file() {
        for folder in folders() {
            let (path, content) = (folder.path().join("file"), content(5 * STEP + 17));
            let file = create(&path);
            let pieces: Vec<_> = content.chunks(2 * STEP).zip([0, 2 * STEP, 4 * STEP]).collect();
            std::thread::scope(|scope| {
                for (piece, at) in pieces {
                    let (file, path) = (file.try_clone().unwrap(), &path);
                    scope.spawn(move || {
                        let mut writer = DirectWriter::new(file, path, at as u64).unwrap();
                        writer.add(piece).unwrap();
                        writer.finish().unwrap();
                    });
                }
            });
            assert!(fs::read(&path).unwrap() == content);
        }
    }

    #[test]
    fn any_range_is_read_whether_the_page_cache_has_it_or_not() {
        for folder in folders() {
            let (path, content) = (folder.path().join("file"), content(3 * STEP + 5));
            for is_cached in [false, true] {
                let file = match is_cached {
                    false => written(&path, &content, STEP, false),
                    true => {
                        fs::write(&path, &content).unwrap();
                        File::open(&path).unwrap()
                    }
                };
                let end = content.len();
                for range in [0..end, 1..end - 1, BLOCK..2 * BLOCK, BLOCK + 9..STEP + 11, end - 5..end, 7..7]
                {
                    let mut out = vec![0; range.len()];
                    read(&file, &path, &mut out, range.start as u64).unwrap();
                    assert!(out == content[range.clone()], "{range:?}");
                }
                let past = read(&file, &path, &mut [0; 9], end as u64 - 8).unwrap_err();
                assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn what_goes_past_the_page_cache_is_not_in_it() {
        let Some(folder) = watched_folder() else { return eprintln!("skipped: the kernel cannot tell") };
        let (path, content) = (folder.path().join("file"), content(3 * STEP));
        let file = written(&path, &content, STEP, false);
        let has = || page_cache_has(&file, 0, content.len());
        let mut out = vec![0; content.len()];
        assert_eq!(has(), Some(false));
        read(&file, &path, &mut out, 0).unwrap();
        assert_eq!((has(), out == content), (Some(false), true));
        DirectReader::new(&file, &path).read_through(&mut out, 0).unwrap();
        assert_eq!((has(), out == content), (Some(true), true));
    }

    #[test]
    fn a_file_that_lost_its_path_to_another_is_read_all_the_same() {
        let folder = beside_what_was_built();
        let (path, old) = (folder.path().join("file"), content(2 * STEP + 5));
        let file = written(&path, &old, STEP, false);
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        fs::write(&path, vec![7; old.len()]).unwrap();
        let mut out = vec![0; old.len()];
        read(&file, &path, &mut out, 0).unwrap();
        assert!(out == old);
        // And written too.
        let mut writer = DirectWriter::new(file, &path, 0).unwrap();
        writer.add(&vec![9; old.len()]).unwrap();
        writer.finish().unwrap();
        assert!(fs::read(&path).unwrap() == vec![7; old.len()]);
        assert!(fs::read(folder.path().join("elsewhere")).unwrap() == vec![9; old.len()]);
    }

    #[test]
    fn whatever_a_write_past_the_page_cache_does_all_is_written_once() {
        let content = content(5 * BLOCK);
        // What each write does, or the error that it ends with; after these all is written.
        let run = |does: &[Result<usize, io::ErrorKind>]| {
            let (written, through) = (RefCell::new(Vec::new()), Cell::new(0));
            let next = Cell::new(0);
            let put = |bytes: &[u8], at: u64| {
                assert_eq!(at, 7 * BLOCK as u64 + written.borrow().len() as u64, "one after the other");
                written.borrow_mut().extend_from_slice(bytes);
            };
            let past = |bytes: &[u8], at| {
                let now = does.get(next.replace(next.get() + 1)).copied().unwrap_or(Ok(bytes.len()));
                now.map(|length| put(&bytes[..length], at)).map_err(io::Error::from)?;
                Ok(now.unwrap_or_default())
            };
            let ended = put_blocks(&content, 7 * BLOCK as u64, past, |bytes, at| {
                through.set(bytes.len());
                put(bytes, at);
                Ok(())
            });
            let is_whole = *written.borrow() == content;
            ended.map(|past| (past, through.get(), is_whole)).map_err(|error| error.kind())
        };
        use io::ErrorKind::{Interrupted, InvalidInput, QuotaExceeded, StorageFull, Unsupported};
        assert_eq!(run(&[]), Ok((true, 0, true)));
        assert_eq!(run(&[Ok(BLOCK), Err(Interrupted), Ok(2 * BLOCK)]), Ok((true, 0, true)));
        assert_eq!(run(&[Ok(BLOCK + 512)]), Ok((false, 4 * BLOCK - 512, true)), "no block ends there");
        assert_eq!(run(&[Ok(0)]), Ok((false, 5 * BLOCK, true)));
        for refused in [InvalidInput, Unsupported] {
            assert_eq!(run(&[Ok(BLOCK), Err(refused)]), Ok((false, 4 * BLOCK, true)));
        }
        for full in [StorageFull, QuotaExceeded] {
            assert_eq!(run(&[Ok(BLOCK), Err(full)]), Err(full));
        }
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = Path::new("/dev/full");
        let Ok(file) = File::options().write(true).open(full) else { return };
        let mut writer = DirectWriter::new(file, full, 0).unwrap();
        let added = writer.add(&content(2 * STEP)).and_then(|()| writer.finish());
        assert_eq!(added.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
