//! Filters from their messages. Every kind of condition, counted and measured on the way down, so that no
//! filter over the limits is ever built.

use std::collections::BTreeSet;

use lodestone_types::limits::{MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH};
use lodestone_types::{
    AnyOf, Condition, Error, FieldCondition, Filter, GeoPoint, JsonPath, Match, MinShould, Predicate, Range,
    Result, Scalar, ValuesCount,
};
use prost_types::Timestamp;
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;

use super::point::id;
use crate::check;

/// A filter, if it is within the limits.
pub(super) fn filter(message: proto::Filter) -> Result<Filter> {
    Walk { conditions: 0 }.filter(message, 1)
}

/// An optional filter; one without conditions is none.
pub(super) fn optional(message: Option<proto::Filter>) -> Result<Option<Filter>> {
    Ok(message.map(filter).transpose()?.filter(|f| !f.is_empty()))
}

/// How many conditions were seen so far, on all levels.
struct Walk {
    conditions: usize,
}

impl Walk {
    fn filter(&mut self, message: proto::Filter, depth: usize) -> Result<Filter> {
        if depth > MAX_FILTER_DEPTH {
            return Err(check::too_deep());
        }
        let min_should = message.min_should.map(|m| self.min_should(m, depth)).transpose()?;
        Ok(Filter {
            must: self.all(message.must, depth)?,
            should: self.all(message.should, depth)?,
            must_not: self.all(message.must_not, depth)?,
            min_should,
        })
    }

    fn min_should(&mut self, message: proto::MinShould, depth: usize) -> Result<MinShould> {
        let min_count = usize::try_from(message.min_count).unwrap_or(usize::MAX);
        Ok(MinShould { conditions: self.all(message.conditions, depth)?, min_count })
    }

    fn all(&mut self, messages: Vec<proto::Condition>, depth: usize) -> Result<Vec<Condition>> {
        self.conditions = self.conditions.saturating_add(messages.len());
        if self.conditions > MAX_FILTER_CONDITIONS {
            return Err(check::too_many_conditions());
        }
        messages.into_iter().map(|m| self.condition(m, depth)).collect()
    }

    fn condition(&mut self, message: proto::Condition, depth: usize) -> Result<Condition> {
        let kind = message.condition_one_of.ok_or_else(|| Error::bad_request("a condition is empty"))?;
        Ok(match kind {
            ConditionOneOf::Field(c) => Condition::Field(field(c)?),
            ConditionOneOf::IsEmpty(c) => Condition::IsEmpty(c.key.parse()?),
            ConditionOneOf::IsNull(c) => Condition::IsNull(c.key.parse()?),
            ConditionOneOf::HasId(c) => Condition::HasId(ids(c.has_id)?),
            ConditionOneOf::HasVector(c) => Condition::HasVector(c.has_vector),
            ConditionOneOf::Filter(f) => Condition::Filter(self.filter(f, depth + 1)?),
            ConditionOneOf::Nested(c) => Condition::Nested {
                key: c.key.parse()?,
                filter: self.filter(c.filter.unwrap_or_default(), depth + 1)?,
            },
            ConditionOneOf::Slice(_) => {
                return Err(Error::unsupported("not supported yet: slice conditions"));
            }
        })
    }
}

fn ids(messages: Vec<proto::PointId>) -> Result<BTreeSet<lodestone_types::PointId>> {
    check::ids(messages.len())?;
    messages.into_iter().map(id).collect()
}

