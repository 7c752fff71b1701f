//! The filter language, read in one pass with its limits on depth and size.
//!
//! A condition is told apart by its keys, which may come in any order: `key` with predicates, one of the
//! conditions that stand alone (`has_id`, `nested`...), or the clauses of a filter within the filter.

use std::cell::Cell;
use std::fmt;

use lodestone_types::limits::{MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH};
use lodestone_types::{Condition, FieldCondition, Filter, JsonPath, MinShould, Predicate};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::condition::{BoundingBox, FlagOrField, Polygon, Radius, WireCount, WireMatch, WireRange};
use super::list::Ids;
use super::unsupported;
use crate::check;

/// A filter within limits.
#[derive(Debug)]
pub struct WireFilter(pub Filter);

impl WireFilter {
    /// The filter, if one was given that has any condition.
    pub fn given(filter: Option<Self>) -> Option<Filter> {
        filter.map(|WireFilter(filter)| filter).filter(|filter| !filter.is_empty())
    }
}

impl<'de> Deserialize<'de> for WireFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let left = Cell::new(MAX_FILTER_CONDITIONS);
        FilterSeed(Scope { left: &left, depth: 1 }).deserialize(deserializer).map(WireFilter)
    }
}

/// Where in the filter we are, and how many conditions it may still have.
#[derive(Clone, Copy)]
struct Scope<'b> {
    left: &'b Cell<usize>,
    depth: usize,
}

impl Scope<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_FILTER_DEPTH {
            return Err(E::custom(check::too_deep().message));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn spend<E: de::Error>(self) -> Result<(), E> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom(check::too_many_conditions().message)),
        }
    }
}

/// The keys of a filter.
#[derive(Deserialize, Clone, Copy)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Clause {
    Must,
    Should,
    MustNot,
    MinShould,
}

/// What was read of a filter so far.
#[derive(Default)]
struct Clauses {
    must: Option<Vec<Condition>>,
    should: Option<Vec<Condition>>,
    must_not: Option<Vec<Condition>>,
    min_should: Option<MinShould>,
}

impl Clauses {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        clause: Clause,
        map: &mut A,
        scope: Scope<'_>,
    ) -> Result<(), A::Error> {
        let (slot, name) = match clause {
            Clause::Must => (&mut self.must, "must"),
            Clause::Should => (&mut self.should, "should"),
            Clause::MustNot => (&mut self.must_not, "must_not"),
            Clause::MinShould => {
                if self.min_should.is_some() {
                    return Err(de::Error::duplicate_field("min_should"));
                }
                self.min_should = map.next_value_seed(MinShouldSeed(scope))?;
                return Ok(());
            }
        };
        if slot.is_some() {
            return Err(de::Error::duplicate_field(name));
        }
        *slot = map.next_value_seed(ConditionsSeed(scope))?;
        Ok(())
    }

    fn into_filter(self) -> Filter {
        Filter {
            must: self.must.unwrap_or_default(),
            should: self.should.unwrap_or_default(),
            must_not: self.must_not.unwrap_or_default(),
            min_should: self.min_should,
        }
    }
}

struct FilterSeed<'b>(Scope<'b>);

impl<'de> DeserializeSeed<'de> for FilterSeed<'_> {
    type Value = Filter;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Filter, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FilterSeed<'_> {
    type Value = Filter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter, which is an object with `must`, `should`, `must_not` or `min_should`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filter, A::Error> {
        let mut clauses = Clauses::default();
        while let Some(clause) = map.next_key()? {
            clauses.read(clause, &mut map, self.0)?;
        }
        Ok(clauses.into_filter())
    }
}

/// A list of conditions, a single one, or `null`.
struct ConditionsSeed<'b>(Scope<'b>);

