//! What requests to a bucket cost.

use serde::Deserialize;

/// What a store charges for, in whatever currency.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// For a million reads: GET and HEAD.
    pub million_reads: f64,
    /// For a million writes: PUT, and LIST with them. Deletes are free.
    pub million_writes: f64,
    /// For 2^30 bytes read.
    pub gib_read: f64,
}

impl Default for Prices {
    /// Of S3 Standard in `us-east-1`, in dollars, read from within the region.
    fn default() -> Self {
        Self { million_reads: 0.40, million_writes: 5.00, gib_read: 0.0 }
    }
}

impl Prices {
    /// What so many requests and bytes read cost.
    pub fn of(&self, reads: u64, writes: u64, bytes: u64) -> f64 {
        const MILLION: f64 = 1e6;
        const GIB: f64 = (1u64 << 30) as f64;
        reads as f64 * self.million_reads / MILLION
            + writes as f64 * self.million_writes / MILLION
            + bytes as f64 * self.gib_read / GIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_price() {
        let prices = Prices { million_reads: 1.0, million_writes: 10.0, gib_read: 0.5 };
        assert_eq!(prices.of(3_000_000, 2_000_000, 4 << 30), 3.0 + 20.0 + 2.0);
        assert_eq!(Prices::default().of(1_000_000, 0, 1 << 40), 0.40);
    }
}
