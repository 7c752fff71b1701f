//! Rows in lists are found: what is near comes out, everything does where everything is looked at, and filters hold.

mod vectors;

use lodestone_index::dense::{
    self, BuildOptions, Candidate, Distance, Effort, Filter, IndexSections, Model, Searcher, Target,
    TrainOptions, VectorIndex, build,
};
use lodestone_kernels::LevelBits;
use proptest::prelude::*;
use rayon::prelude::*;
use vectors::{Random, Rows, clouds};

fn options(distance: Distance) -> TrainOptions {
    TrainOptions { distance, list_rows: 50, sample_rows: 100_000, level_bits: LevelBits::Four, seed: 1 }
}

fn index(rows: &Rows, options: TrainOptions) -> (Model, VectorIndex) {
    let row = |i: usize, out: &mut [f32]| out.copy_from_slice(rows.row(i));
    let model = Model::train(rows.dim, rows.count(), &row, options);
    let index = build(&model, rows.count(), &row, &|row| row, BuildOptions { spill: true });
    assert_eq!(index.rows(), rows.count());
    (model, index)
}

fn search(
    (model, index): &(Model, VectorIndex),
    query: &[f32],
    effort: Effort,
    allowed: Option<&dyn Filter>,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    Searcher::new(model).search(model, &[Target { index, filter: allowed }], query, effort, &mut found);
    found
}

/// Every row with a remainder.
struct Remainder {
    modulus: u32,
    remainder: u32,
    count: usize,
}

impl Filter for Remainder {
    fn count(&self) -> usize {
        self.count
    }

    fn allows(&self, row: u32) -> bool {
        row % self.modulus == self.remainder
    }

    fn bits(&self) -> Vec<u64> {
        let word =
            |i: u32| (0..64).filter(|bit| self.allows(64 * i + bit)).fold(0, |word, bit| word | 1 << bit);
        (0..(self.count as u32 * self.modulus).div_ceil(64)).map(word).collect()
    }
}

fn effort(lists: usize, keep: usize, candidates: usize) -> Effort {
    Effort { lists, wanted: candidates.min(10), keep, candidates, doubt: 0.0 }
}

fn everything(rows: &Rows, (model, _): &(Model, VectorIndex)) -> Effort {
    effort(model.lists(), rows.count().max(1) * 2, rows.count().max(1))
}

/// The share of the true ten nearest among the candidates.
fn recall(
    rows: &Rows,
    queries: &Rows,
    index: &(Model, VectorIndex),
    effort: Effort,
    distance: Distance,
) -> f64 {
    let hits = |i: usize| {
        let truth = rows.nearest(distance, queries.row(i), 10, 0..rows.count() as u32);
        let found = search(index, queries.row(i), effort, None);
        found.iter().filter(|candidate| truth.contains(&candidate.row)).count()
    };
    (0..queries.count()).into_par_iter().map(hits).sum::<usize>() as f64 / (10 * queries.count()) as f64
}

#[test]
fn near_rows_are_found() {
    for distance in [Distance::Euclid, Distance::Dot] {
        for (dim, bits) in [(48, LevelBits::Eight), (100, LevelBits::Four), (384, LevelBits::Four)] {
            let all = clouds(distance, 20_200, dim, 11);
            let (floats, queries) = all.floats.split_at(20_000 * dim);
            let rows = Rows { dim, floats: floats.to_vec() };
            let queries = Rows { dim, floats: queries.to_vec() };
            let index = index(&rows, TrainOptions { level_bits: bits, ..options(distance) });
            for (lists, wanted) in [(20, 0.93), (60, 0.98)] {
                let effort = effort(lists, 200, 40);
                let recall = recall(&rows, &queries, &index, effort, distance);
                println!("{distance:?}, {dim}, {lists} lists: {recall:.4}");
                assert!(recall >= wanted, "{distance:?}, {dim}, {lists} lists: {recall}");
            }
        }
    }
}

