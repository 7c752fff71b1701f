//! What is known about which rows match: a bitmap of those that certainly do and one of those that may.
//! The algebra is that of three-valued logic, so an index that knows half of the answer still helps.

use roaring::RoaringBitmap;

/// Rows that match for certain, and rows that possibly match (the certain ones among them).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matches {
    /// These match.
    pub certain: RoaringBitmap,
    /// No other row matches. A superset of `certain`.
    pub possible: RoaringBitmap,
}

impl Matches {
    /// Exactly these rows.
    pub fn exact(rows: RoaringBitmap) -> Self {
        Self { possible: rows.clone(), certain: rows }
    }

    /// None for certain, these perhaps.
    pub fn perhaps(possible: RoaringBitmap) -> Self {
        Self { certain: RoaringBitmap::new(), possible }
    }

    /// These for certain, and those too perhaps.
    pub fn with_perhaps(certain: RoaringBitmap, more: RoaringBitmap) -> Self {
        Self { possible: &certain | &more, certain }
    }

    /// Whether nothing is left to find out.
    pub fn is_exact(&self) -> bool {
        self.certain.len() == self.possible.len()
    }

    /// The rows to look at.
    pub fn undecided(&self) -> RoaringBitmap {
        &self.possible - &self.certain
    }

    pub(crate) fn within(mut self, rows: &RoaringBitmap) -> Self {
        self.certain &= rows;
        self.possible &= rows;
        self
    }

    pub(crate) fn and(mut self, other: &Matches) -> Self {
        self.certain &= &other.certain;
        self.possible &= &other.possible;
        self
    }

    pub(crate) fn or(mut self, other: &Matches) -> Self {
        self.certain |= &other.certain;
        self.possible |= &other.possible;
        self
    }

    pub(crate) fn not(self, universe: &RoaringBitmap) -> Self {
        Self { certain: universe - self.possible, possible: universe - self.certain }
    }

    /// Rows in at least `count` of `all`.
    pub(crate) fn at_least(count: usize, all: &[Matches]) -> Self {
        let certain = in_at_least(count, all.iter().map(|m| &m.certain));
        let possible = in_at_least(count, all.iter().map(|m| &m.possible));
        Self { certain, possible }
    }
}

fn in_at_least<'a>(count: usize, bitmaps: impl Iterator<Item = &'a RoaringBitmap> + Clone) -> RoaringBitmap {
    let highest = bitmaps.clone().filter_map(RoaringBitmap::max).max();
    let Some(highest) = highest else { return RoaringBitmap::new() };
    let mut seen = vec![0_usize; highest as usize + 1];
    for bitmap in bitmaps {
        for row in bitmap {
            seen[row as usize] += 1;
        }
    }
    (0..).zip(seen).filter(|(_, n)| *n >= count).map(|(row, _)| row).collect()
}
