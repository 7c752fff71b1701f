//! Files as chunks of whole points, read in order, from any place that a chunk ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use lodestone_types::{Error, Result};
use serde::{Deserialize, Serialize};

use super::npy::Header;

/// The longest line: some more than a request may hold.
const MAX_LINE: u64 = 64 << 20;

/// What a file holds.
#[derive(Debug, Clone)]
pub enum Format {
    /// A point in each line.
    Lines,
    /// A vector in each row, and, in another file, a payload for each in a line.
    Npy {
        /// Of the vectors.
        header: Header,
        /// Of the payloads.
        payloads: Option<PathBuf>,
    },
}

/// A file that was looked at and is not open.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where.
    pub path: PathBuf,
    /// What it holds.
    pub format: Format,
    /// What tells it from another version of itself.
    pub stamp: Stamp,
    /// The same of the payloads' file.
    pub payload_stamp: Option<Stamp>,
}

/// What changes when a file does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When it was last written, milliseconds since 1970.
    pub modified_ms: u64,
}

/// How much goes into a chunk: it ends with whatever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Points.
    pub points: u64,
    /// Bytes of lines; of `.npy`, of vectors in single precision.
    pub bytes: u64,
}

/// A place between two chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Points before it.
    pub points: u64,
    /// Lines before it, empty ones too.
    pub lines: u64,
    /// Bytes of the file before it; of `.npy`, without the header.
    pub bytes: u64,
    /// Bytes of the payloads' file before it.
    pub payload_bytes: u64,
}

/// Some points as they stand in the file.
pub struct Chunk {
    /// Its number, from 0 where reading began.
    pub number: u64,
    /// Where it begins.
    pub start: Mark,
    /// Where the next one begins.
    pub end: Mark,
    /// Lines, or rows.
    pub bytes: Vec<u8>,
    /// As many lines as there are rows, if there are payloads.
    pub payloads: Option<Vec<u8>>,
}

impl Source {
    /// Looks at a file: what it is by its name, and whether it is whole.
    pub fn look(path: &Path, payloads: Option<&Path>) -> Result<Self> {
        let mut file = open(path)?;
        let stamp = stamp(path, &file)?;
        let lines = match path.extension().and_then(|e| e.to_str()) {
            Some("jsonl" | "ndjson") => true,
            Some("npy") => false,
            _ => {
                return Err(Error::bad_request(format!(
                    "{}: only .jsonl (a point in each line) and .npy (a vector in each row) can be imported; Parquet cannot yet",
                    path.display()
                )));
            }
        };
        if lines {
            if payloads.is_some() {
                return Err(Error::bad_request(
                    "--payload belongs to .npy; a line of .jsonl has its own payload",
                ));
            }
            return Ok(Self { path: path.to_owned(), format: Format::Lines, stamp, payload_stamp: None });
        }
        let header = Header::read(&mut file).map_err(|e| in_file(path, &e))?;
        let wanted = header.rows.saturating_mul(header.row_bytes()).saturating_add(header.start);
        if header.size == 0 || wanted != stamp.size {
            return Err(Error::bad_request(format!(
                "{}: {} rows of {} numbers make {wanted} bytes, the file has {}: it is cut short or damaged, write it again",
                path.display(),
                header.rows,
                header.size,
                stamp.size
            )));
        }
        let payload_stamp = payloads.map(|p| open(p).and_then(|file| self::stamp(p, &file))).transpose()?;
        let format = Format::Npy { header, payloads: payloads.map(Path::to_owned) };
        Ok(Self { path: path.to_owned(), format, stamp, payload_stamp })
    }

    /// How many points, if that is known before they are read.
    pub fn points(&self) -> Option<u64> {
        match &self.format {
            Format::Lines => None,
            Format::Npy { header, .. } => Some(header.rows),
        }
    }

    /// The bytes that hold points.
    pub fn bytes(&self) -> u64 {
        match &self.format {
            Format::Lines => self.stamp.size,
            Format::Npy { header, .. } => self.stamp.size - header.start,
        }
    }

