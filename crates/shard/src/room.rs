//! Who has to go where there is not room for all? Shards that are here take memory and disk. Pure: what is known comes in, who
//! goes comes out.

use std::cmp::Ordering;

use lodestone_manifest::ShardId;

/// Bytes of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Of memory.
    pub memory: u64,
    /// Of the local disk.
    pub disk: u64,
}

impl Needs {
    /// Both.
    pub fn plus(self, other: Self) -> Self {
        Self { memory: self.memory.saturating_add(other.memory), disk: self.disk.saturating_add(other.disk) }
    }

    /// Whether there is room for it.
    pub(crate) fn fits_in(self, room: Self) -> bool {
        self.less(room).is_none()
    }

    fn is_none(self) -> bool {
        self.memory == 0 && self.disk == 0
    }

    pub(crate) fn less(self, other: Self) -> Self {
        Self { memory: self.memory.saturating_sub(other.memory), disk: self.disk.saturating_sub(other.disk) }
    }

    fn sum(self) -> u64 {
        self.memory + self.disk
    }
}

/// A shard that has something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Which.
    pub shard: ShardId,
    /// How often it was read lately.
    pub uses: u32,
    /// When it was read last, by a counter of reads.
    pub last: u64,
    /// What it takes.
    pub takes: Needs,
    /// Whether it stays whatever comes.
    pub pinned: bool,
}

/// Which of these stay here: in this order, each that fits into `room` beside those before it.
pub fn kept(pins: impl IntoIterator<Item = Needs>, room: Needs) -> Vec<bool> {
    let mut taken = Needs::default();
    let mut fits = |needs: Needs| {
        let all = taken.plus(needs);
        let fits = all.fits_in(room);
        taken = if fits { all } else { taken };
        fits
    };
    pins.into_iter().map(&mut fits).collect()
}

/// Who goes to give `over` back: those that were not read for longest.
pub fn least_recent(mut residents: Vec<Resident>, over: Needs) -> Vec<ShardId> {
    residents.retain(|resident| !resident.pinned);
    residents.sort_unstable_by_key(|resident| resident.last);
    first_that_suffice(&residents, over).0
}

/// Who goes to give `over` back for a `shard` that was read `uses` times lately and takes `takes`; `None` if others are read more for
/// what they take. So reading each of many once does not push out what is read again and again. Shards of one collection are read
/// together, so none goes for another: they would take turns for ever.
pub fn for_one_more(
    mut residents: Vec<Resident>,
    shard: ShardId,
    uses: u32,
    takes: Needs,
    over: Needs,
) -> Option<Vec<ShardId>> {
    residents.retain(|resident| !resident.pinned && resident.shard.collection() != shard.collection());
    residents.sort_unstable_by(|a, b| {
        by_use(a.uses, a.takes, b.uses, b.takes).then(a.last.cmp(&b.last)).then(a.shard.cmp(&b.shard))
    });
    let (goes, left) = first_that_suffice(&residents, over);
    let is_used_less =
        |resident: &Resident| by_use(resident.uses, resident.takes, uses, takes) == Ordering::Less;
    (left.is_none() && residents[..goes.len()].iter().all(is_used_less)).then_some(goes)
}

/// Which of two is read more for what it takes.
fn by_use(uses: u32, takes: Needs, other_uses: u32, other_takes: Needs) -> Ordering {
    let a = u128::from(uses) * u128::from(other_takes.sum());
    a.cmp(&(u128::from(other_uses) * u128::from(takes.sum())))
}

/// The first residents that together take `over`, and what is still missing after all of them.
fn first_that_suffice(residents: &[Resident], mut over: Needs) -> (Vec<ShardId>, Needs) {
    let mut goes = Vec::new();
    for resident in residents {
        if over.is_none() {
            break;
        }
        over = over.less(resident.takes);
        goes.push(resident.shard);
    }
    (goes, over)
}

#[cfg(test)]
mod tests {
    use lodestone_manifest::CollectionId;

