//! One number for a set of points: ids, vectors as they are stored, payloads.
//!
//! It is the sum, modulo 2^128, of the first 16 bytes of each point's SHA-256, so it does not depend on the order of the points and can be
//! taken of parts that are added. Vectors count as the collection stores them: normalised for `Cosine`, rounded to its datatype.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use lodestone_shard::{element_of, metric_of};
use lodestone_types::{Error, NamedVectors, Payload, PointId, Result, VectorParams};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// The vectors of a collection by name.
pub type Schema = BTreeMap<String, VectorParams>;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(u128);

impl Digest {
    /// That of a point as a user gives it; the collection would store it so.
    pub fn of_given(schema: &Schema, id: PointId, vectors: &NamedVectors, payload: &Payload) -> Result<Self> {
        Self::of(schema, id, vectors, payload, true)
    }

    /// That of a point as the collection returns it.
    pub fn of_stored(
        schema: &Schema,
        id: PointId,
        vectors: &NamedVectors,
        payload: &Payload,
    ) -> Result<Self> {
        Self::of(schema, id, vectors, payload, false)
    }

    fn of(
        schema: &Schema,
        id: PointId,
        vectors: &NamedVectors,
        payload: &Payload,
        prepare: bool,
    ) -> Result<Self> {
        let mut sha = Context::new(&SHA256);
        match id {
            PointId::Num(n) => {
                sha.update(&[0]);
                sha.update(&n.to_le_bytes());
            }
            PointId::Uuid(uuid) => {
                sha.update(&[1]);
                sha.update(uuid.as_bytes());
            }
        }
        let mut named: Vec<&(String, Vec<f32>)> = vectors.0.iter().collect();
        named.sort_unstable_by_key(|(name, _)| name);
        sha.update(&(named.len() as u64).to_le_bytes());
        let mut row = Vec::new();
        for (name, vector) in named {
            let Some(params) = schema.get(name) else {
                return Err(Error::bad_request(format!("the collection has no vector `{name}`")));
            };
            let element = element_of(params.datatype());
            row.clear();
            if prepare {
                let mut vector = vector.clone();
                lodestone_kernels::prepare(metric_of(params.distance), element, &mut vector);
                lodestone_kernels::encode(element, &vector, &mut row);
            } else {
                lodestone_kernels::encode(element, vector, &mut row);
            }
            for part in [name.as_bytes(), &row] {
                sha.update(&(part.len() as u64).to_le_bytes());
                sha.update(part);
            }
        }
        // Keys of objects are sorted, so equal payloads are equal text.
        let text = serde_json::to_vec(&payload.0)
            .map_err(|e| Error::internal(format!("a payload does not serialise: {e}")))?;
        sha.update(&text);
        let mut first = [0; 16];
        first.copy_from_slice(&sha.finish().as_ref()[..16]);
        Ok(Self(u128::from_le_bytes(first)))
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use lodestone_types::{Datatype, Distance};
    use serde_json::json;

    use super::*;

    fn schema(distance: Distance, datatype: Datatype) -> Schema {
        let params = VectorParams {
            size: 2,
            distance,
            datatype: Some(datatype),
            hnsw: None,
            on_disk: None,
            quantization: None,
        };
        BTreeMap::from([(String::new(), params)])
    }

    fn payload(value: serde_json::Value) -> Payload {
        Payload(value.as_object().cloned().unwrap())
    }

    #[test]
    fn what_is_given_equals_what_it_becomes() {
        let none = Payload::default();
        let given = NamedVectors::unnamed(vec![3.0, 4.0]);
        let cosine = schema(Distance::Cosine, Datatype::Float32);
        let stored = NamedVectors::unnamed(vec![0.6, 0.8]);
        let id = PointId::Num(1);
        let of = |v| Digest::of_stored(&cosine, id, v, &none).unwrap();
        assert_eq!(Digest::of_given(&cosine, id, &given, &none).unwrap(), of(&stored));
        assert_ne!(of(&given), of(&stored));
        let bytes = schema(Distance::Dot, Datatype::Uint8);
        let (given, stored) =
            (NamedVectors::unnamed(vec![3.7, 300.0]), NamedVectors::unnamed(vec![3.0, 255.0]));
        assert_eq!(
            Digest::of_given(&bytes, id, &given, &none).unwrap(),
            Digest::of_stored(&bytes, id, &stored, &none).unwrap()
        );
    }

    #[test]
    fn every_part_counts_and_order_does_not() {
        let schema = schema(Distance::Dot, Datatype::Float32);
        let of = |id, v: [f32; 2], p| {
            Digest::of_given(&schema, PointId::Num(id), &NamedVectors::unnamed(v.to_vec()), &payload(p))
                .unwrap()
        };
        let one = of(1, [1.0, 2.0], json!({"a": 1}));
        for other in [
            of(2, [1.0, 2.0], json!({"a": 1})),
            of(1, [1.0, 2.5], json!({"a": 1})),
            of(1, [1.0, 2.0], json!({"a": 1.0})),
            of(1, [1.0, 2.0], json!({})),
        ] {
            assert_ne!(one, other);
            let (mut left, mut right) = (one, other);
            left += other;
            right += one;
            assert_eq!(left, right);
        }
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), one);
    }

    #[test]
    fn an_unknown_vector_is_an_error() {
        let schema = schema(Distance::Dot, Datatype::Float32);
        let vectors = NamedVectors(vec![("x".into(), vec![1.0])]);
        assert!(Digest::of_given(&schema, PointId::Num(1), &vectors, &Payload::default()).is_err());
    }
}
