//! Far segments of which the codes of the lists that are nearest to the query are read.
//!
//! 1. where lists begin, what the model makes of queries, where payloads are, which rows are no more
//! 2. the level codes of the nearest lists; of more lists where what matches is elsewhere
//! 3. the vectors of the most promising rows, and their payloads

use std::collections::HashMap;

use futures::future::{try_join, try_join_all};
use futures::stream::{self, StreamExt};
use lodestone_index::dense::{ColdQuery, Outline};
use lodestone_segment::{FarCandidate, FarIndex, PartKind, PartMeta, SegmentReader};
use lodestone_types::{Error, Result};
use roaring::RoaringBitmap;
use tokio::time::Instant;

use crate::allowance::Allowance;
use crate::far::{AT_ONCE, FarRead, FarScope, next_in_time, under_way};
use crate::far_compare::{Candidate, RowPlaces};
use crate::far_plan::{Asked, CodeRead, Plan, unread};
use crate::nearest::Nearest;
use crate::view::ShardView;

/// What the first trip brought, and what the query is to each model.
pub(crate) struct Lists<'a> {
    groups: Vec<Group<'a>>,
    queries: Vec<ColdQuery>,
}

impl<'a> Lists<'a> {
    /// By model.
    pub fn groups(&self) -> &[Group<'a>] {
        &self.groups
    }

    /// How many more rows than usual codes leave in doubt.
    pub fn times(&self) -> u32 {
        self.groups.iter().map(|group| group.outline.calibration().candidates).max().unwrap_or(1)
    }
}

/// What the second trip found.
pub(crate) struct Found<'a, 'g> {
    pub candidates: Vec<Candidate<'a, 'g>>,
    /// Requests that the third trip may make.
    pub row_requests: usize,
}

/// Segments of one model.
pub(crate) struct Group<'a> {
    pub outline: Outline,
    pub segments: Vec<Segment<'a>>,
}

/// What the first trip brought of a segment.
pub(crate) struct Segment<'a> {
    pub rows: RowPlaces<'a>,
    pub index: FarIndex,
    matching: Option<&'a RoaringBitmap>,
}

impl Segment<'_> {
    /// Whether a filter says which rows are answers.
    pub fn is_filtered(&self) -> bool {
        self.matching.is_some()
    }

    /// Rows that are answers.
    pub fn matching(&self) -> u64 {
        let deleted = || self.rows.reader.deletes().map_or(0, RoaringBitmap::len);
        self.matching
            .map_or_else(|| u64::from(self.index.rows()).saturating_sub(deleted()), RoaringBitmap::len)
    }
}

/// Where the model is of which the vectors called `using` are.
pub(crate) fn model_of<'r>(reader: &'r SegmentReader, using: &str) -> (&'r str, u64) {
    let model = reader.meta().part(&PartKind::Model(using.to_owned()));
    model.map_or(("", 0), |part: &PartMeta| (part.object.as_str(), part.offset))
}

impl ShardView {
    /// The first trip.
    pub(crate) async fn lists<'a>(&'a self, scope: &'a FarScope, read: FarRead<'_>) -> Result<Lists<'a>> {
        let groups = self.groups(scope, read.query.using, read.with_payload).await?;
        let query = |group: &Group| ColdQuery::new(&group.outline, read.query.vector);
        Ok(Lists { queries: groups.iter().map(query).collect(), groups })
    }

    /// The second trip, where `compared` vectors will be read afterwards, and this is asked for beside.
    pub(crate) async fn list_candidates<'a, 'g>(
        &self,
        Lists { groups, queries }: &'g Lists<'a>,
        compared: usize,
        beside: Asked,
        read: FarRead<'_>,
    ) -> Result<Found<'a, 'g>> {
        if groups.is_empty() {
            return Ok(Found { candidates: Vec::new(), row_requests: usize::MAX });
        }
        let allowance = Allowance::current();
        let until = allowance.as_ref().and_then(|allowance| allowance.codes_until());
        let mut plan = Plan::new(groups, read, compared, beside);
        let (mut known, mut candidates, mut ranges) = (Vec::new(), Vec::new(), 0);
        loop {
            let mut reads = plan.reads(groups, queries);
            match &allowance {
                None => reads = unread(reads, &known),
                // There may not be enough left for all of it, so it is chosen anew.
                Some(allowance) => {
                    (known, candidates) = (Vec::new(), Vec::new());
                    reads = plan.within(allowance, groups, queries, reads)?;
                }
            }
            ranges += reads.len();
            known.extend(reads.iter().map(|read| (read.segment, read.places.clone())));
            candidates.extend(self.candidates(reads, read.query, until).await?);
            let places = known.iter().map(|(_, places)| places.len() as u64).sum();
            let is_cut_short = allowance.as_ref().is_some_and(|allowance| allowance.is_reached());
            match plan.wider(candidates.len() as u64, places, read.query.limit) {
                Some(wider) if !is_cut_short => plan = wider,
                _ => return Ok(Found { candidates, row_requests: plan.requests_for_rows(ranges) }),
            }
        }
    }

    /// What the first trip brings, by model.
    pub(crate) async fn groups<'a>(
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
            by_model.entry(model_of(reader, using)).or_default().push((reader, matching));
        }
        let groups = by_model.into_values().map(|readers| async move {
            let segments = readers.iter().map(|(reader, _)| {
                try_join(reader.far_index(using), RowPlaces::find(reader, using, with_payload))
            });
            let (outline, segments) = try_join(readers[0].0.outline(using), try_join_all(segments)).await?;
            let segments = readers.into_iter().zip(segments);
            let segments = segments.map(|((_, matching), (index, rows))| Segment { rows, index, matching });
            Ok::<_, Error>(Group { outline, segments: segments.collect() })
        });
        try_join_all(groups).await
    }

    /// Rows of these ranges that are still what their segment says, or have other payloads. What has not come by `until` is not waited for.
    async fn candidates<'a, 'g>(
        &self,
        reads: Vec<CodeRead<'a, 'g>>,
        query: &Nearest<'_>,
        until: Option<Instant>,
    ) -> Result<Vec<Candidate<'a, 'g>>> {
        let reads = reads.into_iter().map(|read| async move {
            let _permit = under_way(read.bytes()).await?;
            let CodeRead { segment, query, places } = read;
            let rows = segment.rows.reader.far_candidates(&segment.index, query, places).await?;
            Ok::<_, Error>((segment, rows))
        });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let mut candidates = Vec::new();
        while let Some((segment, rows)) = next_in_time(&mut reads, until).await? {
            let deletes = segment.rows.reader.deletes()?;
            let stays = |row: &FarCandidate| {
                let matches = segment.matching.is_none_or(|rows| rows.contains(row.tag.row));
                matches && !deletes.contains(row.tag.row) && self.may_answer(row.tag.id, query)
            };
            candidates
                .extend(rows.into_iter().filter(stays).map(|row| Candidate { rows: &segment.rows, row }));
        }
        Ok(candidates)
    }
}
