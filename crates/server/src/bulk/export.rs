//! `lodestone export`: a collection into files, in the order of ids.

use lodestone_node::Roles;
use lodestone_types::{Error, PointId, Result};
use uuid::Uuid;

use super::digest::Schema;
use super::output::Output;
use super::pipeline::computed;
use super::progress::{Progress, grouped};
use super::target::Target;
use crate::cli::ExportArgs;
use crate::config::Config;
use crate::paint::Paint;
use crate::report::Report;

/// Points of a page, and bytes of their vectors.
const PAGE: (u64, u64) = (1000, 8 << 20);

/// Exports; whether as many points were written as the collection has.
pub async fn run(args: ExportArgs, config: Option<Config>) -> Result<bool> {
    let is_array = match args.to.extension().and_then(|e| e.to_str()) {
        Some("jsonl" | "ndjson") => false,
        Some("npy") => true,
        _ => {
            let shown = args.to.display();
            return Err(Error::bad_request(format!(
                "{shown}: give a name that ends in .jsonl (all of each point) or .npy (one vector of each); others cannot be written"
            )));
        }
    };
    if !is_array && (args.payload.is_some() || !args.vector.is_empty()) {
        return Err(Error::bad_request(
            "--vector and --payload belong to .npy; a line of .jsonl has all vectors and the payload",
        ));
    }
    let target = Target::open(&args.target, config, Roles::Query).await?;
    let done = all(&target, &args, is_array).await;
    target.end().await;
    done
}

async fn all(target: &Target, args: &ExportArgs, is_array: bool) -> Result<bool> {
    let schema = target.schema().await?;
    let total = target.count().await?;
    let mut progress = Progress::new("exporting", 0, total);
    let mut output = match is_array {
        false => Output::lines(&args.to)?,
        true => {
            // UUIDs come after all numbers.
            let uuids = target.scroll(Some(PointId::Uuid(Uuid::nil())), 1).await?;
            let text_ids = !uuids.points.is_empty();
            Output::arrays(&args.to, &schema, &args.vector, args.payload.as_deref(), text_ids)?
        }
    };
    let limit = page(&schema);
    let mut from = None;
    loop {
        let page = target.scroll(from, limit).await?;
        from = page.next;
        let schema = schema.clone();
        output = computed(move || output.append(&schema, page.points).map(|()| output)).await?;
        let seen = output.points + output.left_out;
        progress.at(seen, seen);
        if from.is_none() {
            break;
        }
    }
    let (points, left_out, checksum) = (output.points, output.left_out, output.checksum);
    computed(move || output.finish()).await?;
    let took = progress.end().as_secs_f64();
    let there = target.count().await?;
    let mut report = Report::new(Paint::for_stdout());
    report.title(format_args!("Export of `{}` of {}", target.collection, target.of));
    let rate = grouped((points as f64 / took.max(1e-3)) as u64);
    report.good(
        "exported",
        format_args!("{} points to {} in {took:.1} s, {rate}/s", grouped(points), args.to.display()),
    );
    let mut counts = format!("{} in the collection, {} in the file", grouped(there), grouped(points));
    if left_out > 0 {
        counts.push_str(&format!(", {} left out, which have no vector `{}`", grouped(left_out), args.vector));
    }
    match there == points + left_out {
        true => report.good("points", counts),
        false => report.bad("points", format_args!("{counts}: it was written to meanwhile")),
    }
    let of = match (is_array, &args.payload) {
        (false, _) => "of the file",
        (true, Some(_)) => "of ids, rows and payloads",
        (true, None) => "of ids and rows, as points without payload",
    };
    report.good("checksum", format_args!("{checksum} {of}"));
    Ok(report.end())
}

/// How many points are asked for at once.
fn page(schema: &Schema) -> u32 {
    let bytes: u64 = schema.values().map(|params| params.size.saturating_mul(4)).sum();
    (PAGE.1 / bytes.max(1)).clamp(1, PAGE.0) as u32
}
