//! One seed from start to verdict.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lodestone_manifest::SystemOp;
use lodestone_meta::{Rules, SystemLog};
use lodestone_types::{CollectionConfig, CollectionParams};
use tokio::time::sleep;

use crate::client::{Client, NAMES};
use crate::compactor::Compactor;
use crate::director::Director;
use crate::ending;
use crate::node::Node;
use crate::profile::Profile;
use crate::world::World;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// The profile's name.
    pub profile: &'static str,
    /// The first thing that happened and must not.
    pub violation: Option<String>,
    /// How many indexes landed.
    pub indexes: u64,
    /// What happened, in numbers.
    pub counts: String,
    /// Of everything that changed the bucket, with its time: runs of one seed have the same.
    pub digest: u64,
}

/// Runs `seed`. With `tracing`, every step is printed.
pub fn run(seed: u64, profile: Profile, rules: Rules, tracing: bool) -> Verdict {
    let name = profile.name;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|e| panic!("no runtime: {e}"));
    let (violation, indexes, counts, digest) = runtime.block_on(async {
        let world = World::new(seed, profile, rules, tracing);
        act(&world).await;
        let violation = world.violation();
        let indexes = world.counts.indexes.load(Ordering::Relaxed);
        let counts = summary(&world);
        let digest = world.digest();
        world.dissolve();
        (violation, indexes, counts, digest)
    });
    Verdict { seed, profile: name, violation, indexes, counts, digest }
}

async fn act(world: &Arc<World>) {
    let nodes: Vec<Arc<Node>> = (0..world.profile.nodes).map(|i| Node::new(i, world)).collect();
    world.nodes.lock().clone_from(&nodes);
    nodes.iter().for_each(|node| node.start(world));
    create_collections(world, &nodes).await;
    let mut actors =
        vec![tokio::spawn(Director::new(world).run()), tokio::spawn(Compactor::new(world).run())];
    for name in 0..world.profile.clients {
        actors.push(tokio::spawn(Client::new(world, name).run()));
    }
    let steps = world.profile.span.as_millis() / 100;
    for _ in 0..steps {
        sleep(Duration::from_millis(100)).await;
        if world.is_over() {
            break;
        }
    }
    world.end();
    actors.iter().for_each(|actor| actor.abort());
    if world.violation().is_some() {
        return;
    }
    if let Err(what) = ending::end(world).await {
        world.violated(what);
    }
}

async fn create_collections(world: &Arc<World>, nodes: &[Arc<Node>]) {
    for attempt in 0.. {
        if attempt > 100 {
            world.violated("the collections cannot be created");
            return;
        }
        sleep(Duration::from_millis(50)).await;
        let Some(life) = nodes[0].life().filter(|life| !life.gate.is_dead()) else {
            nodes[0].kill();
            nodes[0].start(world);
            continue;
        };
        life.lead().await;
        let Some(front) = life.front() else { continue };
        let create = |(i, name): (usize, &&str)| SystemOp::CreateCollection {
            name: (*name).to_owned(),
            config: config(2 - i as u32),
        };
        let ops = NAMES.iter().enumerate().map(create).collect();
        if let Some(Ok(_)) = life.call(front.ingest.propose(ops)).await {
            return;
        }
    }
}

fn config(shards: u32) -> CollectionConfig {
    CollectionConfig {
        params: CollectionParams {
            vectors: Default::default(),
            shard_number: shards,
            replication_factor: 1,
            write_consistency_factor: 1,
            on_disk_payload: true,
        },
        hnsw: Default::default(),
        optimizers: Default::default(),
        quantization: None,
        metadata: None,
        strict_mode: None,
    }
}

fn summary(world: &World) -> String {
    let c = &world.counts;
    let n = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        "acked {} unknown {} refused {} reads {} without leader {} claims {} folds {} indexes {} deletes {}",
        n(&c.acked),
        n(&c.unknown),
        n(&c.failed),
        n(&c.reads),
        n(&c.leaderless),
        n(&c.claims),
        n(&c.folds),
        n(&c.indexes),
        n(&c.deletes)
    )
}
