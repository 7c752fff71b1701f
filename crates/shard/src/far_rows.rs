//! What answers show of rows: loaded whole where much of a part is wanted or little is there, else read alone from the bucket,
//! block by block.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use futures::future::{try_join, try_join_all};
use lodestone_segment::PartKind;
use lodestone_store::{Stage, stage};
use lodestone_types::{Result, VectorSelector};

use crate::select::PayloadPicker;
use crate::view::{Found, Place, ShardView};

/// Rows that were read alone.
#[derive(Debug, Default)]
pub struct FarRows {
    payloads: HashMap<(usize, u32), Bytes>,
    /// By the name of the vectors.
    vectors: HashMap<String, HashMap<(usize, u32), Bytes>>,
}

impl FarRows {
    /// Whether all is here, so that nothing had to be read alone.
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty() && self.vectors.is_empty()
    }

    /// The JSON text of a row's payload.
    pub(crate) fn payload(&self, segment: usize, row: u32) -> Option<&Bytes> {
        self.payloads.get(&(segment, row))
    }

    /// A row's vector in its stored form.
    pub(crate) fn vector(&self, segment: usize, row: u32, name: &str) -> Option<&Bytes> {
        self.vectors.get(name)?.get(&(segment, row))
    }

    fn add(&mut self, other: Self) {
        self.payloads.extend(other.payloads);
        for (name, rows) in other.vectors {
            self.vectors.entry(name).or_default().extend(rows);
        }
    }
}

impl ShardView {
    /// Brings what the selectors show of these rows: whole parts, and of large ones that are not here the rows alone.
    pub async fn load_records(
        &self,
        found: &[Found],
        payload: &PayloadPicker,
        vectors: &VectorSelector,
    ) -> Result<FarRows> {
        let kinds = self.shown(payload, vectors);
        let mut by_segment: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for found in found {
            if let Place::Segment { segment, row } | Place::Patched { segment, row } = found.place {
                by_segment.entry(segment).or_default().push(row);
            }
        }
        let reads = by_segment.iter().map(|(segment, rows)| self.load_rows(*segment, rows, &kinds));
        let mut all = FarRows::default();
        try_join_all(reads).await?.into_iter().for_each(|rows| all.add(rows));
        Ok(all)
    }

    /// Has what such rows are read by fetched while it is found out where they are.
    pub async fn prepare_records(
        &self,
        rows: usize,
        payload: &PayloadPicker,
        vectors: &VectorSelector,
    ) -> Result<()> {
        let kinds = self.shown(payload, vectors);
        let prepared = self.segments().map(|reader| {
            let alone = kinds.iter().filter(move |kind| reader.is_worth_reading_alone(kind, rows));
            try_join_all(alone.map(|kind| async move {
                match kind {
                    PartKind::Vector(name) => reader.vector_checks(name).await.map(drop),
                    _ => reader.far_payloads().await.map(drop),
                }
            }))
        });
        stage(Stage::Outline, try_join_all(prepared)).await.map(drop)
    }

    /// The parts of which the selectors show something.
    pub(crate) fn shown(&self, payload: &PayloadPicker, vectors: &VectorSelector) -> Vec<PartKind> {
        let mut kinds: Vec<PartKind> = match vectors {
            VectorSelector::None => Vec::new(),
            VectorSelector::All => self.schema().vectors().keys().cloned().map(PartKind::Vector).collect(),
            VectorSelector::Names(names) => names.iter().cloned().map(PartKind::Vector).collect(),
        };
        if !payload.is_nothing() {
            kinds.push(PartKind::Payload);
        }
        kinds
    }

    async fn load_rows(&self, segment: usize, rows: &[u32], kinds: &[PartKind]) -> Result<FarRows> {
        let reader = self.reader(segment);
        let (alone, whole): (Vec<PartKind>, Vec<PartKind>) =
            kinds.iter().cloned().partition(|kind| reader.is_worth_reading_alone(kind, rows.len()));
        let reads = alone.into_iter().map(|kind| stage(Stage::Rows, self.read_rows(segment, rows, kind)));
        let ((), reads) = try_join(self.load_parts(segment, &whole), try_join_all(reads)).await?;
        let mut all = FarRows::default();
        reads.into_iter().for_each(|rows| all.add(rows));
        Ok(all)
    }

    /// Two requests in a row, the first of which is often answered already.
    async fn read_rows(&self, segment: usize, rows: &[u32], kind: PartKind) -> Result<FarRows> {
        let reader = self.reader(segment);
        let keys = rows.iter().map(|row| (segment, *row));
        Ok(match kind {
            PartKind::Vector(name) => {
                let vectors = reader.far_rows(&reader.vector_checks(&name).await?, rows).await?;
                FarRows { vectors: [(name, keys.zip(vectors).collect())].into(), ..FarRows::default() }
            }
            _ => {
                let texts = reader.far_payload_texts(&reader.far_payloads().await?, rows).await?;
                let payloads = keys.zip(texts).map(|(key, text)| Ok((key, text?)));
                FarRows { payloads: payloads.collect::<Result<_>>()?, ..FarRows::default() }
            }
        })
    }
}
