//! Which rows of a segment match a filter: indexes first, payloads only of the rows they leave undecided.
//!
//! [`plan`] looks at a filter once and says which condition asks which index. [`FilterPlan::narrow`] asks them and
//! combines the answers as three-valued bitmaps ([`Matches`]): `must` intersects and hands on only the rows still
//! possible, `should` unites, `must_not` turns around, `min_should` counts. What no index decides is possible
//! everywhere. The caller then loads the payloads of [`Matches::undecided`] in one go, however it does that, and
//! asks the plan's [`Evaluator`] about each; [`FilterPlan::execute`] is both steps for payloads at hand.

use std::collections::BTreeSet;

use lodestone_types::{
    AnyOf, Condition, FieldCondition, Filter, JsonPath, Match, PathSegment, PointId, Predicate, Result,
};
use roaring::RoaringBitmap;

use crate::filter::{Evaluator, RowView, deciding};
use crate::matches::Matches;
use crate::payload_index::FieldIndexReader;
use crate::schema::{FieldSchema, IndexSchema};

/// Rows that are listed in the time that a value is looked up in.
const LOOKUP: u64 = 64;
/// Rows of a bitmap that are gone through in the time that an index lists one in.
const BITMAP_ROWS: u64 = 512;

/// What a segment knows about its rows beside their payloads. `None` means: not known here.
pub trait RowSource {
    /// The index of a field, if this segment has built it.
    fn index(&self, path: &JsonPath) -> Option<&FieldIndexReader>;
    /// The rows with these ids.
    fn rows_with_ids(&self, ids: &BTreeSet<PointId>) -> Option<RoaringBitmap>;
    /// The rows that have a vector of this name.
    fn rows_with_vector(&self, name: &str) -> Option<RoaringBitmap>;
}

/// A filter and where each of its conditions is answered.
#[derive(Debug, Clone)]
pub struct FilterPlan {
    root: Clauses,
    evaluator: Evaluator,
}

/// Plans a filter for a collection with these indexes.
pub fn plan(filter: &Filter, schema: &IndexSchema) -> FilterPlan {
    FilterPlan { root: Clauses::new(filter, schema), evaluator: Evaluator::new(filter, schema) }
}

#[derive(Debug, Clone)]
struct Clauses {
    must: Vec<Step>,
    should: Vec<Step>,
    must_not: Vec<Step>,
    min_should: Option<(usize, Vec<Step>)>,
}

#[derive(Debug, Clone)]
enum Step {
    Index(IndexStep),
    HasId(BTreeSet<PointId>),
    HasVector(String),
    Clauses(Clauses),
    /// Only the payload tells, but rows that fail one of these cannot match.
    Payload {
        necessary: Vec<IndexStep>,
    },
}

/// Asks one index; any of the predicates suffices.
#[derive(Debug, Clone)]
struct IndexStep {
    path: JsonPath,
    schema: FieldSchema,
    predicates: Vec<Predicate>,
}

impl FilterPlan {
    /// Decides single points; this is also what decides the rows that [`narrow`](Self::narrow) leaves undecided.
    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// The indexes that [`narrow`](Self::narrow) asks a segment for.
    pub fn indexes(&self) -> BTreeSet<&JsonPath> {
        let mut paths = BTreeSet::new();
        self.root.collect_indexes(&mut paths);
        paths
    }

    /// What the indexes say about the rows of `universe`.
    pub fn narrow(&self, source: &dyn RowSource, universe: &RoaringBitmap) -> Result<Matches> {
        self.root.rows(source, universe)
    }

    /// The rows of `universe` that match. `row_of` is called for the rows that the indexes leave undecided.
    pub fn execute<R: RowView>(
        &self,
        source: &dyn RowSource,
        universe: &RoaringBitmap,
        mut row_of: impl FnMut(u32) -> Result<R>,
    ) -> Result<RoaringBitmap> {
        let narrowed = self.narrow(source, universe)?;
        let undecided = narrowed.undecided();
        let mut rows = narrowed.certain;
        for row in undecided {
            if self.evaluator.matches(&row_of(row)?) {
                rows.insert(row);
            }
        }
        Ok(rows)
    }

