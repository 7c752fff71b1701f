//! `lodestone import`: files into a collection.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lodestone_node::Roles;
use lodestone_types::{Error, NamedVectors, PointId, Result, VectorParams};
use tokio::pin;

use super::decode::Decoder;
use super::digest::{Digest, Schema};
use super::parquet::Columns;
use super::progress::{Progress, grouped};
use super::source::{Chunk, Mark, Size, Source};
use super::state::{Job, Keeper};
use super::target::Target;
use super::{pipeline, verify};
use crate::cli::ImportArgs;
use crate::config::Config;
use crate::paint::Paint;
use crate::report::{Report, count};

/// Points that are looked for before an import goes on.
const SAMPLE: u64 = 16;

/// Imports; whether what is there then is what the files say.
pub async fn run(args: ImportArgs, config: Option<Config>) -> Result<bool> {
    if args.state.is_some() && args.files.len() > 1 {
        return Err(Error::bad_request("--state is for one file; leave it out, and each has its own"));
    }
    if args.payload.is_some() && args.files.len() > 1 {
        return Err(Error::bad_request("--payload is for one file; import them one by one"));
    }
    let columns = columns(&args);
    let look = |path| Source::look(path, args.payload.as_deref(), &columns);
    let sources = args.files.iter().map(|path| look(path)).collect::<Result<Vec<_>>>()?;
    let target = Target::open(&args.target, config, Roles::All).await?;
    let done = all(&target, &args, sources).await;
    target.end().await;
    done
}

async fn all(target: &Target, args: &ImportArgs, sources: Vec<Source>) -> Result<bool> {
    let schema = schema(target, args, &sources[0]).await?;
    let mut files = Vec::new();
    let mut first_id = args.first_id;
    for source in sources {
        let decoder = Arc::new(Decoder::new(&source, &schema, &args.vector, first_id)?);
        let keeper = keeper(target, args, &source, first_id)?;
        first_id = first_id.saturating_add(source.points().unwrap_or_default());
        files.push(File { source, decoder, keeper });
    }
    still_there(target, &files).await?;
    let mut report = Report::new(Paint::for_stdout());
    report.title(format_args!("Import into `{}` of {}", target.collection, target.of));
    for file in &mut files {
        let before = file.keeper.state.mark.points;
        let took = file.import(target, args).await?;
        report.good("imported", told(&file.source.path, file.keeper.state.mark.points, before, took));
    }
    target.settle().await?;
    check(&mut report, target, args, &files).await?;
    for file in files {
        file.keeper.forget()?;
    }
    Ok(report.end())
}

fn columns(args: &ImportArgs) -> Columns {
    Columns { vector: args.vector_column.clone(), id: args.id_column.clone() }
}

/// A file and how far it has come.
struct File {
    source: Source,
    decoder: Arc<Decoder>,
    keeper: Keeper,
}

impl File {
    /// Writes what is not acknowledged yet; how long it took.
    async fn import(&mut self, target: &Target, args: &ImportArgs) -> Result<Duration> {
        let begin = self.keeper.state.mark;
        let mut progress = Progress::new("importing", begin.bytes, self.source.bytes());
        let (size, parallel) = portion(target, args);
        let chunks = self.source.chunks(begin, size)?;
        let written =
            pipeline::run(chunks, parallel, |chunk| write(target.clone(), self.decoder.clone(), chunk));
        pin!(written);
        let (mut waiting, mut next) = (BTreeMap::new(), 0);
        let mut ended = Ok(());
        while let Some(chunk) = written.next().await {
            match chunk {
                Ok(done) => waiting.insert(done.number, done),
                Err(error) => {
                    ended = ended.and(Err(error));
                    continue;
                }
            };
            while let Some(done) = waiting.remove(&next) {
                next += 1;
                self.keeper.advance(done.end, done.checksum)?;
                progress.at(done.end.bytes, done.end.points - begin.points);
            }
        }
        self.keeper.save()?;
        let took = progress.end();
        ended.map(|()| took).map_err(|e| {
            let points = grouped(self.keeper.state.mark.points);
            Error { message: format!("{e} (the first {points} points of the file are in)").into(), ..e }
        })
    }
}

/// How much is written at once, and how many times beside each other.
fn portion(target: &Target, args: &ImportArgs) -> (Size, usize) {
    let (size, parallel) = target.portion();
    let points = args.batch.map_or(size.points, u64::from);
    (Size { points, ..size }, args.parallel.unwrap_or(parallel) as usize)
}

/// What became of a chunk.
struct Written {
    number: u64,
    end: Mark,
    checksum: Digest,
}

async fn write(target: Target, decoder: Arc<Decoder>, chunk: Chunk) -> Result<Written> {
    let (number, end) = (chunk.number, chunk.end);
    let read = move || {
        let points = decoder.points(&chunk)?;
        let mut checksum = Digest::default();
        for point in &points {
            checksum += Digest::of_given(decoder.schema(), point.id, &point.vectors, &point.payload)?;
        }
        Ok((points, checksum, decoder.place(&chunk, 0)))
    };
    let (points, checksum, place) = pipeline::computed(read).await?;
    if !points.is_empty() {
        let number = points.len();
        target.write(points).await.map_err(|e| {
            let which = count(number as u64, "point");
            Error { message: format!("{which} from {place} on: {e}").into(), ..e }
        })?;
    }
    Ok(Written { number, end, checksum })
}

