//! A matrix product that is consumed as it comes: for each of many rows, how near it is to each of many centroids.
//!
//! What clustering spends its time on. Centroids are packed into panels that lie in the order in which they are read; a
//! tile of a few rows by one panel stays in registers, and no matrix of all distances is ever written.

use crate::Isa;

/// Centroids of a panel: four registers of the widest kind.
const PANEL: usize = 64;
/// Rows of a tile: with a panel, 24 of the 32 registers that AVX-512 has.
const ROWS: usize = 6;

/// Centroids, packed to be compared with many rows.
#[derive(Debug, Clone)]
pub struct Centroids {
    dim: usize,
    count: usize,
    /// Per panel and component, one float of each centroid.
    packed: Vec<f32>,
    /// Half of the squared length of each; infinite where a panel has no more.
    halves: Vec<f32>,
    tile: Tile,
}

impl Centroids {
    /// Centroids that lie one after another, `dim` floats each.
    ///
    /// # Panics
    /// If `dim` is 0 or the floats are no whole number of centroids.
    pub fn new(dim: usize, floats: &[f32]) -> Self {
        match Self::with_isa(Isa::best(), dim, floats) {
            Some(centroids) => centroids,
            None => unreachable!("the best instruction set is one of those available"),
        }
    }

    /// As [`Centroids::new`], for one instruction set; `None` where the processor does not have it.
    ///
    /// # Panics
    /// If `dim` is 0 or the floats are no whole number of centroids.
    pub fn with_isa(isa: Isa, dim: usize, floats: &[f32]) -> Option<Self> {
        assert!(dim > 0 && floats.len().is_multiple_of(dim), "whole centroids of {dim} components");
        let count = floats.len() / dim;
        let panels = count.div_ceil(PANEL);
        let mut packed = vec![0.0; panels * PANEL * dim];
        let mut halves = vec![f32::INFINITY; panels * PANEL];
        for (i, centroid) in floats.chunks_exact(dim).enumerate() {
            let start = i / PANEL * PANEL * dim + i % PANEL;
            for (j, x) in centroid.iter().enumerate() {
                packed[start + j * PANEL] = *x;
            }
            halves[i] = centroid.iter().map(|x| x * x).sum::<f32>() / 2.0;
        }
        Some(Self { dim, count, packed, halves, tile: kernel(isa)? })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Components of each.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Calls `each(row, first, halves)` for every row and panel: `halves[i]` is half of the squared distance to centroid
    /// `first + i`, less half of the squared length of the row; the greater ones may be infinite and are no centroids.
    ///
    /// # Panics
    /// If the rows are no whole number of rows.
    pub fn half_distances(&self, rows: &[f32], mut each: impl FnMut(usize, usize, &[f32; PANEL])) {
        assert!(rows.len().is_multiple_of(self.dim), "whole rows of {} components", self.dim);
        let mut products = [[0.0; PANEL]; ROWS];
        for (t, rows) in rows.chunks(ROWS * self.dim).enumerate() {
            let count = rows.len() / self.dim;
            // A tile that is not full has its first row again.
            let rows: [&[f32]; ROWS] = std::array::from_fn(|r| {
                let start = if r < count { r * self.dim } else { 0 };
                &rows[start..start + self.dim]
            });
            let panels = self.packed.chunks_exact(PANEL * self.dim).zip(self.halves.as_chunks::<PANEL>().0);
            for (p, (panel, halves)) in panels.enumerate() {
                // SAFETY: `with_isa` chose code that runs here; the rows and the panel have the same components.
                unsafe { (self.tile)(&rows, panel, &mut products) };
                for (r, products) in products.iter_mut().enumerate().take(count) {
                    products.iter_mut().zip(halves).for_each(|(product, half)| *product = half - *product);
                    each(t * ROWS + r, p * PANEL, products);
                }
            }
        }
    }

    /// The nearest centroid of each row, and half of the squared distance less half of the squared length of the row.
    pub fn nearest(&self, rows: &[f32]) -> Vec<(u32, f32)> {
        let mut best = vec![(0, f32::INFINITY); rows.len() / self.dim];
        self.half_distances(rows, |row, first, halves| {
            let least = halves.iter().copied().fold(f32::INFINITY, f32::min);
            if least < best[row].1 {
                let at = halves.iter().position(|half| *half == least).unwrap_or_default();
                best[row] = ((first + at) as u32, least);
            }
        });
        best
    }
}

/// Inner products of rows with the centroids of a panel. The processor has what the code needs, and all have the same
/// components.
type Tile = unsafe fn(&[&[f32]; ROWS], &[f32], &mut [[f32; PANEL]; ROWS]);

fn kernel(isa: Isa) -> Option<Tile> {
    let tile: Tile = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Vnni => avx512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2,
        _ => scalar,
    };
    isa.is_available().then_some(tile)
}

