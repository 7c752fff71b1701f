//! Points in answers.

use lodestone_types::{
    NamedVectors, OrderValue, Payload, PointId, Record, ScoredPoint, ScrollPage, UpdateResult, UpdateStatus,
};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// A point id: a number, or a UUID as text.
pub struct IdOut(pub PointId);

impl Serialize for IdOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            PointId::Num(id) => serializer.serialize_u64(*id),
            PointId::Uuid(id) => serializer.collect_str(id),
        }
    }
}

/// Vectors: a plain list if only the unnamed one is there, else an object by name.
struct VectorsOut<'a>(&'a NamedVectors);

impl Serialize for VectorsOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.0.as_slice() {
            [(name, vector)] if name.is_empty() => vector.serialize(serializer),
            named => serializer.collect_map(named.iter().map(|(name, vector)| (name, vector))),
        }
    }
}

struct OrderOut(OrderValue);

impl Serialize for OrderOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            OrderValue::Int(value) => serializer.serialize_i64(value),
            OrderValue::Float(value) => serializer.serialize_f64(value),
        }
    }
}

/// A stored point. What was not asked for is absent.
pub struct RecordOut<'a>(pub &'a Record);

impl Serialize for RecordOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Record { id, payload, vectors, order_value } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &IdOut(*id))?;
        contents(&mut map, payload.as_ref(), vectors.as_ref(), *order_value)?;
        map.end()
    }
}

struct ScoredOut<'a>(&'a ScoredPoint);

impl Serialize for ScoredOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ScoredPoint { id, score, version, payload, vectors, order_value } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &IdOut(*id))?;
        map.serialize_entry("version", version)?;
        map.serialize_entry("score", score)?;
        contents(&mut map, payload.as_ref(), vectors.as_ref(), *order_value)?;
        map.end()
    }
}

fn contents<M: SerializeMap>(
    map: &mut M,
    payload: Option<&Payload>,
    vectors: Option<&NamedVectors>,
    order_value: Option<OrderValue>,
) -> Result<(), M::Error> {
    if let Some(payload) = payload {
        map.serialize_entry("payload", payload)?;
    }
    if let Some(vectors) = vectors {
        map.serialize_entry("vector", &VectorsOut(vectors))?;
    }
    if let Some(value) = order_value {
        map.serialize_entry("order_value", &OrderOut(value))?;
    }
    Ok(())
}

/// A list of stored points.
pub struct Records(pub Vec<Record>);

impl Serialize for Records {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(RecordOut))
    }
}

/// The hits of a search: a list.
pub struct Hits(pub Vec<ScoredPoint>);

impl Serialize for Hits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ScoredOut))
    }
}

/// The hits of a query: an object with a list.
#[derive(Serialize)]
pub struct Answer {
    /// Nearest first.
    pub points: Hits,
}

/// A page of points.
#[derive(Serialize)]
pub struct Page {
    points: Records,
    next_page_offset: Option<IdOut>,
}

impl From<ScrollPage> for Page {
    fn from(page: ScrollPage) -> Self {
        Self { points: Records(page.points), next_page_offset: page.next.map(IdOut) }
    }
}

/// The answer to a write.
pub struct UpdateOut(pub UpdateResult);

impl Serialize for UpdateOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let status = match self.0.status {
            UpdateStatus::Acknowledged => "acknowledged",
            UpdateStatus::Completed => "completed",
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("operation_id", &self.0.operation_id)?;
        map.serialize_entry("status", status)?;
        map.end()
    }
}
