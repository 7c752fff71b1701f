//! Points: ids, vectors and whole points, in and out.
//!
//! Vectors are moved, never copied. Clients write a dense vector in the field `dense`, or, before 1.16, flat in
//! `data`; both are read. It leaves as `dense`, as from Qdrant since 1.16.

use lodestone_types::{
    Error, NamedVectors, OrderValue, Point, PointId, Record, Result, ScoredPoint, VectorUpdate,
};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::{order_value, vector, vector_output, vectors_output};
use uuid::Uuid;

use super::value;
use crate::check;

/// A point's id.
pub(super) fn id(message: proto::PointId) -> Result<PointId> {
    match message.point_id_options {
        Some(PointIdOptions::Num(n)) => Ok(PointId::Num(n)),
        Some(PointIdOptions::Uuid(text)) => Uuid::try_parse(&text)
            .map(PointId::Uuid)
            .map_err(|_| Error::bad_request(format!("Unable to parse UUID: {text}"))),
        None => Err(Error::bad_request("a point id is empty")),
    }
}

/// An id that must be there.
pub(super) fn required_id(message: Option<proto::PointId>) -> Result<PointId> {
    id(message.ok_or_else(|| Error::bad_request("a point has no id"))?)
}

/// A point to write.
pub(super) fn point(message: proto::PointStruct) -> Result<Point> {
    let point = Point {
        id: required_id(message.id)?,
        vectors: message.vectors.map(vectors).transpose()?.unwrap_or_default(),
        payload: value::payload(message.payload)?,
    };
    check::point(&point)?;
    Ok(point)
}

/// New vectors of one point.
pub(super) fn vector_update(message: proto::PointVectors) -> Result<VectorUpdate> {
    let vectors = message.vectors.map(vectors).transpose()?.unwrap_or_default();
    if vectors.0.is_empty() {
        return Err(Error::bad_request("an update of vectors names no vector"));
    }
    for (name, vector) in &vectors.0 {
        check::vector_name(name)?;
        check::vector(vector)?;
    }
    Ok(VectorUpdate { id: required_id(message.id)?, vectors })
}

fn vectors(message: proto::Vectors) -> Result<NamedVectors> {
    match message.vectors_options {
        Some(VectorsOptions::Vector(v)) => Ok(NamedVectors::unnamed(dense(v)?)),
        Some(VectorsOptions::Vectors(named)) => {
            let named = named.vectors.into_iter().map(|(name, v)| Ok((name, dense(v)?)));
            let mut named = named.collect::<Result<Vec<_>>>()?;
            // The message is a hash map, whose order differs from run to run.
            named.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Ok(NamedVectors(named))
        }
        None => Err(Error::bad_request("the vectors of a point are empty")),
    }
}

#[expect(deprecated, reason = "clients before 1.16 write the flat form")]
fn dense(message: proto::Vector) -> Result<Vec<f32>> {
    let proto::Vector { data, indices, vectors_count, vector } = message;
    match vector {
        Some(vector::Vector::Dense(dense)) => Ok(dense.data),
        Some(vector::Vector::Sparse(_)) => Err(no_sparse()),
        Some(vector::Vector::MultiDense(_)) => Err(no_multi()),
        Some(vector::Vector::Document(_) | vector::Vector::Image(_) | vector::Vector::Object(_)) => {
            Err(no_inference())
        }
        None if indices.is_some() => Err(no_sparse()),
        None if vectors_count.is_some() => Err(no_multi()),
        None => Ok(data),
    }
}

pub(super) fn no_sparse() -> Error {
    Error::unsupported("not supported yet: sparse vectors")
}

pub(super) fn no_multi() -> Error {
    Error::unsupported("not supported yet: multivectors")
}

pub(super) fn no_inference() -> Error {
    Error::unsupported("not supported yet: inference; send vectors")
}

/// An id's message.
pub(super) fn id_message(id: PointId) -> proto::PointId {
    let options = match id {
        PointId::Num(n) => PointIdOptions::Num(n),
        PointId::Uuid(uuid) => PointIdOptions::Uuid(uuid.to_string()),
    };
    proto::PointId { point_id_options: Some(options) }
}

