//! How a search by codes ends: the vectors of the most promising rows, which decide, and payloads, in one more trip.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use futures::future::{join, join_all, try_join};
use lodestone_kernels::Metric;
use lodestone_segment::{FarCandidate, FarPayloads, PartKind, RowTag, SegmentReader, VectorPlaces};
use lodestone_types::{Error, Limit, Payload, PointId, Result};

use crate::allowance::Allowance;
use crate::best::Scored;
use crate::change::parse_payload;
use crate::far::{FarRead, unless_excused};
use crate::far_lists::Found;
use crate::merge::ScoredId;
use crate::nearest::Method;
use crate::tail::TailEntry;
use crate::view::ShardView;

/// Rows whose vectors are read beyond those that are wanted: level codes mostly tell the nearest well enough, and each is a request, or
/// two, that lists do not get.
const MORE_ROWS: usize = 2;
/// The same where there are no lists to be read.
const MORE_IN_ORDER: usize = 6;
/// Of the requests that vectors and payloads would usually be one by one, so many are set aside: rows near each other share requests. Measured,
/// see `docs/0005-cold-search.md`.
const SET_ASIDE: (usize, usize) = (4, 5);
/// Where codes leave more in doubt, or a search asks for it, more vectors are compared, up to one part in so many of all requests.
const MOST_OF_REQUESTS: usize = 2;

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

/// Where a far segment has what answers show of its rows.
pub(crate) struct RowPlaces<'a> {
    pub reader: &'a SegmentReader,
    pub vectors: VectorPlaces,
    pub payloads: Option<FarPayloads>,
}

/// A row that may be among the nearest, and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a, 'g> {
    pub rows: &'g RowPlaces<'a>,
    pub row: FarCandidate,
}

impl<'a> RowPlaces<'a> {
    /// Two requests side by side at most: which rows are no more, where payloads are.
    pub async fn find(reader: &'a SegmentReader, using: &str, with_payload: bool) -> Result<Self> {
        let payloads = async {
            match with_payload {
                true => reader.far_payloads().await.map(Some),
                false => Ok(None),
            }
        };
        let deletes = [PartKind::Deletes];
        let (payloads, ()) = try_join(payloads, reader.load(&deletes)).await?;
        Ok(Self { reader, vectors: reader.vector_places(using)?, payloads })
    }
}

impl FarRead<'_> {
    /// Rows whose vectors are compared, `times` being how many more than usual codes leave in doubt. `by_lists`: lists want requests too.
    pub fn compared(&self, times: u32, by_lists: bool) -> usize {
        let usual = self.usually_compared(by_lists);
        // Codes say how far rows are by squares of differences, not by their sums.
        let least = if self.scorer.metric() == Metric::Manhattan { 2 * usual } else { usual };
        let Method { candidates, ignore_codes, .. } = self.query.method;
        let wished = if ignore_codes { usize::MAX } else { candidates.unwrap_or_default() };
        let asked = usual.saturating_mul(times as usize).max(wished);
        // A payload is a request of its own.
        least.max(asked.min(self.budget.requests / MOST_OF_REQUESTS / (1 + usize::from(self.with_payload))))
    }

    /// Requests that are set aside for as many rows. Where they take more, and nothing else has left some, fewer are compared.
    pub fn row_requests(&self, compared: usize) -> usize {
        self.least_compared(compared) * (1 + usize::from(self.with_payload))
    }

    /// Of as many rows those that are compared whatever they take: all, where codes leave more in doubt than usual, or the search asks for it.
    fn least_compared(&self, compared: usize) -> usize {
        match compared > self.usually_compared(true) {
            true => compared,
            false => (compared * SET_ASIDE.0 / SET_ASIDE.1).max(self.query.limit),
        }
    }

    /// Rows whose vectors are compared where codes tell the nearest well.
    pub fn usually_compared(&self, by_lists: bool) -> usize {
        let more = if by_lists { MORE_ROWS } else { MORE_IN_ORDER };
        self.query.limit + self.query.limit / 4 + more
    }
}

impl ShardView {
    /// The nearest of these rows by their vectors, of which `compared` are read, the most promising ones, or as many as there are requests
    /// for, and the read may ask for.
    pub(crate) async fn nearest_of(
        &self,
        Found { mut candidates, row_requests }: Found<'_, '_>,
        compared: usize,
        read: FarRead<'_>,
    ) -> Result<Vec<FarHit>> {
        candidates.sort_unstable_by(|a, b| a.row.estimate.total_cmp(&b.row.estimate));
        candidates.truncate(compared);
        let least = read.least_compared(compared).min(candidates.len());
        let fit =
            most_that_fit(
                least..candidates.len(),
                |count| Ok(cost(&candidates[..count])?.0 <= row_requests),
            )?;
        candidates.truncate(fit);
        if let Some(allowance) = Allowance::current() {
            affordable(&allowance, &mut candidates, read.budget.shares)?;
        }
        self.hits(&candidates, read).await
    }

