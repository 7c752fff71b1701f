//! Folding: what the tail holds becomes segments, and the rows it replaces are marked deleted in theirs.

use lodestone_manifest::{Rewrite, SegmentEntry, SegmentId, Shard, ShardId, Slot};
use lodestone_meta::Job;
use lodestone_segment::{Row, SegmentWriter};
use lodestone_shard::{Cancel, FoldedRow, ShardView};
use lodestone_types::{Result, Stretch};
use lodestone_wal::keys;

use crate::Objects;
use crate::folded_index::{Indexer, Source};

/// Folds the tail of `view`, which shows `manifest` as it was at slot `to` and is loaded for it, into segments of about
/// `segment_bytes` at most, with indexes by the models of `sources`. Takes a processor for a while.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one thing a job is given; a struct would only rename them"
)]
pub fn fold(
    view: &ShardView,
    manifest: &Shard,
    to: Slot,
    shard: ShardId,
    job: &Job,
    segment_bytes: usize,
    sources: &[Source],
    cancel: &Cancel,
    objects: &Objects,
) -> Result<Rewrite> {
    let mut put = write_rows(view, job, segment_bytes, sources, cancel, objects)?;
    let mut remove = Vec::new();
    let mut bitmaps = objects.begin(keys::part(job.epoch, job.id, "del", 0));
    let mut marked = false;
    for (id, deleted) in view.folded_deletes()? {
        let Some((reader, entry)) = view.segments().zip(&manifest.segments).find(|(_, entry)| entry.id == id)
        else {
            continue;
        };
        if deleted.len() == u64::from(reader.rows()) {
            remove.push(id);
            continue;
        }
        marked = true;
        put.push(reader.meta().with_part(bitmaps.add_deletes(&deleted)?).to_entry(entry.revision + 1)?);
    }
    if marked {
        bitmaps.into_sink().end()?;
    }
    Ok(Rewrite {
        epoch: job.epoch,
        shard,
        read: manifest.segments.iter().map(|entry| (entry.id, entry.revision)).collect(),
        remove,
        put,
        fold: Some((manifest.folded, to)),
    })
}

/// Writes the rows of the tail as segments.
fn write_rows(
    view: &ShardView,
    job: &Job,
    segment_bytes: usize,
    sources: &[Source],
    cancel: &Cancel,
    objects: &Objects,
) -> Result<Vec<SegmentEntry>> {
    let mut entries = Vec::new();
    let mut indexes = 0..;
    let mut stretch = Stretch::begin();
    let mut rows = view.folded_rows(cancel)?.peekable();
    while rows.peek().is_some() {
        let number = entries.len() as u8;
        let mut writer = SegmentWriter::new(view.schema().segment())?;
        let indexers = sources.iter().map(|source| source.indexer(*view.schema().vector(source.vector())?));
        let mut indexers: Vec<Indexer> = indexers.collect::<Result<_>>()?;
        let mut bytes = 0;
        // The numbers of a job's segments end: the last one takes all that is left.
        while (bytes < segment_bytes || number == u8::MAX)
            && let Some(row) = rows.next()
        {
            let row = row?;
            stretch.give_way();
            indexers.iter_mut().for_each(|indexer| indexer.push(writer.rows(), &row));
            bytes += push(&mut writer, &row)?;
        }
        let mut object = objects.begin(keys::part(job.epoch, job.id, "seg", u32::from(number)));
        let mut meta = writer.write(&mut object, SegmentId::new(job.epoch, job.id, number))?;
        object.into_sink().end()?;
        for (indexer, number) in indexers.into_iter().zip(&mut indexes) {
            let parts = indexer.finish(job, number, objects)?;
            meta = parts.into_iter().flatten().fold(meta, |meta, part| meta.with_part(part));
        }
        entries.push(meta.to_entry(0)?);
    }
    Ok(entries)
}

/// Adds a row and says how large it is.
fn push(writer: &mut SegmentWriter, row: &FoldedRow) -> Result<usize> {
    let vectors: Vec<(&str, &[u8])> = row.vectors.iter().map(|(name, bytes)| (&**name, &bytes[..])).collect();
    writer.push(Row { id: row.id, lsn: row.lsn, vectors: &vectors, payload_json: &row.payload })?;
    Ok(row.payload.len() + vectors.iter().map(|(_, bytes)| bytes.len()).sum::<usize>())
}
