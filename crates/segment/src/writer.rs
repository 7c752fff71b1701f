use std::collections::BTreeMap;

use bytes::Bytes;
use lodestone_manifest::SegmentId;
use lodestone_types::{Error, PointId, Result};
use roaring::RoaringBitmap;

use crate::bitmap;
use crate::fields::FieldWriters;
use crate::ids::IdWriter;
use crate::meta::{PartKind, PartMeta, SectionKind, SegmentMeta};
use crate::part::{ObjectWriter, PartDraft, Sink};
use crate::payload::PayloadWriter;
use crate::schema::SegmentSchema;
use crate::vectors::VectorWriter;

/// One row as it is written.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its point.
    pub id: PointId,
    /// The LSN of its last change.
    pub lsn: u64,
    /// Its vectors in their stored form, by name; any subset of the schema's.
    pub vectors: &'a [(&'a str, &'a [u8])],
    /// Its payload, a JSON object; nothing at all is taken as an empty one.
    pub payload_json: &'a [u8],
}

/// Makes a segment, row by row. Holds what will be in the object, payloads already compressed.
pub struct SegmentWriter {
    rows: u32,
    lsns: Option<(u64, u64)>,
    ids: IdWriter,
    payloads: PayloadWriter,
    vectors: BTreeMap<String, VectorWriter>,
    fields: FieldWriters,
}

impl SegmentWriter {
    /// A segment without rows.
    pub fn new(schema: &SegmentSchema) -> Result<Self> {
        if let Some((name, _)) = schema.vectors.iter().find(|(_, spec)| spec.dim == 0) {
            return Err(Error::internal(format!("vector '{name}' has no dimensions")));
        }
        Ok(Self {
            rows: 0,
            lsns: None,
            ids: IdWriter::default(),
            payloads: PayloadWriter::new()?,
            vectors: schema
                .vectors
                .iter()
                .map(|(name, spec)| (name.clone(), VectorWriter::new(*spec)))
                .collect(),
            fields: FieldWriters::new(&schema.fields)?,
        })
    }

    /// Rows so far.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Adds a row. Ids have to ascend. A writer that refused a row is of no further use.
    pub fn push(&mut self, row: Row) -> Result<()> {
        let next = self.rows.checked_add(1).ok_or_else(|| Error::internal("a segment has too many rows"))?;
        for (name, vector) in row.vectors {
            let writer = self.vectors.get(*name).ok_or_else(|| {
                Error::internal(format!("point {} has a vector '{name}', which the segment does not", row.id))
            })?;
            let expected = writer.spec().row_bytes();
            if vector.len() != expected {
                return Err(Error::internal(format!(
                    "vector '{name}' of point {} has {} bytes instead of {expected}",
                    row.id,
                    vector.len()
                )));
            }
        }
        let payload = if row.payload_json.is_empty() { b"{}" } else { row.payload_json };
        self.ids.push(row.id, row.lsn)?;
        self.payloads.push(payload)?;
        self.fields.push(self.rows, row.id, payload)?;
        for (name, vector) in row.vectors {
            if let Some(writer) = self.vectors.get_mut(*name) {
                writer.push(self.rows, vector)?;
            }
        }
        let (least, greatest) = self.lsns.unwrap_or((row.lsn, row.lsn));
        self.lsns = Some((least.min(row.lsn), greatest.max(row.lsn)));
        self.rows = next;
        Ok(())
    }

    /// The object, to be stored under `object_key`, and what the manifest has to hold.
    pub fn finish(self, object_key: impl Into<String>, id: SegmentId) -> Result<(Bytes, SegmentMeta)> {
        let mut object = ObjectWriter::new(object_key);
        let meta = self.write(&mut object, id)?;
        Ok((object.finish(), meta))
    }

    /// Adds the segment to an object, and gives what the manifest has to hold. There is a part for every vector and index of the
    /// schema, whether or not a row has one.
    pub fn write<S: Sink>(self, object: &mut ObjectWriter<S>, id: SegmentId) -> Result<SegmentMeta> {
        let mut parts = Vec::new();
        for (name, writer) in self.vectors {
            parts.push(writer.finish(object.begin()?, &name, self.rows)?);
        }
        parts.push(object.add(self.ids.finish(self.rows)?)?);
        parts.push(self.payloads.finish(object.begin()?)?);
        for draft in self.fields.finish(self.rows) {
            parts.push(object.add(draft)?);
        }
        let (min_lsn, max_lsn) = self.lsns.unwrap_or_default();
        Ok(SegmentMeta { id, rows: self.rows, min_lsn, max_lsn, parts })
    }
}

impl<S: Sink> ObjectWriter<S> {
    /// Adds a deletes part.
    pub fn add_deletes(&mut self, rows: &RoaringBitmap) -> Result<PartMeta> {
        self.add(PartDraft {
            kind: PartKind::Deletes,
            entries: rows.len(),
            detail: Vec::new(),
            sections: vec![(SectionKind::DELETES, bitmap::encode(rows)?.into())],
        })
    }
}

/// An object with nothing but a deletes part.
pub fn delete_bitmap_part(object_key: impl Into<String>, rows: &RoaringBitmap) -> Result<(Bytes, PartMeta)> {
    let mut object = ObjectWriter::new(object_key);
    let part = object.add_deletes(rows)?;
    Ok((object.finish(), part))
}
