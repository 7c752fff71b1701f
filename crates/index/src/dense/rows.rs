//! Where the vectors come from that are learned from and indexed: they need not be in memory.

/// Vectors by number. Asked for by several threads, each for some hundred at a time.
pub trait Rows: Sync {
    /// Writes out the vectors of `numbers`, which ascend, one after another; `out` has room for just these. What cannot be read is
    /// for whoever made this to notice: an index of it is of no use.
    fn write(&self, numbers: &[u32], out: &mut [f32]);

    /// Whether what is made of them is still wanted. Once it is not, no more is compared or coded: what comes out is of no use.
    fn is_wanted(&self) -> bool {
        true
    }
}

/// Vectors that are at hand one by one.
impl<F: Fn(usize, &mut [f32]) + Sync> Rows for F {
    fn write(&self, numbers: &[u32], out: &mut [f32]) {
        let dim = out.len() / numbers.len().max(1);
        let places = out.chunks_exact_mut(dim.max(1));
        numbers.iter().zip(places).for_each(|(number, place)| self(*number as usize, place));
    }
}