impl<'de> DeserializeSeed<'de> for ConditionsSeed<'_> {
    type Value = Option<Vec<Condition>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ConditionsSeed<'_> {
    type Value = Option<Vec<Condition>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a condition or a list of conditions")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut conditions = Vec::new();
        while let Some(condition) = seq.next_element_seed(ConditionSeed(self.0))? {
            conditions.push(condition);
        }
        Ok(Some(conditions))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        ConditionSeed(self.0).visit_map(map).map(|condition| Some(vec![condition]))
    }
}

/// `{"conditions": [..], "min_count": n}` or `null`.
struct MinShouldSeed<'b>(Scope<'b>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum MinShouldKey {
    Conditions,
    MinCount,
}

impl<'de> DeserializeSeed<'de> for MinShouldSeed<'_> {
    type Value = Option<MinShould>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MinShouldSeed<'_> {
    type Value = Option<MinShould>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `conditions` and `min_count`")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut conditions, mut min_count) = (None, None);
        while let Some(key) = map.next_key()? {
            match key {
                MinShouldKey::Conditions => conditions = map.next_value_seed(ConditionsSeed(self.0))?,
                MinShouldKey::MinCount => min_count = Some(map.next_value()?),
            }
        }
        Ok(Some(MinShould {
            conditions: conditions.ok_or_else(|| de::Error::missing_field("conditions"))?,
            min_count: min_count.ok_or_else(|| de::Error::missing_field("min_count"))?,
        }))
    }
}

/// `{"key": path, "filter": {..}}` or `null`.
struct NestedSeed<'b>(Scope<'b>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum NestedKey {
    Key,
    Filter,
}

impl<'de> DeserializeSeed<'de> for NestedSeed<'_> {
    type Value = Option<Condition>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NestedSeed<'_> {
    type Value = Option<Condition>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `key` and `filter`")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let inner = self.0.deeper()?;
        let (mut path, mut filter) = (None, None);
        while let Some(key) = map.next_key()? {
            match key {
                NestedKey::Key => path = Some(map.next_value()?),
                NestedKey::Filter => filter = Some(map.next_value_seed(FilterSeed(inner))?),
            }
        }
        Ok(Some(Condition::Nested {
            key: path.ok_or_else(|| de::Error::missing_field("key"))?,
            filter: filter.ok_or_else(|| de::Error::missing_field("filter"))?,
        }))
    }
}

/// All keys that any condition has.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Word {
    #[serde(rename = "key")]
    Path,
    Match,
    Range,
    GeoBoundingBox,
    GeoRadius,
    GeoPolygon,
    ValuesCount,
    IsEmpty,
    IsNull,
    HasId,
    HasVector,
    Nested,
    Slice,
    Must,
    Should,
    MustNot,
    MinShould,
}

/// What was read of a condition so far.
#[derive(Default)]
struct Parts {
    path: Option<JsonPath>,
    predicates: Vec<Predicate>,
    alone: Vec<Condition>,
    clauses: Option<Clauses>,
}

struct ConditionSeed<'b>(Scope<'b>);

impl<'de> DeserializeSeed<'de> for ConditionSeed<'_> {
    type Value = Condition;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Condition, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ConditionSeed<'_> {
    type Value = Condition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a condition")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Condition, A::Error> {
        self.0.spend()?;
        let mut parts = Parts::default();
        let mut seen = 0_u32;
        while let Some(key) = map.next_key::<Word>()? {
            let bit = 1 << key as u32;
            if seen & bit != 0 {
                return Err(de::Error::custom("a condition has the same field twice"));
            }
            seen |= bit;
            parts.read(key, &mut map, self.0)?;
        }
        parts.into_condition(self.0)
    }
}

