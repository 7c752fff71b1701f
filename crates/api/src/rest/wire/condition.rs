//! The predicates of filter conditions: `match`, ranges, areas on the globe and counts.

use std::collections::BTreeSet;
use std::fmt;

use lodestone_types::limits::MAX_IDS;
use lodestone_types::{
    AnyOf, GeoPoint, JsonPath, Match, Predicate, Range, Scalar, ValuesCount, require_datetime,
};
use serde::Deserialize;
use serde::de::{
    self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};

use super::unsupported;
use crate::check;

/// One of the forms of `match`.
pub struct WireMatch(pub Match);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MatchForm {
    Value(WireScalar),
    Any(WireAnyOf),
    Except(WireAnyOf),
    Text(String),
    TextAny(String),
    Phrase(String),
    Prefix(IgnoredAny),
    Substring(IgnoredAny),
}

impl<'de> Deserialize<'de> for WireMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match MatchForm::deserialize(deserializer)? {
            MatchForm::Value(WireScalar(scalar)) => Match::Value(scalar),
            MatchForm::Any(WireAnyOf(set)) => Match::Any(set),
            MatchForm::Except(WireAnyOf(set)) => Match::Except(set),
            MatchForm::Text(text) => Match::Text(text),
            MatchForm::TextAny(text) => Match::TextAny(text),
            MatchForm::Phrase(text) => Match::Phrase(text),
            MatchForm::Prefix(_) => return Err(unsupported("`match` with `prefix`")),
            MatchForm::Substring(_) => return Err(unsupported("`match` with `substring`")),
        }))
    }
}

/// A text, an integer or a truth value.
struct WireScalar(Scalar);

impl<'de> Deserialize<'de> for WireScalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(WireScalar)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a 64-bit integer or a boolean")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
        i64::try_from(value)
            .map(Scalar::Integer)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Keyword(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::Keyword(value))
    }
}

/// A list of texts or a list of integers.
struct WireAnyOf(AnyOf);

impl<'de> Deserialize<'de> for WireAnyOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AnyOfVisitor).map(WireAnyOf)
    }
}

struct AnyOfVisitor;

impl<'de> Visitor<'de> for AnyOfVisitor {
    type Value = AnyOf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts or a list of integers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<AnyOf, A::Error> {
        let (mut keywords, mut integers) = (BTreeSet::new(), BTreeSet::new());
        let mut count = 0;
        while let Some(WireScalar(value)) = seq.next_element()? {
            count += 1;
            match value {
                Scalar::Keyword(text) => keywords.insert(text),
                Scalar::Integer(number) => integers.insert(number),
                Scalar::Bool(flag) => {
                    return Err(de::Error::invalid_type(de::Unexpected::Bool(flag), &self));
                }
            };
            if count > MAX_IDS {
                return Err(de::Error::custom(format_args!("a match has more than {MAX_IDS} values")));
            }
            if !keywords.is_empty() && !integers.is_empty() {
                return Err(de::Error::custom("the values of a match must be all texts or all integers"));
            }
        }
        Ok(if integers.is_empty() { AnyOf::Keywords(keywords) } else { AnyOf::Integers(integers) })
    }
}

/// Bounds that are all numbers or all date-times.
pub struct WireRange(pub Predicate);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds<T> {
    lt: Option<T>,
    gt: Option<T>,
    gte: Option<T>,
    lte: Option<T>,
}

impl<T> Bounds<T> {
    fn map<U, E>(self, f: impl Fn(T) -> Result<U, E>) -> Result<Range<U>, E> {
        Ok(Range {
            lt: self.lt.map(&f).transpose()?,
            gt: self.gt.map(&f).transpose()?,
            gte: self.gte.map(&f).transpose()?,
            lte: self.lte.map(&f).transpose()?,
        })
    }
}

