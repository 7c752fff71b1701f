//! The payload indexes of a collection, prepared for evaluating filters.

use std::collections::BTreeMap;
use std::sync::Arc;

use lodestone_types::{FieldIndex, FieldIndexKind, JsonPath, Result};

use crate::params;
use crate::text::Analyzer;

/// Which fields have which index. Say what the collection has, not which segments have built it yet: an answer
/// must not depend on that.
#[derive(Debug, Clone, Default)]
pub struct IndexSchema {
    fields: BTreeMap<JsonPath, FieldSchema>,
}

/// One index, prepared.
#[derive(Debug, Clone)]
pub(crate) struct FieldSchema {
    pub(crate) kind: FieldIndexKind,
    /// How a text index cuts texts.
    pub(crate) analyzer: Option<Arc<Analyzer>>,
}

impl IndexSchema {
    /// Reads the parameters of each index once.
    pub fn new<'a>(indexes: impl IntoIterator<Item = (&'a JsonPath, &'a FieldIndex)>) -> Result<Self> {
        let prepared = indexes.into_iter().map(|(path, index)| Ok((path.clone(), FieldSchema::new(index)?)));
        Ok(Self { fields: prepared.collect::<Result<_>>()? })
    }

    /// The kind of the index at `path`.
    pub fn kind(&self, path: &JsonPath) -> Option<FieldIndexKind> {
        self.fields.get(path).map(|field| field.kind)
    }

    pub(crate) fn field(&self, path: &JsonPath) -> Option<&FieldSchema> {
        self.fields.get(path)
    }
}

impl FieldSchema {
    pub(crate) fn new(index: &FieldIndex) -> Result<Self> {
        let analyzer = match index.kind {
            FieldIndexKind::Text => Some(Arc::new(Analyzer::new(&params::text_params(index)?))),
            _ => None,
        };
        Ok(Self { kind: index.kind, analyzer })
    }
}