impl Parts {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: Word,
        map: &mut A,
        scope: Scope<'_>,
    ) -> Result<(), A::Error> {
        let predicate = match key {
            Word::Match => map.next_value::<Option<WireMatch>>()?.map(|m| Predicate::Match(m.0)),
            Word::Range => map.next_value::<Option<WireRange>>()?.map(|range| range.0),
            Word::GeoBoundingBox => map.next_value::<Option<BoundingBox>>()?.map(|area| area.0),
            Word::GeoRadius => map.next_value::<Option<Radius>>()?.map(|area| area.0),
            Word::GeoPolygon => map.next_value::<Option<Polygon>>()?.map(|area| area.0),
            Word::ValuesCount => map.next_value::<Option<WireCount>>()?.map(|count| count.0),
            Word::IsEmpty => match map.next_value()? {
                Some(FlagOrField::Flag(flag)) => Some(Predicate::IsEmpty(flag)),
                Some(FlagOrField::Field(path)) => return self.stand_alone(Condition::IsEmpty(path)),
                None => None,
            },
            Word::IsNull => match map.next_value()? {
                Some(FlagOrField::Flag(flag)) => Some(Predicate::IsNull(flag)),
                Some(FlagOrField::Field(path)) => return self.stand_alone(Condition::IsNull(path)),
                None => None,
            },
            Word::Path => {
                self.path = Some(map.next_value()?);
                None
            }
            Word::HasId => {
                let ids = map.next_value::<Option<Ids>>()?;
                return ids.map_or(Ok(()), |ids| {
                    self.stand_alone(Condition::HasId(ids.into_ids().into_iter().collect()))
                });
            }
            Word::HasVector => {
                let name = map.next_value::<Option<String>>()?;
                return name.map_or(Ok(()), |name| self.stand_alone(Condition::HasVector(name)));
            }
            Word::Nested => {
                let nested = map.next_value_seed(NestedSeed(scope))?;
                return nested.map_or(Ok(()), |nested| self.stand_alone(nested));
            }
            Word::Slice => match map.next_value::<Option<IgnoredAny>>()? {
                Some(_) => return Err(unsupported("the filter condition `slice`")),
                None => None,
            },
            Word::Must => return self.clause(Clause::Must, map, scope),
            Word::Should => return self.clause(Clause::Should, map, scope),
            Word::MustNot => return self.clause(Clause::MustNot, map, scope),
            Word::MinShould => return self.clause(Clause::MinShould, map, scope),
        };
        self.predicates.extend(predicate);
        Ok(())
    }

    fn stand_alone<E>(&mut self, condition: Condition) -> Result<(), E> {
        self.alone.push(condition);
        Ok(())
    }

    fn clause<'de, A: MapAccess<'de>>(
        &mut self,
        clause: Clause,
        map: &mut A,
        scope: Scope<'_>,
    ) -> Result<(), A::Error> {
        let inner = scope.deeper()?;
        self.clauses.get_or_insert_default().read(clause, map, inner)
    }

    /// Exactly one kind of condition must have been written. An empty object is a filter without clauses.
    fn into_condition<E: de::Error>(mut self, scope: Scope<'_>) -> Result<Condition, E> {
        let filter = self.clauses.take().map(Clauses::into_filter);
        let is_field = self.path.is_some() || !self.predicates.is_empty();
        let kinds = usize::from(is_field) + self.alone.len() + usize::from(filter.is_some());
        if kinds > 1 && !(kinds == 2 && filter.as_ref().is_some_and(Filter::is_empty)) {
            return Err(E::custom(
                "a condition is either a `key` with predicates, or one of `is_empty`, `is_null`, `has_id`, \
                 `has_vector` and `nested`, or a filter; not several of them",
            ));
        }
        if let Some(condition) = self.alone.pop() {
            return Ok(condition);
        }
        match (self.path, self.predicates.is_empty()) {
            (Some(key), false) => Ok(Condition::Field(FieldCondition { key, predicates: self.predicates })),
            (Some(key), true) => Err(E::custom(format_args!(
                "the condition on `{key}` has no predicate: give `match`, `range`, `geo_bounding_box`, \
                 `geo_radius`, `geo_polygon`, `values_count`, `is_empty` or `is_null`"
            ))),
            (None, false) => Err(E::missing_field("key")),
            (None, true) => scope.deeper().map(|_| Condition::Filter(filter.unwrap_or_default())),
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
