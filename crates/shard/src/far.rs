//! The nearest rows of segments that are still in the bucket: three requests in a row, however many rows there are, and a few
//! megabytes. `docs/0005-cold-search.md` says why it is so.
//!
//! 1. where lists begin, what the model makes of queries, where payloads are, which rows are no more
//! 2. the level codes of the nearest lists
//! 3. the vectors of the most promising rows, and their payloads
//!
//! A segment that is here already, or too small for an index, is searched as always, beside the others.

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::{join_all, try_join, try_join_all};
use futures::stream::{self, StreamExt, TryStreamExt};
use lodestone_index::dense::{ColdQuery, ListPlaces, Outline, ReadBudget, plan_reads};
use lodestone_kernels::Scorer;
use lodestone_segment::{FarCandidate, FarIndex, FarPayloads, PartKind, PartMeta, SegmentReader};
use lodestone_store::{Stage, stage};
use lodestone_types::{Error, Payload, PointId, Result, VectorSelector};
use roaring::RoaringBitmap;

use crate::best::Scored;
use crate::change::parse_payload;
use crate::merge::ScoredId;
use crate::nearest::Nearest;
use crate::select::PayloadPicker;
use crate::selection::{Selection, Source};
use crate::tail::TailEntry;
use crate::view::ShardView;

/// What a search of far segments may ask of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FarBudget {
    /// Requests, as long as the segments are no more than two or three.
    pub requests: usize,
    /// Bytes, as long as segments without an index have not more.
    pub bytes: u64,
    /// Rows whose codes are looked at where the user does not say how hard to look.
    pub places: usize,
}

impl Default for FarBudget {
    /// For a bucket that is far away, and charges for requests.
    fn default() -> Self {
        Self { requests: 64, bytes: 6_000_000, places: 16_000 }
    }
}

impl FarBudget {
    /// For a directory, where a request is a read of a file.
    pub fn of_directory() -> Self {
        Self { requests: 400, bytes: 40_000_000, places: 64_000 }
    }
}

/// The `hnsw_ef` that [`FarBudget::places`] stands for.
const DEFAULT_EF: usize = 128;
/// Rows whose vectors are read beyond those that are wanted: level codes tell the nearest well enough.
const MORE_ROWS: usize = 4;
/// Where fewer than one row of so many matches a filter, codes are read until enough that match are among them, whatever the budget:
/// still far fewer bytes than all that the bucket has.
const MOST_SELECTIVE: u64 = 12;
/// Bytes of codes that one request asks for at most: what is more comes faster side by side.
const RANGE_BYTES: u64 = 1 << 20;
/// Requests for codes at once, so that what is under way fits into memory.
const AT_ONCE: usize = 64;
/// Ranges of codes that are read at least, whatever the budget, and so many more for each segment after the first: with fewer
/// too much is missed.
const LEAST_RANGES: usize = 16;
const RANGES_OF_SEGMENT: usize = 8;
/// What a block of payloads takes, about.
const PAYLOAD_BLOCK: u64 = 10_000;

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
struct Group<'a> {
    outline: Outline,
    segments: Vec<Segment<'a>>,
}

/// Far segments, and of each the rows that are answers where not all are.
#[derive(Debug, Clone, Default)]
pub struct FarScope {
    segments: Vec<usize>,
    matching: Option<Vec<RoaringBitmap>>,
}

/// What the first trip brought of a segment.
struct Segment<'a> {
    reader: &'a SegmentReader,
    index: FarIndex,
    payloads: Option<FarPayloads>,
    matching: Option<&'a RoaringBitmap>,
}

/// A row that may be among the nearest, and where it is.
struct Candidate<'a, 'g> {
    segment: &'g Segment<'a>,
    row: FarCandidate,
}

impl Segment<'_> {
    /// Rows that are answers.
    fn matching(&self) -> u64 {
        self.matching.map_or(self.index.rows().into(), RoaringBitmap::len)
    }
}

