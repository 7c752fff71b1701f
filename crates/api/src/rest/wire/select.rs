//! What to return and in which order: `with_payload`, `with_vector`, `order_by`.

use std::fmt;

use lodestone_types::limits::MAX_VECTORS_PER_COLLECTION;
use lodestone_types::{
    JsonPath, OrderBy, OrderDirection, OrderValue, PayloadSelector, VectorSelector, require_datetime,
};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use super::list::List;

/// More paths than this are no selection but a mistake.
const MAX_PATHS: usize = 10_000;

/// `true`, `false`, a list of paths to include, `{"include": [..]}` or `{"exclude": [..]}`.
#[derive(Debug)]
pub struct WithPayload(pub PayloadSelector);

impl WithPayload {
    /// The selector given, or all or nothing by default.
    pub fn or(given: Option<Self>, default: bool) -> PayloadSelector {
        given.map_or(all_or_none(default), |WithPayload(selector)| selector)
    }
}

fn all_or_none(all: bool) -> PayloadSelector {
    if all { PayloadSelector::All } else { PayloadSelector::None }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PathSelector {
    Include(List<JsonPath, MAX_PATHS>),
    Exclude(List<JsonPath, MAX_PATHS>),
}

impl<'de> Deserialize<'de> for WithPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = PayloadSelector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean, a list of paths, or an object with `include` or `exclude`")
            }

            fn visit_bool<E: de::Error>(self, all: bool) -> Result<PayloadSelector, E> {
                Ok(all_or_none(all))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PayloadSelector, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = seq.next_element()? {
                    paths.push(path);
                }
                Ok(PayloadSelector::Include(paths))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PayloadSelector, A::Error> {
                Ok(match PathSelector::deserialize(MapAccessDeserializer::new(map))? {
                    PathSelector::Include(List(paths)) => PayloadSelector::Include(paths),
                    PathSelector::Exclude(List(paths)) => PayloadSelector::Exclude(paths),
                })
            }
        }
        deserializer.deserialize_any(Form).map(WithPayload)
    }
}

/// `true`, `false` or a list of names.
#[derive(Debug)]
pub struct WithVector(pub VectorSelector);

impl WithVector {
    /// The selector given, or none.
    pub fn or_none(given: Option<Self>) -> VectorSelector {
        given.map_or(VectorSelector::None, |WithVector(selector)| selector)
    }
}

impl<'de> Deserialize<'de> for WithVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = VectorSelector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean or a list of vector names")
            }

            fn visit_bool<E: de::Error>(self, all: bool) -> Result<VectorSelector, E> {
                Ok(if all { VectorSelector::All } else { VectorSelector::None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VectorSelector, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element::<String>()? {
                    if names.len() == MAX_VECTORS_PER_COLLECTION {
                        return Err(de::Error::custom("more vector names than a collection may have"));
                    }
                    names.push(name);
                }
                Ok(VectorSelector::Names(names))
            }
        }
        deserializer.deserialize_any(Form).map(WithVector)
    }
}

/// A path, or `{"key", "direction", "start_from"}`.
#[derive(Debug)]
pub struct Order(pub OrderBy);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderObject {
    key: JsonPath,
    direction: Option<Direction>,
    start_from: Option<StartFrom>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    Asc,
    Desc,
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = OrderBy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or an object with `key`, `direction` and `start_from`")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<OrderBy, E> {
                let key = key.parse().map_err(|error: lodestone_types::Error| E::custom(error.message))?;
                Ok(OrderBy { key, direction: OrderDirection::Asc, start_from: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OrderBy, A::Error> {
                let order = OrderObject::deserialize(MapAccessDeserializer::new(map))?;
                let direction = match order.direction {
                    Some(Direction::Desc) => OrderDirection::Desc,
                    Some(Direction::Asc) | None => OrderDirection::Asc,
                };
                Ok(OrderBy { key: order.key, direction, start_from: order.start_from.map(|s| s.0) })
            }
        }
        deserializer.deserialize_any(Form).map(Order)
    }
}

/// An integer, a number or a date-time.
struct StartFrom(OrderValue);

impl<'de> Deserialize<'de> for StartFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = OrderValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a date-time in RFC 3339 form")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<OrderValue, E> {
                Ok(OrderValue::Int(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<OrderValue, E> {
                Ok(i64::try_from(value).map_or(OrderValue::Float(value as f64), OrderValue::Int))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<OrderValue, E> {
                Ok(OrderValue::Float(value))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OrderValue, E> {
                require_datetime(text).map(OrderValue::Int).map_err(|error| E::custom(error.message))
            }
        }
        deserializer.deserialize_any(Form).map(StartFrom)
    }
}