#[test]
fn everything_is_found_once_where_everything_is_looked_at() {
    for distance in [Distance::Euclid, Distance::Dot] {
        for count in [1, 31, 32, 33, 700, 5000] {
            let rows = clouds(distance, count, 20, 3);
            let index = index(&rows, options(distance));
            let found = search(&index, rows.row(0), everything(&rows, &index), None);
            let mut numbers: Vec<u32> = found.iter().map(|candidate| candidate.row).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..count as u32).collect::<Vec<_>>(), "{distance:?}, {count}");
        }
    }
}

#[test]
fn estimates_are_near_distances() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let rows = clouds(distance, 3000, 128, 5);
        let index = index(&rows, TrainOptions { level_bits: LevelBits::Eight, ..options(distance) });
        let query = rows.row(17);
        let found = search(&index, query, everything(&rows, &index), None);
        let exact: Vec<f64> = found.iter().map(|c| rows.distance(distance, c.row as usize, query)).collect();
        // Up to a constant of the query.
        let shifts: Vec<f64> = found.iter().zip(&exact).map(|(c, d)| f64::from(c.estimate) - d).collect();
        let mean = shifts.iter().sum::<f64>() / shifts.len() as f64;
        let off = (shifts.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / shifts.len() as f64).sqrt();
        let spread = exact.iter().sum::<f64>() / exact.len() as f64;
        let spread =
            (exact.iter().map(|d| (d - spread) * (d - spread)).sum::<f64>() / exact.len() as f64).sqrt();
        assert!(off <= 0.02 * spread, "{distance:?}: {off} of {spread}");
    }
}

#[test]
fn the_same_index_on_any_number_of_threads() {
    let rows = clouds(Distance::Euclid, 6000, 40, 13);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let index = pool.install(|| index(&rows, options(Distance::Euclid)));
        let effort = effort(10, 100, 50);
        (0..50).map(|i| search(&index, rows.row(i * 7), effort, None)).collect::<Vec<_>>()
    };
    let one = on(1);
    assert!(one == on(2) && one == on(7));
}

#[test]
fn how_long_a_query_is_changes_no_order_of_products() {
    let rows = clouds(Distance::Dot, 6000, 60, 21);
    let index = index(&rows, options(Distance::Dot));
    let effort = effort(12, 80, 20);
    for i in 0..40 {
        let query = rows.row(i * 31);
        let found = search(&index, query, effort, None);
        for scale in [1.0 / 1024.0, 4096.0] {
            let scaled: Vec<f32> = query.iter().map(|x| x * scale).collect();
            let same = search(&index, &scaled, effort, None);
            let unscaled = same.into_iter().map(|c| Candidate { estimate: c.estimate / scale, ..c });
            assert_eq!(unscaled.collect::<Vec<_>>(), found, "{scale}");
        }
    }
}

#[test]
fn a_searcher_forgets_the_query_before() {
    let rows = clouds(Distance::Dot, 2000, 30, 17);
    let (model, index) = index(&rows, options(Distance::Dot));
    let effort = effort(8, 60, 20);
    let targets = [Target { index: &index, filter: None }];
    let (mut searcher, mut found) = (Searcher::new(&model), Vec::new());
    for i in 0..100 {
        searcher.search(&model, &targets, rows.row(i), effort, &mut found);
        let mut fresh = Vec::new();
        Searcher::new(&model).search(&model, &targets, rows.row(i), effort, &mut fresh);
        assert_eq!(found, fresh);
    }
}