    /// Whether asking the indexes takes no more work than `room`, in rows that they list; what it takes is taken off.
    /// `total`: the rows of the segment. `false` where sizes alone do not tell.
    pub fn lists_within(&self, source: &dyn RowSource, total: u64, room: &mut u64) -> Result<bool> {
        self.root.lists_within(source, total, room)
    }

    /// At most about how many of `total` rows match, from the sizes in the indexes alone.
    pub fn estimate(&self, source: &dyn RowSource, total: u64) -> Result<u64> {
        self.root.estimate(source, total)
    }
}

impl Clauses {
    fn new(filter: &Filter, schema: &IndexSchema) -> Self {
        let steps = |conditions: &[Condition]| conditions.iter().map(|c| Step::new(c, schema)).collect();
        Self {
            must: steps(&filter.must),
            should: steps(&filter.should),
            must_not: steps(&filter.must_not),
            min_should: filter.min_should.as_ref().map(|m| (m.min_count, steps(&m.conditions))),
        }
    }

    fn rows(&self, source: &dyn RowSource, universe: &RoaringBitmap) -> Result<Matches> {
        let mut found = Matches::exact(universe.clone());
        for step in self.must_by_size(source, universe.len())? {
            if found.possible.is_empty() {
                return Ok(found);
            }
            let matches = step.rows(source, &found.possible)?;
            found = found.and(&matches);
        }
        for step in &self.must_not {
            if found.possible.is_empty() {
                return Ok(found);
            }
            let matches = step.rows(source, &found.possible)?.not(&found.possible);
            found = found.and(&matches);
        }
        if !self.should.is_empty() {
            let mut any = Matches::default();
            for step in &self.should {
                any = any.or(&step.rows(source, &found.possible)?);
            }
            found = found.and(&any);
        }
        match &self.min_should {
            Some((count, steps)) if *count > 0 => {
                let each = steps.iter().map(|step| step.rows(source, &found.possible));
                let each: Vec<Matches> = each.collect::<Result<_>>()?;
                Ok(found.and(&Matches::at_least(*count, &each)))
            }
            _ => Ok(found),
        }
    }

    /// The conditions of `must`, those that leave the fewest rows first.
    fn must_by_size(&self, source: &dyn RowSource, total: u64) -> Result<Vec<&Step>> {
        let mut sized = Vec::with_capacity(self.must.len());
        for step in &self.must {
            let size = if self.must.len() > 1 { step.estimate(source, total)? } else { 0 };
            sized.push((size, step));
        }
        sized.sort_by_key(|(size, _)| *size);
        Ok(sized.into_iter().map(|(_, step)| step).collect())
    }

    fn estimate(&self, source: &dyn RowSource, total: u64) -> Result<u64> {
        let mut least = total;
        for step in &self.must {
            least = least.min(step.estimate(source, total)?);
        }
        if !self.should.is_empty() {
            let mut sum = 0_u64;
            for step in &self.should {
                sum = sum.saturating_add(step.estimate(source, total)?);
            }
            least = least.min(sum);
        }
        Ok(least)
    }

