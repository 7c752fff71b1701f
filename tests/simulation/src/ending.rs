//! When the misfortunes are over: somebody leads, writes are acknowledged, everything acknowledged is there, and
//! nothing is left in the bucket that nobody needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lodestone_meta::bucket;
use lodestone_meta::recover::recover;
use lodestone_meta::{Consistency, Leader, Meta};
use lodestone_store::list_all;
use lodestone_wal::keys;
use tokio::time::sleep;

use crate::client::Client;
use crate::model::{COLLECTIONS, Kind};
use crate::node::Node;
use crate::watched::named_objects;
use crate::world::{World, say};

const PATIENCE: usize = 60;
const SWEEPS: usize = 8;
const STEP: Duration = Duration::from_millis(100);

/// Runs after clients and director have stopped.
pub async fn end(world: &Arc<World>) -> Result<(), String> {
    say!(world, "calm");
    world.calm_down();
    let nodes = world.nodes.lock().clone();
    // In some runs the processes that have come through all of it have to go on. Not where jobs are given out to other
    // processes: those that died keep theirs for as long as the leader lives.
    let anew = world.profile.roaming || world.seed().is_multiple_of(2);
    for node in &nodes {
        node.calm_down();
        if anew || node.life().is_some_and(|life| life.gate.is_dead()) {
            node.kill();
        }
    }
    // The longest a trapped copy travels, and the longest pause.
    sleep(Duration::from_secs(18)).await;
    for node in &nodes {
        node.settle().await;
        if node.life().is_none() {
            node.start(world);
        }
    }
    let mut client = Client::new(world, 99);
    // Each round's writes make a checkpoint; the third makes all before the calm older than two roots.
    for _ in 0..3 {
        for collection in 0..COLLECTIONS {
            write(&nodes, &mut client, collection).await?;
        }
        sleep(world.profile.leader.checkpoint_idle + Duration::from_millis(600)).await;
    }
    for collection in 0..COLLECTIONS {
        read(&mut client, collection).await?;
    }
    if let Some(violation) = world.violation() {
        return Err(violation);
    }
    for _ in 0..SWEEPS {
        sleep(world.profile.leader.gc_grace).await;
        if clean(world, &nodes).await.is_ok() {
            break;
        }
    }
    clean(world, &nodes).await
}

/// The leader of the highest epoch.
fn leader(nodes: &[Arc<Node>]) -> Option<Arc<Leader>> {
    let leaders = nodes.iter().filter_map(|node| node.life()?.leader());
    leaders.max_by_key(|leader| leader.epoch())
}

async fn write(nodes: &[Arc<Node>], client: &mut Client, collection: usize) -> Result<(), String> {
    for _ in 0..PATIENCE {
        if leader(nodes).is_none()
            && let Some(life) = nodes[0].life()
        {
            life.lead().await;
        }
        if client.write(collection, Kind::Blind).await {
            return Ok(());
        }
        sleep(STEP).await;
    }
    Err("no write is acknowledged in the calm".into())
}

async fn read(client: &mut Client, collection: usize) -> Result<(), String> {
    for _ in 0..PATIENCE {
        if client.read(collection, Consistency::Strong).await {
            return Ok(());
        }
        sleep(STEP).await;
    }
    Err("nobody answers a read in the calm".into())
}

/// Compares what is listed with what is needed.
async fn clean(world: &Arc<World>, nodes: &[Arc<Node>]) -> Result<(), String> {
    let leader = leader(nodes).ok_or("the leader is gone in the calm")?;
    let live = leader.read(Consistency::Strong).await.map_err(|e| e.to_string())?;
    let recovered = recover(&world.bucket, world.rules).await.map_err(|e| e.to_string())?;
    if recovered.state != *live {
        return Err("the bucket says something else than its leader".into());
    }
    let roots = list_all(world.bucket.as_ref(), keys::CHECKPOINTS).await.map_err(|e| e.to_string())?;
    // Marks stay, but what happens if they do not has to show by itself.
    let marks: BTreeSet<String> = live.kept.iter().map(|slot| keys::wal(*slot)).collect();
    let mut needed: BTreeSet<String> = named_objects(&live);
    needed.insert(keys::NEWEST.to_owned());
    let mut oldest = 0;
    for root in roots.iter().take(2) {
        let slot = keys::parse_checkpoint(&root.key).ok_or("a root of no slot")?;
        let (parsed, state) =
            bucket::read_checkpoint(world.bucket.as_ref(), slot).await.map_err(|e| e.to_string())?;
        needed.extend(named_objects(&state));
        needed.extend(parsed.pages.iter().flatten().map(|page| page.object.clone()));
        needed.insert(root.key.clone());
        oldest = slot.0;
    }
    let listed = list_all(world.bucket.as_ref(), "").await.map_err(|e| e.to_string())?;
    let there: BTreeSet<&str> = listed.iter().map(|o| o.key.as_str()).collect();
    for key in &there {
        let ahead = keys::parse_wal(key).is_some_and(|slot| slot.0 > oldest);
        if !ahead && !key.starts_with(keys::CLAIMS) && !marks.contains(*key) && !needed.contains(*key) {
            return Err(format!("`{key}` is left over"));
        }
    }
    match needed.iter().find(|key| !there.contains(key.as_str())) {
        Some(missing) => Err(format!("`{missing}` is needed and missing")),
        None => Ok(()),
    }
}
