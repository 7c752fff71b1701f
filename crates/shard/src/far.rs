//! The nearest rows of segments that are still in the bucket: three requests in a row, however many rows there are, and a few
//! megabytes. `docs/0005-cold-search.md` says why it is so.
//!
//! 1. where lists begin, what the model makes of queries, where payloads are, which rows are no more
//! 2. the level codes of the nearest lists
//! 3. the vectors of the most promising rows, and their payloads
//!
//! Where a filter leaves few rows of a segment, or rows that lie together, these are read instead, and no codes ([`crate::far_few`]).
//! A segment that is here already, or too small for an index, is searched as always, beside the others.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use futures::future::{join, join_all, try_join, try_join_all};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use lodestone_index::dense::{ColdQuery, Outline};
use lodestone_kernels::{Metric, Scorer};
use lodestone_segment::{FarCandidate, FarIndex, FarPayloads, PartKind, PartMeta, RowTag, SegmentReader};
use lodestone_store::{Stage, stage};
use lodestone_types::{Error, Limit, Payload, PointId, Result, VectorSelector};
use roaring::RoaringBitmap;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::allowance::Allowance;
use crate::best::Scored;
use crate::change::parse_payload;
use crate::far_few::Few;
use crate::far_plan::{CodeRead, FarBudget, Plan, affordable, unread};
use crate::merge::{ScoredId, merge, nearest_first};
use crate::nearest::{Method, Nearest};
use crate::room::Needs;
use crate::select::PayloadPicker;
use crate::selection::{Selection, Source};
use crate::tail::TailEntry;
use crate::view::ShardView;

/// Rows whose vectors are read beyond those that are wanted: level codes mostly tell the nearest well enough.
const MORE_ROWS: usize = 4;
/// Where codes leave more in doubt, or a search asks for it, more vectors are compared, up to one part in so many of all requests.
const MOST_OF_REQUESTS: usize = 2;
/// Requests for codes of one search at once.
const AT_ONCE: usize = 64;
/// Bytes of codes and runs of rows that all searches of this process have under way at most, in [`UNIT`]s: under a narrow filter
/// one search may read the codes of all rows.
static UNDER_WAY: Semaphore = Semaphore::const_new(MOST_UNDER_WAY as usize);
const MOST_UNDER_WAY: u32 = 2048;
const UNIT: u64 = 64 << 10;

/// A row that was found in a far segment, with all that an answer may show of it.
#[derive(Debug, Clone)]
pub struct FarHit {
    /// Its point.
    pub id: PointId,
    /// How near, as users see it.
    pub score: f32,
    /// The LSN of its last change.
    pub version: u64,
    /// If it was asked for.
    pub payload: Option<Payload>,
    /// In its stored form.
    pub vector: Bytes,
}

impl ScoredId for FarHit {
    fn id(&self) -> PointId {
        self.id
    }
    fn score(&self) -> f32 {
        self.score
    }
}

/// Segments of one model.
pub(crate) struct Group<'a> {
    pub outline: Outline,
    pub segments: Vec<Segment<'a>>,
}

/// Far segments, and of each the rows that are answers where not all are.
#[derive(Debug, Clone, Default)]
pub struct FarScope {
    segments: Vec<usize>,
    matching: Option<Vec<RoaringBitmap>>,
    /// What was read to know what matches.
    filter: FilterParts,
}

/// Payload indexes that a filter asks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FilterParts {
    pub parts: usize,
    pub bytes: u64,
}

/// What the first trip brought of a segment.
pub(crate) struct Segment<'a> {
    pub reader: &'a SegmentReader,
    pub index: FarIndex,
    pub payloads: Option<FarPayloads>,
    matching: Option<&'a RoaringBitmap>,
}

/// A row that may be among the nearest, and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a, 'g> {
    segment: &'g Segment<'a>,
    row: FarCandidate,
}

/// Rows whose vectors are compared.
fn compared(query: &Nearest, metric: Metric, times: u32, with_payload: bool, budget: FarBudget) -> usize {
    let usual = query.limit + query.limit / 4 + MORE_ROWS;
    // Codes say how far rows are by squares of differences, not by their sums.
    let least = if metric == Metric::Manhattan { 2 * usual } else { usual };
    let Method { candidates, ignore_codes, .. } = query.method;
    let wished = if ignore_codes { usize::MAX } else { candidates.unwrap_or_default() };
    let asked = usual.saturating_mul(times as usize).max(wished);
    // A payload is a request of its own.
    least.max(asked.min(budget.requests / MOST_OF_REQUESTS / (1 + usize::from(with_payload))))
}

