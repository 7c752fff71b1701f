//! Clustering by Lloyd's iteration, on two levels where there are many clusters.
//!
//! Comparing every row with every centroid would take longer the more there are of both. So rows are parted among some
//! coarse centroids first, the fine ones are found within each part, and afterwards all are moved once more, with rows
//! compared with the centroids of neighbouring parts.

use lodestone_kernels::Centroids;
use lodestone_types::Stretch;
use rayon::prelude::*;

use super::rotation::split_mix;

/// Rows per centroid that are looked at while centroids move; more do not move them elsewhere.
const SAMPLE: usize = 96;
const ROUNDS: usize = 8;
/// Clusters below which one level does.
const ONE_LEVEL: usize = 64;
/// Parts whose centroids a row is compared with.
pub(super) const NEIGHBOURS: usize = 10;
/// Rows compared by one task.
const TASK_ROWS: usize = 1536;
/// Products of components after which whoever waits for the processor has a turn: some tenths of a millisecond.
const TURN: usize = 1 << 24;

/// Centroids, and the coarse ones that part them.
#[derive(Debug, Clone)]
pub(super) struct Clusters {
    /// `dim` floats each.
    pub fine: Vec<f32>,
    /// `dim` floats each.
    pub coarse: Vec<f32>,
    /// The fine centroids of each coarse one.
    pub members: Vec<Vec<u32>>,
}

/// Whether somebody still waits for centroids.
type Wanted<'a> = &'a (dyn Fn() -> bool + Sync);

/// About `count` centroids of the rows, which lie one after another; just any, and soon, once they are not wanted any more.
pub(super) fn cluster(rows: &[f32], dim: usize, count: usize, seed: u64, wanted: Wanted) -> Clusters {
    let n = rows.len() / dim;
    let count = count.clamp(1, n.max(1));
    if count <= ONE_LEVEL {
        let fine = lloyd(rows, dim, count, seed, wanted);
        let members = vec![(0..(fine.len() / dim) as u32).collect()];
        return Clusters { coarse: mean(rows, dim), fine, members };
    }
    let coarse = lloyd(&sample(rows, dim, count.isqrt() * 256, seed), dim, count.isqrt(), seed, wanted);
    let parts = part(rows, dim, &coarse, wanted);
    let fine: Vec<Vec<f32>> = parts
        .par_iter()
        .enumerate()
        .map(|(i, part)| {
            let share = (part.len() * count).div_ceil(n);
            lloyd(&gather(rows, dim, part), dim, share, seed ^ i as u64, wanted)
        })
        .collect();
    let mut clusters = Clusters { fine: Vec::new(), coarse, members: Vec::new() };
    for fine in fine {
        let first = (clusters.fine.len() / dim) as u32;
        clusters.members.push((first..first + (fine.len() / dim) as u32).collect());
        clusters.fine.extend(fine);
    }
    refine(rows, dim, &parts, &mut clusters, wanted);
    clusters
}

/// Moves the fine centroids once more, rows choosing among those of neighbouring parts.
fn refine(rows: &[f32], dim: usize, parts: &[Vec<u32>], clusters: &mut Clusters, wanted: Wanted) {
    let near = neighbours(&clusters.coarse, dim);
    let moved = parts.par_iter().zip(&near).map(|(part, near)| {
        let ids: Vec<u32> = near.iter().flat_map(|c| &clusters.members[*c as usize]).copied().collect();
        let centroids = Centroids::new(dim, &gather(&clusters.fine, dim, &ids));
        let rows = gather(rows, dim, part);
        let mut sums = Sums::new(ids.len(), dim);
        for (row, (nearest, _)) in rows.chunks_exact(dim).zip(nearest_in_turns(&centroids, &rows, wanted)) {
            sums.add(nearest as usize, row);
        }
        (ids, sums)
    });
    let mut total = Sums::new(clusters.fine.len() / dim, dim);
    for (ids, sums) in moved.collect::<Vec<_>>() {
        for (i, id) in ids.iter().enumerate() {
            total.merge(*id as usize, &sums, i);
        }
    }
    total.write_means(&mut clusters.fine);
}

/// For each coarse centroid the nearest ones, itself first.
pub(super) fn neighbours(coarse: &[f32], dim: usize) -> Vec<Vec<u32>> {
    let centroids = Centroids::new(dim, coarse);
    let mut near = vec![Vec::new(); centroids.len()];
    centroids.half_distances(coarse, |row, first, halves| {
        let found: &mut Vec<(f32, u32)> = &mut near[row];
        found.extend(halves.iter().enumerate().map(|(i, half)| (*half, (first + i) as u32)));
    });
    let nearest = |mut found: Vec<(f32, u32)>| {
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.truncate(NEIGHBOURS.min(centroids.len()));
        found.into_iter().map(|(_, i)| i).collect()
    };
    near.into_iter().map(nearest).collect()
}

/// The rows nearest to each coarse centroid.
fn part(rows: &[f32], dim: usize, coarse: &[f32], wanted: Wanted) -> Vec<Vec<u32>> {
    let centroids = Centroids::new(dim, coarse);
    let mut parts = vec![Vec::new(); centroids.len()];
    for (row, (nearest, _)) in nearest(&centroids, rows, wanted).into_iter().enumerate() {
        parts[nearest as usize].push(row as u32);
    }
    parts
}