    use super::*;

    fn shard(number: u64) -> ShardId {
        ShardId::new(CollectionId(number), 0)
    }

    fn resident(number: u64, uses: u32, memory: u64, disk: u64) -> Resident {
        let takes = Needs { memory, disk };
        Resident { shard: shard(number), uses, last: number, takes, pinned: false }
    }

    #[test]
    fn who_was_not_read_for_longest_goes_and_no_more_than_needed() {
        let all = vec![resident(3, 9, 10, 50), resident(1, 9, 10, 50), resident(2, 9, 10, 50)];
        let goes = |memory, disk| least_recent(all.clone(), Needs { memory, disk });
        assert_eq!(goes(0, 0), []);
        assert_eq!(goes(1, 0), [shard(1)]);
        assert_eq!(goes(11, 0), [shard(1), shard(2)]);
        assert_eq!(goes(1, 51), [shard(1), shard(2)]);
        assert_eq!(goes(1000, 0).len(), 3);
    }

    #[test]
    fn one_more_comes_only_for_those_that_are_read_less_for_what_they_take() {
        let all = vec![resident(1, 8, 10, 50), resident(2, 2, 10, 50), resident(3, 4, 40, 200)];
        let goes = |uses, memory| {
            let takes = Needs { memory: 10, disk: 50 };
            for_one_more(all.clone(), shard(9), uses, takes, Needs { memory, disk: 0 })
        };
        assert_eq!(goes(1, 5), None);
        assert_eq!(goes(2, 5), Some(vec![shard(3)]), "four reads of four times as much are worth one");
        assert_eq!(goes(2, 45), None);
        assert_eq!(goes(3, 45), Some(vec![shard(3), shard(2)]));
        assert_eq!(goes(8, 55), None, "who is there stays among equals");
        assert_eq!(goes(9, 55).map(|goes| goes.len()), Some(3));
        assert_eq!(goes(9, 100), None, "not even all would do");
        let nothing = Needs::default();
        assert_eq!(for_one_more(Vec::new(), shard(9), 0, nothing, nothing), Some(Vec::new()));
    }

    #[test]
    fn no_shard_goes_for_another_of_its_collection() {
        let all = vec![resident(1, 1, 10, 50), resident(2, 2, 10, 50)];
        let other_of_first = ShardId::new(CollectionId(1), 7);
        let goes = |over| {
            let (takes, over) = (Needs { memory: 10, disk: 50 }, Needs { memory: over, disk: 0 });
            for_one_more(all.clone(), other_of_first, 9, takes, over)
        };
        assert_eq!(goes(5), Some(vec![shard(2)]));
        assert_eq!(goes(15), None, "the first one would have to go");
    }

    #[test]
    fn what_is_pinned_never_goes() {
        let pinned = Resident { pinned: true, ..resident(1, 0, 10, 50) };
        let all = vec![pinned, resident(2, 1, 10, 50), resident(3, 2, 10, 50)];
        let over = |memory| Needs { memory, disk: 0 };
        assert_eq!(least_recent(all.clone(), over(5)), [shard(2)]);
        assert_eq!(least_recent(all.clone(), over(1000)), [shard(2), shard(3)]);
        let takes = Needs { memory: 10, disk: 50 };
        assert_eq!(for_one_more(all.clone(), shard(9), 9, takes, over(15)), Some(vec![shard(2), shard(3)]));
        assert_eq!(
            for_one_more(all, shard(9), 9, takes, over(25)),
            None,
            "but for the pinned one there would be room"
        );
    }

    #[test]
    fn pins_are_kept_as_far_as_there_is_room() {
        let pins =
            [(10, 50), (95, 1), (90, 1), (0, 60), (0, 49)].map(|(memory, disk)| Needs { memory, disk });
        let room = Needs { memory: 100, disk: 100 };
        assert_eq!(kept(pins, room), [true, false, true, false, true]);
        assert_eq!(kept([room, Needs::default()], room), [true, true]);
    }
}
