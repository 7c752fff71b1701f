//! A segment of which a share of the rows is replaced, generation after generation, by merging.
#![allow(dead_code, reason = "the test and the example use a part of it each")]

use lodestone_index::dense::{
    BuildOptions, Distance, Effort, GONE, MergeInput, Model, Searcher, Target, TrainOptions, VectorIndex,
    build, merge,
};
use lodestone_kernels::LevelBits;
use rayon::prelude::*;

use crate::vectors::{Random, Rows};

/// Writes a row as they come in one generation.
pub type Source = dyn FnMut(usize) -> Vec<f32>;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub distance: Distance,
    /// The share of rows that each generation replaces.
    pub replaced: f32,
    /// Of the searches that recall is measured with.
    pub effort: Effort,
    /// Whether outdated models are replaced.
    pub retrain: bool,
}

/// How well rows are found, recall@10.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// In the index that the merges led to.
    pub churned: f64,
    /// In one with a model of its own, built of the same rows.
    pub rebuilt: f64,
    /// Models that were trained before that.
    pub trained: usize,
    /// The rows' distance from centroids, compared with when the model was trained.
    pub spread: f32,
}

pub struct Churn {
    rows: Rows,
    settings: Settings,
    random: Random,
    indexed: (Model, VectorIndex),
    trained: usize,
}

fn built(rows: &Rows, distance: Distance) -> (Model, VectorIndex) {
    let row = |i: usize, out: &mut [f32]| out.copy_from_slice(rows.row(i));
    let options =
        TrainOptions { distance, list_rows: 50, sample_rows: 400_000, level_bits: LevelBits::Four, seed: 1 };
    let mut model = Model::train(rows.dim, rows.count(), &row, options);
    let index = build(&model, rows.count(), &row, &|row| row, BuildOptions { spill: true });
    model.note_spread(&index);
    (model, index)
}

impl Churn {
    /// Takes `count` rows of `dim` components.
    pub fn new(dim: usize, count: usize, settings: Settings, source: &mut Source) -> Self {
        let rows = Rows { dim, floats: (0..count).flat_map(|_| source(0)).collect() };
        let indexed = built(&rows, settings.distance);
        Self { rows, settings, random: Random(99), indexed, trained: 1 }
    }

    /// One generation: some rows, drawn at random, have another vector afterwards.
    pub fn step(&mut self, generation: usize, source: &mut Source) {
        let (dim, count) = (self.rows.dim, self.rows.count());
        let mut kept: Vec<u32> = (0..count as u32).collect();
        let mut new = Vec::new();
        for (row, becomes) in kept.iter_mut().enumerate() {
            if self.random.uniform() < self.settings.replaced {
                self.rows.floats[row * dim..(row + 1) * dim].copy_from_slice(&source(generation));
                *becomes = GONE;
                new.push(row as u32);
            }
        }
        let (model, index) = &self.indexed;
        let rows = &self.rows;
        let old = MergeInput { index, rows: &kept };
        let row = |i: usize, out: &mut [f32]| out.copy_from_slice(rows.row(new[i] as usize));
        let name = |i: u32| new[i as usize];
        let merged = merge(model, &[old], new.len(), &row, &name, BuildOptions { spill: true });
        if self.settings.retrain && model.header().is_outdated(&merged.shape()) {
            self.indexed = built(rows, self.settings.distance);
            self.trained += 1;
        } else {
            self.indexed.1 = merged;
        }
    }

    /// The rows' distance from centroids, compared with when the model was trained.
    pub fn spread(&self) -> f32 {
        let (model, index) = &self.indexed;
        index.shape().spread / model.header().spread
    }

    /// Models trained so far.
    pub fn trained(&self) -> usize {
        self.trained
    }

    /// Compares with a rebuild.
    pub fn outcome(&self, queries: &[Vec<f32>]) -> Outcome {
        let all = 0..self.rows.count() as u32;
        let nearest = |query: &Vec<f32>| self.rows.nearest(self.settings.distance, query, 10, all.clone());
        let truth: Vec<Vec<u32>> = queries.par_iter().map(nearest).collect();
        Outcome {
            churned: self.recall(&self.indexed, queries, &truth),
            rebuilt: self.recall(&built(&self.rows, self.settings.distance), queries, &truth),
            trained: self.trained,
            spread: self.spread(),
        }
    }

    fn recall(&self, (model, index): &(Model, VectorIndex), queries: &[Vec<f32>], truth: &[Vec<u32>]) -> f64 {
        let hits = |(query, truth): (&Vec<f32>, &Vec<u32>)| {
            let mut found = Vec::new();
            let targets = [Target { index, filter: None }];
            Searcher::new(model).search(model, &targets, query, self.settings.effort, &mut found);
            found.iter().filter(|candidate| truth.contains(&candidate.row)).count()
        };
        let hits: usize = queries.par_iter().zip(truth).map(hits).sum();
        hits as f64 / (10 * queries.len()) as f64
    }
}

/// Rows in 60 clouds, each of which moves on by `drift` of its width with every generation.
pub fn drifting(distance: Distance, dim: usize, drift: f32, seed: u64) -> Box<Source> {
    const CLOUDS: usize = 60;
    const WIDTH: f32 = 0.5;
    let mut random = Random(seed);
    let rank = dim.min(24);
    let mut normals = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal()).collect() };
    let (directions, centres, moves) = (normals(rank * dim), normals(CLOUDS * rank), normals(CLOUDS * rank));
    Box::new(move |generation| {
        let cloud = (random.uniform() * CLOUDS as f32) as usize;
        let way = drift * WIDTH * generation as f32;
        let factors: Vec<f32> = (cloud * rank..(cloud + 1) * rank)
            .map(|at| centres[at] + way * moves[at] + WIDTH * random.normal())
            .collect();
        let component = |j: usize, noise: f32| {
            let mixed: f32 = factors.iter().enumerate().map(|(r, f)| f * directions[r * dim + j]).sum();
            1.0 + mixed + 0.3 * noise
        };
        let mut row: Vec<f32> = (0..dim).map(|j| component(j, random.normal())).collect();
        if distance == Distance::Dot {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= length);
        }
        row
    })
}