/// Lloyd's iteration from rows drawn at random. A centroid that loses all its rows starts again beside that with most.
fn lloyd(rows: &[f32], dim: usize, count: usize, seed: u64, wanted: Wanted) -> Vec<f32> {
    let rows = sample(rows, dim, count * SAMPLE, seed);
    let mut centroids = sample(&rows, dim, count, seed ^ 0x5eed);
    for _ in 0..ROUNDS {
        let mut sums = Sums::new(centroids.len() / dim, dim);
        let found = nearest(&Centroids::new(dim, &centroids), &rows, wanted);
        for (row, (nearest, _)) in rows.chunks_exact(dim).zip(found) {
            sums.add(nearest as usize, row);
        }
        sums.write_means(&mut centroids);
        sums.fill_empty(&mut centroids);
    }
    centroids
}

/// The nearest centroid of each row; of fewer, and not of those that one would think, once they are not wanted any more.
fn nearest(centroids: &Centroids, rows: &[f32], wanted: Wanted) -> Vec<(u32, f32)> {
    let tasks = rows.par_chunks(TASK_ROWS * centroids.dim());
    tasks.flat_map_iter(|rows| nearest_in_turns(centroids, rows, wanted)).collect()
}

/// The same by one thread.
fn nearest_in_turns(centroids: &Centroids, rows: &[f32], wanted: Wanted) -> Vec<(u32, f32)> {
    let mut stretch = Stretch::begin();
    let mut found = Vec::with_capacity(rows.len() / centroids.dim());
    let turn = (TURN / (centroids.len() * centroids.dim()).max(1)).max(1);
    for rows in rows.chunks(turn * centroids.dim()).take_while(|_| wanted()) {
        found.extend(centroids.nearest(rows));
        stretch.give_way();
    }
    found
}

fn mean(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut sums = Sums::new(1, dim);
    rows.chunks_exact(dim).for_each(|row| sums.add(0, row));
    let mut mean = vec![0.0; dim];
    sums.write_means(&mut mean);
    mean
}

pub(super) fn gather(rows: &[f32], dim: usize, numbers: &[u32]) -> Vec<f32> {
    let mut gathered = Vec::with_capacity(numbers.len() * dim);
    numbers
        .iter()
        .for_each(|i| gathered.extend_from_slice(&rows[*i as usize * dim..(*i as usize + 1) * dim]));
    gathered
}

/// At most `count` of the rows, drawn without repetition.
fn sample(rows: &[f32], dim: usize, count: usize, seed: u64) -> Vec<f32> {
    let n = rows.len() / dim;
    if count >= n {
        return rows.to_vec();
    }
    // The first steps of a Fisher-Yates shuffle.
    let mut numbers: Vec<u32> = (0..n as u32).collect();
    let mut state = seed;
    for i in 0..count {
        let j = i + (split_mix(&mut state) % (n - i) as u64) as usize;
        numbers.swap(i, j);
    }
    gather(rows, dim, &numbers[..count])
}

/// Sums of the rows of each cluster.
struct Sums {
    dim: usize,
    sums: Vec<f64>,
    counts: Vec<u32>,
}

impl Sums {
    fn new(clusters: usize, dim: usize) -> Self {
        Self { dim, sums: vec![0.0; clusters * dim], counts: vec![0; clusters] }
    }

    fn add(&mut self, cluster: usize, row: &[f32]) {
        let sums = &mut self.sums[cluster * self.dim..(cluster + 1) * self.dim];
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        self.counts[cluster] += 1;
    }

    fn merge(&mut self, cluster: usize, other: &Sums, theirs: usize) {
        let dim = self.dim;
        let sums = &mut self.sums[cluster * dim..(cluster + 1) * dim];
        sums.iter_mut().zip(&other.sums[theirs * dim..]).for_each(|(sum, more)| *sum += more);
        self.counts[cluster] += other.counts[theirs];
    }

    /// Centroids without rows stay where they are.
    fn write_means(&self, centroids: &mut [f32]) {
        let clusters =
            centroids.chunks_exact_mut(self.dim).zip(self.sums.chunks_exact(self.dim)).zip(&self.counts);
        for ((centroid, sums), count) in clusters.filter(|(_, count)| **count > 0) {
            let scale = 1.0 / f64::from(*count);
            centroid.iter_mut().zip(sums).for_each(|(x, sum)| *x = (sum * scale) as f32);
        }
    }

    fn fill_empty(&mut self, centroids: &mut [f32]) {
        let dim = self.dim;
        while let Some(empty) = self.counts.iter().position(|count| *count == 0) {
            let most = (0..self.counts.len()).max_by_key(|i| self.counts[*i]).unwrap_or_default();
            if self.counts[most] < 2 {
                return;
            }
            // A step to either side, the same one for all components that are not 0.
            for j in 0..dim {
                let x = centroids[most * dim + j];
                let step = if j % 2 == 0 { 1.0 / 1024.0 } else { -1.0 / 1024.0 };
                centroids[empty * dim + j] = x * (1.0 + step);
                centroids[most * dim + j] = x * (1.0 - step);
            }
            let half = self.counts[most] / 2;
            self.counts[empty] = half.max(1);
            self.counts[most] -= half;
        }
    }
}

#[cfg(test)]
mod tests;