    async fn hits(&self, candidates: &[Candidate<'_, '_>], read: FarRead<'_>) -> Result<Vec<FarHit>> {
        let FarRead { query, scorer, .. } = read;
        let greater = scorer.metric().greater_is_nearer();
        let by_segment = by_segment(candidates);
        let reads = by_segment.iter().map(|(rows, tags)| async move {
            let numbers: Vec<u32> = tags.iter().map(|tag| tag.row).collect();
            let vectors = rows.reader.far_vector_bytes(&rows.vectors, tags);
            let texts = async {
                match &rows.payloads {
                    None => Ok::<_, Error>(tags.iter().map(|_| Ok(None)).collect()),
                    Some(payloads) => {
                        let texts = rows.reader.far_payload_texts(payloads, &numbers).await?;
                        Ok(texts.into_iter().map(|text| text.map(Some)).collect::<Vec<_>>())
                    }
                }
            };
            let (vectors, texts) = join(vectors, texts).await;
            Ok::<_, Error>(tags.iter().zip(vectors).zip(texts?))
        });
        let mut hits: Vec<Scored<PointId>> = Vec::new();
        let mut known = HashMap::new();
        for read in join_all(reads).await {
            for ((tag, vector), text) in read? {
                let Some((vector, text)) = unless_excused(vector.and_then(|vector| Ok((vector, text?))))?
                else {
                    continue;
                };
                let score = scorer.score(&vector);
                if query.is_near_enough(score, greater) {
                    hits.push(Scored::new(score, greater, tag.id));
                    known.insert(tag.id, (tag.lsn, vector, text));
                }
            }
        }
        hits.sort_unstable();
        hits.truncate(query.limit);
        let hits =
            hits.into_iter().filter_map(|hit| Some((hit.score(greater), hit.key, known.remove(&hit.key)?)));
        hits.map(|(score, id, (lsn, vector, text))| self.hit(id, score, lsn, vector, text)).collect()
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

/// Leaves as many of the most promising rows as can be read within the limits; an error if that must be all.
fn affordable(allowance: &Allowance, candidates: &mut Vec<Candidate>, shares: u64) -> Result<()> {
    let Some(left) = allowance.left() else { return Ok(()) };
    let bytes = |count: usize| cost(&candidates[..count]).map(|(_, bytes)| bytes);
    let all = bytes(candidates.len())?;
    if !allowance.takes_parts() {
        return allowance.require(all);
    }
    if all <= left / shares.max(1) {
        return Ok(());
    }
    let fit = most_that_fit(0..candidates.len(), |count| Ok(bytes(count)? <= left / shares.max(1)))?;
    candidates.truncate(fit);
    allowance.reach(Limit::Bytes);
    Ok(())
}

/// The greatest of these numbers that `fits`, or the least: of rows, of which more mostly do not cost less.
fn most_that_fit(among: Range<usize>, fits: impl Fn(usize) -> Result<bool>) -> Result<usize> {
    if fits(among.end)? {
        return Ok(among.end);
    }
    let (mut fit, mut too_many) = (among.start, among.end);
    while too_many > fit + 1 {
        let middle = fit + (too_many - fit) / 2;
        if fits(middle)? { fit = middle } else { too_many = middle }
    }
    Ok(fit)
}

/// Requests for these rows, and for how many bytes.
fn cost(candidates: &[Candidate]) -> Result<(usize, u64)> {
    let of_segment = |(rows, tags): (&RowPlaces, Vec<RowTag>)| {
        rows.reader.far_row_cost(&rows.vectors, rows.payloads.as_ref(), &tags)
    };
    by_segment(candidates).into_iter().map(of_segment).try_fold((0, 0), |(requests, bytes), of_segment| {
        let more = of_segment?;
        Ok((requests + more.0, bytes + more.1))
    })
}

/// The rows of each segment, in the order given.
fn by_segment<'a, 'g>(candidates: &[Candidate<'a, 'g>]) -> Vec<(&'g RowPlaces<'a>, Vec<RowTag>)> {
    let mut by_segment: Vec<(&RowPlaces, Vec<RowTag>)> = Vec::new();
    for Candidate { rows, row } in candidates {
        match by_segment.iter_mut().find(|(known, _)| std::ptr::eq(*known, *rows)) {
            Some((_, tags)) => tags.push(row.tag),
            None => by_segment.push((rows, vec![row.tag])),
        }
    }
    by_segment
}

#[cfg(test)]
mod tests {
    use lodestone_kernels::{Element, Scorer};

    use super::*;
    use crate::far_plan::FarBudget;
    use crate::nearest::Nearest;

    #[test]
    fn more_vectors_are_compared_where_codes_leave_more_in_doubt() {
        let budget = FarBudget::default();
        let rows = |limit, method, metric, times, with_payload, by_lists| {
            let query =
                Nearest { vector: &[], using: "", score_threshold: None, except: None, limit, method };
            let scorer = Scorer::new(&[1.0], metric, Element::F32);
            FarRead { query: &query, scorer: &scorer, with_payload, budget }.compared(times, by_lists)
        };
        let usual = Method::default();
        let euclid = |limit, method, times| rows(limit, method, Metric::Euclid, times, false, true);
        assert_eq!((euclid(10, usual, 1), euclid(100, usual, 1)), (14, 127));
        assert_eq!((euclid(4, usual, 3), euclid(10, usual, 9), euclid(100, usual, 9)), (21, 32, 127));
        assert_eq!(
            rows(4, usual, Metric::Euclid, 9, true, true),
            16,
            "with payloads there are as many requests"
        );
        let wished = |candidates| Method { candidates: Some(candidates), ..usual };
        assert_eq!(
            (euclid(10, wished(9), 1), euclid(10, wished(20), 1), euclid(10, wished(99), 1)),
            (14, 20, 32)
        );
        assert_eq!(euclid(10, Method { ignore_codes: true, ..usual }, 1), 32);
        assert_eq!(rows(50, usual, Metric::Manhattan, 1, true, true), 128);
        assert_eq!(rows(10, usual, Metric::Euclid, 1, true, false), 18, "no lists are read");
    }
}