#[test]
fn rows_that_suit_no_index() {
    for distance in [Distance::Euclid, Distance::Dot] {
        for dim in [1, 8, 65] {
            for floats in [
                vec![1.0; dim],
                vec![0.0; dim * 300],
                vec![0.25; dim * 300],
                (0..300).flat_map(|i| vec![if i % 2 == 0 { 1.0 } else { -1.0 }; dim]).collect(),
                (0..300).flat_map(|i| vec![if i == 7 { 1e15 } else { 1e-15 }; dim]).collect(),
            ] {
                let rows = Rows { dim, floats };
                let index = index(&rows, options(distance));
                for query in [rows.row(0), &vec![0.0; dim], &vec![-3.0; dim]] {
                    let found = search(&index, query, everything(&rows, &index), None);
                    assert_eq!(found.len(), rows.count(), "{distance:?}, {dim}");
                    assert!(found.iter().all(|candidate| candidate.estimate.is_finite()));
                }
                let nothing = effort(0, 0, 0);
                assert!(search(&index, rows.row(0), nothing, None).is_empty());
                let more_than_there_is = effort(usize::MAX, usize::MAX, usize::MAX);
                assert_eq!(search(&index, rows.row(0), more_than_there_is, None).len(), rows.count());
                let strange = vec![f32::NAN; dim];
                search(&index, &strange, everything(&rows, &index), None);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Nothing that is not allowed comes out, and where everything is looked at nothing that is allowed is missing.
    #[test]
    fn filters_are_honoured(
        count in 1usize..900,
        dim in 1usize..80,
        seed in any::<u32>(),
        modulus in 1u32..50,
        dot in any::<bool>(),
    ) {
        let distance = if dot { Distance::Dot } else { Distance::Euclid };
        let rows = clouds(distance, count, dim, u64::from(seed));
        let index = index(&rows, options(distance));
        let remainder = seed % modulus;
        let wanted: Vec<u32> = (0..count as u32).filter(|row| row % modulus == remainder).collect();
        let filter = Remainder { modulus, remainder, count: wanted.len() };
        let found = search(&index, rows.row(0), effort(usize::MAX, usize::MAX, usize::MAX), Some(&filter));
        prop_assert_eq!(found.len(), wanted.len());
        let found = search(&index, rows.row(0), everything(&rows, &index), Some(&filter));
        let mut numbers: Vec<u32> = found.iter().map(|candidate| candidate.row).collect();
        numbers.sort_unstable();
        prop_assert_eq!(&numbers, &wanted);

        // All that match are ranked by the same codes, wherever they are.
        let by_code = |candidates: &mut Vec<Candidate>| candidates.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let mut all = search(&index, rows.row(count / 2), everything(&rows, &index), Some(&filter));
        by_code(&mut all);
        let effort = effort(3, 20, 10);
        let mut nearest = Vec::new();
        let target = Target { index: &index.1, filter: Some(&filter) };
        Searcher::new(&index.0).rank_all(&index.0, &[target], rows.row(count / 2), effort, &mut nearest);
        by_code(&mut nearest);
        let estimates = |all: &[Candidate]| all.iter().map(|candidate| candidate.estimate).collect::<Vec<_>>();
        prop_assert_eq!(estimates(&nearest), estimates(&all[..nearest.len()]));
        prop_assert!(nearest.iter().all(|candidate| filter.allows(candidate.row)));
        prop_assert!(nearest.len() >= wanted.len().min(10));

        let mut found = search(&index, rows.row(count / 2), effort, Some(&filter));
        found.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
        prop_assert!(found.iter().all(|candidate| filter.allows(candidate.row)));
        // More than ten only where they seem as near as the tenth.
        prop_assert!(found.iter().skip(10).all(|candidate| candidate.estimate <= found[9].estimate));
    }
}

/// Rows without structure in one list: what is lost is lost because codes say little, unless all that is in doubt is kept.
#[test]
fn what_codes_leave_in_doubt_is_compared() {
    for distance in [Distance::Euclid, Distance::Dot] {
        for dim in [96, 768, 4096] {
            let mut random = Random(17);
            let mut normal = |count: usize| (0..count * dim).map(|_| random.normal()).collect();
            let rows = Rows { dim, floats: normal(2_000) };
            let queries = Rows { dim, floats: normal(40) };
            let mut index = index(&rows, TrainOptions { list_rows: 2_000, ..options(distance) });
            for signs_alone in [false, true] {
                index.0.note_signs_alone(signs_alone);
                let with = |doubt| Effort { doubt, ..effort(1, 10, 10) };
                let [without, found] =
                    [0.0, 2.0].map(|doubt| recall(&rows, &queries, &index, with(doubt), distance));
                println!("{distance:?}, {dim}, {signs_alone}: {without:.3}, {found:.3}");
                assert!(
                    without < 0.5 && found >= 0.88,
                    "{distance:?}, {dim}, {signs_alone}: {without}, {found}"
                );
            }
        }
    }
}

/// Squares of their components are no `f32`, so codes say nothing of them.
#[test]
fn rows_of_absurd_length_displace_no_others() {
    let distance = Distance::Euclid;
    let mut rows = clouds(distance, 2_000, 32, 9);
    rows.floats[..40 * 32].iter_mut().for_each(|x| *x *= 1e25);
    let (model, index) = index(&rows, options(distance));
    let query = rows.row(1_000);
    let truth = rows.nearest(distance, query, 10, 0..2_000);
    let effort = Effort { doubt: 2.0, ..effort(model.lists(), 100, 20) };
    let (mut searcher, mut by_lists, mut ranked) = (Searcher::new(&model), Vec::new(), Vec::new());
    let targets = [Target { index: &index, filter: None }];
    searcher.search(&model, &targets, query, effort, &mut by_lists);
    searcher.rank_all(&model, &targets, query, effort, &mut ranked);
    for found in [by_lists, ranked] {
        let right = found.iter().filter(|candidate| truth.contains(&candidate.row)).count();
        assert!(right >= 9, "{right} of ten among {}", found.len());
    }
    // Nobody can tell these apart, but there is an index of them.
    rows.floats.chunks_mut(32).zip([1e25, -1e25].into_iter().cycle()).for_each(|(row, x)| row.fill(x));
    let endless = self::index(&rows, options(distance));
    assert_eq!((endless.0.lists(), endless.1.rows()), (1, rows.count()));
    assert!(search(&endless, rows.row(0), everything(&rows, &endless), None).len() <= rows.count());
}

#[test]
fn few_rows_in_two_lists_take_less_room_and_are_found_in_more_lists() {
    let distance = Distance::Euclid;
    let all = clouds(distance, 10_100, 200, 12);
    let (floats, queries) = all.floats.split_at(10_000 * 200);
    let rows = Rows { dim: 200, floats: floats.to_vec() };
    let queries = Rows { dim: 200, floats: queries.to_vec() };
    let twice = index(&rows, options(distance));
    let row = |i: usize, out: &mut [f32]| out.copy_from_slice(rows.row(i));
    let model = Model::train(200, rows.count(), &row, TrainOptions { list_rows: 100, ..options(distance) });
    let once = build(&model, rows.count(), &row, &|row| row, BuildOptions { spill: false });
    assert!(twice.1.shape().spilled && !once.shape().spilled);
    let bytes = |model: &Model, index: &VectorIndex| (model.bytes() + index.bytes()) as f64;
    assert!(bytes(&model, &once) <= 0.85 * bytes(&twice.0, &twice.1));
    let effort = |lists| effort(lists, 200, 40);
    let found_twice = recall(&rows, &queries, &twice, effort(40), distance);
    let found_once = recall(&rows, &queries, &(model, once), effort(60), distance);
    assert!(found_twice >= 0.97 && found_once >= 0.97, "{found_twice} and {found_once}");
}

#[test]
fn what_is_beside_level_codes_comes_and_goes() {
    let rows = clouds(Distance::Euclid, 500, 24, 3);
    let (_, index) = index(&rows, options(Distance::Euclid));
    let tagged = index.tagged(3, &|row, tag| tag.copy_from_slice(&row.to_le_bytes()[..3]));
    assert_eq!((tagged.entry_bytes(), tagged.bytes()), (index.entry_bytes() + 3, index.bytes() + 3 * 500));
    let hold = |length: usize, fill: &mut dyn FnMut(&mut [u8])| {
        let mut bytes = vec![0; length];
        fill(&mut bytes);
        Ok::<_, ()>(bytes.into())
    };
    let untagged = tagged.untagged(hold).unwrap();
    assert_eq!((untagged.shape(), untagged.bytes()), (index.shape(), index.bytes()));
    assert_eq!(untagged.sections().levels, index.sections().levels);
    assert_eq!(untagged.sections().blocks, index.sections().blocks);
    assert_eq!(untagged.sections().rows, index.sections().rows);
    assert_eq!(tagged.untagged(|_, _| Err(7)).unwrap_err(), 7);
}

/// The same index as it is in memory where searches go by signs alone.
fn without_levels(index: &VectorIndex) -> VectorIndex {
    let sections = IndexSections { levels: None, ..index.sections() };
    VectorIndex::open(index.shape(), sections, index.rows() as u32).unwrap()
}

#[test]
fn signs_alone_find_what_is_near_among_more_candidates() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let all = clouds(distance, 10_100, 384, 14);
        let (floats, queries) = all.floats.split_at(10_000 * 384);
        let rows = Rows { dim: 384, floats: floats.to_vec() };
        let queries = Rows { dim: 384, floats: queries.to_vec() };
        let mut by_levels = index(&rows, options(distance));
        let few = recall(&rows, &queries, &by_levels, effort(60, 200, 16), distance);
        by_levels.0.note_signs_alone(true);
        let by_signs = (by_levels.0, without_levels(&by_levels.1));
        assert!(!by_signs.1.has_levels() && by_signs.1.bytes() < by_levels.1.bytes() / 2);
        let [least, more] = [16, 80].map(|count| {
            let effort = effort(60, 200, count);
            assert_eq!(search(&by_signs, queries.row(0), effort, None).len(), count);
            recall(&rows, &queries, &by_signs, effort, distance)
        });
        assert!(least < few && more >= 0.97, "{distance:?}: {least} and {more}, {few} by levels");
        // Level codes come back for a merge.
        let whole = by_signs.1.with_levels(by_levels.1.sections().levels.unwrap()).unwrap();
        assert_eq!(whole.bytes(), by_levels.1.bytes());
        assert!(by_signs.1.with_levels(vec![0; 7].into()).is_err());
    }
}

#[test]
fn estimates_by_signs_are_without_bias() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let rows = clouds(distance, 3000, 256, 5);
        let mut index = index(&rows, options(distance));
        let query = rows.row(17);
        let by_levels = search(&index, query, everything(&rows, &index), None);
        index.0.note_signs_alone(true);
        let by_signs = search(&index, query, everything(&rows, &index), None);
        assert_eq!(by_signs.len(), by_levels.len());
        let mean = |found: &[Candidate]| {
            found.iter().map(|c| f64::from(c.estimate)).sum::<f64>() / found.len() as f64
        };
        let spread =
            by_levels.iter().map(|c| (f64::from(c.estimate) - mean(&by_levels)).powi(2)).sum::<f64>().sqrt()
                / (by_levels.len() as f64).sqrt();
        let off = (mean(&by_signs) - mean(&by_levels)).abs();
        assert!(off <= 0.05 * spread, "{distance:?}: {off} of {spread}");
    }
}

