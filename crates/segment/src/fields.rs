//! Payload indexes as parts.

use std::collections::BTreeMap;

use lodestone_types::{Error, FieldIndex, JsonPath, PointId, Result};

use crate::part::{PartBytes, PartDraft};

/// Reads a payload index.
pub enum FieldIndexReader {}

pub(crate) struct FieldWriters {}

impl FieldWriters {
    pub fn new(fields: &BTreeMap<JsonPath, FieldIndex>) -> Result<Self> {
        if fields.is_empty() {
            return Ok(Self {});
        }
        Err(Error::unsupported("not supported yet: payload indexes in segments"))
    }

    pub fn push(&mut self, _row: u32, _id: PointId, _payload: &[u8]) -> Result<()> {
        Ok(())
    }

    pub fn finish(self, _rows: u32) -> Result<Vec<PartDraft>> {
        Ok(Vec::new())
    }
}

pub(crate) fn open(part: &PartBytes, _index: &FieldIndex, _rows: u32) -> Result<FieldIndexReader> {
    Err(part.damaged("not supported yet: payload indexes in segments"))
}
