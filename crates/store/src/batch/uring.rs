//! One io_uring: reads of a batch go to the kernel by one call, which returns when all are done.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};

use super::piece::Piece;

pub(super) struct Ring {
    ring: IoUring,
}

impl Ring {
    /// A ring for `entries` reads at once; an error where the kernel has none, or one that cannot read.
    pub(super) fn new(entries: u32) -> io::Result<Self> {
        let mut ring = IoUring::new(entries)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        // Whether it may be used at all is another question where calls are filtered.
        // SAFETY: an operation that does nothing refers to no memory.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }.map_err(io::Error::other)?;
        ring.submit_and_wait(1)?;
        ring.completion().for_each(drop);
        Ok(Self { ring })
    }

    /// Reads `pieces`, no more than the ring has entries, into `buffer` and counts in each what arrived: less than
    /// asked for where a read was short or failed. After an error the kernel may still be writing to `buffer`.
    pub(super) fn read(&mut self, file: &File, pieces: &mut [Piece], buffer: &mut [u8]) -> io::Result<()> {
        let fd = types::Fd(file.as_raw_fd());
        for (number, piece) in pieces.iter().enumerate() {
            let place = &mut buffer[piece.place()];
            let read = opcode::Read::new(fd, place.as_mut_ptr(), place.len() as u32).offset(piece.offset());
            let read = read.build().user_data(number as u64);
            // SAFETY: `place` is within `buffer`, which the caller keeps until all reads are done, or for ever.
            unsafe { self.ring.submission().push(&read) }.map_err(io::Error::other)?;
        }
        let mut left = pieces.len();
        while left > 0 {
            match self.ring.submit_and_wait(left) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => drop(other?),
            }
            for done in self.ring.completion() {
                left = left.saturating_sub(1);
                let piece = pieces.get_mut(done.user_data() as usize);
                if let (Some(piece), Ok(bytes)) = (piece, usize::try_from(done.result())) {
                    piece.advance(bytes);
                }
            }
        }
        Ok(())
    }
}
