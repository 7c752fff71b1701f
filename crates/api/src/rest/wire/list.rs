//! Lists with a greatest length, enforced while they are read, and point ids.

use std::fmt;
use std::marker::PhantomData;

use lodestone_types::limits::MAX_IDS;
use lodestone_types::{Error, PointId};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use uuid::Uuid;

/// A list of at most `MAX` elements.
#[derive(Debug)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            if elements.len() == MAX {
                return Err(de::Error::custom(format_args!("a list has more than {MAX} elements")));
            }
            elements.push(element);
        }
        Ok(List(elements))
    }
}

/// A point id: a number or a UUID text.
#[derive(Debug, Clone, Copy)]
pub struct Id(pub PointId);

/// Point ids.
pub type Ids = List<Id, MAX_IDS>;

impl<const MAX: usize> List<Id, MAX> {
    /// The ids themselves.
    pub fn into_ids(self) -> Vec<PointId> {
        self.0.into_iter().map(|Id(id)| id).collect()
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a point ID, either an unsigned integer or a UUID")
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<Id, E> {
        Ok(Id(PointId::Num(id)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
        uuid(text).map(Id).map_err(|error| E::custom(error.message))
    }
}

/// The id that a JSON text means: a UUID; numbers are not written as texts.
pub fn uuid(text: &str) -> lodestone_types::Result<PointId> {
    Uuid::try_parse(text).map(PointId::Uuid).map_err(|_| {
        Error::bad_request(format!(
            "value {text} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        ))
    })
}
