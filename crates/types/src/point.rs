use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Result};

/// The id of a point: an unsigned number or a UUID. All numbers order before all UUIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PointId {
    /// A 64-bit number.
    Num(u64),
    /// A UUID of any version.
    Uuid(Uuid),
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointId::Num(n) => n.fmt(f),
            PointId::Uuid(u) => u.fmt(f),
        }
    }
}

impl FromStr for PointId {
    type Err = Error;

    /// Accepts a decimal number or any usual form of a UUID.
    fn from_str(s: &str) -> Result<Self> {
        if let Ok(n) = s.parse() {
            return Ok(PointId::Num(n));
        }
        Uuid::try_parse(s).map(PointId::Uuid).map_err(|_| {
            Error::bad_request(format!(
                "value {s} is not a valid point ID, valid values are either an unsigned integer or a UUID"
            ))
        })
    }
}

/// Vectors of one point by name; the unnamed vector has the name `""`. Names are unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NamedVectors(pub Vec<(String, Vec<f32>)>);

impl NamedVectors {
    /// One unnamed vector.
    pub fn unnamed(vector: Vec<f32>) -> Self {
        Self(vec![(String::new(), vector)])
    }

    /// The vector called `name`.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }

    /// Replaces or adds the vector called `name`.
    pub fn set(&mut self, name: &str, vector: Vec<f32>) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => *v = vector,
            None => self.0.push((name.to_owned(), vector)),
        }
    }

    /// Removes the vector called `name`, if there is one.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }
}

/// The JSON object stored with a point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(pub serde_json::Map<String, serde_json::Value>);

/// A point as a user writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its id.
    pub id: PointId,
    /// Its vectors; any subset of the collection's.
    pub vectors: NamedVectors,
    /// Its payload; empty if none was given.
    pub payload: Payload,
}
