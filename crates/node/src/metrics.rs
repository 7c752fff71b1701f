//! The node's metrics in Prometheus' text format.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

use lodestone_compact::Counters;
use lodestone_ingest::{Stage, Stages};
use lodestone_shard::VectorUsage;
use lodestone_store::Backend;

use crate::engine::NodeEngine;

pub(crate) fn render(engine: &NodeEngine) -> String {
    let mut out = String::new();
    let store = engine.metrics.snapshot();
    let requests = [
        ("create", store.creates),
        ("put", store.puts),
        ("get", store.gets),
        ("head", store.heads),
        ("list", store.lists),
        ("delete", store.deletes),
    ];
    header(&mut out, "lodestone_store_requests_total", "counter", "Requests to the bucket.");
    for (kind, count) in requests {
        line(&mut out, &format!("lodestone_store_requests_total{{kind=\"{kind}\"}}"), count);
    }
    single(
        &mut out,
        "lodestone_store_read_bytes_total",
        "counter",
        "Bytes read from the bucket.",
        store.bytes_in,
    );
    single(
        &mut out,
        "lodestone_store_written_bytes_total",
        "counter",
        "Bytes written to the bucket.",
        store.bytes_out,
    );
    single(
        &mut out,
        "lodestone_store_errors_total",
        "counter",
        "Requests to the bucket that failed.",
        store.errors,
    );
    const PRICE: &str = "lodestone_store_price_total";
    header(
        &mut out,
        PRICE,
        "counter",
        "What the bucket charges for all that, at the prices of the settings.",
    );
    let (reads, writes) = (store.gets + store.heads, store.creates + store.puts + store.lists);
    line(&mut out, PRICE, engine.prices.of(reads, writes, store.bytes_in));
    if let Some(writing) = &engine.writing {
        write_stages(&mut out, writing.ingest.writer().stages());
        write_jobs(&mut out, writing.compactor.counters());
    }
    let parts = engine.parts.stats();
    single(&mut out, "lodestone_cache_bytes", "gauge", "Bytes of parts kept near.", parts.bytes);
    single(&mut out, "lodestone_cache_hits_total", "counter", "Parts that were near.", parts.hits);
    single(
        &mut out,
        "lodestone_cache_misses_total",
        "counter",
        "Parts that had to be fetched.",
        parts.misses,
    );
    let (views, loaded) = engine.views.size();
    single(&mut out, "lodestone_views", "gauge", "Shards whose rows are ready to be read.", views as u64);
    single(&mut out, "lodestone_views_bytes", "gauge", "Bytes of parts that those have loaded.", loaded);
    write_vectors(&mut out, engine.views.vectors());
    let pins = engine.query.pins();
    const PINNED: &str = "lodestone_pinned_collections";
    header(
        &mut out,
        PINNED,
        "gauge",
        "Collections that are pinned, by whether this process has room for them.",
    );
    line(&mut out, &format!("{PINNED}{{room=\"yes\"}}"), pins.kept.len());
    line(&mut out, &format!("{PINNED}{{room=\"no\"}}"), pins.no_room.len());
    single(&mut out, "lodestone_pinned_bytes", "gauge", "Bytes of segments that stay here.", pins.bytes);
    let state = engine.meta.watch().borrow().clone();
    single(&mut out, "lodestone_epoch", "gauge", "The leader's epoch.", state.epoch.0);
    single(&mut out, "lodestone_slot", "gauge", "The last decided slot of the log.", state.slot.0);
    single(
        &mut out,
        "lodestone_collections",
        "gauge",
        "Collections in the bucket.",
        state.collections.len() as u64,
    );
    out
}

fn write_jobs(out: &mut String, done: &Counters) {
    const JOBS: &str = "lodestone_compaction_jobs_total";
    header(out, JOBS, "counter", "Jobs by what became of them.");
    let jobs = [
        ("fold", &done.folds),
        ("merge", &done.merges),
        ("reindex", &done.reindexes),
        ("order", &done.orders),
        ("index", &done.indexes),
        ("stale", &done.stale),
        ("failed", &done.failures),
    ];
    for (kind, count) in jobs {
        line(out, &format!("{JOBS}{{kind=\"{kind}\"}}"), count.load(Relaxed));
    }
    const ROWS: &str = "lodestone_index_building_rows";
    header(out, ROWS, "gauge", "Rows of vector indexes that are being built: all, and those that are coded.");
    let (all, coded) = done.progress.rows();
    line(out, &format!("{ROWS}{{state=\"all\"}}"), all);
    line(out, &format!("{ROWS}{{state=\"coded\"}}"), coded);
}

fn write_stages(out: &mut String, stages: &Stages) {
    const WRITES: &str = "lodestone_write_stages_total";
    const SECONDS: &str = "lodestone_write_seconds_total";
    header(out, WRITES, "counter", "Writes that went through a stage.");
    for stage in Stage::ALL {
        line(out, &format!("{WRITES}{{stage=\"{}\"}}", stage.name()), stages.spent(stage).0);
    }
    header(out, SECONDS, "counter", "Time that writes spent in a stage.");
    for stage in Stage::ALL {
        line(out, &format!("{SECONDS}{{stage=\"{}\"}}", stage.name()), stages.spent(stage).1.as_secs_f64());
    }
}

fn write_vectors(out: &mut String, usage: VectorUsage) {
    const BYTES: &str = "lodestone_vectors_bytes";
    const READS: &str = "lodestone_vectors_read_total";
    let limit = "lodestone_vectors_memory_limit_bytes";
    single(out, limit, "gauge", "Bytes of segments that may be in memory.", usage.limit);
    header(out, BYTES, "gauge", "Bytes of vectors in use, by where single ones are read.");
    line(out, &format!("{BYTES}{{place=\"memory\"}}"), usage.in_memory);
    line(out, &format!("{BYTES}{{place=\"disk\"}}"), usage.on_disk);
    header(out, READS, "counter", "Reads of vectors from disk, each of one or of some in a row.");
    for (backend, reads) in
        [(Backend::IoUring, usage.reads_by_io_uring), (Backend::Pread, usage.reads_by_pread)]
    {
        line(out, &format!("{READS}{{by=\"{}\"}}", backend.name()), reads);
    }
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, value: impl Display) {
    let _ = writeln!(out, "{name} {value}");
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    header(out, name, kind, help);
    line(out, name, value);
}