impl ShardView {
    /// The segments in which a search among the vectors called `using` had to load what it needs, and which can be searched
    /// where they are instead. `with_payload`: answers show payloads.
    pub fn far_segments(&self, using: &str, with_payload: bool) -> Vec<usize> {
        let needed = needed(using, with_payload);
        let is_far = |segment: &usize| {
            let reader = self.reader(*segment);
            reader.has_far_index(using) && !needed.iter().all(|kind| reader.is_loaded(kind))
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
        let scope = FarScope { segments: self.far_segments(using, with_payload), matching: None };
        stage(Stage::Outline, self.groups(&scope, using, with_payload)).await.map(drop)
    }

    /// Bytes of all parts of all segments.
    pub fn segment_bytes(&self) -> u64 {
        self.segments().map(|reader| reader.meta().bytes()).sum()
    }

    /// Whether the tail has changes of rows that are in segments.
    fn has_patches(&self) -> bool {
        self.memtable().iter().any(|(_, entry)| matches!(**entry, TailEntry::Patched(_)))
    }

    /// The nearest rows of these segments, nearest first, at most as many as asked for. Reads what it needs from the bucket.
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
        let groups = stage(Stage::Outline, self.groups(scope, query.using, with_payload)).await?;
        let rows = query.limit + query.limit / 4 + MORE_ROWS;
        let plan = Plan::new(&groups, query, rows, with_payload, shape.row_bytes() as u64, budget);
        let mut candidates = stage(Stage::Codes, self.candidates(&groups, query, plan)).await?;
        candidates.sort_unstable_by(|a, b| a.row.estimate.total_cmp(&b.row.estimate));
        candidates.truncate(rows);
        let scorer = Scorer::new(query.vector, shape.metric, shape.element);
        stage(Stage::Rows, self.hits(candidates, query, &scorer, shape.metric.greater_is_nearer())).await
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

    /// The second trip: rows that are still what their segment says, or have other payloads.
    async fn candidates<'a, 'g>(
        &self,
        groups: &'g [Group<'a>],
        query: &Nearest<'_>,
        plan: Plan,
    ) -> Result<Vec<Candidate<'a, 'g>>> {
        let queries: Vec<ColdQuery> =
            groups.iter().map(|group| ColdQuery::new(&group.outline, query.vector)).collect();
        let reads = groups.iter().zip(&queries).flat_map(|(group, cold)| {
            let near = cold.near_lists(&group.outline, usize::MAX);
            let places: Vec<&ListPlaces> =
                group.segments.iter().map(|segment| segment.index.places()).collect();
            let reads = plan_reads(&near, &places, plan.share(group));
            reads.into_iter().flat_map(move |(number, places)| {
                let segment = &group.segments[number];
                let most = (RANGE_BYTES / segment.index.entry_bytes().max(1)) as u32;
                let pieces = segment.index.places().pieces(places, most);
                pieces.into_iter().map(move |piece| async move {
                    let rows = segment.reader.far_candidates(&segment.index, cold, piece).await?;
                    Ok::<_, Error>((segment, rows))
                })
            })
        });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let mut candidates = Vec::new();
        while let Some((segment, rows)) = reads.try_next().await? {
            let deletes = segment.reader.deletes()?;
            let stays = |row: &FarCandidate| {
                let overwritten = matches!(
                    self.memtable().get(row.tag.id).map(|entry| &**entry),
                    Some(TailEntry::Row(_) | TailEntry::Deleted)
                );
                let matches = segment.matching.is_none_or(|rows| rows.contains(row.tag.row));
                matches && !overwritten && !deletes.contains(row.tag.row) && query.except != Some(row.tag.id)
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
        greater: bool,
    ) -> Result<Vec<FarHit>> {
        let mut by_segment: Vec<(&Segment, Vec<FarCandidate>)> = Vec::new();
        for Candidate { segment, row } in candidates {
            match by_segment.iter_mut().find(|(known, _)| std::ptr::eq(*known, segment)) {
                Some((_, rows)) => rows.push(row),
                None => by_segment.push((segment, vec![row])),
            }
        }
        let reads = by_segment.iter().map(|(segment, rows)| async move {
            let tags: Vec<_> = rows.iter().map(|row| row.tag).collect();
            let numbers: Vec<u32> = tags.iter().map(|tag| tag.row).collect();
            let vectors = segment.reader.far_vector_bytes(&segment.index, &tags);
            let texts = async {
                match &segment.payloads {
                    None => Ok(Vec::new()),
                    Some(payloads) => segment.reader.far_payload_texts(payloads, &numbers).await,
                }
            };
            let (vectors, texts) = try_join(vectors, texts).await?;
            Ok::<_, Error>((tags, vectors, texts))
        });
        let mut hits: Vec<Scored<PointId>> = Vec::new();
        let mut rows = HashMap::new();
        for read in join_all(reads).await {
            let (tags, vectors, texts) = read?;
            let mut texts = texts.into_iter();
            for (tag, vector) in tags.into_iter().zip(vectors) {
                let (score, text) = (scorer.score(&vector), texts.next());
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

    /// A row with what the tail changed of it.
    fn hit(&self, id: PointId, score: f32, lsn: u64, vector: Bytes, text: Option<Bytes>) -> Result<FarHit> {
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
        let Some(plan) = self.plan() else { return Ok(Some(FarScope { segments, matching: None })) };
        if segments.is_empty() {
            return Ok(Some(FarScope::default()));
        }
        if self.vector_names().next().is_some() || self.view().has_patches() {
            return Ok(None);
        }
        self.load_indexes(&segments).await?;
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
        Ok(Some(FarScope { segments: having, matching: Some(matching) }))
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

/// What the second trip may read in all.
#[derive(Clone, Copy)]
struct Plan {
    places: usize,
    ranges: usize,
    /// Of all segments.
    rows: u64,
}

impl Plan {
    /// What the other trips leave of the budget.
    fn new(
        groups: &[Group],
        query: &Nearest,
        rows: usize,
        with_payload: bool,
        row_bytes: u64,
        budget: FarBudget,
    ) -> Self {
        let segments = || groups.iter().flat_map(|group| &group.segments);
        let deletes = |segment: &Segment| segment.reader.meta().part(&PartKind::Deletes).is_some();
        let of_segment = |segment| 1 + usize::from(deletes(segment)) + usize::from(with_payload);
        let first = groups.len() + segments().map(of_segment).sum::<usize>();
        let third = rows * (1 + usize::from(with_payload));
        let outlines: u64 = groups.iter().map(|group| group.outline.bytes() as u64).sum();
        let of_rows = rows as u64 * (row_bytes + if with_payload { PAYLOAD_BLOCK } else { 0 });
        let bytes = budget.bytes.saturating_sub(outlines + of_rows).max(budget.bytes / 4);
        let entry = segments().map(|segment| segment.index.entry_bytes()).max().unwrap_or(1).max(1);
        let rows: u64 = segments().map(|segment| u64::from(segment.index.rows())).sum();
        let matching: u64 = segments().map(Segment::matching).sum();
        let wanted = query.method.hnsw_ef.unwrap_or(DEFAULT_EF).saturating_mul(budget.places / DEFAULT_EF);
        let wanted = wanted.saturating_mul((rows / matching.max(1)) as usize);
        let affordable = if matching * MOST_SELECTIVE < rows { rows } else { bytes / entry };
        let least_ranges = LEAST_RANGES + RANGES_OF_SEGMENT * segments().count().saturating_sub(1);
        Self {
            places: wanted.clamp(1, affordable.max(1) as usize),
            ranges: budget.requests.saturating_sub(first + third).max(least_ranges),
            rows,
        }
    }

    /// What of it is for a group: in proportion to its rows.
    fn share(&self, group: &Group) -> ReadBudget {
        let rows: u64 = group.segments.iter().map(|segment| u64::from(segment.index.rows())).sum();
        let share = |all: usize| (all as u64 * rows).div_ceil(self.rows.max(1)) as usize;
        ReadBudget { places: share(self.places), ranges: share(self.ranges) }
    }
}
