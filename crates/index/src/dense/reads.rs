//! Which level codes a search of a far index reads: ranges of them that promise most for what they cost.
//!
//! Each row read costs, and so does each range, which is a request. So of all lists, in the order in which they lie, those runs are chosen
//! for which what the rows promise, less what rows and requests cost, is greatest: one pass finds them. As prices rise, less
//! is read; where it is more than a budget allows, the least prices are looked for at which it is not.

use std::ops::Range;

/// Which places the lists of an index have.
#[derive(Debug)]
pub struct ListPlaces(Vec<u32>);

impl ListPlaces {
    /// From the stored form of an index's lists; says what is wrong with it otherwise.
    pub fn open(lists: &[u8], rows: u32) -> Result<Self, String> {
        let (entries, rest) = lists.as_chunks::<8>();
        let places: Vec<u32> =
            entries.iter().map(|[.., a, b, c, d]| u32::from_le_bytes([*a, *b, *c, *d])).collect();
        if !rest.is_empty() || !places.is_sorted() || places.last() != Some(&rows) {
            return Err("its lists make no sense".into());
        }
        Ok(Self(places))
    }

    /// A range of whole lists in pieces of whole lists, each of at most so many places unless a list alone has more.
    pub fn pieces(&self, places: Range<u32>, most: u32) -> Vec<Range<u32>> {
        let mut pieces = Vec::new();
        let mut start = places.start;
        while start < places.end {
            let limit = start.saturating_add(most.max(1)).min(places.end);
            let fit = self.0.partition_point(|end| *end <= limit);
            let end = match self.0.get(fit.wrapping_sub(1)) {
                Some(end) if *end > start => *end,
                _ => self.0.get(fit).copied().unwrap_or(places.end).min(places.end),
            };
            pieces.push(start..end);
            start = end;
        }
        pieces
    }

    /// The list that a place is in.
    fn list_of(&self, place: u32) -> usize {
        self.0.partition_point(|start| *start <= place).saturating_sub(1)
    }

    fn rows(&self) -> u32 {
        self.0.last().copied().unwrap_or_default()
    }

    fn of(&self, list: usize) -> Range<u32> {
        let at = |list: usize| self.0.get(list).or(self.0.last()).copied().unwrap_or_default();
        at(list)..at(list + 1)
    }
}

/// How much a trip may read, and what it has to be good for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadBudget {
    /// Places, over all indexes.
    pub places: usize,
    /// Ranges of places, over all indexes.
    pub ranges: usize,
    /// Rows that [promise](super::ColdQuery::promises) less than this are not worth their bytes,
    pub least: f32,
    /// unless there would be fewer than these; where each of them would take a request, a quarter is enough.
    pub at_least: usize,
    /// A request costs as much as so many rows.
    pub request: f32,
}

/// Prices are found up to one part in ten thousand, as a factor: finer than what tells lists apart that are as far as each other.
const HALVINGS: usize = 18;
/// Rows cost at least this, less than any promises, and requests as much as so many of them.
const LOWEST_PRICE: f32 = 1e-7;
const LEAST_REQUEST: f32 = 0.01;

/// The ranges of places to read, each with the number of its index. `promises` are of each list, at most 1.
pub fn plan_reads(promises: &[f32], indexes: &[&ListPlaces], budget: ReadBudget) -> Vec<(usize, Range<u32>)> {
    let wanted = budget.at_least.min(budget.places);
    let all = || indexes.iter().enumerate().map(|(number, index)| (number, 0..index.rows()));
    if wanted >= rows_of(all()) {
        return all().filter(|(_, places)| !places.is_empty()).collect();
    }
    let near = Near::new(promises, indexes, budget.places.saturating_mul(CONSIDERED));
    let price = (near.most() * budget.least).min(near.promise_of_row(budget.at_least)).max(near.least);
    let lists: Vec<Vec<Stretch>> = indexes.iter().map(|index| stretches(promises, index, price)).collect();
    let price = f64::from(price);
    // Each index may be read.
    let ranges = budget.ranges.max(indexes.len());
    let plan = |request: f32| {
        let runs = |factor: f64| runs_within(&lists, ranges, price * factor, request);
        least_factor(1.0 / price, runs, |runs| rows_of(runs.iter().cloned()) <= budget.places)
            .unwrap_or_default()
    };
    let mut runs = plan(budget.request);
    if rows_of(runs.iter().cloned()) < wanted / FAR_TOO_FEW {
        // Lists so much alike that none is worth a request.
        runs = plan(0.0);
    }
    match runs.is_empty() {
        true => near.first(indexes),
        false => grown(runs, promises, indexes, price as f32, budget.places),
    }
}

