use std::time::Duration;

use rand::Rng;

/// A distribution of waits, given by three points: log-normal up to the 99th percentile, and beyond it growing
/// by the same factor for each further nine, so that all three are met exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// Half of the waits are shorter.
    pub p50: Duration,
    /// One in a hundred is longer.
    pub p99: Duration,
    /// One in a thousand is longer.
    pub p999: Duration,
}

/// How long requests take.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// Until the first byte of a read, head or list, and for a delete.
    pub get: Quantiles,
    /// For a write, beside its transfer.
    pub put: Quantiles,
    /// Of one connection.
    pub bytes_per_second: f64,
    /// What a request pays when no idle connection is left.
    pub connect: Duration,
    /// How long a connection stays usable when idle.
    pub idle_timeout: Duration,
}

/// The standard normal quantile of 0.99.
const Z99: f64 = 2.326_347_9;
/// The tail ends here, at six nines.
const LEAST_TAIL: f64 = 1e-6;

impl Quantiles {
    const fn millis(p50: u64, p99: u64, p999: u64) -> Self {
        Self {
            p50: Duration::from_millis(p50),
            p99: Duration::from_millis(p99),
            p999: Duration::from_millis(p999),
        }
    }

    /// One wait.
    pub fn sample(&self, rng: &mut impl Rng) -> Duration {
        if self.p50.is_zero() {
            return Duration::ZERO;
        }
        let above = rng.random::<f64>();
        if above < 0.01 {
            let nines = (0.01 / above.max(LEAST_TAIL)).log10();
            let factor = self.p999.as_secs_f64() / self.p99.as_secs_f64();
            return self.p99.mul_f64(factor.powf(nines));
        }
        let sigma = (self.p99.as_secs_f64() / self.p50.as_secs_f64()).ln() / Z99;
        self.p50.mul_f64((sigma * body_normal(rng)).exp())
    }
}

/// A standard normal value, given that it lies below its 99th percentile.
fn body_normal(rng: &mut impl Rng) -> f64 {
    loop {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let value = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
        if value <= Z99 {
            return value;
        }
    }
}

impl Latency {
    /// As measured on S3 from a machine in the same region.
    pub fn s3() -> Self {
        Self {
            get: Quantiles::millis(63, 78, 118),
            put: Quantiles::millis(100, 195, 274),
            bytes_per_second: 80e6,
            connect: Duration::from_millis(30),
            idle_timeout: Duration::from_secs(15),
        }
    }

    /// No waits at all.
    pub fn none() -> Self {
        let zero = Quantiles::millis(0, 0, 0);
        Self {
            get: zero,
            put: zero,
            bytes_per_second: f64::INFINITY,
            connect: Duration::ZERO,
            idle_timeout: Duration::MAX,
        }
    }

    /// The time that `bytes` take on one connection.
    pub fn transfer(&self, bytes: usize) -> Duration {
        Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn samples_meet_the_three_points() {
        let mut rng = StdRng::seed_from_u64(5);
        for wanted in [Latency::s3().get, Latency::s3().put] {
            let mut waits: Vec<_> = (0..400_000).map(|_| wanted.sample(&mut rng)).collect();
            waits.sort_unstable();
            for (at, expected) in [(0.5, wanted.p50), (0.99, wanted.p99), (0.999, wanted.p999)] {
                let got = waits[(at * waits.len() as f64) as usize].as_secs_f64();
                let off = (got / expected.as_secs_f64() - 1.0).abs();
                assert!(off < 0.05, "quantile {at}: {got} s instead of {expected:?}");
            }
        }
    }
}