/// Rows that nobody wants any more once so many were read.
struct Given<'a> {
    rows: &'a Rows,
    wanted: usize,
    read: std::sync::atomic::AtomicUsize,
}

impl dense::Rows for Given<'_> {
    fn write(&self, numbers: &[u32], out: &mut [f32]) {
        self.read.fetch_add(numbers.len(), std::sync::atomic::Ordering::Relaxed);
        let places = numbers.iter().zip(out.chunks_exact_mut(self.rows.dim));
        places.for_each(|(number, place)| place.copy_from_slice(self.rows.row(*number as usize)));
    }

    fn is_wanted(&self) -> bool {
        self.read.load(std::sync::atomic::Ordering::Relaxed) < self.wanted
    }
}

#[test]
fn what_is_not_wanted_any_more_is_given_up() {
    let rows = clouds(Distance::Euclid, 40_000, 16, 3);
    let given = |wanted| Given { rows: &rows, wanted, read: 0.into() };
    // While the model is made, and while rows are put into its lists.
    let unread = given(0);
    Model::train(rows.dim, rows.count(), &unread, options(Distance::Euclid));
    let (model, _) = index(&rows, options(Distance::Euclid));
    let half = given(rows.count() / 2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| build(&model, rows.count(), &half, &|row| row, BuildOptions { spill: true }));
    let read = half.read.into_inner();
    assert!((rows.count() / 2..rows.count() * 3 / 4).contains(&read), "{read}");
}