/// The message of a point to write.
pub(super) fn point_message(point: Point) -> proto::PointStruct {
    let mut named = point.vectors.0;
    let dense = |data| proto::Vector {
        vector: Some(vector::Vector::Dense(proto::DenseVector { data })),
        ..Default::default()
    };
    let options = match named.as_mut_slice() {
        [(name, only)] if name.is_empty() => VectorsOptions::Vector(dense(std::mem::take(only))),
        _ => VectorsOptions::Vectors(proto::NamedVectors {
            vectors: named.into_iter().map(|(name, data)| (name, dense(data))).collect(),
        }),
    };
    proto::PointStruct {
        id: Some(id_message(point.id)),
        vectors: Some(proto::Vectors { vectors_options: Some(options) }),
        payload: value::fields(point.payload.0),
    }
}

/// A stored point from the message that tells of it.
pub(super) fn record(message: proto::RetrievedPoint) -> Result<Record> {
    Ok(Record {
        id: required_id(message.id)?,
        payload: Some(value::payload(message.payload)?),
        vectors: Some(message.vectors.map(vectors_read).transpose()?.unwrap_or_default()),
        order_value: None,
    })
}

fn vectors_read(message: proto::VectorsOutput) -> Result<NamedVectors> {
    match message.vectors_options {
        Some(vectors_output::VectorsOptions::Vector(v)) => Ok(NamedVectors::unnamed(dense_read(v)?)),
        Some(vectors_output::VectorsOptions::Vectors(named)) => {
            let named = named.vectors.into_iter().map(|(name, v)| Ok((name, dense_read(v)?)));
            let mut named = named.collect::<Result<Vec<_>>>()?;
            named.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Ok(NamedVectors(named))
        }
        None => Ok(NamedVectors::default()),
    }
}

fn dense_read(message: proto::VectorOutput) -> Result<Vec<f32>> {
    match message.vector {
        Some(vector_output::Vector::Dense(dense)) => Ok(dense.data),
        Some(vector_output::Vector::Sparse(_)) => Err(no_sparse()),
        Some(vector_output::Vector::MultiDense(_)) => Err(no_multi()),
        None => Err(Error::unsupported("a stored vector came in a form older than 1.16; upgrade the server")),
    }
}

/// A hit's message.
pub(super) fn scored_message(point: ScoredPoint) -> proto::ScoredPoint {
    proto::ScoredPoint {
        id: Some(id_message(point.id)),
        payload: point.payload.map(|p| value::fields(p.0)).unwrap_or_default(),
        score: point.score,
        version: point.version,
        vectors: point.vectors.map(vectors_message),
        shard_key: None,
        order_value: point.order_value.map(order_value_message),
    }
}

/// A stored point's message.
pub(super) fn record_message(record: Record) -> proto::RetrievedPoint {
    proto::RetrievedPoint {
        id: Some(id_message(record.id)),
        payload: record.payload.map(|p| value::fields(p.0)).unwrap_or_default(),
        vectors: record.vectors.map(vectors_message),
        shard_key: None,
        order_value: record.order_value.map(order_value_message),
    }
}

fn vectors_message(vectors: NamedVectors) -> proto::VectorsOutput {
    let mut vectors = vectors.0;
    let options = match vectors.as_mut_slice() {
        [(name, only)] if name.is_empty() => {
            vectors_output::VectorsOptions::Vector(dense_message(std::mem::take(only)))
        }
        _ => vectors_output::VectorsOptions::Vectors(proto::NamedVectorsOutput {
            vectors: vectors.into_iter().map(|(name, v)| (name, dense_message(v))).collect(),
        }),
    };
    proto::VectorsOutput { vectors_options: Some(options) }
}

fn dense_message(data: Vec<f32>) -> proto::VectorOutput {
    let vector = vector_output::Vector::Dense(proto::DenseVector { data });
    proto::VectorOutput { vector: Some(vector), ..Default::default() }
}

fn order_value_message(value: OrderValue) -> proto::OrderValue {
    let variant = match value {
        OrderValue::Int(n) => order_value::Variant::Int(n),
        OrderValue::Float(n) => order_value::Variant::Float(n),
    };
    proto::OrderValue { variant: Some(variant) }
}
