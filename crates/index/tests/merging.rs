//! An index merged from others is the one that would have been built; and a shard that is rewritten again and again is
//! searched as well as one that is new.

mod churning;
mod vectors;

use churning::{Churn, Settings};
use lodestone_index::dense::{
    BuildOptions, Distance, Effort, GONE, MergeInput, Model, Searcher, Target, TrainOptions, VectorIndex,
    build, merge,
};
use lodestone_kernels::LevelBits;
use proptest::prelude::*;
use vectors::{Random, Rows, clouds};

fn train(rows: &Rows, distance: Distance, list_rows: usize) -> Model {
    let options =
        TrainOptions { distance, list_rows, sample_rows: 100_000, level_bits: LevelBits::Four, seed: 1 };
    Model::train(
        rows.dim,
        rows.count(),
        &|i: usize, out: &mut [f32]| out.copy_from_slice(rows.row(i)),
        options,
    )
}

/// The index of `rows`, each of which stands for one of `all`.
fn index_of(
    model: &Model,
    all: &Rows,
    rows: &[u32],
    name: &dyn Fn(u32) -> u32,
    options: BuildOptions,
) -> VectorIndex {
    let row = |i: usize, out: &mut [f32]| out.copy_from_slice(all.row(rows[i] as usize));
    build(model, rows.len(), &row, name, options)
}

fn assert_same(a: &VectorIndex, b: &VectorIndex) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.shape(), b.shape());
    let (a, b) = (a.sections(), b.sections());
    prop_assert_eq!(a.lists, b.lists);
    prop_assert_eq!(a.rows, b.rows);
    prop_assert!(a.levels == b.levels, "other level codes");
    prop_assert!(a.blocks == b.blocks, "other blocks");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_merged_index_is_the_one_that_would_be_built(
        sizes in prop::collection::vec(0usize..300, 1..5),
        anew in 0usize..300,
        gone_of_ten in 0u32..10,
        dim in 1usize..90,
        list_rows in 3usize..60,
        seed in any::<u32>(),
        dot in any::<bool>(),
        spill in any::<bool>(),
    ) {
        let distance = if dot { Distance::Dot } else { Distance::Euclid };
        let options = BuildOptions { spill };
        let count = sizes.iter().sum::<usize>() + anew;
        let all = clouds(distance, count.max(1), dim, u64::from(seed));
        let model = train(&all, distance, list_rows);
        let mut random = Random(u64::from(seed));
        // Rows become others in any order, with gaps between them; some stay behind.
        let mut names: Vec<u32> = (0..count as u32).map(|row| 2 * row + 1).collect();
        for i in (1..count).rev() {
            names.swap(i, (random.uniform() * (i + 1) as f32) as usize);
        }
        let olds = count - anew;
        for name in &mut names[..olds] {
            if random.uniform() * 10.0 < gone_of_ten as f32 {
                *name = GONE;
            }
        }

        let mut first = 0;
        let mut indexes = Vec::new();
        for size in sizes {
            let rows: Vec<u32> = (first..first + size as u32).collect();
            indexes.push((index_of(&model, &all, &rows, &|row| row, options), &names[first as usize..][..size]));
            first += size as u32;
        }
        let inputs: Vec<MergeInput> =
            indexes.iter().map(|(index, rows)| MergeInput { index, rows }).collect();
        let row = |i: usize, out: &mut [f32]| out.copy_from_slice(all.row(olds + i));
        let merged = merge(&model, &inputs, anew, &row, &|i| names[olds + i as usize], options);

        let mut live: Vec<u32> = (0..count as u32).filter(|row| names[*row as usize] != GONE).collect();
        live.sort_by_key(|row| names[*row as usize]);
        let built = index_of(&model, &all, &live, &|i| names[live[i as usize] as usize], options);
        assert_same(&merged, &built)?;

        let everything = Effort {
            lists: model.lists(),
            wanted: count,
            keep: 2 * count + 1,
            candidates: count + 1,
            doubt: 0.0,
        };
        let mut found = Vec::new();
        let targets = [Target { index: &merged, filter: None }];
        Searcher::new(&model).search(&model, &targets, all.row(0), everything, &mut found);
        let mut found: Vec<u32> = found.iter().map(|candidate| candidate.row).collect();
        found.sort_unstable();
        prop_assert!(found.iter().copied().eq(live.iter().map(|row| names[*row as usize])));

        // It can be read again, and merged again.
        let rows: Vec<u32> = (0..2 * count as u32 + 1).collect();
        let opened = VectorIndex::open(merged.shape(), merged.sections(), 2 * count as u32 + 1).unwrap();
        let again = MergeInput { index: &opened, rows: &rows };
        assert_same(&merge(&model, &[again], 0, &row, &|i| i, options), &merged)?;
    }
}

#[test]
fn models_are_outdated_by_numbers_and_by_distance() {
    let rows = clouds(Distance::Euclid, 4000, 30, 7);
    let mut model = train(&rows, Distance::Euclid, 50);
    let options = BuildOptions { spill: true };
    let some = |count: u32| index_of(&model, &rows, &(0..count).collect::<Vec<_>>(), &|row| row, options);
    let (few, enough, all) = (some(249), some(250), some(4000));
    let far = Rows { dim: 30, floats: rows.floats.iter().map(|x| x * 1.5).collect() };
    let far = index_of(&model, &far, &(0..4000).collect::<Vec<_>>(), &|row| row, options);
    assert!(!model.header().is_outdated(&far.shape()), "nothing to compare with was noted");
    model.note_spread(&all);
    let header = model.header();
    assert!(!header.is_outdated(&all.shape()) && !header.is_outdated(&enough.shape()));
    assert!(header.is_outdated(&few.shape()) && header.is_outdated(&far.shape()));
    assert!(header.suits(16_000) && !header.suits(16_001));
}

/// A fifth of the rows replaced fifty times over; the long run is the example `churn`.
fn churn(distance: Distance, drift: f32, retrain: bool) -> churning::Outcome {
    let settings = Settings {
        distance,
        replaced: 0.2,
        effort: Effort { lists: 10, wanted: 10, keep: 150, candidates: 40, doubt: 0.0 },
        retrain,
    };
    let rows = 8000;
    let mut source = churning::drifting(distance, 48, drift, 21);
    let mut churn = Churn::new(48, rows, settings, &mut *source);
    for generation in 1..=50 {
        churn.step(generation, &mut *source);
    }
    let queries: Vec<Vec<f32>> = (0..300).map(|_| source(50)).collect();
    churn.outcome(&queries)
}

#[test]
fn fifty_generations_leave_recall_where_a_rebuild_would() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let outcome = churn(distance, 0.0, true);
        println!("{distance:?}: {outcome:?}");
        assert_eq!(outcome.trained, 1, "rows like those before need no new model: {outcome:?}");
        assert!(outcome.churned >= outcome.rebuilt - 0.005, "{outcome:?}");
    }
}

#[test]
fn a_drift_of_the_rows_is_met_by_new_models() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let (outcome, left) = (churn(distance, 0.1, true), churn(distance, 0.1, false));
        println!("{distance:?}: {outcome:?}, without new models {left:?}");
        assert!((2..=12).contains(&outcome.trained), "{outcome:?}");
        assert!(outcome.churned >= outcome.rebuilt - 0.005, "{outcome:?}");
    }
}
