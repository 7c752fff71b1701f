//! Pauses, kills, deposes, stops and restarts; and sees to it that somebody leads.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::sleep;

use crate::node::{Life, Node};
use crate::world::{World, say};

pub struct Director {
    world: Arc<World>,
    rng: SmallRng,
}

impl Director {
    pub fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), rng: world.rng() }
    }

    /// Acts until the run is over.
    pub async fn run(mut self) {
        tokio::spawn(see_to_a_leader(self.world.clone(), self.world.rng()));
        while !self.world.is_over() {
            let wait = self.rng.random_range(self.world.profile.acts.clone());
            sleep(Duration::from_millis(wait)).await;
            if !self.world.is_over() {
                self.act();
            }
        }
    }

    fn act(&mut self) {
        let node = self.pick();
        let weights = self.world.profile.weights;
        let sum = weights.pause + weights.kill + weights.take_over + weights.stop;
        let roll = self.rng.random_range(0..sum);
        if roll < weights.pause {
            let time = Duration::from_millis(self.rng.random_range(self.world.profile.pause.clone()));
            if let Some(life) = node.life() {
                life.gate.pause(time);
            }
        } else if roll < weights.pause + weights.kill {
            self.kill(&node);
        } else if roll < weights.pause + weights.kill + weights.take_over {
            if let Some(life) = node.life() {
                tokio::spawn(async move { life.lead().await });
            }
        } else {
            let (world, back) = (self.world.clone(), self.delay());
            tokio::spawn(async move { stop(&world, &node, back).await });
        }
    }

    fn pick(&mut self) -> Arc<Node> {
        let nodes = self.world.nodes.lock();
        nodes[self.rng.random_range(0..nodes.len())].clone()
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(100..3_000))
    }

    /// One process dies; where the bucket is a directory, the power may fail, and then all die.
    fn kill(&mut self, node: &Arc<Node>) {
        let nodes = self.world.nodes.lock().clone();
        match &self.world.directory {
            Some(directory) if self.rng.random_bool(0.6) => {
                say!(self.world, "the power fails");
                nodes.iter().for_each(|node| node.kill());
                directory.crash();
            }
            _ => node.kill(),
        }
        for node in nodes {
            if node.life().is_none() {
                tokio::spawn(restart(self.world.clone(), node, self.delay()));
            }
        }
    }
}

async fn restart(world: Arc<World>, node: Arc<Node>, after: Duration) {
    sleep(after).await;
    if node.life().is_none() && !world.is_over() {
        node.start(&world);
    }
}

/// Stops as a process does that was asked to: releases the bucket, then ends.
async fn stop(world: &Arc<World>, node: &Arc<Node>, back: Duration) {
    let Some(life) = node.life() else { return };
    say!(world, "{} is asked to stop", life.name);
    if let Some(leader) = life.leader() {
        let stopped = life.call(leader.stop(Duration::from_secs(3))).await;
        say!(world, "{} stopped: {stopped:?}", life.name);
    }
    if node.life().is_some_and(|now| Arc::ptr_eq(&now, &life)) {
        node.kill();
        restart(world.clone(), node.clone(), back).await;
    }
}

/// A dead process comes back even if it was a trap that killed it, and where nobody leads, somebody claims.
async fn see_to_a_leader(world: Arc<World>, mut rng: SmallRng) {
    const EVERY: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_millis(800);
    let claiming = Arc::new(AtomicBool::new(false));
    while !world.is_over() {
        sleep(EVERY).await;
        let nodes = world.nodes.lock().clone();
        for node in &nodes {
            if node.life().is_some_and(|life| life.gate.is_dead()) {
                node.kill();
                let after = Duration::from_millis(rng.random_range(100..3_000));
                tokio::spawn(restart(world.clone(), node.clone(), after));
            }
        }
        let lives: Vec<Arc<Life>> = nodes.iter().filter_map(|node| node.life()).collect();
        let awake = |life: &&Arc<Life>| life.gate.paused_for() < PATIENCE;
        let led = lives.iter().filter(awake).any(|life| life.leader().is_some());
        let ready: Vec<&Arc<Life>> = lives.iter().filter(awake).collect();
        if led || ready.is_empty() || claiming.load(Relaxed) || rng.random_bool(0.3) {
            continue;
        }
        let life = ready[rng.random_range(0..ready.len())].clone();
        claiming.store(true, Relaxed);
        let claiming = claiming.clone();
        tokio::spawn(async move {
            // A claim that hangs does not keep others from claiming.
            let _ =
                tokio::time::timeout(Duration::from_secs(2), tokio::spawn(async move { life.lead().await }))
                    .await;
            claiming.store(false, Relaxed);
        });
    }
}
