//! A map of points, and writes to it as a user would mean them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lodestone_shard::ShardSchema;
use lodestone_types::{
    CollectionConfig, Datatype, Distance, FieldIndex, FieldIndexKind, PointId, VectorParams,
};
use lodestone_wal::{Delta, Op, Row, VectorRow};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::question::Cond;

type Object = Map<String, Value>;
type Vectors = BTreeMap<String, Vec<f32>>;

#[derive(Debug, Clone)]
pub enum Write {
    Put { id: PointId, vectors: Vectors, payload: Object },
    Delete(Vec<PointId>),
    Set { ids: Vec<PointId>, payload: Object, in_object: bool },
    Overwrite { ids: Vec<PointId>, payload: Object },
    DeleteKeys { ids: Vec<PointId>, keys: Vec<&'static str> },
    Clear(Vec<PointId>),
    SetVectors { id: PointId, vectors: Vectors },
    RemoveVectors { ids: Vec<PointId>, names: Vec<String> },
}

#[derive(Debug, Clone)]
pub struct Stored {
    pub lsn: u64,
    pub vectors: Vectors,
    pub payload: Object,
}

#[derive(Debug, Default)]
pub struct Model {
    pub points: BTreeMap<PointId, Stored>,
}

/// `""`: 3 dimensions, dot, f32. `bytes`: 2, Manhattan, u8. `half`: 2, Euclid, f16. All numbers in the test are
/// small and whole, so sums are exact and equal scores are really equal.
pub fn schema() -> ShardSchema {
    let vector = |size, distance, datatype| VectorParams {
        size,
        distance,
        datatype: Some(datatype),
        hnsw: None,
        on_disk: None,
        quantization: None,
    };
    let config = CollectionConfig::new(BTreeMap::from([
        (String::new(), vector(3, Distance::Dot, Datatype::Float32)),
        ("bytes".to_owned(), vector(2, Distance::Manhattan, Datatype::Uint8)),
        ("half".to_owned(), vector(2, Distance::Euclid, Datatype::Float16)),
    ]));
    let index = |kind| FieldIndex { kind, params: None };
    let fields = BTreeMap::from([
        ("n".parse().unwrap(), index(FieldIndexKind::Integer)),
        ("k".parse().unwrap(), index(FieldIndexKind::Keyword)),
    ]);
    ShardSchema::new(&config, fields).unwrap()
}

/// The score as its definition has it.
pub fn score(using: &str, a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    match using {
        "" => pairs.map(|(a, b)| a * b).sum::<f64>() as f32,
        "bytes" => pairs.map(|(a, b)| (a - b).abs()).sum::<f64>() as f32,
        _ => pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt() as f32,
    }
}

impl Model {
    pub fn apply(&mut self, lsn: u64, write: &Write) {
        match write {
            Write::Put { id, vectors, payload } => {
                let stored = Stored { lsn, vectors: vectors.clone(), payload: payload.clone() };
                self.points.insert(*id, stored);
            }
            Write::Delete(ids) => ids.iter().for_each(|id| {
                self.points.remove(id);
            }),
            Write::Set { ids, payload, in_object } => self.change(lsn, ids, |point| {
                let mut target = &mut point.payload;
                if *in_object {
                    let object = target.entry("o").or_insert(Value::Null);
                    if !object.is_object() {
                        *object = json!({});
                    }
                    target = object.as_object_mut().unwrap();
                }
                for (key, value) in payload {
                    if value.is_null() {
                        target.remove(key)
                    } else {
                        target.insert(key.clone(), value.clone())
                    };
                }
            }),
            Write::Overwrite { ids, payload } => {
                self.change(lsn, ids, |point| point.payload = payload.clone());
            }
            Write::DeleteKeys { ids, keys } => self.change(lsn, ids, |point| {
                for key in keys {
                    match key.split_once('.') {
                        None => drop(point.payload.remove(*key)),
                        Some((outer, inner)) => {
                            if let Some(Value::Object(object)) = point.payload.get_mut(outer) {
                                object.remove(inner);
                            }
                        }
                    }
                }
            }),
            Write::Clear(ids) => self.change(lsn, ids, |point| point.payload.clear()),
            Write::SetVectors { id, vectors } => {
                self.change(lsn, &[*id], |point| point.vectors.extend(vectors.clone()));
            }
            Write::RemoveVectors { ids, names } => self.change(lsn, ids, |point| {
                names.iter().for_each(|name| drop(point.vectors.remove(name)));
            }),
        }
    }

    fn change(&mut self, lsn: u64, ids: &[PointId], change: impl Fn(&mut Stored)) {
        // Once per id, however often it was named.
        let ids: std::collections::BTreeSet<PointId> = ids.iter().copied().collect();
        for id in ids {
            if let Some(point) = self.points.get_mut(&id) {
                change(point);
                point.lsn = lsn;
            }
        }
    }

    pub fn matching(&self, condition: Option<&Cond>) -> Vec<PointId> {
        let matches = |(id, point): &(&PointId, &Stored)| condition.is_none_or(|c| c.holds(**id, point));
        self.points.iter().filter(matches).map(|(id, _)| *id).collect()
    }