impl<'de> Deserialize<'de> for WireRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bounds = Bounds::<Bound>::deserialize(deserializer)?;
        let given = [&bounds.lt, &bounds.gt, &bounds.gte, &bounds.lte];
        let of_times = given.into_iter().flatten().any(|bound| matches!(bound, Bound::Time(_)));
        let mixed = || de::Error::custom("the bounds of a range must be all numbers or all date-times");
        Ok(Self(if of_times {
            Predicate::DatetimeRange(bounds.map(|bound| match bound {
                Bound::Time(micros) => Ok(micros),
                Bound::Number(_) => Err(mixed()),
            })?)
        } else {
            Predicate::Range(bounds.map(|bound| match bound {
                Bound::Number(number) => Ok(number),
                Bound::Time(_) => Err(mixed()),
            })?)
        }))
    }
}

enum Bound {
    Number(f64),
    Time(i64),
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Bound;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a date-time in RFC 3339 form")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Bound, E> {
                Ok(Bound::Number(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Bound, E> {
                Ok(Bound::Number(value as f64))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Bound, E> {
                Ok(Bound::Number(value as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bound, E> {
                require_datetime(text).map(Bound::Time).map_err(|error| E::custom(error.message))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// Bounds on a number of values.
pub struct WireCount(pub Predicate);

impl<'de> Deserialize<'de> for WireCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bounds = Bounds::<u64>::deserialize(deserializer)?;
        let count: ValuesCount = bounds.map(Ok::<_, D::Error>)?;
        Ok(Self(Predicate::ValuesCount(count)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    lon: f64,
    lat: f64,
}

impl Position {
    fn checked<E: de::Error>(&self) -> Result<GeoPoint, E> {
        check::geo_point(self.lon, self.lat).map_err(|error| E::custom(error.message))
    }
}

/// A box on the globe.
pub struct BoundingBox(pub Predicate);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corners {
    top_left: Position,
    bottom_right: Position,
}

impl<'de> Deserialize<'de> for BoundingBox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let corners = Corners::deserialize(deserializer)?;
        Ok(Self(Predicate::GeoBox {
            top_left: corners.top_left.checked()?,
            bottom_right: corners.bottom_right.checked()?,
        }))
    }
}

/// A circle on the globe.
pub struct Radius(pub Predicate);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Circle {
    center: Position,
    radius: f64,
}

impl<'de> Deserialize<'de> for Radius {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let circle = Circle::deserialize(deserializer)?;
        let radius = check::geo_radius(circle.radius).map_err(|error| de::Error::custom(error.message))?;
        Ok(Self(Predicate::GeoRadius { center: circle.center.checked()?, radius }))
    }
}

/// A polygon on the globe.
pub struct Polygon(pub Predicate);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    points: Vec<Position>,
}

impl Line {
    fn ring<E: de::Error>(&self) -> Result<Vec<GeoPoint>, E> {
        let ring = self.points.iter().map(Position::checked).collect::<Result<Vec<_>, E>>()?;
        check::geo_ring(&ring).map_err(|error| E::custom(error.message))?;
        Ok(ring)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rings {
    exterior: Line,
    interiors: Option<Vec<Line>>,
}

impl<'de> Deserialize<'de> for Polygon {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rings = Rings::deserialize(deserializer)?;
        Ok(Self(Predicate::GeoPolygon {
            exterior: rings.exterior.ring()?,
            interiors: rings.interiors.iter().flatten().map(Line::ring).collect::<Result<_, _>>()?,
        }))
    }
}

/// `is_empty` and `is_null` are a flag beside a `key`, or stand alone with a field.
pub enum FlagOrField {
    /// `true` or `false`.
    Flag(bool),
    /// `{"key": path}`.
    Field(JsonPath),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    key: JsonPath,
}

impl<'de> Deserialize<'de> for FlagOrField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = FlagOrField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean or an object with `key`")
            }

            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<FlagOrField, E> {
                Ok(FlagOrField::Flag(flag))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FlagOrField, A::Error> {
                Field::deserialize(MapAccessDeserializer::new(map)).map(|field| FlagOrField::Field(field.key))
            }
        }
        deserializer.deserialize_any(Form)
    }
}
