//! Vectors as users write them: a flat list, or an object of lists by name.

use std::fmt;

use lodestone_types::NamedVectors;
use lodestone_types::limits::{MAX_DIMENSIONS, MAX_POINTS_PER_WRITE, MAX_VECTORS_PER_COLLECTION};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::list::List;
use super::unsupported;

/// One dense vector. Other kinds are refused by name.
#[derive(Debug)]
pub struct Dense(pub Vec<f32>);

impl<'de> Deserialize<'de> for Dense {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DenseVisitor).map(Dense)
    }
}

struct DenseVisitor;

impl<'de> Visitor<'de> for DenseVisitor {
    type Value = Vec<f32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector, which is a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<f32>, A::Error> {
        components(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<f32>, A::Error> {
        Err(not_dense(map))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Vec<f32>, E> {
        Err(unsupported("inference; give the vector as a list of numbers"))
    }
}

/// The numbers of a list.
pub fn components<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Vec<f32>, A::Error> {
    let mut values = Vec::new();
    while let Some(Component(value)) = seq.next_element()? {
        if values.len() as u64 == MAX_DIMENSIONS {
            return Err(de::Error::custom(format_args!(
                "a vector has more than {MAX_DIMENSIONS} components"
            )));
        }
        values.push(value);
    }
    Ok(values)
}

/// The error for an object in the place of a dense vector, named by its first key.
pub fn not_dense<'de, A: MapAccess<'de>>(mut map: A) -> A::Error {
    match map.next_key::<String>() {
        Ok(Some(key)) => not_dense_key(&key),
        Ok(None) => de::Error::custom("an empty object is not a vector"),
        Err(error) => error,
    }
}

/// See [`not_dense`].
pub fn not_dense_key<E: de::Error>(key: &str) -> E {
    match key {
        "indices" | "values" => E::custom("sparse vectors are not supported yet"),
        "text" | "model" | "image" | "object" | "options" => {
            unsupported("inference; give the vector as a list of numbers")
        }
        other => E::custom(format_args!("unknown field `{other}`, expected a vector as a list of numbers")),
    }
}

/// One finite number of a vector.
struct Component(f32);

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f32(ComponentVisitor)
    }
}

struct ComponentVisitor;

impl Visitor<'_> for ComponentVisitor {
    type Value = Component;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number (multivectors are not supported yet)")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Component, E> {
        // Narrowing is what is asked for; what does not fit becomes infinite and is refused.
        let value = value as f32;
        if value.is_finite() {
            Ok(Component(value))
        } else {
            Err(E::custom("a component of a vector must be finite and fit into 32 bits"))
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Component, E> {
        Ok(Component(value as f32))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Component, E> {
        Ok(Component(value as f32))
    }
}

/// All vectors of a point: a list is the unnamed one, an object has them by name.
#[derive(Debug)]
pub struct Vectors(pub NamedVectors);

impl<'de> Deserialize<'de> for Vectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorsVisitor).map(Vectors)
    }
}

struct VectorsVisitor;

impl<'de> Visitor<'de> for VectorsVisitor {
    type Value = NamedVectors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers, or an object of such lists by name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<NamedVectors, A::Error> {
        components(seq).map(NamedVectors::unnamed)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NamedVectors, A::Error> {
        by_name::<Dense, A>(map)
            .map(|named| NamedVectors(named.into_iter().map(|(name, Dense(v))| (name, v)).collect()))
    }
}

fn by_name<'de, T: Deserialize<'de>, A: MapAccess<'de>>(mut map: A) -> Result<Vec<(String, T)>, A::Error> {
    let mut named: Vec<(String, T)> = Vec::new();
    while let Some(name) = map.next_key::<String>()? {
        if named.len() == MAX_VECTORS_PER_COLLECTION {
            return Err(de::Error::custom(format_args!(
                "more than {MAX_VECTORS_PER_COLLECTION} named vectors are given"
            )));
        }
        if named.iter().any(|(known, _)| *known == name) {
            return Err(de::Error::custom(format_args!("vector `{name}` is given twice")));
        }
        named.push((name, map.next_value()?));
    }
    Ok(named)
}

/// The vectors of a columnar batch.
#[derive(Debug)]
pub enum BatchVectors {
    /// One unnamed vector for each id.
    Unnamed(Vec<Vec<f32>>),
    /// Per name, one vector for each id.
    Named(Vec<(String, Vec<Vec<f32>>)>),
}

impl<'de> Deserialize<'de> for BatchVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BatchVisitor)
    }
}

struct BatchVisitor;

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = BatchVectors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of vectors, or an object of such lists by name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<BatchVectors, A::Error> {
        let mut column = Vec::new();
        while let Some(Dense(vector)) = seq.next_element()? {
            if column.len() == MAX_POINTS_PER_WRITE {
                return Err(de::Error::custom(format_args!(
                    "a batch has more than {MAX_POINTS_PER_WRITE} vectors"
                )));
            }
            column.push(vector);
        }
        Ok(BatchVectors::Unnamed(column))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BatchVectors, A::Error> {
        let named = by_name::<List<Dense, MAX_POINTS_PER_WRITE>, A>(map)?;
        let plain = |List(column): List<Dense, MAX_POINTS_PER_WRITE>| -> Vec<Vec<f32>> {
            column.into_iter().map(|Dense(v)| v).collect()
        };
        Ok(BatchVectors::Named(named.into_iter().map(|(name, column)| (name, plain(column))).collect()))
    }
}
