//! What is in a row: payload, vectors, version.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use lodestone_segment::{PayloadBlock, VectorReader};
use lodestone_types::{Error, NamedVectors, OrderValue, Payload, PointId, Record, Result, VectorSelector};
use rayon::prelude::*;

use crate::change::parse_payload;
use crate::far_rows::FarRows;
use crate::select::PayloadPicker;
use crate::tail::{Patches, TailEntry, TailRow};
use crate::view::{Found, Place, ShardView};

/// Rows that are read by one task. Reading next to each other, they share unpacked blocks of payloads.
const RECORDS_PER_TASK: usize = 256;

/// Reads rows of one view, keeping the last block of payloads of each segment unpacked.
pub struct RowReader<'v> {
    view: &'v ShardView,
    /// What was read of segments that are not here.
    far: Option<&'v FarRows>,
    blocks: HashMap<usize, PayloadBlock>,
    /// By segment and name.
    vectors: HashMap<usize, Vec<(String, VectorReader<'v>)>>,
}

impl<'v> RowReader<'v> {
    /// A reader of `view`.
    pub fn new(view: &'v ShardView) -> Self {
        Self { view, far: None, blocks: HashMap::new(), vectors: HashMap::new() }
    }

    /// The same, with rows that were read alone.
    pub fn with_far(view: &'v ShardView, far: &'v FarRows) -> Self {
        Self { far: Some(far), ..Self::new(view) }
    }

    /// The payload of a row. Needs payloads.
    pub fn payload(&mut self, found: Found) -> Result<Payload> {
        match found.place {
            Place::Tail => Ok(self.tail_row(found.id)?.payload()?.clone()),
            Place::Segment { segment, row } => self.segment_payload(segment, row),
            Place::Patched { segment, row } => {
                let mut payload = self.segment_payload(segment, row)?;
                self.patches(found.id)?.apply_to_payload(&mut payload);
                Ok(payload)
            }
        }
    }

    /// The vector called `name` in its stored form, if the row has one. Needs that vector.
    pub fn vector(&mut self, found: Found, name: &str) -> Result<Option<Bytes>> {
        let vector = match found.place {
            Place::Tail => self.tail_row(found.id)?.vector(name).cloned(),
            Place::Segment { segment, row } => self.segment_vector(segment, row, name)?,
            Place::Patched { segment, row } => match self.patches(found.id)?.vector(name) {
                Some(changed) => changed.cloned(),
                None => self.segment_vector(segment, row, name)?,
            },
        };
        let Some(bytes) = vector else { return Ok(None) };
        let expected = self.view.schema().vector(name)?.row_bytes();
        if bytes.len() != expected {
            return Err(damaged_row(found.id, name, bytes.len(), expected));
        }
        Ok(Some(bytes))
    }

    /// The vectors of a row that `selector` asks for and the row has. Needs those vectors.
    pub fn vectors(&mut self, found: Found, selector: &VectorSelector) -> Result<Option<NamedVectors>> {
        let wanted = |name: &str| match selector {
            VectorSelector::None => false,
            VectorSelector::All => true,
            VectorSelector::Names(names) => names.iter().any(|n| n == name),
        };
        if *selector == VectorSelector::None {
            return Ok(None);
        }
        let mut vectors = Vec::new();
        for (name, shape) in self.view.schema().vectors().iter().filter(|(name, _)| wanted(name)) {
            if let Some(bytes) = self.vector(found, name)? {
                vectors.push((name.clone(), shape.decode(&bytes)));
            }
        }
        Ok(Some(NamedVectors(vectors)))
    }

    /// The LSN of the last change of a row. Needs ids.
    pub fn version(&self, found: Found) -> Result<u64> {
        match found.place {
            Place::Tail => Ok(self.tail_row(found.id)?.lsn),
            Place::Segment { segment, row } => self.view.reader(segment).lsn(row),
            Place::Patched { .. } => Ok(self.patches(found.id)?.lsn),
        }
    }

    /// The row as an answer shows it. Needs what the selectors ask for.
    pub fn record(
        &mut self,
        found: Found,
        payload: &PayloadPicker,
        vectors: &VectorSelector,
        order_value: Option<OrderValue>,
    ) -> Result<Record> {
        let payload = if payload.is_nothing() { None } else { payload.pick(self.payload(found)?) };
        Ok(Record { id: found.id, payload, vectors: self.vectors(found, vectors)?, order_value })
    }

