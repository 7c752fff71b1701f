//! The rows of one view that a filter selects. All reads of more than single points start here.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use lodestone_index::plan::plan;
use lodestone_index::{FieldIndexReader, FilterPlan, Matches, RowSource, RowView};
use lodestone_segment::SegmentReader;
use lodestone_types::{Condition, Error, Filter, JsonPath, Payload, PointId, Result};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde_json::{Map, Value};

use crate::cancel::Cancel;
use crate::rows::RowReader;
use crate::view::{Found, Place, ShardView};

/// Rows whose payloads one task looks at.
const ROWS_PER_TASK: usize = 2048;

/// So many rows may indexes list for whoever asks for them: others would hardly have woken up by then.
const QUICK_ROWS: u64 = 32 << 10;
/// So many rows of the tail may have to be looked up in segments by whoever asks.
const QUICK_TAIL: usize = 1024;

/// A filter on a view. What it finds out it keeps, so several reads with one filter (a batch of searches, a page and
/// a count) pay once. Cheap to clone; clones share what is known.
///
/// First [`Selection::load`], then any of the reads, which need no I/O: [`Selection::nearest`],
/// [`Selection::count`], [`Selection::page`], [`Selection::page_by_value`], [`Selection::sample`],
/// [`Selection::all`].
#[derive(Clone)]
pub struct Selection {
    view: ShardView,
    plan: Option<Arc<FilterPlan>>,
    /// Vectors whose presence the filter asks for.
    vector_names: Arc<BTreeSet<String>>,
    known: Arc<Known>,
}

/// What is known about which rows match.
struct Known {
    segments: Vec<KnownSegment>,
    /// Among the rows that are not read from a segment as they are.
    overlaid: OnceLock<Vec<Found>>,
}

#[derive(Default)]
struct KnownSegment {
    /// What indexes say.
    narrowed: OnceLock<Matches>,
    /// After looking at payloads too.
    decided: OnceLock<RoaringBitmap>,
}

impl Selection {
    /// The rows of `view` that match; without a filter, all.
    pub fn new(view: &ShardView, filter: Option<&Filter>) -> Self {
        let filter = filter.filter(|filter| !filter.is_empty());
        let plan = filter.map(|filter| Arc::new(plan(filter, view.schema().indexes())));
        let segments = view.segments().map(|_| KnownSegment::default()).collect();
        let known = Known { segments, overlaid: OnceLock::new() };
        let mut names = BTreeSet::new();
        if let Some(filter) = filter {
            collect_vector_names(filter, &mut names);
        }
        Self { view: view.clone(), plan, vector_names: Arc::new(names), known: Arc::new(known) }
    }

    pub(crate) fn vector_names(&self) -> impl Iterator<Item = String> {
        self.vector_names.iter().cloned()
    }

    /// The view it selects from.
    pub fn view(&self) -> &ShardView {
        &self.view
    }

    pub(crate) fn plan(&self) -> Option<&FilterPlan> {
        self.plan.as_deref()
    }

    /// Whether what indexes say is known, or will be in less time than it takes to hand that to another thread.
    pub(crate) fn is_known_soon(&self) -> bool {
        let Some(plan) = &self.plan else { return true };
        let mut room = QUICK_ROWS;
        let mut unknown =
            (0..self.known.segments.len()).filter(|at| self.known.segments[*at].narrowed.get().is_none());
        self.view.memtable().len() <= QUICK_TAIL
            && unknown.all(|segment| {
                let reader = self.view.reader(segment);
                plan.lists_within(&Source(reader), u64::from(reader.rows()), &mut room).unwrap_or(false)
            })
    }

    /// What is known about the rows of a segment that are read as they are, without looking at payloads.
    pub(crate) fn narrowed(&self, segment: usize) -> Result<&Matches> {
        let known = &self.known.segments[segment].narrowed;
        if let Some(matches) = known.get() {
            return Ok(matches);
        }
        let plain = self.view.plain_rows(segment)?;
        let matches = match &self.plan {
            None => Matches::exact(plain),
            Some(plan) => plan.narrow(&Source(self.view.reader(segment)), &plain)?,
        };
        Ok(known.get_or_init(|| matches))
    }

    /// The rows of a segment that match and are read as they are.
    pub(crate) fn rows(&self, segment: usize, cancel: &Cancel) -> Result<&RoaringBitmap> {
        let known = &self.known.segments[segment].decided;
        if let Some(rows) = known.get() {
            return Ok(rows);
        }
        let matches = self.narrowed(segment)?;
        let mut rows = matches.certain.clone();
        if !matches.is_exact() {
            let undecided: Vec<u32> = matches.undecided().iter().collect();
            let tasks = undecided.par_chunks(ROWS_PER_TASK).map(|rows| {
                cancel.check()?;
                let mut reader = RowReader::new(&self.view);
                let mut matching = Vec::new();
                for row in rows {
                    let id = self.view.reader(segment).id(*row)?;
                    let place = Place::Segment { segment, row: *row };
                    if self.matches(&mut reader, Found { id, place })? {
                        matching.push(*row);
                    }
                }
                Ok(matching)
            });
            let found: Vec<Vec<u32>> = tasks.collect::<Result<_>>()?;
            rows.extend(found.into_iter().flatten());
        }
        Ok(known.get_or_init(|| rows))
    }