/// Needs AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn avx512(rows: &[&[f32]; ROWS], panel: &[f32], products: &mut [[f32; PANEL]; ROWS]) {
    use std::arch::x86_64::*;
    const REGISTERS: usize = PANEL / 16;
    let mut sums = [[_mm512_setzero_ps(); REGISTERS]; ROWS];
    for j in 0..rows[0].len() {
        debug_assert!((j + 1) * PANEL <= panel.len());
        // SAFETY: a panel has 64 floats for each component of the rows, which are all of one length.
        unsafe {
            let column: [__m512; REGISTERS] =
                std::array::from_fn(|k| _mm512_loadu_ps(panel.as_ptr().add(j * PANEL + 16 * k)));
            for (row, sums) in rows.iter().zip(&mut sums) {
                let x = _mm512_set1_ps(*row.get_unchecked(j));
                for (sum, centroids) in sums.iter_mut().zip(column) {
                    *sum = _mm512_fmadd_ps(x, centroids, *sum);
                }
            }
        }
    }
    for (products, sums) in products.iter_mut().zip(sums) {
        for (k, sum) in sums.into_iter().enumerate() {
            // SAFETY: 64 floats in four registers.
            unsafe { _mm512_storeu_ps(products.as_mut_ptr().add(16 * k), sum) };
        }
    }
}

/// Needs AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(rows: &[&[f32]; ROWS], panel: &[f32], products: &mut [[f32; PANEL]; ROWS]) {
    use std::arch::x86_64::*;
    // Two registers of a panel at a time: with six rows 12 of the 16 that there are.
    for part in (0..PANEL).step_by(16) {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        for j in 0..rows[0].len() {
            debug_assert!((j + 1) * PANEL <= panel.len());
            // SAFETY: a panel has 64 floats for each component of the rows, which are all of one length.
            unsafe {
                let at = panel.as_ptr().add(j * PANEL + part);
                let column = [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))];
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let x = _mm256_set1_ps(*row.get_unchecked(j));
                    sums[0] = _mm256_fmadd_ps(x, column[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(x, column[1], sums[1]);
                }
            }
        }
        for (products, sums) in products.iter_mut().zip(sums) {
            for (k, sum) in sums.into_iter().enumerate() {
                // SAFETY: 16 floats from `part`, at most 48, on.
                unsafe { _mm256_storeu_ps(products.as_mut_ptr().add(part + 8 * k), sum) };
            }
        }
    }
}

/// Asks nothing of the processor.
unsafe fn scalar(rows: &[&[f32]; ROWS], panel: &[f32], products: &mut [[f32; PANEL]; ROWS]) {
    *products = [[0.0; PANEL]; ROWS];
    for (row, products) in rows.iter().zip(products) {
        for (x, column) in row.iter().zip(panel.as_chunks::<PANEL>().0) {
            products.iter_mut().zip(column).for_each(|(sum, centroid)| *sum += x * centroid);
        }
    }
}
