//! The vectors of whole rows in the tail, side by side: a search looks at all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lodestone_types::PointId;

use crate::memtable::Memtable;
use crate::tail::TailEntry;

/// By name the vectors of one tail, in their stored form and in the order of ids.
#[derive(Debug, Default)]
pub(crate) struct TailVectors(BTreeMap<Arc<str>, Vec<(PointId, Bytes)>>);

impl TailVectors {
    /// Those of `memtable`.
    pub fn of(memtable: &Memtable) -> Self {
        let mut vectors: BTreeMap<Arc<str>, Vec<(PointId, Bytes)>> = BTreeMap::new();
        for (id, entry) in memtable.iter() {
            let TailEntry::Row(row) = &**entry else { continue };
            for (name, bytes) in &row.vectors {
                match vectors.get_mut(name) {
                    Some(rows) => rows.push((id, bytes.clone())),
                    None => drop(vectors.insert(name.clone(), vec![(id, bytes.clone())])),
                }
            }
        }
        Self(vectors)
    }

    /// The vectors called `name`.
    pub fn named(&self, name: &str) -> &[(PointId, Bytes)] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}