impl Segment<'_> {
    /// Whether a filter says which rows are answers.
    pub fn is_filtered(&self) -> bool {
        self.matching.is_some()
    }

    /// Rows that are answers.
    pub fn matching(&self) -> u64 {
        let deleted = || self.reader.deletes().map_or(0, RoaringBitmap::len);
        self.matching
            .map_or_else(|| u64::from(self.index.rows()).saturating_sub(deleted()), RoaringBitmap::len)
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

    /// Bytes of the parts of all segments that reads bring here: all but level codes that only merges want.
    pub fn segment_bytes(&self) -> u64 {
        let parts = self.segments().flat_map(|reader| &reader.meta().parts);
        let wanted = parts.filter(|part| !matches!(part.kind, PartKind::LevelCodes(_)));
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
        let (few, others) = self.apart(scope, query.using, budget)?;
        let scorer = Scorer::new(query.vector, shape.metric, shape.element);
        let shares = budget.shares + u64::from(!others.segments.is_empty());
        let of_few = self.nearest_of_few(&few, query, &scorer, with_payload, FarBudget { shares, ..budget });
        let of_few = stage(Stage::Rows, of_few);
        if others.segments.is_empty() {
            return of_few.await;
        }
        let by_codes = self.nearest_by_codes(&others, query, &scorer, with_payload, budget);
        if few.is_empty() {
            return by_codes.await;
        }
        // What one may still read is known when the other has read.
        let in_turn = Allowance::current().is_some_and(|allowance| allowance.bounds_bytes());
        let (some, others) = match in_turn {
            true => (of_few.await?, by_codes.await?),
            false => try_join(of_few, by_codes).await?,
        };
        let order = nearest_first(shape.metric.greater_is_nearer());
        Ok(merge(vec![some, others], order, 0, query.limit).into_iter().map(|(_, hit)| hit).collect())
    }

    /// The segments of a scope of which so few rows match that these are read alone, and the others.
    fn apart<'a>(
        &'a self,
        scope: &'a FarScope,
        using: &str,
        budget: FarBudget,
    ) -> Result<(Vec<Few<'a>>, Cow<'a, FarScope>)> {
        let Some(matching) = &scope.matching else { return Ok((Vec::new(), Cow::Borrowed(scope))) };
        let rows = |segment: &usize| u64::from(self.reader(*segment).rows());
        let all: u64 = scope.segments.iter().map(rows).sum();
        // A directory may be read for more, but does not have to be.
        let bytes = budget.bytes.min(FarBudget::default().bytes);
        let few = scope.segments.iter().zip(matching).map(|(segment, matching)| {
            let share = bytes * rows(segment) / all.max(1);
            Few::of(self.reader(*segment), matching, using, share)
        });
        let few: Vec<Option<Few>> = few.collect::<Result<_>>()?;
        if few.iter().all(Option::is_none) {
            return Ok((Vec::new(), Cow::Borrowed(scope)));
        }
        let others = scope.segments.iter().zip(matching).zip(&few).filter(|(_, few)| few.is_none());
        let (segments, matching) = others.map(|((segment, rows), _)| (*segment, rows.clone())).unzip();
        let others = FarScope { segments, matching: Some(matching), filter: scope.filter };
        Ok((few.into_iter().flatten().collect(), Cow::Owned(others)))
    }

    /// The nearest rows by the three trips.
    async fn nearest_by_codes(
        &self,
        scope: &FarScope,
        query: &Nearest<'_>,
        scorer: &Scorer,
        with_payload: bool,
        budget: FarBudget,
    ) -> Result<Vec<FarHit>> {
        let groups = stage(Stage::Outline, self.groups(scope, query.using, with_payload)).await?;
        let times = groups.iter().map(|group| group.outline.calibration().candidates).max().unwrap_or(1);
        let rows = compared(query, scorer.metric(), times, with_payload, budget);
        let allowance = Allowance::current();
        let until = allowance.as_ref().and_then(|allowance| allowance.codes_until());
        let row_bytes = scorer.row_bytes() as u64;
        let plan = Plan::new(&groups, query, rows, scope.filter, with_payload, row_bytes, budget);
        let queries: Vec<ColdQuery> =
            groups.iter().map(|group| ColdQuery::new(&group.outline, query.vector)).collect();
        let (mut plan, mut read, mut candidates) = (plan, Vec::new(), Vec::new());
        loop {
            let mut reads = plan.reads(&groups, &queries);
            match &allowance {
                None => reads = unread(reads, &read),
                // There may not be enough left for all of it, so it is chosen anew.
                Some(allowance) => {
                    (read, candidates) = (Vec::new(), Vec::new());
                    reads = plan.within(allowance, &groups, &queries, reads)?;
                }
            }
            read.extend(reads.iter().map(|read| (read.segment, read.places.clone())));
            candidates.extend(stage(Stage::Codes, self.candidates(reads, query, until)).await?);
            let places = read.iter().map(|(_, places)| places.len() as u64).sum();
            let is_cut_short = allowance.as_ref().is_some_and(|allowance| allowance.is_reached());
            match plan.wider(candidates.len() as u64, places, query.limit) {
                Some(wider) if !is_cut_short => plan = wider,
                _ => break,
            }
        }
        candidates.sort_unstable_by(|a, b| a.row.estimate.total_cmp(&b.row.estimate));
        candidates.truncate(rows);
        if let Some(allowance) = &allowance {
            affordable(allowance, &mut candidates, budget.shares)?;
        }
        stage(Stage::Rows, self.hits(candidates, query, scorer)).await
    }

    /// The first trip.
    async fn groups<'a>(
        &'a self,
        scope: &'a FarScope,
        using: &str,
        with_payload: bool,
    ) -> Result<Vec<Group<'a>>> {
        type Far<'a> = (&'a SegmentReader, Option<&'a RoaringBitmap>);
        let mut by_model: HashMap<(&str, u64), Vec<Far>> = HashMap::new();
        for (number, segment) in scope.segments.iter().enumerate() {
            let reader = self.reader(*segment);
            let matching = scope.matching.as_ref().and_then(|matching| matching.get(number));
            let model = reader.meta().part(&PartKind::Model(using.to_owned()));
            let model = model.map_or(("", 0), |part: &PartMeta| (part.object.as_str(), part.offset));
            by_model.entry(model).or_default().push((reader, matching));
        }
        let groups = by_model.into_values().map(|readers| async move {
            let segments = readers.iter().map(|(reader, _)| first_trip(reader, using, with_payload));
            let (outline, segments) = try_join(readers[0].0.outline(using), try_join_all(segments)).await?;
            let segments = readers.into_iter().zip(segments);
            let segments = segments.map(|((reader, matching), (index, payloads))| Segment {
                reader,
                index,
                payloads,
                matching,
            });
            Ok::<_, Error>(Group { outline, segments: segments.collect() })
        });
        try_join_all(groups).await
    }

    /// The second trip: rows that are still what their segment says, or have other payloads. What has not come by `until` is
    /// not waited for.
    async fn candidates<'a, 'g>(
        &self,
        reads: Vec<CodeRead<'a, 'g>>,
        query: &Nearest<'_>,
        until: Option<Instant>,
    ) -> Result<Vec<Candidate<'a, 'g>>> {
        let reads = reads.into_iter().map(|read| async move {
            let _permit = under_way(read.bytes()).await?;
            let CodeRead { segment, query, places } = read;
            let rows = segment.reader.far_candidates(&segment.index, query, places).await?;
            Ok::<_, Error>((segment, rows))
        });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let mut candidates = Vec::new();
        while let Some((segment, rows)) = next_in_time(&mut reads, until).await? {
            let deletes = segment.reader.deletes()?;
            let stays = |row: &FarCandidate| {
                let matches = segment.matching.is_none_or(|rows| rows.contains(row.tag.row));
                matches && !deletes.contains(row.tag.row) && self.may_answer(row.tag.id, query)
            };
            candidates.extend(rows.into_iter().filter(stays).map(|row| Candidate { segment, row }));
        }
        Ok(candidates)
    }

    /// The third trip.
    async fn hits(
        &self,
        candidates: Vec<Candidate<'_, '_>>,
        query: &Nearest<'_>,
        scorer: &Scorer,
    ) -> Result<Vec<FarHit>> {
        let greater = scorer.metric().greater_is_nearer();
        let by_segment = by_segment(&candidates);
        let reads = by_segment.iter().map(|(segment, tags)| async move {
            let numbers: Vec<u32> = tags.iter().map(|tag| tag.row).collect();
            let vectors = segment.reader.far_vector_bytes(&segment.index, tags);
            let texts = async {
                match &segment.payloads {
                    None => Ok::<_, Error>(tags.iter().map(|_| Ok(None)).collect()),
                    Some(payloads) => {
                        let texts = segment.reader.far_payload_texts(payloads, &numbers).await?;
                        Ok(texts.into_iter().map(|text| text.map(Some)).collect::<Vec<_>>())
                    }
                }
            };
            let (vectors, texts) = join(vectors, texts).await;
            Ok::<_, Error>(tags.iter().zip(vectors).zip(texts?))
        });
        let mut hits: Vec<Scored<PointId>> = Vec::new();
        let mut rows = HashMap::new();
        for read in join_all(reads).await {
            for ((tag, vector), text) in read? {
                let Some((vector, text)) = unless_excused(vector.and_then(|vector| Ok((vector, text?))))?
                else {
                    continue;
                };
                let score = scorer.score(&vector);
                if query.is_near_enough(score, greater) {
                    hits.push(Scored::new(score, greater, tag.id));
                    rows.insert(tag.id, (tag.lsn, vector, text));
                }
            }
        }
        hits.sort_unstable();
        hits.truncate(query.limit);
        let known =
            hits.into_iter().filter_map(|hit| Some((hit.score(greater), hit.key, rows.remove(&hit.key)?)));
        known.map(|(score, id, (lsn, vector, text))| self.hit(id, score, lsn, vector, text)).collect()
    }

    /// Whether the row that a segment has of this point is still its row, and the query does not leave the point out.
    pub(crate) fn may_answer(&self, id: PointId, query: &Nearest) -> bool {
        let entry = self.memtable().get(id).map(|entry| &**entry);
        !matches!(entry, Some(TailEntry::Row(_) | TailEntry::Deleted)) && query.except != Some(id)
    }

    /// A row with what the tail changed of it.
    pub(crate) fn hit(
        &self,
        id: PointId,
        score: f32,
        lsn: u64,
        vector: Bytes,
        text: Option<Bytes>,
    ) -> Result<FarHit> {
        let mut payload = text.map(|text| parse_payload(&text)).transpose()?;
        let mut version = lsn;
        if let Some(TailEntry::Patched(patches)) = self.memtable().get(id).map(|entry| &**entry) {
            version = patches.lsn;
            payload.iter_mut().for_each(|payload| patches.apply_to_payload(payload));
        }
        Ok(FarHit { id, score, version, payload, vector })
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
        let (indexes, mut filter) = (plan.indexes(), FilterParts::default());
        for part in segments.iter().flat_map(|segment| &self.view().reader(*segment).meta().parts) {
            if matches!(&part.kind, PartKind::FieldIndex { path, .. } if indexes.contains(path)) {
                filter.parts += 1;
                filter.bytes += part.length;
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
        Ok(Some(FarScope { segments: having, matching: Some(matching), filter }))
    }
}

async fn first_trip(
    reader: &SegmentReader,
    using: &str,
    with_payload: bool,
) -> Result<(FarIndex, Option<FarPayloads>)> {
    let payloads = async {
        match with_payload {
            true => reader.far_payloads().await.map(Some),
            false => Ok(None),
        }
    };
    let deletes = [PartKind::Deletes];
    let (index, (payloads, ())) =
        try_join(reader.far_index(using), try_join(payloads, reader.load(&deletes))).await?;
    Ok((index, payloads))
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

/// The rows of each segment, in the order given.
pub(crate) fn by_segment<'a, 'g>(candidates: &[Candidate<'a, 'g>]) -> Vec<(&'g Segment<'a>, Vec<RowTag>)> {
    let mut by_segment: Vec<(&Segment, Vec<RowTag>)> = Vec::new();
    for Candidate { segment, row } in candidates {
        match by_segment.iter_mut().find(|(known, _)| std::ptr::eq(*known, *segment)) {
            Some((_, rows)) => rows.push(row.tag),
            None => by_segment.push((segment, vec![row.tag])),
        }
    }
    by_segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_vectors_are_compared_where_codes_leave_more_in_doubt() {
        let budget = FarBudget::default();
        let rows = |limit, method, metric, times, with_payload| {
            let query =
                Nearest { vector: &[], using: "", score_threshold: None, except: None, limit, method };
            compared(&query, metric, times, with_payload, budget)
        };
        let usual = Method::default();
        let euclid = |limit, method, times| rows(limit, method, Metric::Euclid, times, false);
        assert_eq!((euclid(10, usual, 1), euclid(100, usual, 1)), (16, 129));
        assert_eq!((euclid(4, usual, 3), euclid(10, usual, 9), euclid(100, usual, 9)), (27, 32, 129));
        assert_eq!(rows(4, usual, Metric::Euclid, 9, true), 16, "with payloads there are as many requests");
        let wished = |candidates| Method { candidates: Some(candidates), ..usual };
        assert_eq!(
            (euclid(10, wished(9), 1), euclid(10, wished(20), 1), euclid(10, wished(99), 1)),
            (16, 20, 32)
        );
        assert_eq!(euclid(10, Method { ignore_codes: true, ..usual }, 1), 32);
        assert_eq!(rows(50, usual, Metric::Manhattan, 1, true), 132);
    }
}
