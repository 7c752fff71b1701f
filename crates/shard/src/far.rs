//! The nearest rows of segments that are still in the bucket: three requests in a row, however many rows there are, and a few
//! megabytes. `docs/0005-cold-search.md` says why it is so.
//!
//! 1. where lists begin, what the model makes of queries, where payloads are, which rows are no more
//! 2. the level codes of the nearest lists
//! 3. the vectors of the most promising rows, and their payloads
//!
//! Codes are those of the nearest lists ([`crate::far_lists`]) or, where there are codes in the order of a field that the filter is about,
//! those of what matches ([`crate::far_ordered`]). Where a filter leaves few rows of a segment, or rows that lie together, these are read
//! instead, and no codes ([`crate::far_few`]).
//! A segment that is here already, or too small for an index, is searched as always, beside the others.

use std::collections::HashSet;

use futures::future::try_join;
use futures::stream::{Stream, TryStreamExt};
use lodestone_kernels::Scorer;
use lodestone_segment::{PartKind, PartMeta};
use lodestone_store::{Stage, stage};
use lodestone_types::{Error, ErrorKind, JsonPath, Limit, PointId, Result, VectorSelector};
use roaring::RoaringBitmap;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::allowance::Allowance;
use crate::far_compare::FarHit;
use crate::far_few::{Few, RUN_COST};
use crate::far_lists::{Group, model_of};
use crate::far_ordered::{Ordered, Orders};
use crate::far_plan::{Asked, FarBudget, PAYLOAD_BLOCK, RANGE_BYTES, REQUEST_BYTES, codes_at_most};
use crate::merge::{merge, nearest_first};
use crate::nearest::Nearest;
use crate::room::Needs;
use crate::select::PayloadPicker;
use crate::selection::{Selection, Source};
use crate::tail::TailEntry;
use crate::view::ShardView;

/// Requests of one search at once.
pub(crate) const AT_ONCE: usize = 64;
/// Bytes of codes and runs of rows that all searches of this process have under way at most, in [`UNIT`]s: under a narrow filter
/// one search may read the codes of all rows.
static UNDER_WAY: Semaphore = Semaphore::const_new(MOST_UNDER_WAY as usize);
const MOST_UNDER_WAY: u32 = 2048;
const UNIT: u64 = 64 << 10;
/// Of the bytes of the budget a filter's indexes take up to one part of so many.
const MOST_OF_FILTER: u64 = 8;

/// Far segments, and of each the rows that are answers where not all are.
#[derive(Debug, Clone, Default)]
pub struct FarScope {
    pub(crate) segments: Vec<usize>,
    pub(crate) matching: Option<Vec<RoaringBitmap>>,
    /// What was read to know what matches.
    filter: Asked,
    /// The fields that it is about.
    fields: Vec<JsonPath>,
}

impl FarScope {
    fn push(&mut self, segment: usize, matching: &RoaringBitmap) {
        self.segments.push(segment);
        self.matching.get_or_insert_default().push(matching.clone());
    }
}

/// Segments by how they are read.
#[derive(Default)]
struct Apart<'a> {
    /// So few rows of which match that these are read alone.
    few: Vec<Few<'a>>,
    /// By codes in the order of a field that the filter is about.
    ordered: Vec<Ordered>,
    /// The same segments.
    in_order: FarScope,
    /// By the codes of the nearest lists.
    others: FarScope,
    /// Of all segments.
    rows: u64,
}