    /// The rows that match and are not read from a segment as they are, by id.
    pub(crate) fn overlaid(&self, cancel: &Cancel) -> Result<&[Found]> {
        if let Some(found) = self.known.overlaid.get() {
            return Ok(found);
        }
        let tasks = self.view.overlaid()?;
        let tasks = tasks.par_chunks(ROWS_PER_TASK).map(|rows| {
            cancel.check()?;
            let mut reader = RowReader::new(&self.view);
            let mut matching = Vec::new();
            for found in rows {
                if self.matches(&mut reader, *found)? {
                    matching.push(*found);
                }
            }
            Ok(matching)
        });
        let found: Vec<Vec<Found>> = tasks.collect::<Result<_>>()?;
        let mut found: Vec<Found> = found.into_iter().flatten().collect();
        found.sort_unstable_by_key(|found| found.id);
        Ok(self.known.overlaid.get_or_init(|| found))
    }

    /// Whether a row matches, from the row alone.
    pub(crate) fn matches(&self, reader: &mut RowReader, found: Found) -> Result<bool> {
        let Some(plan) = self.plan() else { return Ok(true) };
        let owned;
        let payload = match (plan.evaluator().needs_payload(), reader.tail_payload(found)?) {
            (false, _) => None,
            (true, Some(payload)) => Some(payload),
            (true, None) => {
                owned = reader.payload(found)?;
                Some(&owned)
            }
        };
        let nothing = Payload::default();
        let payload = &payload.unwrap_or(&nothing).0;
        let subject = Subject { reader, found, payload, failure: RefCell::new(None) };
        let matches = plan.evaluator().matches(&subject);
        match subject.failure.into_inner() {
            None => Ok(matches),
            Some(error) => Err(error),
        }
    }

    /// How many rows match.
    pub fn count(&self, cancel: &Cancel) -> Result<u64> {
        let mut count = self.overlaid(cancel)?.len() as u64;
        for segment in 0..self.known.segments.len() {
            count += self.rows(segment, cancel)?.len();
        }
        Ok(count)
    }

    /// All rows that match, by id.
    pub fn all(&self, cancel: &Cancel) -> Result<Vec<Found>> {
        let mut all = self.overlaid(cancel)?.to_vec();
        for segment in 0..self.known.segments.len() {
            for row in self.rows(segment, cancel)? {
                all.push(self.view.plain(segment, row)?);
            }
        }
        all.sort_unstable_by_key(|found| found.id);
        Ok(all)
    }
}

fn collect_vector_names(filter: &Filter, names: &mut BTreeSet<String>) {
    for condition in filter.conditions() {
        match condition {
            Condition::HasVector(name) => {
                names.insert(name.clone());
            }
            Condition::Filter(filter) | Condition::Nested { filter, .. } => {
                collect_vector_names(filter, names);
            }
            _ => {}
        }
    }
}

/// What indexes, ids and vectors of a segment tell about its rows.
pub(crate) struct Source<'a>(pub &'a SegmentReader);

impl RowSource for Source<'_> {
    /// An index that is not loaded is one that is not there: payloads decide.
    fn index(&self, path: &JsonPath) -> Option<&FieldIndexReader> {
        self.0.field_index(path).ok().flatten()
    }

    fn rows_with_ids(&self, ids: &BTreeSet<PointId>) -> Option<RoaringBitmap> {
        let column = self.0.ids().ok()?;
        Some(ids.iter().filter_map(|id| column.find(*id)).collect())
    }

    fn rows_with_vector(&self, name: &str) -> Option<RoaringBitmap> {
        let Some(column) = self.0.vector(name).ok()? else { return Some(RoaringBitmap::new()) };
        Some(column.present().cloned().unwrap_or_else(|| {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..self.0.rows());
            all
        }))
    }
}

/// One row, as filters see it.
struct Subject<'a, 'v> {
    reader: &'a RowReader<'v>,
    found: Found,
    payload: &'a Map<String, Value>,
    failure: RefCell<Option<Error>>,
}

impl RowView for Subject<'_, '_> {
    fn id(&self) -> PointId {
        self.found.id
    }

    fn payload(&self) -> &Map<String, Value> {
        self.payload
    }

    fn has_vector(&self, name: &str) -> bool {
        if !self.reader.knows_vector(name) {
            return false;
        }
        self.reader.has_vector(self.found, name).unwrap_or_else(|error| {
            self.failure.replace(Some(error));
            false
        })
    }
}