/// The collection's vectors; it is made where it is not there and a distance is given.
async fn schema(target: &Target, args: &ImportArgs, first: &Source) -> Result<Schema> {
    if let Some(schema) = target.find().await? {
        return Ok(schema);
    }
    let Some(distance) = args.distance else {
        return Err(Error::not_found(format!(
            "there is no collection `{}`; --distance cosine (or dot, euclid, manhattan) makes it",
            target.collection
        )));
    };
    let sizes = match first.rows() {
        Some(header) => vec![(args.vector.clone(), header.size)],
        None => {
            let NamedVectors(named) = first_vectors(first)?;
            named.into_iter().map(|(name, vector)| (name, vector.len() as u64)).collect()
        }
    };
    let params = |size| VectorParams {
        datatype: args.datatype.map(Into::into),
        ..VectorParams::new(size, distance.into())
    };
    let schema = sizes.into_iter().map(|(name, size)| (name, params(size))).collect();
    target.create(&schema).await?;
    target.schema().await
}

/// The vectors of a file's first point.
fn first_vectors(source: &Source) -> Result<NamedVectors> {
    let path = source.path.display();
    let chunk = source.chunks(Mark::default(), Size { points: 1, bytes: 1 })?.next()?;
    let text = chunk.map(|c| c.bytes).unwrap_or_default();
    match text.trim_ascii() {
        b"" => Err(Error::bad_request(format!("{path} has no point to tell the size of vectors by"))),
        line => {
            let point = lodestone_api::lines::point(line);
            point.map(|p| p.vectors).map_err(|e| Error::bad_request(format!("{path}: the first point: {e}")))
        }
    }
}

fn keeper(target: &Target, args: &ImportArgs, source: &Source, first_id: u64) -> Result<Keeper> {
    let path = args.state.clone().unwrap_or_else(|| Keeper::beside(&source.path, &target.collection));
    let job = Job {
        target: target.of.clone(),
        collection: target.collection.clone(),
        source: source.stamp.clone(),
        payload: source.payload_stamp.clone(),
        vector: args.vector.clone(),
        first_id,
        columns: columns(args),
    };
    Keeper::open(path, job, args.restart)
}

/// What was acknowledged before must still be there: the collection may have been emptied or made anew.
async fn still_there(target: &Target, files: &[File]) -> Result<()> {
    for file in files.iter().filter(|file| file.keeper.state.mark.points > 0) {
        let first = Size { points: SAMPLE.min(file.keeper.state.mark.points), bytes: u64::MAX };
        let Some(chunk) = file.source.chunks(Mark::default(), first)?.next()? else { continue };
        let ids: Vec<PointId> = file.decoder.points(&chunk)?.into_iter().map(|point| point.id).collect();
        if !ids.is_empty() && target.retrieve(&ids).await?.is_empty() {
            return Err(Error::bad_request(format!(
                "`{}` has none of the first points of {}, though {} were imported before; --restart begins anew",
                target.collection,
                file.source.path.display(),
                grouped(file.keeper.state.mark.points)
            )));
        }
    }
    Ok(())
}

/// Counts and checksums of both sides.
async fn check(report: &mut Report, target: &Target, args: &ImportArgs, files: &[File]) -> Result<()> {
    let given: u64 = files.iter().map(|f| f.keeper.state.mark.points).sum();
    let there = target.count().await?;
    let counts = format!("{} in the collection, {} in the files", grouped(there), grouped(given));
    match there < given {
        true => {
            report.bad("points", format_args!("{counts}: ids that occur twice, or points deleted meanwhile"))
        }
        false => report.good("points", counts),
    }
    let mut sum = Digest::default();
    for file in files {
        sum += file.keeper.state.checksum;
    }
    report.good("checksum", format_args!("{sum} of the files, as the collection stores them"));
    if !args.verify {
        return Ok(());
    }
    let (_, parallel) = portion(target, args);
    let mut read = Digest::default();
    for file in files {
        match verify::run(target, &file.source, &file.decoder, parallel).await? {
            verify::Outcome::Same(checksum) => read += checksum,
            verify::Outcome::Different(what) => {
                report.bad("verified", what);
                return Ok(());
            }
        }
    }
    match read == sum {
        true => report.good("verified", format_args!("{read} of the same points, read back")),
        false => {
            report.bad("verified", format_args!("{read} of the same points, read back: a file has changed"))
        }
    }
    Ok(())
}

fn told(path: &Path, points: u64, before: u64, took: Duration) -> String {
    let (new, seconds) = (points - before, took.as_secs_f64());
    let rate = grouped((new as f64 / seconds.max(1e-3)) as u64);
    let earlier = match before {
        0 => String::new(),
        before => format!(", after {} before", grouped(before)),
    };
    format!("{} points of {} in {seconds:.1} s, {rate}/s{earlier}", grouped(new), path.display())
}
