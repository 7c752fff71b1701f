//! Ranges cut into reads of whole blocks that fit a buffer.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Wanted bytes of one read; longer ranges become several.
const LONGEST: u64 = 256 << 10;

/// One read: blocks of the file that go to a place in the buffer.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where its blocks begin in the file, and how many bytes they are.
    offset: u64,
    length: usize,
    /// Where they go.
    at: usize,
    /// The bytes that are wanted of them.
    wanted: Range<usize>,
    block: usize,
    done: usize,
}

impl Piece {
    /// Where to read in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// How much to read.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The place in the buffer that the read fills.
    pub(super) fn place(&self) -> Range<usize> {
        self.at..self.at + self.length
    }

    /// Where the wanted bytes are in the buffer once this is finished.
    pub(super) fn wanted(&self) -> Range<usize> {
        self.at + self.wanted.start..self.at + self.wanted.end
    }

    /// Forgets what was read.
    pub(super) fn restart(&mut self) {
        self.done = 0;
    }

    /// Counts `bytes` that were read at the start of what was missing.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.done = (self.done + bytes).min(self.length);
        if !self.is_finished() {
            // What follows has to begin at a block again.
            self.done -= self.done % self.block;
        }
    }

    fn is_finished(&self) -> bool {
        self.done >= self.wanted.end
    }

    /// Whether what surrounds the wanted bytes was read too.
    pub(super) fn is_whole(&self) -> bool {
        self.done >= self.length
    }

    /// Reads what is missing.
    pub(super) fn finish(&mut self, file: &File, buffer: &mut [u8]) -> io::Result<()> {
        while !self.is_finished() {
            let before = self.done;
            let missing = self.at + self.done..self.at + self.length;
            match file.read_at(&mut buffer[missing], self.offset + self.done as u64) {
                Ok(bytes) => self.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.done == before {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut"));
            }
        }
        Ok(())
    }
}

/// Ranges on their way to becoming pieces.
pub(super) struct Plan<'a> {
    ranges: std::slice::Iter<'a, Range<u64>>,
    /// What is left of the range at hand.
    rest: Range<u64>,
    block: u64,
}

impl<'a> Plan<'a> {
    /// Reads of `ranges` in blocks of `block` bytes, a power of two.
    pub(super) fn new(ranges: &'a [Range<u64>], block: u64) -> Self {
        Self { ranges: ranges.iter(), rest: 0..0, block }
    }

    /// The next at most `count` reads, which go into `room` bytes; `None` if all are done.
    pub(super) fn next_batch(&mut self, count: usize, room: usize) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while pieces.len() < count {
            while self.rest.is_empty() {
                let Some(next) = self.ranges.next() else {
                    return (!pieces.is_empty()).then_some(pieces);
                };
                self.rest = next.clone();
            }
            let (start, end) = (self.rest.start, self.rest.end.min(self.rest.start + LONGEST));
            let offset = start - start % self.block;
            let length = (end.next_multiple_of(self.block) - offset) as usize;
            if at + length > room {
                break;
            }
            let wanted = (start - offset) as usize..(end - offset) as usize;
            pieces.push(Piece { offset, length, at, wanted, block: self.block as usize, done: 0 });
            at += length;
            self.rest.start = end;
        }
        Some(pieces)
    }
}
