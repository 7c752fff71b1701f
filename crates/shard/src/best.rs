//! The best few of many.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Keeps the `limit` least of the items pushed. The order has to be total, and then the outcome does not depend
/// on the order of pushing: ties are never broken by chance.
#[derive(Debug)]
pub struct Best<T: Ord> {
    limit: usize,
    /// The worst one kept is on top.
    heap: BinaryHeap<T>,
}

impl<T: Ord> Best<T> {
    /// Room for `limit` items.
    pub fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    /// The worst item kept, once there is no room left: what is not less than it has no chance.
    pub fn bar(&self) -> Option<&T> {
        if self.heap.len() < self.limit { None } else { self.heap.peek() }
    }

    /// Takes `item` if it is among the best so far.
    pub fn push(&mut self, item: T) {
        if self.heap.len() < self.limit {
            self.heap.push(item);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && item < *worst
        {
            *worst = item;
        }
    }

    /// Takes all of `other`.
    pub fn merge(mut self, other: Self) -> Self {
        let (mut into, from) = if self.heap.len() < other.heap.len() {
            (other, self.heap)
        } else {
            let from = other.heap;
            self.heap.reserve(from.len().min(self.limit.saturating_sub(self.heap.len())));
            (self, from)
        };
        from.into_iter().for_each(|item| into.push(item));
        into
    }

    /// The items, best first.
    pub fn into_sorted(self) -> Vec<T> {
        self.heap.into_sorted_vec()
    }
}

/// Something with a score. The least is the nearest; among equals the one with the lesser key.
#[derive(Debug, Clone, Copy)]
pub struct Scored<K> {
    /// Greater is nearer, whatever the metric; never NaN nor minus zero.
    rank: f32,
    /// What was scored.
    pub key: K,
}

impl<K> Scored<K> {
    /// `greater_is_nearer` is the metric's. A score that is no number is farther than all others.
    pub fn new(score: f32, greater_is_nearer: bool, key: K) -> Self {
        let rank = if greater_is_nearer { score } else { -score };
        Self { rank: if rank.is_nan() { f32::NEG_INFINITY } else { rank + 0.0 }, key }
    }

    /// Whether it is nearer than something with this score, whatever the keys.
    pub fn is_nearer_than(&self, score: f32, greater_is_nearer: bool) -> bool {
        self.rank.total_cmp(&Scored::new(score, greater_is_nearer, ()).rank) == Ordering::Greater
    }

    /// The score again.
    pub fn score(&self, greater_is_nearer: bool) -> f32 {
        if greater_is_nearer { self.rank } else { 0.0 - self.rank }
    }

    /// The same score for another key.
    pub fn with_key<L>(&self, key: L) -> Scored<L> {
        Scored { rank: self.rank, key }
    }
}

impl<K: Ord> Ord for Scored<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank.total_cmp(&self.rank).then_with(|| self.key.cmp(&other.key))
    }
}

impl<K: Ord> PartialOrd for Scored<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Scored<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord> Eq for Scored<K> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keeps_the_best_in_any_order(
            items in prop::collection::vec((0u8..20, 0u8..20), 0..60),
            split in 0usize..60,
            limit in 0usize..10,
            greater in any::<bool>(),
        ) {
            let scored = |&(score, key): &(u8, u8)| Scored::new(f32::from(score), greater, key);
            let (left, right) = items.split_at(split.min(items.len()));
            let part = |items: &[(u8, u8)]| {
                let mut best = Best::new(limit);
                items.iter().for_each(|item| best.push(scored(item)));
                best
            };
            let got: Vec<_> = part(left).merge(part(right)).into_sorted();
            let mut expected: Vec<(u8, u8)> = items.clone();
            expected.sort_by_key(|&(score, key)| (if greater { 255 - score } else { score }, key));
            expected.truncate(limit);
            let got: Vec<_> = got.iter().map(|s| (s.score(greater) as u8, s.key)).collect();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn no_number_is_farthest_and_zero_has_one_sign() {
        let mut best = Best::new(3);
        for (key, score) in [(1, f32::NAN), (2, -0.0), (0, 0.0)] {
            best.push(Scored::new(score, true, key));
        }
        let keys: Vec<i32> = best.into_sorted().iter().map(|s| s.key).collect();
        assert_eq!(keys, [0, 2, 1]);
        assert!(Scored::new(0.0, false, 0).score(false).is_sign_positive());
    }
}