impl Apart<'_> {
    /// What is asked for beside the lists of segments that have the models of `groups`, and the vectors that are compared.
    fn beside_lists(&self, groups: &[Group], read: FarRead<'_>) -> Result<Asked> {
        let FarRead { query, with_payload, budget, .. } = read;
        // An index that is large comes on top of the budget: there would be nothing left for the search.
        let mut asked = self.others.filter.within(budget.bytes / MOST_OF_FILTER);
        // So does what others read beyond what would be theirs.
        let share = |rows: u32| budget.bytes * u64::from(rows) / self.rows.max(1);
        for few in &self.few {
            asked += few.asked().within(share(few.reader().rows()));
        }
        let mut models: HashSet<_> =
            groups.iter().map(|group| model_of(group.segments[0].rows.reader, query.using)).collect();
        for ordered in &self.ordered {
            let with_outline = models.insert(model_of(ordered.reader(), query.using));
            asked += ordered.asked(query.using, with_outline)?.within(share(ordered.reader().rows()));
        }
        if with_payload {
            // Each has a table of them, and few rows are shown.
            let shown = self.few.iter().map(Few::rows).sum::<u64>().min(query.limit as u64);
            asked.requests += self.few.len() + self.ordered.len() + shown as usize;
            asked.bytes += shown * PAYLOAD_BLOCK;
        }
        Ok(asked)
    }
}

/// What is asked of far segments, and what that may take.
#[derive(Clone, Copy)]
pub(crate) struct FarRead<'q> {
    pub query: &'q Nearest<'q>,
    pub scorer: &'q Scorer,
    pub with_payload: bool,
    pub budget: FarBudget,
}

impl FarRead<'_> {
    /// The same where so many other reads may take what is left of the read's [`Allowance`] as well.
    fn sharing(self, others: usize) -> Self {
        let shares = self.budget.shares + others as u64;
        Self { budget: FarBudget { shares, ..self.budget }, ..self }
    }
}

impl ShardView {
    /// The segments in which a search among the vectors called `using` had to load what it needs, and which can be searched
    /// where they are instead. `with_payload`: answers show payloads.
    pub fn far_segments(&self, using: &str, with_payload: bool) -> Vec<usize> {
        let needed = needed(using, with_payload);
        let is_far = |segment: &usize| {
            let reader = self.reader(*segment);
            reader.has_far_index(using) && !needed.iter().all(|kind| reader.is_near(kind))
        };
        let far: Vec<usize> = (0..self.segment_count()).filter(is_far).collect();
        let changes_vectors = |entry: &TailEntry| match entry {
            TailEntry::Patched(patches) => patches.vector(using).is_some(),
            _ => false,
        };
        // Where a changed vector belongs only ids can tell.
        if far.is_empty() || self.memtable().iter().any(|(_, entry)| changes_vectors(entry)) {
            return Vec::new();
        }
        far
    }

    /// Brings in what searches of segments that are here need, one part after the other, those first that help most.
    pub async fn hydrate(&self, using: &str, with_payload: bool) -> Result<()> {
        self.load_in_turn(needed(using, with_payload)).await
    }

    /// Brings in what it takes to show rows of segments that are here, one part after the other.
    pub async fn hydrate_rows(&self, payload: &PayloadPicker, vectors: &VectorSelector) -> Result<()> {
        self.load_in_turn(self.shown(payload, vectors)).await
    }

    async fn load_in_turn(&self, kinds: Vec<PartKind>) -> Result<()> {
        for kind in kinds {
            for reader in self.segments() {
                reader.load(std::slice::from_ref(&kind)).await?;
            }
        }
        Ok(())
    }

    /// Brings in what such searches need, all at once.
    pub async fn load_for_search(&self, using: &str, with_payload: bool) -> Result<()> {
        self.load_everywhere(&needed(using, with_payload)).await
    }

    /// Has the cache fetch what [`ShardView::nearest_far`] reads first.
    pub async fn prepare_far(&self, using: &str, with_payload: bool) -> Result<()> {
        let scope = FarScope { segments: self.far_segments(using, with_payload), ..FarScope::default() };
        stage(Stage::Outline, self.groups(&scope, using, with_payload)).await.map(drop)
    }

