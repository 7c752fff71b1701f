//! What of a shard is brought here before anybody searches it.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use lodestone_manifest::Shard;
use lodestone_segment::{PartKind, PartMeta, SegmentMeta, SegmentReader};
use lodestone_types::{Error, Result, WarmRequest};

use crate::room::Needs;
use crate::view::ShardView;

/// Parts that are fetched side by side, but for vectors and payloads, which come one after the other: they are most of the bytes,
/// and queries want some of the network.
const AT_ONCE: usize = 8;

/// The parts of a shard's segments that are wanted.
pub fn wanted_parts(manifest: &Shard, wanted: &WarmRequest) -> Result<Vec<PartMeta>> {
    let mut parts = Vec::new();
    for entry in &manifest.segments {
        let meta = SegmentMeta::from_entry(entry)?;
        parts.extend(meta.parts.into_iter().filter(|part| turn(&part.kind, wanted).is_some()));
    }
    Ok(parts)
}

impl Needs {
    /// What these parts take here. Vectors and payloads can be read from disk.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a PartMeta>) -> Self {
        parts.into_iter().fold(Self::default(), |sum, part| {
            let memory = if is_read_from_disk(&part.kind) { 0 } else { part.loaded_bytes() };
            sum.plus(Self { memory, disk: part.length })
        })
    }
}

impl ShardView {
    /// Brings what is wanted of the segments, what helps most first, and vectors into memory as far as there is room.
    pub async fn warm(&self, wanted: &WarmRequest) -> Result<()> {
        let mut turns: BTreeMap<u8, Vec<(&SegmentReader, &PartKind)>> = BTreeMap::new();
        for (reader, part, turn) in self.wanted(wanted) {
            turns.entry(turn).or_default().push((reader, &part.kind));
        }
        for parts in turns.into_values() {
            let at_once = if is_read_from_disk(parts[0].1) { 1 } else { AT_ONCE };
            let loads = parts.into_iter().map(|(reader, kind)| reader.load(std::slice::from_ref(kind)));
            let loads: Vec<_> = loads.collect();
            stream::iter(loads).buffer_unordered(at_once).try_collect::<()>().await?;
        }
        let (view, wanted) = (self.clone(), wanted.clone());
        let read = tokio::task::spawn_blocking(move || view.vectors_into_memory(&wanted));
        read.await.map_err(|_| Error::internal("a warm-up was broken off"))?
    }

    /// Whether all that is wanted is loaded.
    pub fn is_warm(&self, wanted: &WarmRequest) -> bool {
        self.wanted(wanted).all(|(reader, part, _)| reader.is_loaded(&part.kind))
    }

    /// Bytes of the parts that are wanted, and how many of them can be read without asking the bucket.
    pub fn warmth(&self, wanted: &WarmRequest) -> (u64, u64) {
        self.wanted(wanted).fold((0, 0), |(all, here), (reader, part, _)| {
            let near = if reader.is_near(&part.kind) { part.length } else { 0 };
            (all + part.length, here + near)
        })
    }

    /// What [`ShardView::warm`] takes here.
    pub fn warm_needs(&self, wanted: &WarmRequest) -> Needs {
        Needs::of(self.wanted(wanted).map(|(_, part, _)| part))
    }

    fn wanted(&self, wanted: &WarmRequest) -> impl Iterator<Item = (&SegmentReader, &PartMeta, u8)> {
        let parts =
            self.segments().flat_map(|reader| reader.meta().parts.iter().map(move |part| (reader, part)));
        parts.filter_map(|(reader, part)| Some((reader, part, turn(&part.kind, wanted)?)))
    }

    fn vectors_into_memory(&self, wanted: &WarmRequest) -> Result<()> {
        for (reader, part, _) in self.wanted(wanted) {
            if let PartKind::Vector(name) = &part.kind
                && let Some(column) = reader.vector(name)?
            {
                column.settle(self.schema().vector(name)?.on_disk)?;
            }
        }
        Ok(())
    }
}

/// When a part of this kind has its turn; `None` if it is not wanted.
fn turn(kind: &PartKind, wanted: &WarmRequest) -> Option<u8> {
    let is_named = |name| wanted.vectors.as_ref().is_none_or(|names| names.contains(name));
    match kind {
        PartKind::Deletes => Some(0),
        PartKind::Model(name) => is_named(name).then_some(1),
        PartKind::VectorIndex(name) => is_named(name).then_some(2),
        PartKind::Ids => Some(3),
        PartKind::FieldIndex { .. } => Some(4),
        PartKind::Vector(name) => is_named(name).then_some(5),
        PartKind::Payload => wanted.payloads.then_some(6),
        PartKind::LevelCodes(_) | PartKind::OrderedCodes { .. } | PartKind::Unknown { .. } => None,
    }
}

fn is_read_from_disk(kind: &PartKind) -> bool {
    matches!(kind, PartKind::Vector(_) | PartKind::Payload)
}
