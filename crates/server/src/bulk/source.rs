//! Files as chunks of whole points, read in order, from any place that a chunk ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use lodestone_types::{Error, PointId, Result};
use serde::{Deserialize, Serialize};

use super::npy::Header;
use super::parquet::{self, Columns, Layout};

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
    /// Columns.
    Parquet(Arc<Layout>),
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
    /// Bytes of lines; of the others, of vectors in single precision, and of payloads.
    pub bytes: u64,
}

/// A place between two chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Points before it.
    pub points: u64,
    /// Lines before it, empty ones too.
    pub lines: u64,
    /// Bytes of the file before it; of `.npy`, without the header; of Parquet, of vectors in single precision.
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
    /// As many as there are rows, if they are not the numbers of the rows.
    pub ids: Option<Vec<PointId>>,
}

impl Source {
    /// Looks at a file: what it is by its name, and whether it is whole.
    pub fn look(path: &Path, payloads: Option<&Path>, columns: &Columns) -> Result<Self> {
        let mut file = open(path)?;
        let stamp = stamp(path, &file)?;
        let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if kind != "npy" && payloads.is_some() {
            return Err(Error::bad_request(
                "--payload belongs to .npy; a line of .jsonl and a row of .parquet has its own payload",
            ));
        }
        if kind != "parquet" && *columns != Columns::default() {
            return Err(Error::bad_request("--vector-column and --id-column belong to .parquet"));
        }
        let whole =
            |format| Ok(Self { path: path.to_owned(), format, stamp: stamp.clone(), payload_stamp: None });
        match kind {
            "jsonl" | "ndjson" => return whole(Format::Lines),
            "parquet" => {
                return whole(Format::Parquet(Layout::look(path, columns).map_err(|e| in_file(path, &e))?));
            }
            "npy" => {}
            _ => {
                return Err(Error::bad_request(format!(
                    "{}: only .jsonl (a point in each line), .npy (a vector in each row) and .parquet can be imported",
                    path.display()
                )));
            }
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

    /// The rows, if it has rows.
    pub fn rows(&self) -> Option<&Header> {
        match &self.format {
            Format::Lines => None,
            Format::Npy { header, .. } => Some(header),
            Format::Parquet(layout) => Some(&layout.header),
        }
    }

    /// How many points, if that is known before they are read.
    pub fn points(&self) -> Option<u64> {
        self.rows().map(|header| header.rows)
    }

    /// The bytes that hold points.
    pub fn bytes(&self) -> u64 {
        match &self.format {
            Format::Lines => self.stamp.size,
            Format::Npy { header, .. } => self.stamp.size - header.start,
            Format::Parquet(layout) => layout.header.rows.saturating_mul(layout.header.row_bytes()),
        }
    }

    /// Reads on from `mark`, at most `size` in a chunk.
    pub fn chunks(&self, mark: Mark, size: Size) -> Result<Chunks> {
        let input = match &self.format {
            Format::Lines => Input::Lines(Lines::open(&self.path, mark.bytes)?),
            Format::Npy { header, payloads } => {
                let open = |path: &PathBuf| Lines::open(path, mark.payload_bytes);
                let payloads = payloads.as_ref().map(open).transpose()?;
                Input::Rows(Lines::open(&self.path, header.start.saturating_add(mark.bytes))?, payloads)
            }
            Format::Parquet(layout) => {
                let reader = parquet::Reader::open(&self.path, layout, mark.points);
                Input::Columns(Box::new(reader.map_err(|e| in_file(&self.path, &e))?))
            }
        };
        Ok(Chunks { source: self.clone(), input, mark, number: 0, size })
    }
}

/// A file being read.
pub struct Chunks {
    source: Source,
    input: Input,
    mark: Mark,
    number: u64,
    size: Size,
}

enum Input {
    Lines(Lines),
    /// Vectors, and their payloads.
    Rows(Lines, Option<Lines>),
    Columns(Box<parquet::Reader>),
}

/// What is in a chunk, but for where it is.
#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    payloads: Option<Vec<u8>>,
    ids: Option<Vec<PointId>>,
}

impl Chunks {
    /// The next one, until there is none.
    pub fn next(&mut self) -> Result<Option<Chunk>> {
        let start = self.mark;
        let Self { source, input, mark, size, .. } = self;
        let content = match (input, source.rows()) {
            (Input::Lines(file), _) => Content { bytes: lines(file, mark, *size)?, ..Content::default() },
            (Input::Rows(file, payloads), Some(header)) => {
                let (bytes, payloads) = rows(file, payloads.as_mut(), header, mark, *size)?;
                Content { bytes, payloads, ids: None }
            }
            (Input::Columns(reader), Some(header)) => {
                columns(reader, header, mark, *size).map_err(|e| in_file(&source.path, &e))?
            }
            (_, None) => Content::default(),
        };
        let Content { bytes, payloads, ids } = content;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Chunk { number: self.number - 1, start, end: self.mark, bytes, payloads, ids }))
    }
}

