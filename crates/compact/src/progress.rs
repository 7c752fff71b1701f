//! How far vector indexes have come while they are built: a large one takes minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lodestone_index::dense::Rows;

/// Of all indexes that are being built, for metrics.
#[derive(Debug, Default)]
pub struct Progress {
    rows: AtomicU64,
    coded: AtomicU64,
}

/// One of them, counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Building {
    all: Arc<Progress>,
    rows: u64,
    coded: AtomicU64,
}

/// Rows that are counted as they are read to be coded.
pub(crate) struct Counted<'a> {
    pub rows: &'a dyn Rows,
    pub building: &'a Building,
}

impl Progress {
    /// Rows of all indexes that are being built, and how many of these have their codes.
    pub fn rows(&self) -> (u64, u64) {
        (self.rows.load(Relaxed), self.coded.load(Relaxed))
    }

    /// An index of so many rows is begun.
    pub(crate) fn begin(self: &Arc<Self>, rows: u64) -> Building {
        self.rows.fetch_add(rows, Relaxed);
        Building { all: self.clone(), rows, coded: AtomicU64::new(0) }
    }
}

impl Building {
    /// Rows are coded, all of them once more where others were before.
    pub fn begin_again(&self) {
        self.all.coded.fetch_sub(self.coded.swap(0, Relaxed), Relaxed);
    }

    fn coded(&self, rows: u64) {
        self.coded.fetch_add(rows, Relaxed);
        self.all.coded.fetch_add(rows, Relaxed);
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.begin_again();
        self.all.rows.fetch_sub(self.rows, Relaxed);
    }
}

impl Rows for Counted<'_> {
    fn write(&self, numbers: &[u32], out: &mut [f32]) {
        self.rows.write(numbers, out);
        self.building.coded(numbers.len() as u64);
    }

    fn is_wanted(&self) -> bool {
        self.rows.is_wanted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_count_while_they_are_coded() {
        let all = Arc::new(Progress::default());
        let (one, other) = (all.begin(10), all.begin(5));
        let zeros = |_: usize, out: &mut [f32]| out.fill(0.0);
        let rows = Counted { rows: &zeros, building: &one };
        rows.write(&[1, 2, 3], &mut [1.0; 6]);
        assert_eq!(all.rows(), (15, 3));
        one.begin_again();
        rows.write(&[1, 2], &mut [1.0; 4]);
        assert_eq!(all.rows(), (15, 2));
        drop(one);
        assert_eq!(all.rows(), (5, 0));
        drop(other);
        assert_eq!(all.rows(), (0, 0));
    }
}
