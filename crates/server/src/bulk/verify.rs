//! Reads back, by id, every point that a file names, and compares.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use lodestone_types::{PointId, Record, Result};
use tokio::pin;

use super::decode::Decoder;
use super::digest::{Digest, Schema};
use super::pipeline;
use super::progress::Progress;
use super::source::{Chunk, Mark, Source};
use super::target::{REQUEST, Target};

/// What was found.
pub enum Outcome {
    /// Every point is there as the file says; their checksum.
    Same(Digest),
    /// The first that was found to differ, and how.
    Different(String),
}

/// Compares all points of a file.
pub async fn run(
    target: &Target,
    source: &Source,
    decoder: &Arc<Decoder>,
    parallel: usize,
) -> Result<Outcome> {
    let mut progress = Progress::new("verifying", 0, source.bytes());
    let chunks = source.chunks(Mark::default(), REQUEST)?;
    let compared = pipeline::run(chunks, parallel, |chunk| compare(target.clone(), decoder.clone(), chunk));
    pin!(compared);
    let (mut sum, mut bytes, mut points) = (Digest::default(), 0, 0);
    while let Some(chunk) = compared.next().await {
        let (outcome, size, number) = chunk?;
        match outcome {
            Outcome::Same(checksum) => sum += checksum,
            different => {
                progress.end();
                return Ok(different);
            }
        }
        (bytes, points) = (bytes + size, points + number);
        progress.at(bytes, points);
    }
    progress.end();
    Ok(Outcome::Same(sum))
}

/// What a chunk's points are like in the collection; bytes and points of the chunk.
async fn compare(target: Target, decoder: Arc<Decoder>, chunk: Chunk) -> Result<(Outcome, u64, u64)> {
    let read = {
        let decoder = decoder.clone();
        move || {
            let points = decoder.points(&chunk)?;
            let given = points
                .iter()
                .map(|p| Ok((p.id, Digest::of_given(decoder.schema(), p.id, &p.vectors, &p.payload)?)))
                .collect::<Result<Vec<_>>>()?;
            Ok((given, chunk))
        }
    };
    let (given, chunk) = pipeline::computed(read).await?;
    let (size, number) = (chunk.end.bytes - chunk.start.bytes, given.len() as u64);
    if given.is_empty() {
        return Ok((Outcome::Same(Digest::default()), size, 0));
    }
    let ids: Vec<PointId> = given.iter().map(|(id, _)| *id).collect();
    let records = target.retrieve(&ids).await?;
    let stored = {
        let decoder = decoder.clone();
        pipeline::computed(move || digests(decoder.schema(), records)).await?
    };
    let mut sum = Digest::default();
    for (index, (id, wanted)) in given.into_iter().enumerate() {
        let how = match stored.get(&id) {
            Some(found) if *found == wanted => {
                sum += wanted;
                continue;
            }
            Some(_) => {
                "is not what the collection has; is the id in the files twice, or was it written since?"
            }
            None => "is not in the collection",
        };
        let different = format!("point {id}, {}, {how}", decoder.place(&chunk, index));
        return Ok((Outcome::Different(different), size, number));
    }
    Ok((Outcome::Same(sum), size, number))
}

fn digests(schema: &Schema, records: Vec<Record>) -> Result<HashMap<PointId, Digest>> {
    records.into_iter().map(|r| Ok((r.id, of_record(schema, &r)?))).collect()
}

/// The digest of a point that the collection returned.
pub fn of_record(schema: &Schema, record: &Record) -> Result<Digest> {
    let (vectors, payload) = (record.vectors.clone(), record.payload.clone());
    Digest::of_stored(schema, record.id, &vectors.unwrap_or_default(), &payload.unwrap_or_default())
}
