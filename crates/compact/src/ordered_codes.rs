//! Codes of a segment in the order of fields, made on live data: parts beside the old ones.

use lodestone_index::RareValues;
use lodestone_manifest::{Rewrite, SegmentEntry, ShardId};
use lodestone_meta::Job;
use lodestone_segment::{OrderedRows, PartMeta, RowOrder, SegmentMeta, SegmentReader, StoredCodes};
use lodestone_types::Result;
use lodestone_wal::keys;

use crate::Objects;
use crate::landing::with_parts;
use crate::plan::OrderTask;

/// The rows of a segment that get codes in the order of each field, whose indexes are loaded. Takes a processor for a while.
pub fn rows(reader: &SegmentReader, task: &OrderTask) -> Result<Vec<OrderedRows>> {
    let RowOrder::Rare(values) = task.order else {
        return task.fields.iter().map(|path| reader.rows_in_order(path, task.order)).collect();
    };
    let counts =
        task.fields.iter().map(|path| reader.rare_counts(path, values)).collect::<Result<Vec<_>>>()?;
    let taken = rarest(&counts, values.rows);
    let ordered =
        |(path, rows): (_, u32)| reader.rows_in_order(path, RowOrder::Rare(RareValues { rows, ..values }));
    task.fields.iter().zip(taken).map(ordered).collect()
}

/// Rows of the rarest values of all fields, by field, of which there may be `most`. `counts` of the rows of each value of a field.
fn rarest(counts: &[Vec<u64>], most: u32) -> Vec<u32> {
    let of_field = |(field, counts): (usize, &Vec<u64>)| {
        counts.iter().map(move |count| (*count, field)).collect::<Vec<_>>()
    };
    let mut values: Vec<(u64, usize)> = counts.iter().enumerate().flat_map(of_field).collect();
    values.sort_unstable();
    let (mut taken, mut left) = (vec![0; counts.len()], most);
    for (count, field) in values {
        let Some(rest) = u32::try_from(count).ok().and_then(|count| left.checked_sub(count)) else { break };
        taken[field] += left - rest;
        left = rest;
    }
    taken
}

/// Writes codes in these orders, `codes` being those of all rows where there are any to write. Takes a processor for a while.
pub fn write(
    reader: &SegmentReader,
    codes: Option<&StoredCodes>,
    vector: &str,
    ordered: &[OrderedRows],
    job: &Job,
    objects: &Objects,
) -> Result<Vec<PartMeta>> {
    let codes = codes.map(|codes| codes.by_row(reader.meta())).transpose()?;
    let mut object = objects.begin(keys::part(job.epoch, job.id, "ord", 0));
    let add = |rows| object.add_ordered_codes(reader.meta(), vector, rows, codes.as_ref());
    let parts = ordered.iter().map(add).collect::<Result<_>>()?;
    object.into_sink().end()?;
    Ok(parts)
}

/// Gives them to the segment as it is now; `None` where it has other indexes meanwhile.
pub fn add(
    entry: &SegmentEntry,
    parts: &[PartMeta],
    task: &OrderTask,
    shard: ShardId,
    job: &Job,
) -> Result<Option<Rewrite>> {
    let meta = SegmentMeta::from_entry(entry)?;
    let meta = parts.iter().fold(meta, |meta, part| meta.with_part(part.clone())).without_outdated_orders();
    if task.fields.iter().all(|path| meta.ordered_codes(&task.vector, path).is_none()) {
        return Ok(None);
    }
    with_parts(entry, &meta, shard, job).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_values_of_all_fields_are_taken() {
        let counts = [vec![70, 90, 90], vec![], vec![64, 80, 300]];
        assert_eq!(rarest(&counts, 0), [0, 0, 0]);
        assert_eq!(rarest(&counts, 133), [0, 0, 64]);
        assert_eq!(rarest(&counts, 305), [160, 0, 144]);
        assert_eq!(rarest(&counts, 693), [250, 0, 144]);
        assert_eq!(rarest(&counts, 694), [250, 0, 444]);
        assert_eq!(rarest(&[vec![u64::MAX]], u32::MAX), [0]);
    }
}