    /// Bytes of the parts of all segments that reads bring here: all but level codes that only merges want, or who reads them where they are.
    pub fn segment_bytes(&self) -> u64 {
        let parts = self.segments().flat_map(|reader| &reader.meta().parts);
        let stays = |kind: &PartKind| matches!(kind, PartKind::LevelCodes(_) | PartKind::OrderedCodes { .. });
        let wanted = parts.filter(|part| !stays(&part.kind));
        wanted.map(|part| part.length).sum()
    }

    /// What the shard takes here once it is brought, and searched by the vectors called `using`.
    pub fn needs(&self, using: &str) -> Needs {
        let in_memory = |kind: &PartKind| match kind {
            PartKind::Ids | PartKind::Deletes => true,
            PartKind::Model(name) | PartKind::VectorIndex(name) => name == using,
            _ => false,
        };
        let parts = self.segments().flat_map(|reader| &reader.meta().parts);
        let memory = parts.filter(|part| in_memory(&part.kind)).map(PartMeta::loaded_bytes).sum();
        Needs { memory, disk: self.segment_bytes() }
    }

    /// Whether the tail has changes of rows that are in segments.
    fn has_patches(&self) -> bool {
        self.memtable().iter().any(|(_, entry)| matches!(**entry, TailEntry::Patched(_)))
    }

    /// The nearest rows of these segments, nearest first, at most as many as asked for. Reads what it needs from the bucket,
    /// and where a part of the answer will do, no more than the read's [`Allowance`] leaves to it.
    pub async fn nearest_far(
        &self,
        scope: &FarScope,
        query: &Nearest<'_>,
        with_payload: bool,
        budget: FarBudget,
    ) -> Result<Vec<FarHit>> {
        let shape = *self.schema().vector(query.using)?;
        shape.check(query.vector)?;
        if query.limit == 0 || scope.segments.is_empty() {
            return Ok(Vec::new());
        }
        let scorer = Scorer::new(query.vector, shape.metric, shape.element);
        let read = FarRead { query, scorer: &scorer, with_payload, budget };
        let apart = self.apart(scope, read).await?;
        let is_by_codes = !apart.ordered.is_empty() || !apart.others.segments.is_empty();
        let of_few = self.nearest_of_few(&apart.few, read.sharing(usize::from(is_by_codes)));
        let by_codes = self.nearest_by_codes(&apart, read);
        let (of_few, by_codes) = in_turn_or_at_once(of_few, by_codes).await?;
        let order = nearest_first(shape.metric.greater_is_nearer());
        let merged = merge(vec![of_few, by_codes], order, 0, query.limit);
        Ok(merged.into_iter().map(|(_, hit)| hit).collect())
    }

    /// The nearest rows of the segments whose codes are read, in three trips. It is of all of them together that the most promising rows
    /// are compared.
    async fn nearest_by_codes(&self, apart: &Apart<'_>, read: FarRead<'_>) -> Result<Vec<FarHit>> {
        let Apart { ordered, in_order, others, .. } = apart;
        if ordered.is_empty() && others.segments.is_empty() {
            return Ok(Vec::new());
        }
        let begun = try_join(self.begun(ordered, read), self.lists(others, read));
        let (begun, lists) = stage(Stage::Outline, begun).await?;
        let times = begun.iter().map(|begun| begun.times).max().unwrap_or(1).max(lists.times());
        let by_lists = !others.segments.is_empty();
        let compared = read.compared(times, by_lists);
        let beside = apart.beside_lists(lists.groups(), read)?;
        let of_orders = self.ordered_candidates(&begun, compared, read.sharing(usize::from(by_lists)));
        let of_lists = self.list_candidates(&lists, compared, beside, read);
        let found = in_turn_or_at_once(async { unless_damaged(of_orders.await) }, of_lists);
        let (of_orders, mut found) = stage(Stage::Codes, found).await?;
        let instead;
        match of_orders {
            Some(of_orders) => found.candidates.extend(of_orders),
            // They are there once more, in the order of lists.
            None => {
                instead = stage(Stage::Outline, self.lists(in_order, read)).await?;
                let of_lists = self.list_candidates(&instead, compared, Asked::default(), read);
                let of_lists = stage(Stage::Codes, of_lists).await?;
                found.candidates.extend(of_lists.candidates);
                found.row_requests = found.row_requests.min(of_lists.row_requests);
            }
        }
        stage(Stage::Rows, self.nearest_of(found, compared, read)).await
    }

