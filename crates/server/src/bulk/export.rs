//! `lodestone export`: a collection into a file of lines, in the order of ids.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use lodestone_api::lines;
use lodestone_node::Roles;
use lodestone_types::{Error, Record, Result};

use super::digest::{Digest, Schema};
use super::pipeline::computed;
use super::progress::{Progress, grouped};
use super::target::Target;
use super::verify::of_record;
use crate::cli::ExportArgs;
use crate::config::Config;
use crate::paint::Paint;
use crate::report::Report;

/// Points of a page, and bytes of their vectors.
const PAGE: (u64, u64) = (1000, 8 << 20);

/// Exports; whether as many points were written as the collection has.
pub async fn run(args: ExportArgs, config: Option<Config>) -> Result<bool> {
    match args.to.extension().and_then(|e| e.to_str()) {
        Some("jsonl" | "ndjson") => {}
        _ => {
            let shown = args.to.display();
            return Err(Error::bad_request(format!(
                "{shown}: give a name that ends in .jsonl; others cannot be written"
            )));
        }
    }
    let target = Target::open(&args.target, config, Roles::Query).await?;
    let done = all(&target, &args).await;
    target.end().await;
    done
}

async fn all(target: &Target, args: &ExportArgs) -> Result<bool> {
    let schema = target.schema().await?;
    let total = target.count().await?;
    let mut progress = Progress::new("exporting", 0, total);
    let mut output = Output::create(&args.to)?;
    let limit = page(&schema);
    let mut from = None;
    loop {
        let page = target.scroll(from, limit).await?;
        from = page.next;
        let schema = schema.clone();
        output = computed(move || output.append(&schema, &page.points).map(|()| output)).await?;
        progress.at(output.points, output.points);
        if from.is_none() {
            break;
        }
    }
    let (points, checksum) = (output.points, output.checksum);
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
    let counts = format!("{} in the collection, {} in the file", grouped(there), grouped(points));
    match there == points {
        true => report.good("points", counts),
        false => report.bad("points", format_args!("{counts}: it was written to meanwhile")),
    }
    report.good("checksum", format_args!("{checksum} of the file"));
    Ok(report.end())
}

/// How many points are asked for at once.
fn page(schema: &Schema) -> u32 {
    let bytes: u64 = schema.values().map(|params| params.size.saturating_mul(4)).sum();
    (PAGE.1 / bytes.max(1)).clamp(1, PAGE.0) as u32
}

/// A file that has its name only when it is whole.
struct Output {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
    text: Vec<u8>,
    points: u64,
    checksum: Digest,
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let file = File::create(&partial).map_err(|e| failed(path, &e))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, file),
            partial: partial.into(),
            path: path.to_owned(),
            text: Vec::new(),
            points: 0,
            checksum: Digest::default(),
        })
    }

    fn append(&mut self, schema: &Schema, records: &[Record]) -> Result<()> {
        self.text.clear();
        for record in records {
            self.checksum += of_record(schema, record)?;
            lines::append(record, &mut self.text)?;
        }
        self.points += records.len() as u64;
        self.file.write_all(&self.text).map_err(|e| failed(&self.path, &e))
    }

    fn finish(mut self) -> Result<()> {
        let mut write = || -> std::io::Result<()> {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            std::fs::rename(&self.partial, &self.path)
        };
        write().map_err(|e| failed(&self.path, &e))
    }
}

fn failed(path: &Path, why: &std::io::Error) -> Error {
    Error::bad_request(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lodestone_types::{NamedVectors, Payload, PointId};

    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let mut output = Output::create(&path).unwrap();
        let record = Record {
            id: PointId::Num(1),
            payload: Some(Payload::default()),
            vectors: Some(NamedVectors::default()),
            order_value: None,
        };
        output.append(&BTreeMap::new(), &[record]).unwrap();
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"id\":1,\"payload\":{},\"vector\":{}}\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
