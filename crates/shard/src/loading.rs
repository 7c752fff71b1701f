//! Bringing in what reads need, so that the reads themselves need no I/O. Parts are loaded whole and once; loading
//! what is there costs nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use lodestone_segment::PartKind;
use lodestone_store::{Stage, stage};
use lodestone_types::{Error, FieldIndex, FieldIndexKind, JsonPath, Result};

use crate::order::ValueOrder;
use crate::selection::Selection;
use crate::view::ShardView;

impl ShardView {
    /// Ids and deletes: enough for [`ShardView::find`].
    pub async fn load_masks(&self) -> Result<()> {
        self.load_everywhere(&[PartKind::Ids, PartKind::Deletes]).await
    }

    /// The vectors called `name`, of all rows.
    pub async fn load_vector(&self, name: &str) -> Result<()> {
        self.load_everywhere(&[PartKind::Vector(name.to_owned())]).await
    }

    /// What it takes to search among the vectors called `name`: them, and unless the search is exact, their indexes.
    pub async fn load_nearest(&self, name: &str, exact: bool) -> Result<()> {
        let mut kinds = vec![PartKind::Vector(name.to_owned())];
        if !exact {
            kinds.extend([PartKind::Model(name.to_owned()), PartKind::VectorIndex(name.to_owned())]);
        }
        self.load_everywhere(&kinds).await
    }

    /// The values of an order: its index where a segment has it, else payloads.
    pub async fn load_order(&self, order: &ValueOrder) -> Result<()> {
        let segments = (0..self.segment_count()).map(|segment| async move {
            self.load_parts(segment, &[self.index_part(order.key())]).await?;
            if !self.ordered_index(segment, order)? || self.has_patched(segment)? {
                self.load_parts(segment, &[PartKind::Payload]).await?;
            }
            Ok::<(), Error>(())
        });
        futures::future::try_join_all(segments).await?;
        Ok(())
    }

    /// Everything, as a fold or a merge needs it.
    pub async fn load_all(&self) -> Result<()> {
        futures::future::try_join_all(self.segments().map(|reader| reader.load_all())).await?;
        Ok(())
    }

    /// Whether a segment has an index that gives the values of `order`. Needs that index.
    pub(crate) fn ordered_index(&self, segment: usize, order: &ValueOrder) -> Result<bool> {
        let index = self.reader(segment).field_index(order.key())?;
        Ok(index.is_some_and(|index| index.definition().kind == order.kind()))
    }

    fn has_patched(&self, segment: usize) -> Result<bool> {
        Ok(!self.overlay(segment)?.patched_rows(self.reader(segment))?.is_empty())
    }

    pub(crate) async fn load_everywhere(&self, kinds: &[PartKind]) -> Result<()> {
        let loading = (0..self.segment_count()).map(|segment| self.load_parts(segment, kinds));
        futures::future::try_join_all(loading).await?;
        Ok(())
    }

    /// Of one segment, for a read that waits for it.
    pub(crate) async fn load_parts(&self, segment: usize, kinds: &[PartKind]) -> Result<()> {
        let reader = self.reader(segment);
        // What is there takes no time, so the stage is not begun either.
        if kinds.iter().all(|kind| reader.is_loaded(kind)) {
            return Ok(());
        }
        stage(Stage::Load, reader.load(kinds)).await
    }

    /// The kind of part that is the index of `path`; a segment has at most one.
    fn index_part(&self, path: &JsonPath) -> PartKind {
        let any = || FieldIndex { kind: FieldIndexKind::Keyword, params: None };
        let index = self.schema().segment().fields.get(path).cloned().unwrap_or_else(any);
        PartKind::FieldIndex { path: path.clone(), index }
    }
}

impl Selection {
    /// What it takes to decide the filter: ids and deletes, indexes, and payloads only where indexes leave
    /// something open.
    pub async fn load(&self) -> Result<()> {
        let mut kinds = vec![PartKind::Ids, PartKind::Deletes];
        if let Some(plan) = self.plan() {
            kinds.extend(plan.indexes().into_iter().map(|path| self.view().index_part(path)));
            kinds.extend(self.vector_names().map(PartKind::Vector));
        }
        self.view().load_everywhere(&kinds).await?;
        if !self.plan().is_some_and(|plan| plan.evaluator().needs_payload()) {
            return Ok(());
        }
        let selection = self.clone();
        let open = match self.is_known_soon() {
            true => self.open_segments()?,
            false => on_pool(move || selection.open_segments()).await??,
        };
        let loading = open.iter().map(|segment| self.view().load_parts(*segment, &[PartKind::Payload]));
        futures::future::try_join_all(loading).await?;
        Ok(())
    }

    /// What of segments decides the filter, as far as indexes do, and which rows are no more.
    pub(crate) async fn load_indexes(&self, segments: &[usize]) -> Result<()> {
        let mut kinds = vec![PartKind::Deletes];
        if let Some(plan) = self.plan() {
            kinds.extend(plan.indexes().into_iter().map(|path| self.view().index_part(path)));
        }
        let loading = segments.iter().map(|segment| self.view().load_parts(*segment, &kinds));
        futures::future::try_join_all(loading).await?;
        Ok(())
    }

    /// The segments with rows that only their payload decides.
    fn open_segments(&self) -> Result<Vec<usize>> {
        let mut open = Vec::new();
        for segment in 0..self.view().segment_count() {
            if !self.narrowed(segment)?.is_exact() || self.view().has_patched(segment)? {
                open.push(segment);
            }
        }
        Ok(open)
    }
}

/// Works that [`on_pool`] handed to rayon's threads and that are not done: there is one such pool in a process.
static HANDED_OVER: AtomicUsize = AtomicUsize::new(0);

/// Runs work that takes a processor for a while on rayon's threads, and waits for it without holding a thread.
pub async fn on_pool<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, waiting) = futures::channel::oneshot::channel();
    HANDED_OVER.fetch_add(1, Relaxed);
    rayon::spawn(move || {
        // A panic that came out of here would end the process: who waits is told of it instead.
        let found = catch_unwind(AssertUnwindSafe(work));
        HANDED_OVER.fetch_sub(1, Relaxed);
        if let Ok(found) = found {
            // Nobody waiting any more is no reason to fail.
            let _ = done.send(found);
        }
    });
    stage(Stage::Search, waiting).await.map_err(|_| Error::internal("a task was broken off"))
}

/// Whether as much is under way on rayon's threads as there are: what one work hands out there waits behind the others.
pub(crate) fn is_pool_taken() -> bool {
    HANDED_OVER.load(Relaxed) >= rayon::current_num_threads()
}

#[cfg(test)]
mod tests {
    use lodestone_types::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_an_error_for_whoever_waits() {
        let broken: Result<()> = on_pool(|| panic!("on purpose")).await;
        assert_eq!(broken.unwrap_err().kind, ErrorKind::Internal);
        assert_eq!(on_pool(|| 1).await.unwrap(), 1);
    }
}
