//! One part as a file: its bytes, then the key they belong to, then a tail of fixed size:
//! start, end (8 bytes each), length of the key, CRC-32C of the bytes, CRC-32C of key and tail so far (4 each),
//! and 8 bytes that name the format. Numbers are little-endian.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use memmap2::Mmap;

use super::book::Part;
use super::slot::{PartId, Slot};
use crate::direct::DirectFile;

const FORMAT: &[u8; 8] = b"LodePrt1";
const TAIL: usize = 8 + 8 + 4 + 4 + 4 + 8;
const TEMPORARY: &str = ".tmp";

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

/// Writes a part aside and gives it its name. It is not synced: the checksums find what a crash leaves.
pub(super) fn write(dir: &Path, id: &PartId, part: &Part, number: u64) -> io::Result<()> {
    let name = id.slot().file_name();
    let aside = dir.join(format!("{name}.{}.{number}{TEMPORARY}", std::process::id()));
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(&part.bytes)?;
        file.write_all(&label(id, part.crc)?)?;
        fs::rename(&aside, dir.join(name))
    });
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

/// Maps the file of `id` after checking that it is whole and its own; with `check`, every byte of it.
pub(super) fn open(dir: &Path, id: &PartId, check: bool) -> io::Result<Part> {
    let file = File::open(dir.join(id.slot().file_name()))?;
    // SAFETY: the file is private to the cache, which never writes to a file that has its final name: it writes
    // aside and renames, and removes whole files, which leaves open maps intact.
    let map = unsafe { Mmap::map(&file) }?;
    let length = usize::try_from(id.end - id.start).map_err(|_| damaged("it is too long"))?;
    let label_length = id.key.len() + TAIL;
    if map.len() != length + label_length {
        return Err(damaged("its length is wrong"));
    }
    let crc_at = map.len() - 16;
    let crc = u32::from_le_bytes([map[crc_at], map[crc_at + 1], map[crc_at + 2], map[crc_at + 3]]);
    if map[length..] != label(id, crc)? {
        return Err(damaged("its label is wrong"));
    }
    if check {
        if crc32c::crc32c(&map[..length]) != crc {
            return Err(damaged("its checksum is wrong"));
        }
        // So that the next scan knows it was used; only its place in the order is at stake.
        let _ = file.set_modified(SystemTime::now());
    }
    let map = Arc::new(map);
    Ok(Part { bytes: Bytes::from_owner(Mapped(map.clone())).slice(..length), crc, map: Some(map) })
}

/// Opens the file of `id` for reads here and there, after checking that it is its own. Its bytes begin where the file does.
pub(super) fn open_direct(dir: &Path, id: &PartId) -> io::Result<DirectFile> {
    let file = DirectFile::open(&dir.join(id.slot().file_name()))?;
    let length = id.end - id.start;
    let mut found = Vec::new();
    file.read_many(std::slice::from_ref(&(length..file.len())), &mut found)?;
    let crc = found.len().checked_sub(16).and_then(|at| found[at..].first_chunk());
    let crc = crc.map(|bytes| u32::from_le_bytes(*bytes)).ok_or_else(|| damaged("its length is wrong"))?;
    if found != label(id, crc)? {
        return Err(damaged("its label is wrong"));
    }
    Ok(file)
}

/// A map that several own, as bytes.
struct Mapped(Arc<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What follows the bytes.
fn label(id: &PartId, crc: u32) -> io::Result<Vec<u8>> {
    let key_length = u32::try_from(id.key.len()).map_err(|_| damaged("its key is too long"))?;
    let mut label = Vec::with_capacity(id.key.len() + TAIL);
    label.extend_from_slice(id.key.as_bytes());
    label.extend_from_slice(&id.start.to_le_bytes());
    label.extend_from_slice(&id.end.to_le_bytes());
    label.extend_from_slice(&key_length.to_le_bytes());
    label.extend_from_slice(&crc.to_le_bytes());
    let own = crc32c::crc32c(&label);
    label.extend_from_slice(&own.to_le_bytes());
    label.extend_from_slice(FORMAT);
    Ok(label)
}

fn damaged(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
