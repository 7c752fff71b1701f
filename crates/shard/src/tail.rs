//! What the tail knows about one point.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lodestone_types::{Payload, Result};
use lodestone_wal::RowVectors;

use crate::change::{Change, apply_payload_delta, parse_payload, payload_text};

/// Changes of one point from which on they are united where possible.
const MANY_CHANGES: usize = 8;

/// The state of a point that was written after the last fold.
#[derive(Debug)]
pub enum TailEntry {
    /// All of it is here, whatever segments have.
    Row(TailRow),
    /// It is gone, whatever segments have.
    Deleted,
    /// It is the segments' row with these changes; if they have none, it does not exist.
    Patched(Patches),
}

/// A whole row.
#[derive(Debug)]
pub struct TailRow {
    /// Of its last change.
    pub lsn: u64,
    /// In their stored form.
    pub vectors: RowVectors,
    /// JSON text; nothing is an empty object.
    pub payload: Bytes,
    /// Filters ask for the payload of every row of the tail, again and again.
    parsed: OnceLock<Payload>,
}

/// Changes in the order they were made.
#[derive(Debug)]
pub struct Patches {
    /// Of the last one.
    pub lsn: u64,
    /// Oldest first.
    pub changes: Vec<Arc<Change>>,
}

impl TailRow {
    /// A row as it was written.
    pub fn new(lsn: u64, vectors: RowVectors, payload: Bytes) -> Self {
        Self { lsn, vectors, payload, parsed: OnceLock::new() }
    }

    /// The payload, parsed once.
    pub fn payload(&self) -> Result<&Payload> {
        if let Some(payload) = self.parsed.get() {
            return Ok(payload);
        }
        let payload = parse_payload(&self.payload)?;
        Ok(self.parsed.get_or_init(|| payload))
    }

    /// The vector called `name` in its stored form.
    pub fn vector(&self, name: &str) -> Option<&Bytes> {
        self.vectors.iter().find(|(known, _)| &**known == name).map(|(_, bytes)| bytes)
    }

    /// The row after one more change.
    pub fn changed(&self, lsn: u64, change: &Change) -> Result<Self> {
        let mut vectors = self.vectors.clone();
        change.apply_to_vectors(&mut vectors);
        let Change::Payload(delta) = change else {
            return Ok(Self { lsn, vectors, payload: self.payload.clone(), parsed: self.parsed.clone() });
        };
        let mut payload = self.payload()?.clone();
        apply_payload_delta(&mut payload, delta);
        let text = payload_text(&payload)?;
        Ok(Self { lsn, vectors, payload: text, parsed: payload.into() })
    }
}

impl Patches {
    /// These and one more. A point that is changed again and again keeps few changes; as long as there are few,
    /// they are shared with other points.
    fn changed(&self, lsn: u64, change: &Arc<Change>) -> Self {
        let stays = |old: &&Arc<Change>| !(change.replaces_payload() && old.is_of_payload());
        let mut changes: Vec<Arc<Change>> = self.changes.iter().filter(stays).cloned().collect();
        match changes.last_mut() {
            Some(last)
                if self.changes.len() >= MANY_CHANGES
                    && let Some(both) = last.then(change) =>
            {
                *last = Arc::new(both);
            }
            _ => changes.push(change.clone()),
        }
        Self { lsn, changes }
    }

    /// The payload of the segments' row after the changes.
    pub fn apply_to_payload(&self, payload: &mut Payload) {
        for change in &self.changes {
            if let Change::Payload(delta) = &**change {
                apply_payload_delta(payload, delta);
            }
        }
    }

    /// The vectors of the segments' row after the changes.
    pub fn apply_to_vectors(&self, vectors: &mut RowVectors) {
        self.changes.iter().for_each(|change| change.apply_to_vectors(vectors));
    }

    /// Whether the payload differs from the segments'.
    pub fn touch_payload(&self) -> bool {
        self.changes.iter().any(|change| change.is_of_payload())
    }

    /// What the changes make of the vector called `name`: `None` if they leave it as it is, `Some(None)` if they
    /// remove it.
    pub fn vector(&self, name: &str) -> Option<Option<&Bytes>> {
        self.changes.iter().rev().find_map(|change| match &**change {
            Change::Payload(_) => None,
            Change::SetVectors(vectors) => {
                vectors.iter().rev().find(|(known, _)| &**known == name).map(|(_, bytes)| Some(bytes))
            }
            Change::RemoveVectors(names) => names.iter().any(|known| &**known == name).then_some(None),
        })
    }
}

impl TailEntry {
    /// What one more change makes of it; `None` if it stays as it is.
    pub(crate) fn changed(&self, lsn: u64, change: &Arc<Change>) -> Result<Option<Self>> {
        Ok(match self {
            TailEntry::Row(row) => Some(TailEntry::Row(row.changed(lsn, change)?)),
            TailEntry::Deleted => None,
            TailEntry::Patched(patches) => Some(TailEntry::Patched(patches.changed(lsn, change))),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::change::PayloadDelta;

    fn set(n: u64) -> Arc<Change> {
        let values = json!({"n": n, format!("k{}", n % 3): n}).as_object().unwrap().clone();
        Arc::new(Change::Payload(PayloadDelta::Set { values, key: None }))
    }

    #[test]
    fn a_point_changed_often_keeps_few_changes() {
        let mut patches = Patches { lsn: 0, changes: vec![set(0)] };
        for n in 1..1000 {
            patches = patches.changed(n, &set(n));
        }
        assert_eq!((patches.changes.len(), patches.lsn), (MANY_CHANGES, 999));
        let mut payload = Payload::default();
        patches.apply_to_payload(&mut payload);
        assert_eq!(json!(payload), json!({"n": 999, "k0": 999, "k1": 997, "k2": 998}));
        let patches = patches.changed(1000, &Arc::new(Change::Payload(PayloadDelta::Clear)));
        assert_eq!(patches.changes.len(), 1);
    }
}