/// Rows are considered if no more than so many times those that may be read promise more: as requests cost too, not all that
/// promise most are read.
const CONSIDERED: usize = 8;
/// There should be at least one part in so many of the rows that are read whatever they promise.
const FAR_TOO_FEW: usize = 4;

fn rows_of(runs: impl Iterator<Item = Run>) -> usize {
    runs.map(|(_, places)| places.len()).sum()
}

/// A range of places of an index.
type Run = (usize, Range<u32>);

/// The runs at this price of a row, and as low a price of a request as leaves no more than `ranges` of them.
fn runs_within(lists: &[Vec<Stretch>], ranges: usize, price: f64, request: f32) -> Vec<Run> {
    let all: f64 = lists.iter().flatten().map(|stretch| stretch.promise).sum();
    let request = price * f64::from(request.max(LEAST_REQUEST));
    let runs = |factor: f64| -> Vec<Run> {
        let each = lists.iter().enumerate();
        each.flat_map(|(index, lists)| {
            runs(lists, price, request * factor).into_iter().map(move |places| (index, places))
        })
        .collect()
    };
    least_factor((all / request).max(1.0), runs, |runs| runs.len() <= ranges).unwrap_or_default()
}

/// Lists that are added to runs at most: each has to be looked for.
const MOST_GROWN: usize = 256;

/// The same runs, and lists next to them that promise more than `price`, those that promise most first, as long as no more than `places` are read:
/// runs come and go whole as prices change, which leaves some.
fn grown(
    mut runs: Vec<Run>,
    promises: &[f32],
    indexes: &[&ListPlaces],
    price: f32,
    places: usize,
) -> Vec<Run> {
    let mut left = places.saturating_sub(rows_of(runs.iter().cloned()));
    // Damage may say that there are more lists than the model has.
    let promise = |list: usize| promises.get(list).copied().unwrap_or_default();
    for _ in 0..MOST_GROWN {
        let next_to = |(number, run): &Run| {
            let index = indexes[*number];
            let before = run.start.checked_sub(1).map(|place| index.list_of(place));
            let after = (run.end < index.rows()).then(|| index.list_of(run.end));
            [before, after].into_iter().flatten().map(|list| (*number, list)).collect::<Vec<_>>()
        };
        let worth = |(number, list): &(usize, usize)| {
            promise(*list) > price && indexes[*number].of(*list).len() <= left
        };
        let lists = runs.iter().flat_map(next_to).filter(worth);
        let Some((number, list)) = lists.max_by(|a, b| promise(a.1).total_cmp(&promise(b.1))) else {
            break;
        };
        let list = indexes[number].of(list);
        left -= list.len();
        // Those that touch it become one.
        let touches = |(of, run): &Run| *of == number && (run.end == list.start || run.start == list.end);
        let at = runs.iter().position(touches).unwrap_or_default();
        let touching = runs.extract_if(.., |run| touches(run)).map(|(_, run)| run);
        let one = touching.fold(list.clone(), |one, run| one.start.min(run.start)..one.end.max(run.end));
        runs.insert(at, (number, one));
    }
    runs
}

/// What `make` makes of the least factor from 1 to `most` that is found for which it `fits`, as that of greater ones mostly does.
fn least_factor<T>(most: f64, make: impl Fn(f64) -> T, fits: impl Fn(&T) -> bool) -> Option<T> {
    let first = make(1.0);
    if fits(&first) {
        return Some(first);
    }
    let (mut low, mut high) = (1.0, most);
    let mut found = None;
    for _ in 0..HALVINGS {
        let middle = (low * high).sqrt();
        let made = make(middle);
        if fits(&made) { (high, found) = (middle, Some(made)) } else { low = middle }
    }
    found
}

/// Lists that have rows, those first that promise most.
struct Near {
    /// Promise, rows in all indexes, and number.
    lists: Vec<(f32, usize, usize)>,
    /// What the last of them promises, where not all are here; else less than any does.
    least: f32,
}