    /// The segments of a scope by how they are read for the least.
    async fn apart<'a>(&'a self, scope: &'a FarScope, read: FarRead<'_>) -> Result<Apart<'a>> {
        let Some(matching) = &scope.matching else {
            return Ok(Apart { others: scope.clone(), ..Apart::default() });
        };
        let using = read.query.using;
        let rows = |segment: &usize| u64::from(self.reader(*segment).rows());
        let all: u64 = scope.segments.iter().map(rows).sum();
        // A directory may be read for more, but does not have to be.
        let bytes = read.budget.bytes.min(FarBudget::default().bytes);
        // Vectors that are compared are requests too, which count where there is little else.
        let vectors = read.usually_compared(false) as u64 * RUN_COST;
        let (mut few, mut orders) = (Vec::new(), Vec::new());
        for (segment, matching) in scope.segments.iter().zip(matching) {
            let (reader, rows) = (self.reader(*segment), rows(segment));
            let share = bytes * rows / all.max(1);
            let codes = codes_at_most(reader.meta().code_bytes(using)?, rows, matching.len(), share);
            let by_lists = codes + codes.div_ceil(RANGE_BYTES) * REQUEST_BYTES;
            let alone = Few::of(reader, matching, using, by_lists)?;
            let order = Orders::of(reader, matching, using, &scope.fields, by_lists)?;
            let may_be_less =
                |order: &Orders| alone.as_ref().is_none_or(|alone| order.at_least() + vectors < alone.cost());
            orders.push(order.filter(may_be_less));
            few.push(alone);
        }
        let mut apart = Apart { rows: all, ..Apart::default() };
        let all = scope.segments.iter().zip(matching).zip(few).zip(Orders::best(orders).await?);
        for (((segment, matching), few), ordered) in all {
            match (few, ordered) {
                (Some(few), Some(ordered)) if few.cost() <= ordered.cost() + vectors => apart.few.push(few),
                (_, Some(ordered)) => {
                    apart.ordered.push(ordered);
                    apart.in_order.push(*segment, matching);
                }
                (Some(few), None) => apart.few.push(few),
                (None, None) => apart.others.push(*segment, matching),
            }
        }
        apart.others.filter = scope.filter;
        Ok(apart)
    }

    /// Whether the row that a segment has of this point is still its row, and the query does not leave the point out.
    pub(crate) fn may_answer(&self, id: PointId, query: &Nearest) -> bool {
        let entry = self.memtable().get(id).map(|entry| &**entry);
        !matches!(entry, Some(TailEntry::Row(_) | TailEntry::Deleted)) && query.except != Some(id)
    }
}

/// What a search of segments that are here needs of them, what helps most first.
fn needed(using: &str, with_payload: bool) -> Vec<PartKind> {
    let name = || using.to_owned();
    let mut kinds = vec![PartKind::Deletes, PartKind::Model(name()), PartKind::VectorIndex(name())];
    kinds.extend([PartKind::Ids, PartKind::Vector(name())]);
    kinds.extend(with_payload.then_some(PartKind::Payload));
    kinds
}

impl Selection {
    /// Has the cache fetch what is read first of far segments: what says which rows match, and what [`ShardView::nearest_far`] begins with.
    pub async fn prepare_far(&self, using: &str, with_payload: bool) -> Result<()> {
        let far = self.view().far_segments(using, with_payload);
        try_join(self.load_indexes(&far), self.view().prepare_far(using, with_payload)).await.map(drop)
    }