    /// All ids, and some that do not exist, some twice.
    pub fn some_ids(&self) -> Vec<PointId> {
        let ids = self.points.keys().copied();
        ids.clone().chain(ids).chain([PointId::Num(9999), PointId::Uuid(Uuid::max())]).collect()
    }
}

impl Write {
    pub fn op(&self, schema: &ShardSchema) -> Op {
        let text = |payload: &Object| Bytes::from(serde_json::to_vec(payload).unwrap());
        let patch = |ids: &[PointId], delta| Op::Patch { ids: ids.iter().copied().collect(), delta };
        let stored = |vectors: &Vectors| {
            let encode = |(name, vector): (&String, &Vec<f32>)| {
                (Arc::from(name.as_str()), Bytes::from(schema.vector(name).unwrap().encode(vector)))
            };
            vectors.iter().map(encode).collect()
        };
        match self {
            Write::Put { id, vectors, payload } => {
                Op::Put(vec![Row { id: *id, vectors: stored(vectors), payload: text(payload) }])
            }
            Write::Delete(ids) => Op::Delete(ids.iter().copied().collect()),
            Write::Set { ids, payload, in_object } => {
                let key = in_object.then(|| "o".parse().unwrap());
                patch(ids, Delta::SetPayload { payload: text(payload), key })
            }
            Write::Overwrite { ids, payload } => patch(ids, Delta::OverwritePayload(text(payload))),
            Write::DeleteKeys { ids, keys } => {
                patch(ids, Delta::DeletePayload(keys.iter().map(|key| key.parse().unwrap()).collect()))
            }
            Write::Clear(ids) => patch(ids, Delta::ClearPayload),
            Write::SetVectors { id, vectors } => {
                Op::PutVectors(vec![VectorRow { id: *id, vectors: stored(vectors) }])
            }
            Write::RemoveVectors { ids, names } => {
                patch(ids, Delta::RemoveVectors(names.iter().map(|name| Arc::from(name.as_str())).collect()))
            }
        }
    }
}

pub fn plain_put(n: u64) -> Write {
    let payload = json!({"n": n}).as_object().unwrap().clone();
    Write::Put { id: PointId::Num(n), vectors: Vectors::new(), payload }
}

pub fn any_id() -> impl Strategy<Value = PointId> {
    prop_oneof![
        4 => (0u64..12).prop_map(PointId::Num),
        1 => (0u128..4).prop_map(|n| PointId::Uuid(Uuid::from_u128(n))),
    ]
}

fn any_ids() -> impl Strategy<Value = Vec<PointId>> {
    prop::collection::vec(any_id(), 1..6)
}

fn any_vectors() -> impl Strategy<Value = Vectors> {
    let components = |n| prop::collection::vec((0u8..4).prop_map(f32::from), n);
    let maybe = prop::option::weighted;
    (maybe(0.8, components(3)), maybe(0.5, components(2)), maybe(0.5, components(2))).prop_map(
        |(plain, bytes, half)| {
            let named = [("", plain), ("bytes", bytes), ("half", half)];
            named.into_iter().filter_map(|(name, vector)| Some((name.to_owned(), vector?))).collect()
        },
    )
}

fn any_payload() -> impl Strategy<Value = Object> {
    let n = prop_oneof![
        (0i64..5).prop_map(|n| json!(n)),
        prop::collection::vec(0i64..5, 0..4).prop_map(|n| json!(n)),
        Just(json!(2.5)),
        Just(json!("3")),
        Just(Value::Null),
    ];
    let k = prop_oneof![Just(json!("x")), Just(json!("y")), Just(json!(["x", "z"])), Just(Value::Null)];
    let o = prop_oneof![Just(json!({"a": 1})), Just(json!({"a": "x", "b": [1]})), Just(json!(7))];
    let maybe = |value| prop::option::weighted(0.6, value);
    (maybe(n.boxed()), maybe(k.boxed()), maybe(o.boxed())).prop_map(|(n, k, o)| {
        let keys = [("n", n), ("k", k), ("o", o)];
        keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    })
}

pub fn any_write() -> impl Strategy<Value = Write> {
    let keys = prop::sample::subsequence(vec!["n", "k", "o", "o.a", "none.a"], 1..4);
    let names = prop::sample::subsequence(vec![String::new(), "bytes".to_owned(), "half".to_owned()], 1..3);
    prop_oneof![
        6 => (any_id(), any_vectors(), any_payload())
            .prop_map(|(id, vectors, payload)| Write::Put { id, vectors, payload }),
        2 => any_ids().prop_map(Write::Delete),
        3 => (any_ids(), any_payload(), any::<bool>())
            .prop_map(|(ids, payload, in_object)| Write::Set { ids, payload, in_object }),
        1 => (any_ids(), any_payload()).prop_map(|(ids, payload)| Write::Overwrite { ids, payload }),
        1 => (any_ids(), keys).prop_map(|(ids, keys)| Write::DeleteKeys { ids, keys }),
        1 => any_ids().prop_map(Write::Clear),
        2 => (any_id(), any_vectors()).prop_map(|(id, vectors)| Write::SetVectors { id, vectors }),
        1 => (any_ids(), names).prop_map(|(ids, names)| Write::RemoveVectors { ids, names }),
    ]
}