fn field(message: proto::FieldCondition) -> Result<FieldCondition> {
    let key: JsonPath = message.key.parse()?;
    let mut predicates = Vec::with_capacity(1);
    predicates.extend(message.r#match.map(matching).transpose()?.map(Predicate::Match));
    predicates.extend(message.range.map(range).transpose()?.map(Predicate::Range));
    predicates.extend(message.datetime_range.map(datetimes).transpose()?.map(Predicate::DatetimeRange));
    predicates.extend(message.geo_bounding_box.map(geo_box).transpose()?);
    predicates.extend(message.geo_radius.map(geo_radius).transpose()?);
    predicates.extend(message.geo_polygon.map(geo_polygon).transpose()?);
    predicates.extend(message.values_count.map(values_count).map(Predicate::ValuesCount));
    predicates.extend(message.is_empty.map(Predicate::IsEmpty));
    predicates.extend(message.is_null.map(Predicate::IsNull));
    if predicates.is_empty() {
        return Err(Error::bad_request(format!("the condition on '{key}' says nothing")));
    }
    Ok(FieldCondition { key, predicates })
}

fn matching(message: proto::Match) -> Result<Match> {
    let value = message.match_value.ok_or_else(|| Error::bad_request("a match has no value"))?;
    Ok(match value {
        MatchValue::Keyword(s) => Match::Value(Scalar::Keyword(s)),
        MatchValue::Integer(n) => Match::Value(Scalar::Integer(n)),
        MatchValue::Boolean(b) => Match::Value(Scalar::Bool(b)),
        MatchValue::Text(s) => Match::Text(s),
        MatchValue::TextAny(s) => Match::TextAny(s),
        MatchValue::Phrase(s) => Match::Phrase(s),
        MatchValue::Keywords(k) => Match::Any(AnyOf::Keywords(k.strings.into_iter().collect())),
        MatchValue::Integers(n) => Match::Any(AnyOf::Integers(n.integers.into_iter().collect())),
        MatchValue::ExceptKeywords(k) => Match::Except(AnyOf::Keywords(k.strings.into_iter().collect())),
        MatchValue::ExceptIntegers(n) => Match::Except(AnyOf::Integers(n.integers.into_iter().collect())),
        MatchValue::Prefix(_) => return Err(Error::unsupported("not supported yet: match by prefix")),
        MatchValue::Substring(_) => return Err(Error::unsupported("not supported yet: match by substring")),
    })
}

fn range(message: proto::Range) -> Result<Range<f64>> {
    let proto::Range { lt, gt, gte, lte } = message;
    if [lt, gt, gte, lte].iter().flatten().any(|bound| bound.is_nan()) {
        return Err(Error::bad_request("a bound of a range is not a number"));
    }
    Ok(Range { gt, gte, lt, lte })
}

fn values_count(message: proto::ValuesCount) -> ValuesCount {
    ValuesCount { gt: message.gt, gte: message.gte, lt: message.lt, lte: message.lte }
}

fn datetimes(message: proto::DatetimeRange) -> Result<Range<i64>> {
    Ok(Range {
        gt: message.gt.map(micros).transpose()?,
        gte: message.gte.map(micros).transpose()?,
        lt: message.lt.map(micros).transpose()?,
        lte: message.lte.map(micros).transpose()?,
    })
}

/// Microseconds since 1970; finer parts are dropped, as they are from stored values.
pub(super) fn micros(time: Timestamp) -> Result<i64> {
    let nanos = u32::try_from(time.nanos).ok().filter(|&n| n < 1_000_000_000);
    let micros = nanos.and_then(|n| time.seconds.checked_mul(1_000_000)?.checked_add(i64::from(n / 1000)));
    micros.ok_or_else(|| Error::bad_request("a timestamp is out of range"))
}

fn geo_point(message: Option<proto::GeoPoint>) -> Result<GeoPoint> {
    let proto::GeoPoint { lon, lat } =
        message.ok_or_else(|| Error::bad_request("a geo condition lacks a point"))?;
    check::geo_point(lon, lat)
}

fn geo_box(message: proto::GeoBoundingBox) -> Result<Predicate> {
    let (top_left, bottom_right) = (geo_point(message.top_left)?, geo_point(message.bottom_right)?);
    Ok(Predicate::GeoBox { top_left, bottom_right })
}

fn geo_radius(message: proto::GeoRadius) -> Result<Predicate> {
    let radius = check::geo_radius(f64::from(message.radius))?;
    Ok(Predicate::GeoRadius { center: geo_point(message.center)?, radius })
}

fn geo_polygon(message: proto::GeoPolygon) -> Result<Predicate> {
    let exterior = message.exterior.ok_or_else(|| Error::bad_request("a geo polygon lacks its exterior"))?;
    let interiors = message.interiors.into_iter().map(ring).collect::<Result<_>>()?;
    Ok(Predicate::GeoPolygon { exterior: ring(exterior)?, interiors })
}

fn ring(message: proto::GeoLineString) -> Result<Vec<GeoPoint>> {
    let points = message.points.into_iter().map(|p| geo_point(Some(p))).collect::<Result<Vec<_>>>()?;
    check::geo_ring(&points)?;
    Ok(points)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
