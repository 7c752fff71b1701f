//! One part as a file: its bytes, filled up with zeros to whole pages; the CRC-32C of each page; then the label, which says whose
//! bytes they are: the key, start and end in the object (8 bytes each), length of the key, CRC-32C of the bytes, of the pages'
//! checksums, and of the label so far (4 each), and 8 bytes that name the format. Numbers are little-endian.
//!
//! Nothing is mapped into memory: a file that was cut would end the process where it is touched, and one that was changed would
//! be believed. What is read is read into memory and checked there, each time.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::ReadAt;
use super::held::{Held, Meter};
use super::slot::{PartId, Slot};
use crate::batch::{BatchFile, PAGE};
use crate::direct::{DirectReader, DirectWriter};
use crate::pieces::{self, PIECE, in_pieces};

const FORMAT: &[u8; 8] = b"LodePrt2";
/// The label without the key.
const LABEL: usize = 8 + 8 + 4 + 4 + 4 + 4 + 8;
/// Files above this many bytes are not left in the page cache too, once they are in memory.
const LARGE: usize = 1 << 20;
const TEMPORARY: &str = ".tmp";

// Checksums are made piece by piece.
const _: () = assert!(PIECE.is_multiple_of(PAGE), "a piece is whole pages");

/// A file that a scan found.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) slot: Slot,
    pub(super) size: u64,
    modified: SystemTime,
}

/// Makes the directory if needed, removes what was not finished, and returns the rest, least recent first.
pub(super) fn scan(dir: &Path) -> io::Result<Vec<FoundFile>> {
    fs::create_dir_all(dir)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.ends_with(TEMPORARY) {
            let _ = fs::remove_file(entry.path());
            continue;
        }
        let (Some(slot), Ok(metadata)) = (Slot::from_file_name(&name), entry.metadata()) else { continue };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        found.push(FoundFile { slot, size: metadata.len(), modified });
    }
    found.sort_by_key(|file| (file.modified, file.slot));
    Ok(found)
}

/// Where things are in the file of a part.
struct Places {
    bytes: usize,
    /// Where the checksums of the pages begin, and the label.
    sums: usize,
    label: usize,
    end: usize,
}

impl Places {
    fn of(id: &PartId) -> io::Result<Self> {
        let bytes = usize::try_from(id.end - id.start).map_err(|_| damaged("it is too long"))?;
        let sums = bytes.next_multiple_of(PAGE);
        let label = sums + sums / PAGE * 4;
        Ok(Self { bytes, sums, label, end: label + id.key.len() + LABEL })
    }
}

/// Writes a part and gives it its name.
pub(super) fn write(dir: &Path, id: &PartId, bytes: &[u8], number: u64) -> io::Result<()> {
    let mut writer = Writer::create(dir, id, number)?;
    writer.add(bytes)?;
    writer.finish().map(drop)
}

/// Writes a part aside, one piece after another, and gives it its name when all are there. What is not finished is removed. It is
/// not synced: the checksums find what a crash leaves.
#[derive(Debug)]
pub(super) struct Writer {
    id: PartId,
    aside: PathBuf,
    file: File,
    /// What the bytes go through instead, if they do not go through the page cache.
    direct: Option<DirectWriter>,
    written: u64,
    crc: u32,
    /// Of each page.
    sums: Vec<u8>,
    is_named: bool,
}

