//! One thing after the other, with restarts and kills in between.

use std::sync::Arc;
use std::time::Duration;

use lodestone_api::Engine;
use lodestone_types::{Error, ErrorKind, WriteOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::model::{Model, Step};
use crate::random::Vectors;
use crate::world::{Weather, World};
use crate::{check, random};

async fn perform(engine: Arc<dyn Engine>, step: Step) -> Result<(), Error> {
    let wait = WriteOptions { wait: true, ..WriteOptions::default() };
    match step {
        Step::Create { name, config } => engine.create_collection(&name, config, None).await,
        Step::Delete { name } => engine.delete_collection(&name, None).await.map(|_| ()),
        Step::Index { name, field, index } => {
            engine.create_field_index(&name, field, index, wait).await.map(|_| ())
        }
        Step::DropIndex { name, field } => engine.delete_field_index(&name, field, wait).await.map(|_| ()),
        Step::Aliases(actions) => engine.update_aliases(actions, None).await,
        Step::Update { name, ops } => engine.update(&name, ops, wait).await.map(|_| ()),
    }
}

struct Run {
    world: World,
    model: Model,
    rng: StdRng,
    weather: Weather,
    vectors: Vectors,
}

impl Run {
    fn check(&mut self) {
        let model = self.model.clone();
        let mut rng = StdRng::seed_from_u64(self.rng.random());
        let whole = self.rng.random_ratio(1, 4);
        let checked = self.world.run(|engine| async move {
            if whole {
                check::everything(engine.as_ref(), &model).await?;
            }
            check::something(engine.as_ref(), &model, &mut rng).await
        });
        checked.unwrap_or_else(|why| panic!("{why}"));
    }

    /// Takes on the one of the `states` that the engine shows.
    fn adopt(&mut self, states: Vec<Model>) {
        let mut last = String::new();
        for state in states.into_iter().rev() {
            let model = state.clone();
            match self.world.run(|engine| async move { check::everything(engine.as_ref(), &model).await }) {
                Ok(()) => {
                    self.model = state;
                    return;
                }
                Err(why) => last = why,
            }
        }
        panic!("neither before nor after nor in between: {last}");
    }

    fn step(&mut self) {
        let step = random::step(&mut self.rng, &self.model, self.vectors);
        match self.rng.random_range(0..60) {
            0 => {
                self.world.stop();
                if self.rng.random() {
                    self.world.lose_local();
                }
                self.restart();
            }
            1 => {
                self.world.kill();
                self.world.lose_local();
                self.restart();
            }
            2..5 => self.kill_during(step),
            _ => self.plain(step),
        }
        self.check();
    }

    fn restart(&mut self) {
        let inspection = self.world.inspect();
        assert!(inspection.is_sound(), "{inspection:#?}");
        self.world.start();
        let model = self.model.clone();
        let checked =
            self.world.run(|engine| async move { check::everything(engine.as_ref(), &model).await });
        checked.unwrap_or_else(|why| panic!("after a restart: {why}"));
    }

    fn plain(&mut self, step: Step) {
        let expected = self.model.after(&step);
        let done = self.world.run(|engine| perform(engine, step.clone()));
        match (done, expected) {
            (Ok(()), Ok(mut states)) => self.model = states.pop().unwrap(),
            (Err(error), Err(kind)) if error.kind == kind => {}
            (Err(error), Ok(states))
                if error.kind == ErrorKind::OutcomeUnknown && self.weather == Weather::Faulty =>
            {
                self.world.kill();
                self.world.start();
                self.adopt(states);
            }
            (done, expected) => panic!("{step:?}\n{done:?}, expected {:?}", expected.map(|_| ())),
        }
    }

    /// Kills the node while it takes a step. What was acknowledged is there; else each part of it is, or is not.
    fn kill_during(&mut self, step: Step) {
        let Ok(mut states) = self.model.after(&step) else { return };
        let after = Duration::from_micros(self.rng.random_range(0..8_000));
        match self.world.kill_during(after, |engine| perform(engine, step.clone())) {
            Some(Ok(())) => states = vec![states.pop().unwrap()],
            // Parts of a process go one after the other.
            Some(Err(error)) if !matches!(error.kind, ErrorKind::OutcomeUnknown | ErrorKind::Unavailable) => {
                panic!("{step:?}: {error}")
            }
            Some(Err(_)) | None => {}
        }
        if self.rng.random() {
            self.world.lose_local();
        }
        let inspection = self.world.inspect();
        assert!(inspection.is_sound(), "{inspection:#?}");
        self.world.start();
        self.adopt(states);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn sequences(weather: Weather, steps: u64, seeds: std::ops::Range<u64>) {
    let seeds = match std::env::var("LODESTONE_SEEDS") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("LODESTONE_SEEDS=from..to");
            from.parse().unwrap()..to.parse().unwrap()
        }
        Err(_) => seeds,
    };
    let alone = seeds.end - seeds.start == 1;
    let mut done = [0; 3];
    for seed in seeds {
        println!("{weather:?}, LODESTONE_SEEDS={seed}..{}", seed + 1);
        let world = World::new(weather, seed);
        let rng = StdRng::seed_from_u64(seed);
        let vectors = if seed % 2 == 0 { Vectors::Indexed } else { Vectors::Short };
        let mut run = Run { world, model: Model::default(), rng, weather, vectors };
        for _ in 0..number("LODESTONE_STEPS").unwrap_or(steps) {
            run.step();
        }
        run.world.check_quiet();
        run.check();
        let jobs = run.world.jobs();
        println!("jobs: {jobs:?}");
        assert!(vectors == Vectors::Indexed || jobs["index"] == 0, "{jobs:?}");
        done.iter_mut().zip(["fold", "merge", "index"]).for_each(|(done, kind)| *done += jobs[kind]);
    }
    assert!(done.iter().all(|count| *count > 0) || alone, "folds, merges and indexes: {done:?}");
}

#[test]
fn the_engine_agrees_with_a_map_of_points() {
    sequences(Weather::Fair, 120, 0..8);
}

#[test]
fn it_does_on_a_store_that_takes_its_time() {
    sequences(Weather::Slow, 60, 100..102);
}

#[test]
fn it_does_on_a_store_that_fails() {
    sequences(Weather::Faulty, 60, 200..203);
}

#[test]
fn it_does_on_a_store_that_forgets_what_was_not_synced() {
    sequences(Weather::Forgetful, 80, 300..304);
}
