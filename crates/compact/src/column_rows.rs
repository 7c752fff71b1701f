//! The vectors of segments as an index sees them, read from where they are: nobody needs all of them in memory.

use std::ops::Range;
use std::sync::OnceLock;

use lodestone_index::dense::Rows;
use lodestone_kernels::{Metric, decode, normalize};
use lodestone_segment::{VectorColumn, Vectors};
use lodestone_shard::VectorShape;
use lodestone_types::{Error, Result};

/// Slots that are read for nothing rather than asking the disk once more.
const NEAR_SLOTS: u32 = 8;

/// Vectors by number, of one column or of several.
pub(crate) struct ColumnRows<'a, P> {
    columns: Vec<Vectors<'a>>,
    shape: VectorShape,
    place: P,
    wanted: &'a (dyn Fn() -> bool + Sync),
    failed: OnceLock<Error>,
}

impl<'a, P: Fn(u32) -> (usize, u32) + Sync> ColumnRows<'a, P> {
    /// `place`: of a number, its column and its slot there. The slots of one column ascend with the numbers, which come column by
    /// column.
    pub fn new(columns: &[&'a VectorColumn], shape: VectorShape, place: P) -> Self {
        let columns = columns.iter().map(|column| column.at_hand()).collect();
        Self { columns, shape, place, wanted: &|| true, failed: OnceLock::new() }
    }

    /// The same, as long as they are wanted.
    pub fn while_wanted(self, wanted: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { wanted, ..self }
    }

    /// What kept vectors from being read: what was made of them meanwhile is of no use.
    pub fn check(&self) -> Result<()> {
        if !(self.wanted)() {
            return Err(Error::unavailable("nobody wants this any more"));
        }
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// The vectors of these slots of a column, one after another.
    fn read(&self, column: usize, slots: &[u32], out: &mut [f32]) -> Result<()> {
        let vectors = slots.iter().zip(out.chunks_exact_mut(self.shape.dim));
        let size = self.shape.row_bytes();
        match &self.columns[column] {
            Vectors::Memory(bytes) => {
                vectors.for_each(|(slot, out)| {
                    decode_row(&self.shape, &bytes[*slot as usize * size..][..size], out)
                });
            }
            Vectors::Disk(disk) => {
                let runs = slots.chunk_by(|a, b| b - a <= NEAR_SLOTS);
                let runs: Vec<Range<u32>> = runs.map(|run| run[0]..run[run.len() - 1] + 1).collect();
                let mut bytes = Vec::new();
                disk.read_runs(&runs, &mut bytes)?;
                let (mut run, mut before) = (0, 0);
                for (slot, out) in vectors {
                    while runs[run].end <= *slot {
                        before += runs[run].len();
                        run += 1;
                    }
                    let at = before + (slot - runs[run].start) as usize;
                    decode_row(&self.shape, &bytes[at * size..][..size], out);
                }
            }
        }
        Ok(())
    }
}

/// A stored vector as an index sees it.
pub(crate) fn decode_row(shape: &VectorShape, bytes: &[u8], out: &mut [f32]) {
    let mut vector = Vec::with_capacity(shape.dim);
    decode(shape.element, bytes, &mut vector);
    // Bytes are stored as they came.
    if shape.metric == Metric::Cosine {
        normalize(&mut vector);
    }
    out.copy_from_slice(&vector);
}

impl<P: Fn(u32) -> (usize, u32) + Sync> Rows for ColumnRows<'_, P> {
    fn write(&self, numbers: &[u32], mut out: &mut [f32]) {
        let places: Vec<(usize, u32)> = numbers.iter().map(|number| (self.place)(*number)).collect();
        for of_column in places.chunk_by(|a, b| a.0 == b.0) {
            let slots: Vec<u32> = of_column.iter().map(|(_, slot)| *slot).collect();
            let (here, rest) = out.split_at_mut(slots.len() * self.shape.dim);
            out = rest;
            if self.is_wanted()
                && let Err(error) = self.read(of_column[0].0, &slots, here)
            {
                // Of several one is enough.
                let _ = self.failed.set(error);
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.failed.get().is_none() && (self.wanted)()
    }
}
