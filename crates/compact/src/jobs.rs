//! The jobs from end to end: what they read is loaded, what they make is written, and the rewrite that names it proposed.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use lodestone_manifest::{Rewrite, SegmentEntry, SegmentId, Shard, ShardId, Slot, State};
use lodestone_meta::Job;
use lodestone_segment::{PartKind, PartMeta, SegmentReader, delete_bitmap_part};
use lodestone_shard::Snapshot;
use lodestone_types::{FieldIndex, JsonPath, Result};
use lodestone_wal::keys;
use roaring::RoaringBitmap;

use crate::builders::Niceness;
use crate::failures::About;
use crate::folded_index::Source;
use crate::landing::Landed;
use crate::output::{self, in_background};
use crate::plan::{self, CompactOptions, Kind, OrderTask};
use crate::worker::{Compactor, known};
use crate::{builders, fold, merge, ordered_codes, reindex};

impl Compactor {
    /// Folds the tail up to `to`.
    pub(crate) async fn fold(
        &self,
        state: &State,
        shard: ShardId,
        to: Slot,
        job: &Arc<Job>,
    ) -> Result<Landed> {
        let snapshot = self.views().snapshot(state, shard).await?;
        let manifest = snapshot.manifest.clone();
        if to <= manifest.folded || to > manifest.lsn {
            return Ok(Landed::Stale);
        }
        // Who is behind leaves the index to its own job.
        let sources = match is_behind(&manifest, self.options()) {
            true => Vec::new(),
            false => self.fold_sources(&snapshot).await?,
        };
        let view = in_background(move || snapshot.view_at(to)).await?;
        view.load_for_fold().await?;
        let (job, cancel) = (job.clone(), self.stopping().clone());
        let segment_bytes = self.options().fold_segment_bytes;
        let rewrite = output::write(self.store(), move |objects| {
            builders::build(Niceness::Fold, 1, || {
                fold::fold(&view, &manifest, to, shard, &job, segment_bytes, &sources, &cancel, objects)
            })
        })
        .await?;
        self.land(rewrite).await
    }

    /// The models by which a fold indexes what it writes.
    async fn fold_sources(&self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let Snapshot { manifest, view, collection, .. } = snapshot;
        let mut sources = Vec::new();
        for plan in plan::fold_indexes(collection, manifest, self.options())? {
            let Some(reader) = view.segments().find(|reader| reader.meta().id == plan.model_of) else {
                continue;
            };
            reader.load(&[PartKind::Model(plan.vector.clone())]).await?;
            sources.push(Source::new(plan, reader.clone()));
        }
        Ok(sources)
    }

    /// Makes one segment of `segments`. While one of them is read, the job is `about` that one alone.
    pub(crate) async fn merge(
        &self,
        state: &State,
        shard: ShardId,
        segments: &[SegmentId],
        job: &Arc<Job>,
        about: &mut About,
    ) -> Result<Landed> {
        let Snapshot { view, collection, .. } = self.views().snapshot(state, shard).await?;
        let indexed = plan::indexed_from(&collection, self.options())?;
        let index_parts = merge::index_parts(&indexed);
        let inputs: Vec<SegmentReader> =
            view.segments().filter(|reader| segments.contains(&reader.meta().id)).cloned().collect();
        if inputs.len() != segments.len() {
            return Ok(Landed::Stale);
        }
        for reader in &inputs {
            *about = About::Segments(Kind::Merge, vec![reader.meta().id]);
            reader.load_rows().await?;
            reader.load(&index_parts).await?;
        }
        *about = About::Segments(Kind::Merge, segments.to_vec());
        let (schema, running) = (view.schema().clone(), job.clone());
        drop(view);
        let threads = plan::merge_threads(&collection);
        let merged = output::write(self.store(), move |objects| {
            builders::build(Niceness::Rebuild, threads, || {
                merge::merge(&inputs, &schema, &indexed, &running, objects)
            })
        })
        .await?;
        let merged = &merged;
        self.land_on_latest(shard, move |state, number| async move {
            self.put_merged(merged, &state, shard, job, number).await
        })
        .await
    }