    fn lists_within(&self, source: &dyn RowSource, total: u64, room: &mut u64) -> Result<bool> {
        // Counting looks at every row.
        if self.min_should.is_some() || !spend(room, self.bitmaps() * (LOOKUP + total / BITMAP_ROWS)) {
            return Ok(false);
        }
        for step in self.steps() {
            if !step.lists_within(source, total, room)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bitmaps of all rows that are made or gone through.
    fn bitmaps(&self) -> u64 {
        2 + 2 * (self.must.len() + self.should.len()) as u64 + 4 * self.must_not.len() as u64
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        let least = self.min_should.iter().flat_map(|(_, steps)| steps);
        self.must.iter().chain(&self.should).chain(&self.must_not).chain(least)
    }

    fn collect_indexes<'a>(&'a self, paths: &mut BTreeSet<&'a JsonPath>) {
        for step in self.steps() {
            match step {
                Step::Index(index) => {
                    paths.insert(&index.path);
                }
                Step::Payload { necessary } => paths.extend(necessary.iter().map(|index| &index.path)),
                Step::Clauses(clauses) => clauses.collect_indexes(paths),
                Step::HasId(_) | Step::HasVector(_) => {}
            }
        }
    }
}

/// Whether a predicate holds if one of several values fits, which the index, that knows them together, cannot tell.
fn asks_each_value(predicate: &Predicate) -> bool {
    matches!(predicate, Predicate::IsEmpty(true) | Predicate::IsNull(false))
}

fn reaches_several(path: &JsonPath) -> bool {
    path.0.contains(&PathSegment::Wildcard)
}

impl Step {
    fn new(condition: &Condition, schema: &IndexSchema) -> Self {
        let index = |path: &JsonPath, predicates: Vec<Predicate>| match schema.field(path) {
            Some(field) => Step::Index(IndexStep { path: path.clone(), schema: field.clone(), predicates }),
            None => Step::Payload { necessary: Vec::new() },
        };
        match condition {
            Condition::Field(field) => {
                let predicates = match deciding(&field.predicates) {
                    Some(predicate) if asks_each_value(predicate) && reaches_several(&field.key) => {
                        return Step::Payload { necessary: Vec::new() };
                    }
                    Some(predicate) => vec![predicate.clone()],
                    None => field.predicates.clone(),
                };
                index(&field.key, predicates)
            }
            Condition::IsEmpty(path) => index(path, vec![Predicate::IsEmpty(true)]),
            Condition::IsNull(path) => index(path, vec![Predicate::IsNull(true)]),
            Condition::HasId(ids) => Step::HasId(ids.clone()),
            Condition::HasVector(name) => Step::HasVector(name.clone()),
            Condition::Nested { key, filter } => {
                let mut necessary = Vec::new();
                collect_necessary(filter, key, schema, &mut necessary);
                Step::Payload { necessary }
            }
            Condition::Filter(filter) => Step::Clauses(Clauses::new(filter, schema)),
        }
    }

    /// What is known about the rows of `among`.
    fn rows(&self, source: &dyn RowSource, among: &RoaringBitmap) -> Result<Matches> {
        let known = |rows: Option<RoaringBitmap>| match rows {
            Some(rows) => Matches::exact(rows & among),
            None => Matches::perhaps(among.clone()),
        };
        match self {
            Step::Index(step) => step.rows(source, among),
            Step::HasId(ids) => Ok(known(source.rows_with_ids(ids))),
            Step::HasVector(name) => Ok(known(source.rows_with_vector(name))),
            Step::Clauses(clauses) => clauses.rows(source, among),
            Step::Payload { necessary } => {
                let mut possible = among.clone();
                for step in necessary {
                    possible = step.rows(source, &possible)?.possible;
                }
                Ok(Matches::perhaps(possible))
            }
        }
    }

    fn lists_within(&self, source: &dyn RowSource, total: u64, room: &mut u64) -> Result<bool> {
        match self {
            Step::Index(step) => step.lists_within(source, room),
            Step::HasId(ids) => Ok(spend(room, ids.len() as u64 * LOOKUP)),
            Step::Clauses(clauses) => clauses.lists_within(source, total, room),
            Step::HasVector(_) | Step::Payload { .. } => Ok(false),
        }
    }

