//! What a search has to do is measured on rows that were held out: nothing more than usual where that is enough, and where it is
//! not, as much as finds what is near.

mod vectors;

use lodestone_index::dense::{
    BuildOptions, Calibration, Distance, Effort, HeldOut, Model, Searcher, Target, TrainOptions, VectorIndex,
    build,
};
use lodestone_kernels::{LevelBits, Metric};
use rayon::prelude::*;
use vectors::{Random, Rows, clouds, nearest_by};

const DIM: usize = 96;
const COUNT: usize = 8000;
const QUERIES: usize = 100;

/// Little, so that small sets are hard.
fn effort(limit: usize, calibration: Calibration) -> Effort {
    Effort {
        lists: 24 * calibration.lists as usize,
        wanted: limit,
        keep: (10 * limit).saturating_mul(calibration.keep as usize),
        candidates: (3 * limit).saturating_mul(calibration.candidates as usize),
        doubt: 2.0,
    }
}

struct Measured {
    calibration: Calibration,
    decay: Option<f32>,
    /// Of rows that were not indexed, at the usual effort and at the calibrated one.
    usual: f64,
    calibrated: f64,
}

fn measure(distance: Distance, all: Rows) -> Measured {
    let metric = if distance == Distance::Dot { Metric::Dot } else { Metric::Euclid };
    measure_by(metric, all)
}

/// What searches by `metric` find, sums of differences with a model of squares.
fn measure_by(metric: Metric, mut all: Rows) -> Measured {
    let distance = model_distance(metric);
    let queries = Rows { dim: all.dim, floats: all.floats.split_off(COUNT * all.dim) };
    let rows = all;
    let row = |i: usize, out: &mut [f32]| out.copy_from_slice(rows.row(i));
    let options =
        TrainOptions { distance, list_rows: 50, sample_rows: 100_000, level_bits: LevelBits::Four, seed: 1 };
    let held_out = HeldOut::new(rows.dim, rows.count(), &row, metric);
    let model = Model::train(rows.dim, rows.count(), &row, options);
    // Rows of a segment are not numbered as vectors are.
    let name = |number: u32| number + 7;
    let index = build(&model, rows.count(), &held_out, &name, BuildOptions { spill: true });
    let calibration = held_out.calibrate(&model, &index, &name, &effort).calibration;
    let recall = |calibration| recall(&rows, &queries, (&model, &index), effort(10, calibration), metric);
    let decay = held_out.decay(&model, &index, &name);
    Measured { calibration, decay, usual: recall(Calibration::default()), calibrated: recall(calibration) }
}

fn recall(
    rows: &Rows,
    queries: &Rows,
    (model, index): (&Model, &VectorIndex),
    effort: Effort,
    metric: Metric,
) -> f64 {
    let hits = |i: usize| {
        let truth = nearest(rows, queries.row(i), metric);
        let mut found = Vec::new();
        Searcher::new(model).search(
            model,
            &[Target { index, filter: None }],
            queries.row(i),
            effort,
            &mut found,
        );
        found.iter().filter(|candidate| truth.contains(&(candidate.row - 7))).count()
    };
    (0..queries.count()).into_par_iter().map(hits).sum::<usize>() as f64 / (10 * queries.count()) as f64
}

fn nearest(rows: &Rows, query: &[f32], metric: Metric) -> Vec<u32> {
    let distance = |i: usize| match metric {
        Metric::Manhattan => rows.manhattan(i, query),
        _ => rows.distance(model_distance(metric), i, query),
    };
    nearest_by(10, 0..rows.count() as u32, distance)
}

/// Of the model that searches by `metric` use.
fn model_distance(metric: Metric) -> Distance {
    if metric == Metric::Dot { Distance::Dot } else { Distance::Euclid }
}

fn made(mut component: impl FnMut(usize, usize) -> f32) -> Rows {
    let floats = (0..COUNT + QUERIES).flat_map(|i| (0..DIM).map(move |j| (i, j)));
    Rows { dim: DIM, floats: floats.map(|(i, j)| component(i, j)).collect() }
}

#[test]
fn what_is_usual_is_enough_for_vectors_with_structure() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let Measured { calibration, usual, .. } =
            measure(distance, clouds(distance, COUNT + QUERIES, DIM, 11));
        assert_eq!(calibration, Calibration::default(), "{distance:?}");
        assert!(usual >= 0.95, "{distance:?}: {usual}");
    }
}

#[test]
fn vectors_without_structure_take_more_lists() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let mut random = Random(5);
        let Measured { calibration, usual, calibrated, .. } = measure(distance, made(|_, _| random.normal()));
        assert!(calibration.lists > 1, "{distance:?}: {calibration:?}");
        assert!(usual < 0.9 && calibrated >= 0.95, "{distance:?}: {usual} and {calibrated}");
    }
}

#[test]
fn rows_whose_signs_say_little_are_kept_longer() {
    // Clouds far from each other whose rows are very near: signs and levels are of what is left after the mean or a centroid.
    let mut random = Random(9);
    let centres: Vec<f32> = (0..20 * DIM).map(|_| 10.0 * random.normal()).collect();
    let rows = made(|i, j| centres[i % 20 * DIM + j] + 0.02 * random.normal());
    let Measured { calibration, usual, calibrated, .. } = measure(Distance::Euclid, rows);
    assert!(calibration != Calibration::default() && usual < 0.9, "{usual}, {calibration:?}");
    assert!(calibrated >= 0.95, "{calibrated}, {calibration:?}");
}

#[test]
fn one_row_that_is_far_longer_than_all_others_spoils_nothing() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let mut rows = clouds(distance, COUNT + QUERIES, DIM, 3);
        rows.floats[40 * DIM..41 * DIM].iter_mut().for_each(|x| *x *= 1e6);
        let Measured { calibration, usual, .. } = measure(distance, rows);
        assert_eq!(calibration, Calibration::default(), "{distance:?}");
        assert!(usual >= 0.95, "{distance:?}: {usual}");
    }
}

#[test]
fn what_is_near_by_sums_of_differences_is_looked_for_by_squares() {
    let Measured { usual, .. } =
        measure_by(Metric::Manhattan, clouds(Distance::Euclid, COUNT + QUERIES, DIM, 11));
    assert!(usual >= 0.9, "{usual}");
    // Without structure the two agree about less, and more rows are compared.
    let mut random = Random(5);
    let rows = made(|_, _| random.normal());
    let Measured { calibration, usual, calibrated, .. } = measure_by(Metric::Manhattan, rows);
    let mut random = Random(5);
    let squares = measure_by(Metric::Euclid, made(|_, _| random.normal())).calibration;
    assert!(calibration.candidates > squares.candidates, "{calibration:?} and {squares:?}");
    assert!(usual < 0.8 && calibrated >= 0.93, "{usual} and {calibrated}");
}

#[test]
fn copies_of_one_row_say_nothing() {
    let Measured { calibration, decay, .. } = measure(Distance::Euclid, made(|i, _| (i % 7) as f32));
    assert_eq!((calibration, decay), (Calibration::default(), None));
}

#[test]
fn what_lists_promise_falls_fast_where_near_rows_are_together() {
    for distance in [Distance::Euclid, Distance::Dot] {
        let mut random = Random(5);
        let together = measure(distance, clouds(distance, COUNT + QUERIES, DIM, 11)).decay.unwrap();
        let apart = measure(distance, made(|_, _| random.normal())).decay.unwrap();
        assert!(together > 1.5 * apart, "{distance:?}: {together} and {apart}");
    }
}