impl Near {
    /// The lists that have the nearest `rows`, about.
    fn new(promises: &[f32], indexes: &[&ListPlaces], rows: usize) -> Self {
        let size = |list: usize| indexes.iter().map(|index| index.of(list).len()).sum();
        let lists = promises.iter().enumerate().map(|(list, promise)| (*promise, size(list), list));
        let mut lists: Vec<_> = lists.filter(|(_, size, _)| *size > 0).collect();
        let nearer =
            |a: &(f32, usize, usize), b: &(f32, usize, usize)| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2));
        let all: usize = lists.iter().map(|(_, size, _)| size).sum();
        // Twice as many lists as have so many rows on average: nearer ones may be shorter.
        let count = (2 * rows.min(all)).div_ceil((all / lists.len().max(1)).max(1)) + 1;
        let mut least = LOWEST_PRICE;
        if count < lists.len() {
            lists.select_nth_unstable_by(count, nearer);
            lists.truncate(count + 1);
            least = lists[count].0;
        }
        lists.sort_unstable_by(nearer);
        Self { lists, least }
    }

    /// What the nearest promises.
    fn most(&self) -> f32 {
        self.lists.first().map_or(1.0, |(promise, ..)| *promise)
    }

    /// What a row promises than which so many promise more, as far as is known.
    fn promise_of_row(&self, number: usize) -> f32 {
        let mut before = 0;
        let reaches = |(_, rows, _): &&(f32, usize, usize)| {
            before += rows;
            before >= number
        };
        self.lists.iter().find(reaches).map_or(self.least, |(promise, ..)| *promise)
    }

    /// All of the list that promises most.
    fn first(&self, indexes: &[&ListPlaces]) -> Vec<Run> {
        let Some((.., list)) = self.lists.first() else { return Vec::new() };
        let runs = indexes.iter().enumerate().map(|(number, index)| (number, index.of(*list)));
        runs.filter(|(_, places)| !places.is_empty()).collect()
    }
}

/// A list, or lists next to each other none of which is worth its price.
struct Stretch {
    places: Range<u32>,
    /// The sum of what its rows promise: millions of them may promise next to nothing each.
    promise: f64,
}

/// The lists of an index as stretches: runs never begin or end among lists that promise no more than `price`.
fn stretches(promises: &[f32], index: &ListPlaces, price: f32) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut is_gap = false;
    for (list, each) in promises.iter().enumerate() {
        let places = index.of(list);
        let promise = places.len() as f64 * f64::from(*each);
        match stretches.last_mut() {
            Some(last) if is_gap && *each <= price => {
                (last.places.end, last.promise) = (places.end, last.promise + promise);
            }
            _ => stretches.push(Stretch { places, promise }),
        }
        is_gap = *each <= price;
    }
    stretches
}

