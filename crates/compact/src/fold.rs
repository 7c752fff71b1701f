//! Folding: what the tail holds becomes a segment, and the rows it replaces are marked deleted in theirs.

use lodestone_manifest::{Rewrite, SegmentId, Shard, ShardId, Slot};
use lodestone_meta::Job;
use lodestone_segment::{ObjectWriter, Row, SegmentWriter};
use lodestone_shard::{Cancel, FoldedRow, ShardView};
use lodestone_types::Result;
use lodestone_wal::keys;

use crate::Output;

/// Folds the tail of `view`, which shows `manifest` as it was at slot `to` and is loaded for it. Takes a processor for
/// a while.
pub fn fold(
    view: &ShardView,
    manifest: &Shard,
    to: Slot,
    shard: ShardId,
    job: &Job,
    cancel: &Cancel,
) -> Result<Output> {
    let folded = view.fold(cancel)?;
    let mut objects = Vec::new();
    let mut put = Vec::new();
    let mut remove = Vec::new();
    if !folded.rows.is_empty() {
        let key = keys::part(job.epoch, job.id, "seg", 0);
        let mut writer = SegmentWriter::new(view.schema().segment())?;
        folded.rows.iter().try_for_each(|row| push(&mut writer, row))?;
        let (bytes, meta) = writer.finish(&key, SegmentId::new(job.epoch, job.id, 0))?;
        objects.push((key, bytes));
        put.push(meta.to_entry(0)?);
    }
    let key = keys::part(job.epoch, job.id, "del", 0);
    let mut bitmaps = ObjectWriter::new(&key);
    let mut marked = false;
    for (id, deleted) in folded.deletes {
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
        objects.push((key, bitmaps.finish()));
    }
    let rewrite = Rewrite {
        epoch: job.epoch,
        shard,
        read: manifest.segments.iter().map(|entry| (entry.id, entry.revision)).collect(),
        remove,
        put,
        fold: Some((manifest.folded, to)),
    };
    Ok(Output { objects, rewrite })
}

fn push(writer: &mut SegmentWriter, row: &FoldedRow) -> Result<()> {
    let vectors: Vec<(&str, &[u8])> = row.vectors.iter().map(|(name, bytes)| (&**name, &bytes[..])).collect();
    writer.push(Row { id: row.id, lsn: row.lsn, vectors: &vectors, payload_json: &row.payload })
}