impl Writer {
    /// One without bytes; `number` tells it from others of the same part.
    pub(super) fn create(dir: &Path, id: &PartId, number: u64) -> io::Result<Self> {
        let pages = Places::of(id)?.sums / PAGE;
        let name = id.slot().file_name();
        let aside = dir.join(format!("{name}.{}.{number}{TEMPORARY}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&aside)?;
        let sums = Vec::with_capacity(pages * 4);
        Ok(Self { id: id.clone(), aside, file, direct: None, written: 0, crc: 0, sums, is_named: false })
    }

    /// As [`Writer::create`], past the page cache.
    pub(super) fn create_direct(dir: &Path, id: &PartId, number: u64) -> io::Result<Self> {
        let mut writer = Self::create(dir, id, number)?;
        writer.direct = Some(DirectWriter::new(writer.file.try_clone()?, &writer.aside, 0)?);
        Ok(writer)
    }

    /// Adds what comes next; whole pages, unless it is the last.
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        in_pieces(bytes.len(), |range| {
            let piece = &bytes[range];
            self.crc = crc32c::crc32c_append(self.crc, piece);
            add_page_sums(piece, &mut self.sums);
            match &mut self.direct {
                Some(direct) => direct.add(piece),
                None => self.file.write_all(piece),
            }
        })
    }

    /// Shows `check` what has been written, which has to be all of it.
    pub(super) fn check(&mut self, check: &dyn Fn(&ReadAt, u64) -> io::Result<()>) -> io::Result<()> {
        self.finish_bytes()?;
        let reader = DirectReader::new(&self.file, &self.aside);
        check(&|out, at| reader.read_exact_at(out, at), self.written)
    }

    /// Has all bytes that were added in the file.
    fn finish_bytes(&mut self) -> io::Result<()> {
        if let Some(direct) = self.direct.take() {
            direct.finish()?;
            self.file.seek(SeekFrom::Start(self.written))?;
        }
        Ok(())
    }

    /// Gives the file its name, and says the checksum of its bytes.
    pub(super) fn finish(mut self) -> io::Result<u32> {
        let places = Places::of(&self.id)?;
        if self.written != places.bytes as u64 || self.sums.len() != places.label - places.sums {
            return Err(damaged("its pieces are not all of it"));
        }
        self.finish_bytes()?;
        self.file.write_all(&[0; PAGE][..places.sums - places.bytes])?;
        self.file.write_all(&self.sums)?;
        self.file.write_all(&label(&self.id, self.crc, crc32c::crc32c(&self.sums))?)?;
        fs::rename(&self.aside, self.aside.with_file_name(self.id.slot().file_name()))?;
        self.is_named = true;
        Ok(self.crc)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_named {
            // What stays goes with the next scan.
            let _ = fs::remove_file(&self.aside);
        }
    }
}

/// Brings the file of `id` into memory after checking that it is whole and its own. Also says its checksum.
pub(super) fn read(dir: &Path, id: &PartId, meter: &Arc<Meter>) -> io::Result<(Arc<Held>, u32)> {
    let path = dir.join(id.slot().file_name());
    let (file, places) = (File::open(&path)?, Places::of(id)?);
    let (crc, _) = check_label(&file, id, &places)?;
    let held = Held::filled(places.bytes, meter, |bytes| match bytes.len() > LARGE {
        true => DirectReader::new(&file, &path).read_exact_at(bytes, 0),
        false => file.read_exact_at(bytes, 0),
    })?;
    if pieces::checksum(held.bytes()) != crc {
        return Err(damaged("its checksum is wrong"));
    }
    if places.bytes > LARGE {
        forget_pages(&file);
    }
    // So that the next scan knows it was used; only its place in the order is at stake.
    let _ = file.set_modified(SystemTime::now());
    Ok((held, crc))
}

/// Opens the file of `id` for reads here and there, after checking that it is its own; with the checksums of its pages.
pub(super) fn open(dir: &Path, id: &PartId) -> io::Result<(BatchFile, Vec<u32>)> {
    let path = dir.join(id.slot().file_name());
    let (file, places) = (File::open(&path)?, Places::of(id)?);
    let (_, sums_crc) = check_label(&file, id, &places)?;
    let mut sums = vec![0; places.label - places.sums];
    file.read_exact_at(&mut sums, places.sums as u64)?;
    if crc32c::crc32c(&sums) != sums_crc {
        return Err(damaged("the checksums of its pages are wrong"));
    }
    let _ = file.set_modified(SystemTime::now());
    Ok((BatchFile::open(&path)?, sums.as_chunks().0.iter().map(|sum| u32::from_le_bytes(*sum)).collect()))
}

/// Checks length and label, and gives the checksums of the bytes and of the pages' checksums.
fn check_label(file: &File, id: &PartId, places: &Places) -> io::Result<(u32, u32)> {
    if file.metadata()?.len() != places.end as u64 {
        return Err(damaged("its length is wrong"));
    }
    let mut found = vec![0; places.end - places.label];
    file.read_exact_at(&mut found, places.label as u64)?;
    let at = id.key.len() + 8 + 8 + 4;
    let number = |at: usize| u32::from_le_bytes([found[at], found[at + 1], found[at + 2], found[at + 3]]);
    let (crc, sums_crc) = (number(at), number(at + 4));
    if found != label(id, crc, sums_crc)? {
        return Err(damaged("its label is wrong"));
    }
    Ok((crc, sums_crc))
}

/// Adds the checksums of pages, of which the last may be filled up.
fn add_page_sums(bytes: &[u8], sums: &mut Vec<u8>) {
    for page in bytes.chunks(PAGE) {
        let sum = crc32c::crc32c(page);
        let sum = crc32c::crc32c_append(sum, &[0; PAGE][page.len()..]);
        sums.extend_from_slice(&sum.to_le_bytes());
    }
}

/// Lets the page cache have the room back.
fn forget_pages(file: &File) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: advice about a descriptor that is open; no memory is involved.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// What follows the bytes and the checksums.
fn label(id: &PartId, crc: u32, sums_crc: u32) -> io::Result<Vec<u8>> {
    let key_length = u32::try_from(id.key.len()).map_err(|_| damaged("its key is too long"))?;
    let mut label = Vec::with_capacity(id.key.len() + LABEL);
    label.extend_from_slice(id.key.as_bytes());
    label.extend_from_slice(&id.start.to_le_bytes());
    label.extend_from_slice(&id.end.to_le_bytes());
    label.extend_from_slice(&key_length.to_le_bytes());
    label.extend_from_slice(&crc.to_le_bytes());
    label.extend_from_slice(&sums_crc.to_le_bytes());
    let own = crc32c::crc32c(&label);
    label.extend_from_slice(&own.to_le_bytes());
    label.extend_from_slice(FORMAT);
    Ok(label)
}

fn damaged(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