    /// Of these far segments those in which rows match the filter, with these rows; `None` where that takes more than the
    /// indexes of the filter. Brings these indexes here.
    pub async fn far_scope(&self, segments: Vec<usize>) -> Result<Option<FarScope>> {
        let Some(plan) = self.plan() else { return Ok(Some(FarScope { segments, ..FarScope::default() })) };
        if segments.is_empty() {
            return Ok(Some(FarScope::default()));
        }
        if self.vector_names().next().is_some() || self.view().has_patches() {
            return Ok(None);
        }
        self.load_indexes(&segments).await?;
        let (indexes, mut filter) = (plan.indexes(), Asked::default());
        for part in segments.iter().flat_map(|segment| &self.view().reader(*segment).meta().parts) {
            if matches!(&part.kind, PartKind::FieldIndex { path, .. } if indexes.contains(path)) {
                filter += Asked { requests: 1, bytes: part.length };
            }
        }
        let (mut having, mut matching) = (Vec::new(), Vec::new());
        for segment in segments {
            let reader = self.view().reader(segment);
            let mut all = RoaringBitmap::new();
            all.insert_range(0..reader.rows());
            all -= reader.deletes()?;
            let found = plan.narrow(&Source(reader), &all)?;
            if !found.is_exact() {
                return Ok(None);
            }
            if !found.certain.is_empty() {
                having.push(segment);
                matching.push(found.certain);
            }
        }
        let fields = indexes.into_iter().cloned().collect();
        Ok(Some(FarScope { segments: having, matching: Some(matching), filter, fields }))
    }
}

/// Both; where the read may ask for so many bytes only one after the other, as what one may is known when those before it have.
async fn in_turn_or_at_once<A, B>(
    first: impl Future<Output = Result<A>>,
    second: impl Future<Output = Result<B>>,
) -> Result<(A, B)> {
    match Allowance::current().is_some_and(|allowance| allowance.bounds_bytes()) {
        true => Ok((first.await?, second.await?)),
        false => try_join(first, second).await,
    }
}

/// `None`, and a note of it, where codes in the order of a field are damaged.
pub(crate) fn unless_damaged<T>(codes: Result<T>) -> Result<Option<T>> {
    match codes {
        Err(error) if error.kind == ErrorKind::Damaged => {
            warn!(%error, "codes in the order of a field are damaged; those of lists are read instead");
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// A place among the reads of all searches, for one of so many bytes.
pub(crate) async fn under_way(bytes: u64) -> Result<SemaphorePermit<'static>> {
    let units = bytes.div_ceil(UNIT).min(MOST_UNDER_WAY.into()) as u32;
    UNDER_WAY.acquire_many(units).await.map_err(|_| Error::internal("reads were closed"))
}

/// The next range that was asked for, if it comes in time.
pub(crate) async fn next_in_time<T>(
    reads: &mut (impl Stream<Item = Result<T>> + Unpin),
    until: Option<Instant>,
) -> Result<Option<T>> {
    let next = match until {
        None => return reads.try_next().await,
        Some(until) if until <= Instant::now() => None,
        Some(until) => timeout_at(until, reads.try_next()).await.ok(),
    };
    match next {
        Some(next) => unless_excused(next).map(Option::flatten),
        None => {
            if let Some(allowance) = Allowance::current() {
                allowance.reach(Limit::Time);
            }
            Ok(None)
        }
    }
}

/// `None`, and a note of it, for what could not be read within limits that the answer may be cut short by.
pub(crate) fn unless_excused<T>(read: Result<T>) -> Result<Option<T>> {
    let error = match read {
        Ok(read) => return Ok(Some(read)),
        Err(error) => error,
    };
    match Allowance::current().and_then(|allowance| Some((allowance.excuses(&error)?, allowance))) {
        Some((limit, allowance)) => {
            allowance.reach(limit);
            Ok(None)
        }
        None => Err(error),
    }
}