    /// The rewrite by which a merged segment takes its place among what is there now.
    async fn put_merged(
        &self,
        merged: &merge::Merged,
        state: &State,
        shard: ShardId,
        job: &Job,
        number: u32,
    ) -> Result<Option<Rewrite>> {
        if known(state, shard).is_none() {
            return Ok(None);
        }
        let Snapshot { manifest, view, .. } = self.views().snapshot(state, shard).await?;
        let mut now = Vec::new();
        for id in merged.inputs() {
            let Some(reader) = view.segments().find(|reader| reader.meta().id == id) else { return Ok(None) };
            reader.load(&[PartKind::Deletes]).await?;
            now.push(reader.clone());
        }
        let deleted = merged.deleted_since(&now)?;
        let deletes = match deleted.is_empty() {
            true => None,
            false => Some(self.write_deletes(&deleted, job, number).await?),
        };
        merged.rewrite(&manifest, deletes, shard, job)
    }

    async fn write_deletes(&self, rows: &RoaringBitmap, job: &Job, number: u32) -> Result<PartMeta> {
        let key = keys::part(job.epoch, job.id, "del", number);
        let (bytes, part) = delete_bitmap_part(&key, rows)?;
        output::write(self.store(), move |objects| objects.put(key, bytes)).await?;
        Ok(part)
    }

    /// Brings the payload indexes of a segment in line with the collection's.
    pub(crate) async fn reindex(
        &self,
        state: &State,
        shard: ShardId,
        segment: SegmentId,
        build: BTreeMap<JsonPath, FieldIndex>,
        drop: &[JsonPath],
        job: &Arc<Job>,
    ) -> Result<Landed> {
        let view = self.views().snapshot(state, shard).await?.view;
        let Some(reader) = view.segments().find(|reader| reader.meta().id == segment).cloned() else {
            return Ok(Landed::Stale);
        };
        reader.load(&[PartKind::Payload]).await?;
        let running = job.clone();
        let built =
            output::write(self.store(), move |objects| reindex::build(&reader, &build, &running, objects))
                .await?;
        self.land_on_latest(shard, |state, _| {
            let entry = known(&state, shard).and_then(|(_, manifest)| entry_of(manifest, segment));
            ready(entry.map(|entry| reindex::replace(entry, &built, drop, shard, job)).transpose())
        })
        .await
    }

    /// Writes the codes of a segment in the order of fields.
    pub(crate) async fn order(
        &self,
        state: &State,
        shard: ShardId,
        task: &OrderTask,
        job: &Arc<Job>,
    ) -> Result<Landed> {
        let view = self.views().snapshot(state, shard).await?.view;
        let Some(reader) = view.segments().find(|reader| reader.meta().id == task.segment).cloned() else {
            return Ok(Landed::Stale);
        };
        let of_task = |kind: &PartKind| match kind {
            PartKind::FieldIndex { path, .. } => task.fields.contains(path),
            _ => false,
        };
        let parts = reader.meta().parts.iter().map(|part| &part.kind);
        let indexes: Vec<PartKind> = parts.filter(|kind| of_task(kind)).cloned().collect();
        if indexes.len() < task.fields.len() {
            return Ok(Landed::Stale);
        }
        reader.load(&indexes).await?;
        let (of, wanted) = (reader.clone(), task.clone());
        let ordered = output::in_background(move || ordered_codes::rows(&of, &wanted)).await?;
        let codes = match ordered.iter().all(|rows| rows.count() == 0) {
            true => None,
            false => Some(reader.stored_codes(&task.vector).await?),
        };
        let (running, vector) = (job.clone(), task.vector.clone());
        let parts = output::write(self.store(), move |objects| {
            ordered_codes::write(&reader, codes.as_ref(), &vector, &ordered, &running, objects)
        })
        .await?;
        self.land_on_latest(shard, |state, _| {
            let entry = known(&state, shard).and_then(|(_, manifest)| entry_of(manifest, task.segment));
            ready(match entry {
                Some(entry) => ordered_codes::add(entry, &parts, task, shard, job),
                None => Ok(None),
            })
        })
        .await
    }
}

pub(crate) fn entry_of(manifest: &Shard, segment: SegmentId) -> Option<&SegmentEntry> {
    manifest.segments.iter().find(|entry| entry.id == segment)
}

/// Whether folds do not keep up with writes: the tail has twice the size that makes one due.
fn is_behind(shard: &Shard, options: &CompactOptions) -> bool {
    shard.tail_rows >= 2 * options.fold_rows || shard.tail_bytes >= 2 * options.fold_bytes
}
