//! The rows that may be among the nearest, as far as estimates tell.

use lodestone_kernels::Estimate;

/// How many rows a shortlist keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Rows that are looked for.
    pub wanted: usize,
    /// Rows kept in any case.
    pub least: usize,
    /// Rows kept at most.
    pub most: usize,
    /// A row is kept too while its estimate is no farther than this from that of the last one wanted.
    pub margin: f32,
}

/// Collects estimates, and drops now and then those that have no chance any more.
#[derive(Debug, Default)]
pub(super) struct Shortlist {
    /// What was found, in no order.
    pub found: Vec<Estimate>,
    limit: f32,
    bar: f32,
    trim_at: usize,
    /// Places that were met, each at or after the slot that its number leads to.
    met: Vec<u32>,
}

/// No place: there are fewer than 2^32 rows.
const NONE: u32 = u32::MAX;

impl Shortlist {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.found.clear();
        (self.limit, self.bar) = (f32::INFINITY, f32::INFINITY);
        self.trim_at = 0;
    }

    /// Estimates that are not below this have no chance.
    pub fn limit(&self) -> f32 {
        self.limit
    }

    /// Estimates below this are among those wanted, as far as the last trim tells.
    pub fn bar(&self) -> f32 {
        self.bar
    }

    /// Keeps one of those with the same place.
    pub fn forget_repeated(&mut self) {
        // At most a quarter of the slots is taken, so that the next free one is near.
        let bits = (4 * self.found.len()).next_power_of_two().max(2).ilog2();
        let (met, last) = (&mut self.met, (1 << bits) - 1);
        met.clear();
        met.resize(1 << bits, NONE);
        self.found.retain(|found| {
            // Multiplying by 2^32 over the golden ratio leads neighbours far apart (Knuth, TAOCP 3, 6.4).
            let mut slot = (found.place.wrapping_mul(0x9e37_79b9) >> (32 - bits)) as usize;
            while met[slot] != NONE && met[slot] != found.place {
                slot = (slot + 1) & last;
            }
            std::mem::replace(&mut met[slot], found.place) == NONE
        });
    }

    /// Drops what has no chance, if there is much of it.
    pub fn trim_sometimes(&mut self, size: &Size) {
        if self.found.len() > self.trim_at.max(size.least.saturating_mul(2)) {
            self.trim(size);
            self.trim_at = 2 * self.found.len();
        }
    }

    /// Drops what has no chance.
    pub fn trim(&mut self, size: &Size) {
        let least = size.least.max(size.wanted);
        if self.found.len() <= least || least == 0 {
            self.found.truncate(least);
            return;
        }
        let most = size.most.max(least);
        if self.found.len() > most {
            nth(&mut self.found, most - 1);
            self.found.truncate(most);
        }
        let last_kept = nth(&mut self.found, least - 1);
        let last_wanted = match size.wanted {
            0 => f32::NEG_INFINITY,
            wanted => nth(&mut self.found[..least], wanted - 1),
        };
        let limit = last_kept.max(last_wanted + size.margin);
        let mut kept = least;
        for at in least..self.found.len() {
            if self.found[at].value <= limit {
                self.found.swap(kept, at);
                kept += 1;
            }
        }
        self.found.truncate(kept);
        (self.limit, self.bar) = (limit, last_wanted);
    }
}

/// Puts the `n`-th nearest in its place, nearer ones before it, and returns its estimate.
pub(super) fn nth(found: &mut [Estimate], n: usize) -> f32 {
    found.select_nth_unstable_by(n, |a, b| a.value.total_cmp(&b.value)).1.value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortlist(values: impl Iterator<Item = u32>) -> Shortlist {
        let found = values.map(|i| Estimate { value: i as f32, place: i }).collect();
        Shortlist { found, limit: f32::INFINITY, bar: f32::INFINITY, ..Shortlist::default() }
    }

    fn places(list: &Shortlist) -> Vec<u32> {
        let mut places: Vec<u32> = list.found.iter().map(|found| found.place).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn keeps_what_has_a_chance() {
        let all = || (0..1000u32).map(|i| i * 7 % 1000);
        for (wanted, least, most, margin, kept) in [
            (10, 20, 500, 0.0, 20),
            (10, 20, 500, 50.0, 60),
            (10, 20, 40, 50.0, 40),
            (10, 5, 500, 0.0, 10),
            (10, 2000, 5000, 50.0, 1000),
            (0, 0, 0, 50.0, 0),
        ] {
            let mut list = shortlist(all());
            list.trim(&Size { wanted, least, most, margin });
            assert_eq!(places(&list), (0..kept).collect::<Vec<u32>>(), "{wanted}, {least}, {most}, {margin}");
        }
    }

    #[test]
    fn each_place_stays_once() {
        for count in [0, 1, 2, 40, 1000] {
            let mut list = shortlist((0..count).flat_map(|i| [i, i * 7919, i, count - 1 - i]));
            let mut all = places(&list);
            all.dedup();
            list.forget_repeated();
            assert_eq!(places(&list), all, "{count}");
        }
    }

    #[test]
    fn trimming_in_between_loses_nothing() {
        let size = Size { wanted: 3, least: 5, most: 100, margin: 8.0 };
        let (mut list, mut once) = (shortlist(std::iter::empty()), shortlist((0..500).map(|i| i * 13 % 500)));
        list.clear();
        for estimate in once.found.iter().filter(|estimate| estimate.value.is_finite()) {
            if estimate.value < list.limit() {
                list.found.push(*estimate);
            }
            list.trim_sometimes(&size);
        }
        list.trim(&size);
        once.trim(&size);
        // What equals the limit may go or stay.
        let within =
            |list: &Shortlist| places(list).into_iter().filter(|place| *place < 10).collect::<Vec<_>>();
        assert_eq!(within(&list), within(&once));
    }
}
