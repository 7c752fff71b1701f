//! One answer from the answers of several shards. A point is in one shard only, so nothing comes twice.

use std::cmp::Ordering;

use lodestone_types::{PointId, ScoredPoint};

use crate::best::Scored;

/// The items of all `parts`, each with the number of its part, in the given order; `offset` are skipped and at most
/// `limit` taken. Parts need not be sorted.
pub fn merge<T>(
    parts: Vec<Vec<T>>,
    order: impl Fn(&T, &T) -> Ordering,
    offset: usize,
    limit: usize,
) -> Vec<(usize, T)> {
    let numbered = |(part, items): (usize, Vec<T>)| items.into_iter().map(move |item| (part, item));
    let mut all: Vec<(usize, T)> = parts.into_iter().enumerate().flat_map(numbered).collect();
    all.sort_by(|(_, a), (_, b)| order(a, b));
    all.into_iter().skip(offset).take(limit).collect()
}

/// Something with an id and a score.
pub trait ScoredId {
    /// Its id.
    fn id(&self) -> PointId;
    /// How near it is, as users see it.
    fn score(&self) -> f32;
}

impl ScoredId for ScoredPoint {
    fn id(&self) -> PointId {
        self.id
    }
    fn score(&self) -> f32 {
        self.score
    }
}

impl ScoredId for crate::Hit {
    fn id(&self) -> PointId {
        self.found.id
    }
    fn score(&self) -> f32 {
        self.score
    }
}

/// The order of search results: nearest first, then by id. The same within a shard and across shards.
pub fn nearest_first<T: ScoredId>(greater_is_nearer: bool) -> impl Fn(&T, &T) -> Ordering {
    move |a, b| {
        let scored = |item: &T| Scored::new(item.score(), greater_is_nearer, item.id());
        scored(a).cmp(&scored(b))
    }
}

/// A page and where the next one starts, from the pages of all shards, each of one row more than `limit` where there
/// is one.
pub fn merge_pages<T>(
    parts: Vec<Vec<T>>,
    id: impl Fn(&T) -> PointId,
    limit: usize,
) -> (Vec<(usize, T)>, Option<PointId>) {
    let mut page = merge(parts, |a, b| id(a).cmp(&id(b)), 0, limit.saturating_add(1));
    let next = if page.len() > limit { page.pop().map(|(_, item)| id(&item)) } else { None };
    (page, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Item(u64, f32);

    impl ScoredId for Item {
        fn id(&self) -> PointId {
            PointId::Num(self.0)
        }
        fn score(&self) -> f32 {
            self.1
        }
    }

    #[test]
    fn merges_by_score_then_id() {
        let parts = || vec![vec![Item(5, 0.9), Item(1, 0.5)], vec![], vec![Item(2, 0.9), Item(9, 0.1)]];
        let ids = |merged: Vec<(usize, Item)>| merged.iter().map(|(p, i)| (*p, i.0)).collect::<Vec<_>>();
        assert_eq!(ids(merge(parts(), nearest_first(true), 0, 3)), [(2, 2), (0, 5), (0, 1)]);
        assert_eq!(ids(merge(parts(), nearest_first(false), 1, 9)), [(0, 1), (2, 2), (0, 5)]);
    }

    #[test]
    fn a_page_says_where_the_next_one_starts() {
        let parts = || vec![vec![1, 4, 6], vec![2, 3]];
        let page = |limit| {
            let (page, next) = merge_pages(parts(), |n| PointId::Num(*n), limit);
            (page.into_iter().map(|(_, n)| n).collect::<Vec<_>>(), next)
        };
        assert_eq!(page(3), (vec![1, 2, 3], Some(PointId::Num(4))));
        assert_eq!(page(5), (vec![1, 2, 3, 4, 6], None));
        assert_eq!(page(0), (vec![], Some(PointId::Num(1))));
    }
}