fn lines(file: &mut Lines, mark: &mut Mark, size: Size) -> Result<Vec<u8>> {
    let (mut bytes, mut points) = (Vec::new(), 0);
    while points < size.points && (bytes.len() as u64) < size.bytes {
        let before = bytes.len();
        if !file.append(&mut bytes, mark.lines + 1)? {
            break;
        }
        mark.lines += 1;
        points += u64::from(!bytes[before..].trim_ascii().is_empty());
    }
    mark.bytes += bytes.len() as u64;
    mark.points += points;
    Ok(bytes)
}

/// How many rows fit.
fn fitting(header: &Header, mark: &Mark, size: Size) -> u64 {
    let fit = (size.bytes / header.size.saturating_mul(4).max(1)).clamp(1, size.points);
    fit.min(header.rows.saturating_sub(mark.points))
}

fn rows(
    file: &mut Lines,
    payloads: Option<&mut Lines>,
    header: &Header,
    mark: &mut Mark,
    size: Size,
) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let mut rows = fitting(header, mark, size);
    let mut texts = payloads.as_ref().map(|_| Vec::new());
    if let (Some(payloads), Some(texts)) = (payloads, &mut texts) {
        for row in 0..rows {
            if texts.len() as u64 >= size.bytes {
                rows = row;
                break;
            }
            let line = mark.points + row + 1;
            if !payloads.append(texts, line)? {
                return Err(Error::bad_request(format!(
                    "{} has {} lines, {} has {} rows; give each row a payload, {{}} for none",
                    payloads.path.display(),
                    line - 1,
                    file.path.display(),
                    header.rows
                )));
            }
        }
        mark.payload_bytes += texts.len() as u64;
    }
    let mut bytes = vec![0; (rows * header.row_bytes()) as usize];
    file.fill(&mut bytes)?;
    mark.bytes += bytes.len() as u64;
    mark.points += rows;
    Ok((bytes, texts))
}

fn columns(reader: &mut parquet::Reader, header: &Header, mark: &mut Mark, size: Size) -> Result<Content> {
    let wanted = fitting(header, mark, size);
    let rows = reader.read(wanted as usize, usize::try_from(size.bytes).unwrap_or(usize::MAX))?;
    let found = rows.vectors.len() as u64 / header.row_bytes().max(1);
    if found == 0 && wanted > 0 {
        return Err(Error::bad_request("it has fewer rows than it says; write it again"));
    }
    mark.bytes += rows.vectors.len() as u64;
    mark.points += found;
    Ok(Content { bytes: rows.vectors, payloads: rows.payloads, ids: rows.ids })
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
        let source = Source::look(&path, None, &Columns::default()).unwrap();
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
        let source = Source::look(&path, Some(&payloads), &Columns::default()).unwrap();
        assert_eq!((source.points(), source.bytes()), (Some(3), 6));
        let chunks = all(&source, Mark::default(), 2);
        assert_eq!(
            (&*chunks[0].bytes, chunks[0].payloads.as_deref()),
            (&[1, 2, 3, 4][..], Some(&b"{}\n{\"a\": 1}\n"[..]))
        );
        let again = all(&source, chunks[0].end, 2);
        assert_eq!((&*again[0].bytes, again[0].payloads.as_deref()), (&[5, 6][..], Some(&b"{}\n"[..])));
        std::fs::write(&payloads, "{}\n").unwrap();
        let source = Source::look(&path, Some(&payloads), &Columns::default()).unwrap();
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
            [("cut.npy", "cut short"), ("a.parquet", "as Parquet"), ("none.npy", "No such file"), (".", ".")]
        {
            let error = Source::look(&path(name), None, &Columns::default()).unwrap_err().message;
            assert!(error.contains(part), "{error}");
        }
    }
}