/// The runs of stretches that are worth most, each row costing `price` and each run `request`.
fn runs(stretches: &[Stretch], price: f64, request: f64) -> Vec<Range<u32>> {
    // The most that can be won up to a stretch that is read, and to one that is not.
    let (mut read, mut unread) = (f64::NEG_INFINITY, 0.0f64);
    // Of each stretch whether the one before it is read, if it is, and if it is not.
    let mut before = Vec::with_capacity(stretches.len());
    for stretch in stretches {
        let won = stretch.promise - price * stretch.places.len() as f64;
        before.push((read > unread - request, read > unread));
        (read, unread) = (won + read.max(unread - request), unread.max(read));
    }
    let mut runs: Vec<Range<u32>> = Vec::new();
    let mut is_read = read > unread;
    for (Stretch { places, .. }, (if_read, if_unread)) in stretches.iter().zip(before).rev() {
        if is_read && !places.is_empty() {
            match runs.last_mut() {
                Some(after) if after.start == places.end => after.start = places.start,
                _ => runs.push(places.clone()),
            }
        }
        is_read = if is_read { if_read } else { if_unread };
    }
    runs.reverse();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(starts: impl IntoIterator<Item = u32>) -> ListPlaces {
        let starts: Vec<u32> = starts.into_iter().collect();
        let bytes: Vec<u8> = starts.iter().flat_map(|at| [0, *at]).flat_map(u32::to_le_bytes).collect();
        ListPlaces::open(&bytes, *starts.last().unwrap()).unwrap()
    }

    #[test]
    fn what_runs_leave_is_for_lists_next_to_them() {
        let index = places([0, 10, 20, 20, 30, 40, 50, 60]);
        let promises = [0.1, 0.9, 0.8, 0.2, 0.9, 0.05, 0.3];
        let grow = |places| grown(vec![(0, 10..20), (0, 30..40)], &promises, &[&index], 0.09, places);
        assert_eq!(grow(29), [(0, 10..20), (0, 30..40)]);
        assert_eq!(grow(30), [(0, 10..40)], "the gap, over a list without rows");
        assert_eq!(grow(49), [(0, 0..40)]);
        assert_eq!(grow(99), [(0, 0..40)], "the next promises too little");
    }

    /// Of rows that promise anything no more than these budgets say.
    fn budget(places: usize, ranges: usize) -> ReadBudget {
        ReadBudget { places, ranges, least: 0.0, at_least: 0, request: 0.0 }
    }

    #[test]
    fn lists_have_their_places() {
        assert!(ListPlaces::open(&[0; 8], 0).is_ok());
        assert!(ListPlaces::open(&[0; 8], 1).is_err());
        assert!(ListPlaces::open(&[0; 9], 0).is_err());
        let unsorted: Vec<u8> = [0, 5, 0, 3, 0, 7].into_iter().flat_map(u32::to_le_bytes).collect();
        assert!(ListPlaces::open(&unsorted, 7).is_err());
    }

    #[test]
    fn long_ranges_are_read_in_pieces_of_whole_lists() {
        let places = places([0, 3, 3, 10, 30, 34, 40]);
        assert_eq!(places.pieces(0..40, 10), [0..10, 10..30, 30..40]);
        assert_eq!(places.pieces(3..34, 20), [3..10, 10..30, 30..34]);
        assert_eq!(places.pieces(3..40, 1), [3..10, 10..30, 30..34, 34..40], "no list is cut");
        assert!(places.pieces(3..3, 10).is_empty());
    }

    /// Ten lists of seven rows; number 5 promises most.
    const PROMISES: [f32; 10] = [0.1, 0.2, 0.8, 0.05, 0.04, 1.0, 0.7, 0.03, 0.02, 0.3];

    #[test]
    fn no_more_is_read_than_the_budget_allows() {
        let lists = places((0..=10).map(|list| 7 * list));
        let read = |places, ranges| plan_reads(&PROMISES, &[&lists], budget(places, ranges));
        assert_eq!(read(21, 8), [(0, 14..21), (0, 35..49)]);
        assert_eq!(read(20, 8), [(0, 14..21), (0, 35..42)], "no list in part");
        assert_eq!(read(28, 8), [(0, 14..21), (0, 35..49), (0, 63..70)]);
        assert_eq!(read(28, 2), [(0, 7..21), (0, 35..49)], "a longer range where a third would be too many");
        assert_eq!(read(35, 1), [(0, 14..49)], "what is between is read too");
        assert_eq!(read(1, 8), [(0, 35..42)], "the nearest list in any case");
        assert_eq!(read(1000, 8), [(0, 0..70)]);
        assert!(plan_reads(&[], &[&lists], budget(9, 9)).is_empty());
        assert!(plan_reads(&[1.0], &[], budget(9, 9)).is_empty());
    }

    #[test]
    fn what_promises_little_is_not_read() {
        let lists = places((0..=10).map(|list| 7 * list));
        let read = |budget| plan_reads(&PROMISES, &[&lists], budget);
        let some = ReadBudget { least: 0.15, ..budget(1000, 100) };
        assert_eq!(read(some), [(0, 7..21), (0, 35..49), (0, 63..70)]);
        assert_eq!(read(ReadBudget { least: 0.75, ..some }), [(0, 14..21), (0, 35..42)]);
        let more = read(ReadBudget { least: 0.75, at_least: 34, ..some });
        assert_eq!(more, [(0, 14..21), (0, 35..49), (0, 63..70)], "unless there would be too few");
        // A request for the last list is worth as many rows as it costs, or not.
        assert_eq!(read(ReadBudget { request: 6.9, ..some }).len(), 3);
        assert_eq!(read(ReadBudget { request: 7.1, ..some }).len(), 2);
    }

    #[test]
    fn two_indexes_are_never_one_range_and_empty_lists_cost_nothing() {
        let (first, second) = (places([0, 0, 5, 9]), places([0, 4, 4, 6]));
        let promises = [0.9, 0.5, 1.0];
        let read = |places, ranges| plan_reads(&promises, &[&first, &second], budget(places, ranges));
        assert_eq!(read(100, 9), [(0, 0..9), (1, 0..6)]);
        assert_eq!(read(10, 9), [(0, 5..9), (1, 0..6)], "ranges about an empty list are one");
        assert_eq!(read(1, 1), [(0, 5..9), (1, 4..6)], "the nearest list of both");
        assert_eq!(plan_reads(&promises, &[&places([0, 0, 0, 0])], budget(9, 9)), []);
    }

    #[test]
    fn what_is_to_be_read_whatever_it_promises_is() {
        let lists = places((0..=100).map(|list| 10 * list));
        let far = |promise: f32| -> Vec<f32> {
            (0..100).map(|list| if list == 50 { 1.0 } else { promise }).collect()
        };
        let rows = |promises: &[f32], budget| rows_of(plan_reads(promises, &[&lists], budget).into_iter());
        let some = ReadBudget { least: 0.001, request: 150.0, ..budget(600, 30) };
        assert_eq!(rows(&far(1e-6), some), 10);
        assert_eq!(rows(&far(1e-6), ReadBudget { at_least: 2000, places: 1000, ..some }), 1000, "everything");
        // As far as each other, but for what tells them apart.
        let alike: Vec<f32> = (0..100).map(|list| 1.0 - 1e-5 * list as f32).collect();
        let found = rows(&alike, ReadBudget { at_least: 400, ..some });
        assert!((300..=600).contains(&found), "{found}");
        // What counts is what promises most of what there is.
        let elsewhere: Vec<f32> = alike.iter().map(|promise| promise * 1e-4).collect();
        assert!(rows(&elsewhere, ReadBudget { at_least: 400, ..some }) >= 300);
    }

    #[test]
    fn each_index_may_be_read_though_there_are_few_ranges() {
        let lists = places([0, 5, 9]);
        let found = plan_reads(&[1.0, 0.9], &[&lists, &lists, &lists], budget(100, 2));
        assert_eq!(found, [(0, 0..9), (1, 0..9), (2, 0..9)]);
    }

    #[test]
    fn of_many_lists_few_are_looked_at() {
        let lists = places((0..=50_000).map(|list| 10 * list));
        let promises: Vec<f32> = (0..50_000).map(|list| (-(list as f32) / 100.0).exp().max(1e-6)).collect();
        let near = Near::new(&promises, &[&lists], 8_000);
        assert!(near.lists.len() < 2_000 && near.promise_of_row(100) > near.promise_of_row(5_000));
        let found = plan_reads(&promises, &[&lists], ReadBudget { least: 0.01, ..budget(10_000, 8) });
        assert_eq!(found, [(0, 0..4610)], "461 lists promise more than a hundredth");
        assert_eq!(plan_reads(&promises, &[&lists], budget(1_000, 8)), [(0, 0..1000)]);
    }

    /// What a choice of lists is worth, or nothing if the budget forbids it.
    fn worth(chosen: u32, promises: &[f32], sizes: &[u32], ranges: usize, most: u32) -> Option<f32> {
        let is_chosen = |list: usize| chosen >> list & 1 == 1;
        let lists = || (0..sizes.len()).filter(|list| is_chosen(*list));
        let begun = lists().filter(|list| *list == 0 || !is_chosen(list - 1)).count();
        let rows: u32 = lists().map(|list| sizes[list]).sum();
        (begun <= ranges && rows <= most)
            .then(|| lists().map(|list| promises[list] * sizes[list] as f32).sum())
    }

    #[test]
    fn hardly_anything_better_fits() {
        let mut state = 1u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        let (mut reached, mut possible) = (0.0, 0.0);
        for _ in 0..60 {
            let sizes: Vec<u32> = (0..12).map(|_| 1 + draw(9) as u32).collect();
            let promises: Vec<f32> =
                (0..12).map(|_| 0.5f32.powi(draw(9) as i32) * 0.99f32.powi(draw(20) as i32)).collect();
            let lists = places(std::iter::once(0).chain(sizes.iter().scan(0, |end, size| {
                *end += size;
                Some(*end)
            })));
            let (most, ranges) = (15 + draw(30) as u32, 1 + draw(4) as usize);
            let found = plan_reads(&promises, &[&lists], budget(most as usize, ranges));
            let holds = |list: usize| found.iter().any(|(_, run)| run.contains(&lists.of(list).start));
            let chosen = (0..12).filter(|list| holds(*list)).fold(0, |chosen, list| chosen | 1 << list);
            reached += worth(chosen, &promises, &sizes, ranges, most).expect("within the budget");
            let best = (0..1 << 12).filter_map(|chosen| worth(chosen, &promises, &sizes, ranges, most));
            possible += best.fold(0.0, f32::max);
        }
        assert!(reached > 0.93 * possible, "{reached} of {possible}");
    }
}