    /// The payload of a row of the tail without copying it; `None` for rows elsewhere.
    pub(crate) fn tail_payload(&self, found: Found) -> Result<Option<&'v Payload>> {
        match found.place {
            Place::Tail => self.tail_row(found.id)?.payload().map(Some),
            _ => Ok(None),
        }
    }

    /// Whether the row has a vector called `name`. Needs that vector's presence.
    pub(crate) fn has_vector(&self, found: Found, name: &str) -> Result<bool> {
        let in_segment = |segment: usize, row: u32| -> Result<bool> {
            let column = self.view.reader(segment).vector(name)?;
            Ok(column.is_some_and(|column| column.row_to_slot(row).is_some()))
        };
        match found.place {
            Place::Tail => Ok(self.tail_row(found.id)?.vector(name).is_some()),
            Place::Segment { segment, row } => in_segment(segment, row),
            Place::Patched { segment, row } => match self.patches(found.id)?.vector(name) {
                Some(changed) => Ok(changed.is_some()),
                None => in_segment(segment, row),
            },
        }
    }

    /// Whether the collection has vectors of that name.
    pub(crate) fn knows_vector(&self, name: &str) -> bool {
        self.view.schema().vectors().contains_key(name)
    }

    fn tail_row(&self, id: PointId) -> Result<&'v TailRow> {
        match self.entry(id) {
            Some(TailEntry::Row(row)) => Ok(row),
            _ => Err(foreign(id)),
        }
    }

    pub(crate) fn patches(&self, id: PointId) -> Result<&'v Patches> {
        match self.entry(id) {
            Some(TailEntry::Patched(patches)) => Ok(patches),
            _ => Err(foreign(id)),
        }
    }

    fn entry(&self, id: PointId) -> Option<&'v TailEntry> {
        self.view.memtable().get(id).map(Arc::as_ref)
    }

    fn segment_payload(&mut self, segment: usize, row: u32) -> Result<Payload> {
        if let Some(text) = self.far.and_then(|far| far.payload(segment, row)) {
            return parse_payload(text);
        }
        let column = self.view.reader(segment).payloads()?;
        if !self.blocks.get(&segment).is_some_and(|block| block.rows().contains(&row)) {
            let block = column.block_of(row).ok_or_else(|| no_row(row))?;
            self.blocks.insert(segment, column.block(block)?);
        }
        let text = self.blocks.get(&segment).and_then(|block| block.get(row)).ok_or_else(|| no_row(row))?;
        parse_payload(text)
    }

    fn segment_vector(&mut self, segment: usize, row: u32, name: &str) -> Result<Option<Bytes>> {
        if let Some(vector) = self.far.and_then(|far| far.vector(segment, row, name)) {
            return Ok(Some(vector.clone()));
        }
        let readers = self.vectors.entry(segment).or_default();
        let at = match readers.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                let Some(column) = self.view.reader(segment).vector(name)? else { return Ok(None) };
                readers.push((name.to_owned(), column.reader()));
                readers.len() - 1
            }
        };
        readers[at].1.row(row)
    }
}

impl ShardView {
    /// The rows as answers show them, in the order given. Needs what the selectors ask for.
    pub fn records(
        &self,
        found: &[Found],
        payload: &PayloadPicker,
        vectors: &VectorSelector,
    ) -> Result<Vec<Record>> {
        let tasks = found.par_chunks(RECORDS_PER_TASK).map(|found| {
            let mut reader = RowReader::new(self);
            found.iter().map(|found| reader.record(*found, payload, vectors, None)).collect()
        });
        let parts: Vec<Vec<Record>> = tasks.collect::<Result<_>>()?;
        Ok(parts.into_iter().flatten().collect())
    }
}

pub(crate) fn damaged_row(id: PointId, name: &str, bytes: usize, expected: usize) -> Error {
    Error::damaged(format!("vector '{name}' of point {id} has {bytes} bytes instead of {expected}"))
}

fn no_row(row: u32) -> Error {
    Error::internal(format!("a segment has no row {row}"))
}

fn foreign(id: PointId) -> Error {
    Error::internal(format!("point {id} was looked up in another view than it was found in"))
}