    /// Reads on from `mark`, at most `size` in a chunk.
    pub fn chunks(&self, mark: Mark, size: Size) -> Result<Chunks> {
        let start = match &self.format {
            Format::Lines => 0,
            Format::Npy { header, .. } => header.start,
        };
        let payloads = match &self.format {
            Format::Npy { payloads: Some(path), .. } => Some(Lines::open(path, mark.payload_bytes)?),
            _ => None,
        };
        let lines = Lines::open(&self.path, start + mark.bytes)?;
        Ok(Chunks { source: self.clone(), file: lines, payloads, mark, number: 0, size })
    }
}

/// A file being read.
pub struct Chunks {
    source: Source,
    file: Lines,
    payloads: Option<Lines>,
    mark: Mark,
    number: u64,
    size: Size,
}

impl Chunks {
    /// The next one, until there is none.
    pub fn next(&mut self) -> Result<Option<Chunk>> {
        let start = self.mark;
        let (bytes, payloads) = match &self.source.format {
            Format::Lines => (self.lines()?, None),
            Format::Npy { header, .. } => {
                let header = *header;
                self.rows(&header)?
            }
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Chunk { number: self.number - 1, start, end: self.mark, bytes, payloads }))
    }

    fn lines(&mut self) -> Result<Vec<u8>> {
        let (mut bytes, mut points) = (Vec::new(), 0);
        while points < self.size.points && (bytes.len() as u64) < self.size.bytes {
            let before = bytes.len();
            let line = self.mark.lines + 1;
            if !self.file.append(&mut bytes, line)? {
                break;
            }
            self.mark.lines += 1;
            points += u64::from(!bytes[before..].trim_ascii().is_empty());
        }
        self.mark.bytes += bytes.len() as u64;
        self.mark.points += points;
        Ok(bytes)
    }

    fn rows(&mut self, header: &Header) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let fit = (self.size.bytes / header.size.saturating_mul(4)).clamp(1, self.size.points);
        let mut rows = fit.min(header.rows - self.mark.points);
        let mut texts = self.payloads.as_ref().map(|_| Vec::new());
        if let (Some(file), Some(texts)) = (&mut self.payloads, &mut texts) {
            for row in 0..rows {
                if texts.len() as u64 >= self.size.bytes {
                    rows = row;
                    break;
                }
                let line = self.mark.points + row + 1;
                if !file.append(texts, line)? {
                    return Err(Error::bad_request(format!(
                        "{} has {} lines, {} has {} rows; give each row a payload, {{}} for none",
                        file.path.display(),
                        line - 1,
                        self.source.path.display(),
                        header.rows
                    )));
                }
            }
            self.mark.payload_bytes += texts.len() as u64;
        }
        let mut bytes = vec![0; (rows * header.row_bytes()) as usize];
        self.file.fill(&mut bytes)?;
        self.mark.bytes += bytes.len() as u64;
        self.mark.points += rows;
        Ok((bytes, texts))
    }
}

/// A file that is read line by line, or by the byte.
struct Lines {
    path: PathBuf,
    file: BufReader<File>,
}

impl Lines {
    fn open(path: &Path, at: u64) -> Result<Self> {
        let mut file = open(path)?;
        file.seek(SeekFrom::Start(at)).map_err(|e| in_file(path, &e))?;
        Ok(Self { path: path.to_owned(), file: BufReader::with_capacity(1 << 20, file) })
    }

    /// Appends line `number` with its end; `false` at the end of the file.
    fn append(&mut self, bytes: &mut Vec<u8>, number: u64) -> Result<bool> {
        let read = (&mut self.file).take(MAX_LINE).read_until(b'\n', bytes);
        let read = read.map_err(|e| in_file(&self.path, &e))? as u64;
        if read == MAX_LINE && bytes.last() != Some(&b'\n') {
            return Err(Error::bad_request(format!(
                "{} line {number} is longer than {MAX_LINE} bytes; is this a point in each line?",
                self.path.display()
            )));
        }
        Ok(read > 0)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact(bytes).map_err(|e| in_file(&self.path, &e))
    }
}

fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|e| Error::bad_request(format!("{}: {e}", path.display())))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(Error::bad_request(format!("{} is not a file", path.display()))),
        Err(error) => Err(in_file(path, &error)),
    }
}

fn stamp(path: &Path, file: &File) -> Result<Stamp> {
    let metadata = file.metadata().map_err(|e| in_file(path, &e))?;
    let modified = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let modified_ms = modified.map_or(0, |d| d.as_millis() as u64);
    Ok(Stamp { size: metadata.len(), modified_ms })
}

fn in_file(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::bad_request(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(source: &Source, from: Mark, points: u64) -> Vec<Chunk> {
        let mut chunks = source.chunks(from, Size { points, bytes: 1 << 20 }).unwrap();
        std::iter::from_fn(|| chunks.next().unwrap()).collect()
    }

    fn npy(rows: &[[u8; 2]]) -> Vec<u8> {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({}, 2), }}\n", rows.len());
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(rows.concat());
        bytes
    }

    #[test]
    fn lines_come_whole_and_from_every_mark_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, "one\n\ntwo\nthree\r\nfour").unwrap();
        let source = Source::look(&path, None).unwrap();
        let chunks = all(&source, Mark::default(), 2);
        let texts: Vec<&[u8]> = chunks.iter().map(|c| &*c.bytes).collect();
        assert_eq!(texts, [&b"one\n\ntwo\n"[..], b"three\r\nfour"]);
        assert_eq!(chunks[1].start, Mark { points: 2, lines: 3, bytes: 9, payload_bytes: 0 });
        assert_eq!(chunks[1].end.points, 4);
        let again = all(&source, chunks[1].start, 1);
        assert_eq!(again.iter().map(|c| c.bytes.len()).collect::<Vec<_>>(), [7, 4]);
        assert_eq!((again[0].start.lines, again[1].end.points), (3, 4));
    }

    #[test]
    fn rows_come_with_their_payloads() {
        let dir = tempfile::tempdir().unwrap();
        let (path, payloads) = (dir.path().join("a.npy"), dir.path().join("p.jsonl"));
        std::fs::write(&path, npy(&[[1, 2], [3, 4], [5, 6]])).unwrap();
        std::fs::write(&payloads, "{}\n{\"a\": 1}\n{}\n").unwrap();
        let source = Source::look(&path, Some(&payloads)).unwrap();
        assert_eq!((source.points(), source.bytes()), (Some(3), 6));
        let chunks = all(&source, Mark::default(), 2);
        assert_eq!(
            (&*chunks[0].bytes, chunks[0].payloads.as_deref()),
            (&[1, 2, 3, 4][..], Some(&b"{}\n{\"a\": 1}\n"[..]))
        );
        let again = all(&source, chunks[0].end, 2);
        assert_eq!((&*again[0].bytes, again[0].payloads.as_deref()), (&[5, 6][..], Some(&b"{}\n"[..])));
        std::fs::write(&payloads, "{}\n").unwrap();
        let source = Source::look(&path, Some(&payloads)).unwrap();
        let error =
            source.chunks(Mark::default(), Size { points: 9, bytes: 99 }).unwrap().next().err().unwrap();
        assert!(error.message.contains("has 1 lines"), "{error}");
    }

    #[test]
    fn what_cannot_be_imported_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let whole = npy(&[[1, 2], [3, 4]]);
        std::fs::write(path("cut.npy"), &whole[..whole.len() - 1]).unwrap();
        std::fs::write(path("a.parquet"), "PAR1").unwrap();
        for (name, part) in
            [("cut.npy", "cut short"), ("a.parquet", ".jsonl"), ("none.npy", "No such file"), (".", ".")]
        {
            let error = Source::look(&path(name), None).unwrap_err().message;
            assert!(error.contains(part), "{error}");
        }
    }
}
