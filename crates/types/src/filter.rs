use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{JsonPath, PointId};

/// A boolean combination of conditions. All of `must`, none of `must_not`, at least one of `should` (if
/// there are any) and at least `min_should.min_count` of its conditions hold. Empty matches everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Filter {
    /// All of these hold.
    pub must: Vec<Condition>,
    /// If there are any, at least one of these holds.
    pub should: Vec<Condition>,
    /// None of these holds.
    pub must_not: Vec<Condition>,
    /// At least so many of these hold.
    pub min_should: Option<MinShould>,
}

/// See [`Filter::min_should`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MinShould {
    /// The candidates.
    pub conditions: Vec<Condition>,
    /// How many must hold.
    pub min_count: usize,
}

/// One condition of a [`Filter`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// Holds for a value in the payload.
    Field(FieldCondition),
    /// The value is absent, `null` or `[]`.
    IsEmpty(JsonPath),
    /// The value is present and `null` (or an array that has a `null`).
    IsNull(JsonPath),
    /// The point's id is one of these.
    HasId(BTreeSet<PointId>),
    /// The point has a vector of this name (`""` is the unnamed one).
    HasVector(String),
    /// One element of the array of objects at `key` satisfies `filter` by itself.
    Nested {
        /// The array; `[]` at its end is optional.
        key: JsonPath,
        /// Its paths start at the element.
        filter: Filter,
    },
    /// A filter within a filter.
    Filter(Filter),
}

/// Predicates on the values at a path. Where several are given, any of them suffices, as in Qdrant; but one of
/// `ValuesCount`, `IsEmpty` and `IsNull`, the first of them in this order, decides alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldCondition {
    /// Where to look. An array there is looked into: one matching element is enough.
    pub key: JsonPath,
    /// Never empty.
    pub predicates: Vec<Predicate>,
}

/// A test of the value, or the values, at a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Predicate {
    /// Equality and text.
    Match(Match),
    /// Numbers within bounds.
    Range(Range<f64>),
    /// Date-times within bounds, in microseconds since 1970 UTC; values are RFC 3339 texts.
    DatetimeRange(Range<i64>),
    /// Within a box, borders excluded. May cross the antimeridian.
    GeoBox {
        /// North-west corner.
        top_left: GeoPoint,
        /// South-east corner.
        bottom_right: GeoPoint,
    },
    /// Nearer than a distance by great circle.
    GeoRadius {
        /// The middle.
        center: GeoPoint,
        /// In metres.
        radius: f64,
    },
    /// Within the exterior ring and in none of the interior ones, borders of both excluded. Rings are closed.
    GeoPolygon {
        /// The outer border.
        exterior: Vec<GeoPoint>,
        /// Holes.
        interiors: Vec<Vec<GeoPoint>>,
    },
    /// How many values the path holds; absent is 0, a scalar 1, an array its length.
    ValuesCount(ValuesCount),
    /// The value is absent, `null` or `[]` (`true`) or is not (`false`).
    IsEmpty(bool),
    /// The value is `null` (`true`) or is not (`false`).
    IsNull(bool),
}

/// Equality and text predicates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Match {
    /// Equal to the scalar.
    Value(Scalar),
    /// Equal to one of these.
    Any(AnyOf),
    /// A value is there and equals none of these.
    Except(AnyOf),
    /// All tokens of the text occur. A text index says what tokens are; without one they are words in small letters.
    Text(String),
    /// Any token of the text occurs.
    TextAny(String),
    /// The tokens of the text occur side by side in this order.
    Phrase(String),
}

/// What [`Match::Value`] compares with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scalar {
    /// A text; UUIDs too.
    Keyword(String),
    /// An integer.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
}

/// A set of texts or of integers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AnyOf {
    /// Texts.
    Keywords(BTreeSet<String>),
    /// Integers.
    Integers(BTreeSet<i64>),
}

/// One side of a [`Range`].
pub type RangeBound<T> = Option<T>;

/// Bounds, each optional; all given ones hold.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Range<T> {
    /// `>`
    pub gt: RangeBound<T>,
    /// `>=`
    pub gte: RangeBound<T>,
    /// `<`
    pub lt: RangeBound<T>,
    /// `<=`
    pub lte: RangeBound<T>,
}

impl<T: PartialOrd + Copy> Range<T> {
    /// Whether `value` is within all bounds.
    pub fn contains(&self, value: T) -> bool {
        self.gt.is_none_or(|b| value > b)
            && self.gte.is_none_or(|b| value >= b)
            && self.lt.is_none_or(|b| value < b)
            && self.lte.is_none_or(|b| value <= b)
    }
}

/// A point on the globe in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    /// East is positive.
    pub lon: f64,
    /// North is positive.
    pub lat: f64,
}

/// Bounds on a number of values.
pub type ValuesCount = Range<u64>;

impl Filter {
    /// Whether it has no condition and so matches every point.
    pub fn is_empty(&self) -> bool {
        self.must.is_empty()
            && self.should.is_empty()
            && self.must_not.is_empty()
            && self.min_should.is_none()
    }

    /// Only `condition`.
    pub fn must(condition: Condition) -> Self {
        Self { must: vec![condition], ..Self::default() }
    }

    /// The conditions of all clauses.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let least = self.min_should.iter().flat_map(|m| &m.conditions);
        self.must.iter().chain(&self.should).chain(&self.must_not).chain(least)
    }
}