    fn estimate(&self, source: &dyn RowSource, total: u64) -> Result<u64> {
        match self {
            Step::Index(step) => step.estimate(source, total),
            Step::HasId(ids) => Ok(total.min(ids.len() as u64)),
            Step::HasVector(_) => Ok(total),
            Step::Clauses(clauses) => clauses.estimate(source, total),
            Step::Payload { necessary } => {
                let mut least = total;
                for step in necessary {
                    least = least.min(step.estimate(source, total)?);
                }
                Ok(least)
            }
        }
    }
}

impl IndexStep {
    fn rows(&self, source: &dyn RowSource, among: &RoaringBitmap) -> Result<Matches> {
        let Some(index) = self.reader(source) else { return Ok(Matches::perhaps(among.clone())) };
        let mut found = Matches::default();
        for predicate in &self.predicates {
            match index.rows(predicate)? {
                Some(matches) => found = found.or(&matches.within(among)),
                None => found = found.or(&Matches::perhaps(among.clone())),
            }
        }
        Ok(found)
    }

    fn estimate(&self, source: &dyn RowSource, total: u64) -> Result<u64> {
        let Some(index) = self.reader(source) else { return Ok(total) };
        let mut sum = 0_u64;
        for predicate in &self.predicates {
            sum = sum.saturating_add(index.estimate(predicate)?.unwrap_or(total));
        }
        Ok(sum.min(total))
    }

    fn lists_within(&self, source: &dyn RowSource, room: &mut u64) -> Result<bool> {
        let Some(index) = self.reader(source) else { return Ok(false) };
        for predicate in &self.predicates {
            // Before they are looked up to know how many rows have them.
            let looked_up = lookups(predicate).is_some_and(|values| spend(room, values as u64 * LOOKUP));
            if !looked_up || !index.estimate(predicate)?.is_some_and(|listed| spend(room, listed)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn reader<'a>(&self, source: &'a dyn RowSource) -> Option<&'a FieldIndexReader> {
        source.index(&self.path).filter(|index| index.agrees_with(&self.schema))
    }
}

/// How many values an index looks up to list the rows that [`FieldIndexReader::estimate`] counts; `None` where it goes
/// through others too.
fn lookups(predicate: &Predicate) -> Option<usize> {
    match predicate {
        Predicate::Range(_) | Predicate::DatetimeRange(_) | Predicate::Match(Match::Value(_)) => Some(1),
        Predicate::Match(Match::Any(AnyOf::Keywords(values))) => Some(values.len()),
        Predicate::Match(Match::Any(AnyOf::Integers(values))) => Some(values.len()),
        _ => None,
    }
}

/// Takes so much off, if it is there.
fn spend(room: &mut u64, cost: u64) -> bool {
    let left = room.checked_sub(cost);
    *room = left.unwrap_or(*room);
    left.is_some()
}

/// Conditions on indexed fields that a row must meet for an element of its array `within` to match `filter`: what
/// one element has, the row has.
fn collect_necessary(filter: &Filter, within: &JsonPath, schema: &IndexSchema, steps: &mut Vec<IndexStep>) {
    for condition in &filter.must {
        match condition {
            Condition::Field(field) => steps.extend(necessary(field, within, schema)),
            Condition::Nested { key, filter } => {
                collect_necessary(filter, &within.through_array(key), schema, steps);
            }
            Condition::Filter(filter) => collect_necessary(filter, within, schema, steps),
            // An element may lack what the row has elsewhere; ids and vectors belong to points.
            Condition::IsEmpty(_) | Condition::IsNull(_) | Condition::HasId(_) | Condition::HasVector(_) => {}
        }
    }
}

fn necessary(field: &FieldCondition, within: &JsonPath, schema: &IndexSchema) -> Option<IndexStep> {
    if deciding(&field.predicates).is_some() {
        return None;
    }
    let path = within.through_array(&field.key);
    let schema = schema.field(&path)?.clone();
    Some(IndexStep { path, schema, predicates: field.predicates.clone() })
}
