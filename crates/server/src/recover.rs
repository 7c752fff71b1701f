//! `lodestone recover`: what a start from this bucket finds, and on request a fresh checkpoint of it.

use lodestone_node::{CollectionSummary, Inspection, inspect, write_checkpoint};
use lodestone_types::Result;

use crate::config::{self, Config};
use crate::paint::Paint;
use crate::report::{Report, count};
use crate::store;

/// Prints it; with `write`, claims the store for a moment and leaves a checkpoint.
pub async fn run(mut config: Config, write: bool, take_over: bool) -> Result<bool> {
    store::open_existing(&config)?;
    let store = store::open_retrying(&config)?;
    let found = inspect(&store, None, false).await?;
    let mut report = Report::new(Paint::for_stdout());
    report.title(format_args!("Recovery of {}", config.store));
    describe(&mut report, &found);
    if write {
        // No address: nobody can ask a process that is gone in a moment.
        config.take_over |= take_over;
        let options = config.node_options(String::new(), &config::cache_root(&crate::environment()));
        write_checkpoint(options).await?;
        match inspect(&store, None, false).await?.checkpoint {
            Some(slot) => {
                report.good("written", format_args!("a checkpoint at slot {slot}; the store is released"))
            }
            None => report.bad("written", "no checkpoint came to be"),
        }
    }
    Ok(report.end())
}

fn describe(report: &mut Report, found: &Inspection) {
    match found.checkpoint {
        Some(slot) => {
            let after = found.slot.0.saturating_sub(slot.0);
            report.good("checkpoint", format_args!("at slot {slot}, {after} more to read after it"));
        }
        None => report.note("checkpoint", "none: every slot is read"),
    }
    let state = if found.released { "released" } else { "not released" };
    report.note("log", format_args!("ends at slot {}; epoch {}, {state}", found.slot, found.epoch));
    report.note("tail", format_args!("{} not in segments yet", count(found.tail_slots as u64, "slot")));
    for collection in &found.collections {
        report.note("collection", summary(collection));
    }
    match found.missing.as_slice() {
        [] => report.good("objects", "everything that is needed is there"),
        missing => missing.iter().for_each(|key| report.bad("missing", key)),
    }
}

fn summary(c: &CollectionSummary) -> String {
    format!(
        "`{}`: {} in {}, {} in the tail, {}, LSN {}",
        c.name,
        count(c.segment_rows, "row"),
        count(c.segments as u64, "segment"),
        c.tail_rows,
        count(c.shards, "shard"),
        c.lsn
    )
}
