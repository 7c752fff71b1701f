//! Vectors to index, and what is near among them.
#![allow(dead_code, reason = "each test uses a part of it")]

use lodestone_index::dense::Distance;

/// Repeatable numbers from 0 to 1.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.uniform() - 0.5).sum::<f32>() * std::f32::consts::SQRT_2
    }
}

pub struct Rows {
    pub dim: usize,
    pub floats: Vec<f32>,
}

impl Rows {
    pub fn count(&self) -> usize {
        self.floats.len() / self.dim
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.floats[i * self.dim..(i + 1) * self.dim]
    }

    pub fn distance(&self, distance: Distance, i: usize, query: &[f32]) -> f64 {
        let pairs = self.row(i).iter().zip(query).map(|(x, q)| (f64::from(*x), f64::from(*q)));
        match distance {
            Distance::Euclid => pairs.map(|(x, q)| (x - q) * (x - q)).sum(),
            Distance::Dot => -pairs.map(|(x, q)| x * q).sum::<f64>(),
        }
    }

    /// The `k` nearest of some rows.
    pub fn nearest(
        &self,
        distance: Distance,
        query: &[f32],
        k: usize,
        among: impl Iterator<Item = u32>,
    ) -> Vec<u32> {
        nearest_by(k, among, |i| self.distance(distance, i, query))
    }

    /// The sum of differences.
    pub fn manhattan(&self, i: usize, query: &[f32]) -> f64 {
        self.row(i).iter().zip(query).map(|(x, q)| (f64::from(*x) - f64::from(*q)).abs()).sum()
    }
}

/// Those `k` of some rows whose distance is least.
pub fn nearest_by(k: usize, among: impl Iterator<Item = u32>, distance: impl Fn(usize) -> f64) -> Vec<u32> {
    let mut all: Vec<(f64, u32)> = among.map(|i| (distance(i as usize), i)).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().take(k).map(|(_, i)| i).collect()
}

/// Rows in clouds of several sizes, off the origin, in fewer directions than components; for products of unit length.
pub fn clouds(distance: Distance, count: usize, dim: usize, seed: u64) -> Rows {
    let mut random = Random(seed);
    let rank = dim.min(24);
    let directions: Vec<f32> = (0..rank * dim).map(|_| random.normal()).collect();
    let centres: Vec<f32> = (0..40 * rank).map(|_| random.normal()).collect();
    let mut floats = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let cloud = (random.uniform() * random.uniform() * 40.0) as usize;
        let factors: Vec<f32> =
            (0..rank).map(|r| centres[cloud * rank + r] + 0.5 * random.normal()).collect();
        let mut row: Vec<f32> = (0..dim)
            .map(|j| {
                let mixed: f32 = factors.iter().enumerate().map(|(r, f)| f * directions[r * dim + j]).sum();
                1.0 + mixed + 0.3 * random.normal()
            })
            .collect();
        if distance == Distance::Dot {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= length);
        }
        floats.extend(row);
    }
    Rows { dim, floats }
}
