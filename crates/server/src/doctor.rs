//! `lodestone doctor`: is this store fit for use, and is everything in it that should be?
//!
//! Each check prints a line as soon as it is known; what needs an earlier check is left out where that failed.

use std::collections::BTreeMap;
use std::time::Instant;

use lodestone_node::{Inspection, units};
use lodestone_store::{ObjectInfo, ProbeError, Store, list_all, probe, system_clock};
use lodestone_types::Result;

use crate::cli::DoctorArgs;
use crate::config::Config;
use crate::paint::Paint;
use crate::report::{INDENT, Report, count};
use crate::store;

/// Ages of objects are told by the store's clock; one this far off makes nonsense of them, and of S3's signatures.
const MAX_CLOCK_ERROR_MS: u64 = 60_000;

/// What an object is for, by its first path segment.
const KINDS: &[(&str, &str)] = &[
    ("wal", "the log"),
    ("parts", "segments and large writes"),
    ("checkpoints", "the state at a slot"),
    ("claims", "who led"),
];

/// How many names of one sort are listed.
const LISTED: usize = 20;

/// Prints the checks; `false` if there was a problem.
pub async fn run(config: &Config, args: &DoctorArgs) -> Result<bool> {
    let mut report = Report::new(Paint::for_stdout());
    report.title(format_args!("Store {}", config.store));
    match store::open_existing(config) {
        Err(error) => report.bad("store", error),
        Ok(store) => {
            if fit(&mut report, &*store).await {
                contents(&mut report, &*store).await;
                match sound(config, args.collection.as_deref()).await {
                    Ok(inspection) => describe(&mut report, &inspection, args),
                    Err(error) => report.bad("state", error),
                }
            }
        }
    }
    Ok(report.end())
}

/// Whether it can be reached, allows what we need, and keeps what it promises.
async fn fit(report: &mut Report, store: &dyn Store) -> bool {
    let start = Instant::now();
    if let Err(error) = store.list("", None, 1).await {
        report.bad("reachable", error);
        return false;
    }
    report.good("reachable", format_args!("a list took {:.1} ms", start.elapsed().as_secs_f64() * 1e3));
    match probe(store, &system_clock(), uuid::Uuid::new_v4().as_u64_pair().0).await {
        Ok(seen) => {
            report.good("permissions", "it lists, creates, reads and deletes");
            report.good("create-only", format_args!("{} created one object at once, one won", seen.rivals));
            report.good("consistency", "reads and lists show a write at once");
            clock(report, seen.clock_ahead_ms);
            true
        }
        Err(error @ ProbeError::Failed { .. }) => {
            report.bad("permissions", error);
            false
        }
        Err(error @ ProbeError::Broken { .. }) => {
            report.bad("conditions", error);
            false
        }
    }
}

fn clock(report: &mut Report, ahead_ms: i64) {
    let off = ahead_ms.unsigned_abs();
    let way = if ahead_ms < 0 { "behind" } else { "ahead of" };
    match off {
        ..2_000 => report.good("clock", "this machine's and the store's agree"),
        2_000..=MAX_CLOCK_ERROR_MS => {
            report.good("clock", format_args!("the store's is {} s {way} ours", off / 1000))
        }
        _ => report
            .bad("clock", format_args!("the store's is {} s {way} ours: set this machine's", off / 1000)),
    }
}

/// Everything the state names: is it there, and is it what was written?
async fn sound(config: &Config, only: Option<&str>) -> Result<Inspection> {
    // A hiccup of the store must not pass for damage, so these reads are tried again.
    let store = store::open_retrying(config)?;
    lodestone_node::inspect(&store, only, true).await
}

fn describe(report: &mut Report, inspection: &Inspection, args: &DoctorArgs) {
    let orderly =
        if inspection.released { "released in order" } else { "not released: running, or ended at once" };
    let slots = format!("{} slots decided, epoch {}, {orderly}", inspection.slot, inspection.epoch);
    match inspection.checkpoint {
        Some(slot) => report.good("checkpoint", format_args!("at slot {slot} of {slots}")),
        None => report.note("checkpoint", format_args!("none yet; {slots}")),
    }
    let names: Vec<&str> = inspection.collections.iter().map(|c| c.name.as_str()).collect();
    match &args.collection {
        Some(name) if !names.contains(&name.as_str()) => {
            report.bad("collections", format_args!("there is none called `{name}`"));
        }
        Some(name) => report.good("collections", format_args!("looked at `{name}` of {}", names.len())),
        None => report.good("collections", names.len()),
    }
    let damaged: Vec<String> = inspection.damaged.iter().map(|(key, why)| format!("{key}: {why}")).collect();
    match inspection.missing.is_empty() {
        true => report.good("objects", "everything that is needed is there"),
        false => report.bad("missing", listed("objects that are needed are not there", &inspection.missing)),
    }
    match damaged.is_empty() {
        true => report.good("checksums", "everything is what was written"),
        false => report.bad("damaged", listed("objects are not what was written", &damaged)),
    }
    let orphans = listed("objects that nothing needs", &inspection.orphans);
    match (inspection.orphans.is_empty(), args.deny_orphans) {
        (true, _) => report.good("orphans", "none"),
        (false, true) => report.bad("orphans", orphans),
        (false, false) => {
            report.note("orphans", format_args!("{orphans}\n{INDENT}a running process collects them"))
        }
    }
}

fn listed(what: &str, names: &[String]) -> String {
    let mut text = format!("{} {what}", names.len());
    for name in names.iter().take(LISTED) {
        text += &format!("\n{INDENT}{name}");
    }
    if names.len() > LISTED {
        text += &format!("\n{INDENT}... and {} more", names.len() - LISTED);
    }
    text
}

/// How much of what is there.
async fn contents(report: &mut Report, store: &dyn Store) {
    let objects = match list_all(store, "").await {
        Ok(objects) => objects,
        Err(error) => return report.bad("contents", error),
    };
    if objects.is_empty() {
        return report.note("contents", "nothing yet");
    }
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for ObjectInfo { key, size, .. } in &objects {
        let (number, bytes) = kinds.entry(key.split('/').next().unwrap_or_default()).or_default();
        (*number, *bytes) = (*number + 1, *bytes + size);
    }
    let amount =
        |(number, bytes)| format!("{} in {}", units::approximate_bytes(bytes), count(number, "object"));
    for (kind, what) in KINDS {
        if let Some(found) = kinds.remove(kind) {
            report.note(kind, format_args!("{}: {what}", amount(found)));
        }
    }
    for (kind, found) in kinds {
        report.note("not ours", format_args!("{kind}: {}", amount(found)));
    }
}
