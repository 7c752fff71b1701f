//! Payload indexes as parts: built along with the rows, or later from the payloads of a segment.

use std::collections::BTreeMap;

use bytes::Bytes;
use lodestone_index::{FieldIndexBuilder, FieldIndexReader};
use lodestone_types::{Error, FieldIndex, JsonPath, Payload, PointId, Result};

use crate::meta::{PartKind, PartMeta, SectionKind};
use crate::part::{ObjectWriter, PartBytes, PartDraft, Sink};
use crate::reader::SegmentReader;

/// The indexes of a segment that is being written.
pub(crate) struct FieldWriters(Vec<FieldWriter>);

struct FieldWriter {
    path: JsonPath,
    index: FieldIndex,
    builder: FieldIndexBuilder,
}

impl FieldWriters {
    pub fn new(fields: &BTreeMap<JsonPath, FieldIndex>) -> Result<Self> {
        let writers = fields.iter().map(|(path, index)| FieldWriter::new(path, index));
        Ok(Self(writers.collect::<Result<_>>()?))
    }

    /// Adds the payload of the next row, whose text is read only if there is an index.
    pub fn push(&mut self, row: u32, id: PointId, text: &[u8]) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let payload: Payload = serde_json::from_slice(text)
            .map_err(|e| Error::internal(format!("the payload of point {id} is no JSON object: {e}")))?;
        self.0.iter_mut().for_each(|writer| writer.push(row, &payload));
        Ok(())
    }

    pub fn finish(self, rows: u32) -> impl Iterator<Item = PartDraft> {
        self.0.into_iter().map(move |writer| writer.finish(rows))
    }
}

impl FieldWriter {
    fn new(path: &JsonPath, index: &FieldIndex) -> Result<Self> {
        Ok(Self { path: path.clone(), index: index.clone(), builder: FieldIndexBuilder::new(index)? })
    }

    fn push(&mut self, row: u32, payload: &Payload) {
        self.builder.add(row, &payload.0, &self.path);
    }

    fn finish(self, rows: u32) -> PartDraft {
        PartDraft {
            kind: PartKind::FieldIndex { path: self.path, index: self.index },
            entries: rows.into(),
            detail: Vec::new(),
            sections: vec![(SectionKind::FIELD_INDEX, self.builder.finish().into())],
        }
    }
}

impl<S: Sink> ObjectWriter<S> {
    /// Adds an index of `path`, built from the loaded payloads of `reader`, deleted rows included.
    pub fn add_field_index(
        &mut self,
        reader: &SegmentReader,
        path: &JsonPath,
        index: &FieldIndex,
    ) -> Result<PartMeta> {
        let mut writer = FieldWriter::new(path, index)?;
        let payloads = reader.payloads()?;
        for block in payloads.blocks() {
            let block = block?;
            for row in block.rows() {
                writer.push(row, &payloads.parse(row, block.get(row).unwrap_or_default())?);
            }
        }
        self.add(writer.finish(reader.rows()))
    }
}

/// An object with nothing but an index of `path` over the rows of `reader`, whose payloads are loaded.
pub fn build_field_index_part(
    object_key: impl Into<String>,
    reader: &SegmentReader,
    path: &JsonPath,
    index: &FieldIndex,
) -> Result<(Bytes, PartMeta)> {
    let mut object = ObjectWriter::new(object_key);
    let part = object.add_field_index(reader, path, index)?;
    Ok((object.finish(), part))
}

pub(crate) fn open(part: &PartBytes, index: &FieldIndex, rows: u32) -> Result<FieldIndexReader> {
    if part.meta().entries != u64::from(rows) {
        return Err(part.damaged(format!("it is not of a segment of {rows} rows")));
    }
    let section = part.section(SectionKind::FIELD_INDEX)?;
    let reader = FieldIndexReader::open(section.bytes.clone()).map_err(|e| section.damaged(e))?;
    if reader.definition() != index || reader.row_bound() != rows {
        return Err(section.damaged("it is not the index that the manifest names"));
    }
    Ok(reader)
}
