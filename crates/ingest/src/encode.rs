//! Points to rows in their storage types, and rows to the shards they belong to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use lodestone_kernels::{Element, Metric};
use lodestone_manifest::{Collection, ShardId};
use lodestone_types::{
    Datatype, Distance, Error, NamedVectors, Payload, Point, PointId, Result, VectorUpdate,
};
use lodestone_wal::{IdSet, Op, Row, RowVectors, VectorRow};

/// The shard that holds `id`: a hash of the id, the same for ever (SplitMix64's finaliser).
pub fn shard_of(collection: &Collection, id: PointId) -> ShardId {
    let shards = u64::from(collection.config.params.shard_number);
    let bits = match id {
        PointId::Num(n) => n,
        PointId::Uuid(u) => {
            let (high, low) = u.as_u64_pair();
            high ^ low.rotate_left(32)
        }
    };
    ShardId::new(collection.id, (mix(bits) % shards) as u16)
}

fn mix(mut n: u64) -> u64 {
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// How the vectors of a collection are stored.
#[derive(Debug)]
pub struct Encoder {
    shapes: HashMap<String, (Arc<str>, Metric, Element)>,
}

impl Encoder {
    /// For the vectors of `collection`.
    pub fn new(collection: &Collection) -> Self {
        let shape = |(name, params): (&String, &lodestone_types::VectorParams)| {
            (name.clone(), (Arc::from(name.as_str()), metric(params.distance), element(params.datatype())))
        };
        Self { shapes: collection.config.params.vectors.iter().map(shape).collect() }
    }

    /// A whole row.
    pub fn row(&self, point: Point) -> Result<Row> {
        Ok(Row {
            id: point.id,
            vectors: self.vectors(point.vectors)?,
            payload: payload_bytes(&point.payload)?,
        })
    }

    /// Some vectors of a row.
    pub fn vector_row(&self, update: VectorUpdate) -> Result<VectorRow> {
        Ok(VectorRow { id: update.id, vectors: self.vectors(update.vectors)? })
    }

    fn vectors(&self, vectors: NamedVectors) -> Result<RowVectors> {
        vectors
            .0
            .into_iter()
            .map(|(name, mut vector)| {
                let (name, metric, element) = self.shapes.get(&name).ok_or_else(|| {
                    Error::bad_request(format!("Wrong input: Not existing vector name error: {name}"))
                })?;
                lodestone_kernels::prepare(*metric, *element, &mut vector);
                let mut bytes = Vec::with_capacity(vector.len() * element.bytes());
                lodestone_kernels::encode(*element, &vector, &mut bytes);
                Ok((name.clone(), Bytes::from(bytes)))
            })
            .collect()
    }
}

fn metric(distance: Distance) -> Metric {
    match distance {
        Distance::Cosine => Metric::Cosine,
        Distance::Dot => Metric::Dot,
        Distance::Euclid => Metric::Euclid,
        Distance::Manhattan => Metric::Manhattan,
    }
}

fn element(datatype: Datatype) -> Element {
    match datatype {
        Datatype::Float32 => Element::F32,
        Datatype::Float16 => Element::F16,
        Datatype::Uint8 => Element::U8,
    }
}

/// A payload as stored: JSON text, nothing for an empty object.
pub fn payload_bytes(payload: &Payload) -> Result<Bytes> {
    if payload.0.is_empty() {
        return Ok(Bytes::new());
    }
    let text = serde_json::to_vec(payload)
        .map_err(|e| Error::internal(format!("a payload does not serialise: {e}")))?;
    Ok(text.into())
}

/// The same operation on ids of several shards, by shard.
pub fn by_shard(collection: &Collection, ids: impl IntoIterator<Item = PointId>) -> BTreeMap<ShardId, IdSet> {
    let mut shards: BTreeMap<ShardId, Vec<PointId>> = BTreeMap::new();
    for id in ids {
        shards.entry(shard_of(collection, id)).or_default().push(id);
    }
    shards.into_iter().map(|(shard, ids)| (shard, ids.into_iter().collect())).collect()
}

/// Rows by shard, in order.
pub fn rows_by_shard<T>(
    collection: &Collection,
    rows: Vec<T>,
    id: impl Fn(&T) -> PointId,
    op: impl Fn(Vec<T>) -> Op,
) -> BTreeMap<ShardId, Vec<Op>> {
    let mut shards: BTreeMap<ShardId, Vec<T>> = BTreeMap::new();
    for row in rows {
        shards.entry(shard_of(collection, id(&row))).or_default().push(row);
    }
    shards.into_iter().map(|(shard, rows)| (shard, vec![op(rows)])).collect()
}
