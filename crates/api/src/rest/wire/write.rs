//! Requests that change points, turned into [`UpdateOp`]s.

use lodestone_types::limits::{MAX_OPS_PER_BATCH, MAX_POINTS_PER_WRITE, MAX_VECTORS_PER_COLLECTION};
use lodestone_types::{
    Error, JsonPath, NamedVectors, Payload, Point, PointSelector, Result, UpdateMode, UpdateOp, VectorUpdate,
};
use serde::Deserialize;

use super::NoShardKey;
use super::filter::WireFilter;
use super::list::{Id, Ids, List};
use super::vector::{BatchVectors, Vectors};
use crate::check;

/// Keys of payloads in one request.
const MAX_KEYS: usize = 10_000;

/// `PUT points`: points one by one or in columns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upsert {
    points: Option<List<WirePoint, MAX_POINTS_PER_WRITE>>,
    batch: Option<Batch>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
    update_filter: Option<WireFilter>,
    update_mode: Option<Mode>,
}

/// A point to write.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WirePoint {
    id: Id,
    vector: Vectors,
    payload: Option<Payload>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    ids: List<Id, MAX_POINTS_PER_WRITE>,
    vectors: BatchVectors,
    payloads: Option<List<Option<Payload>, MAX_POINTS_PER_WRITE>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Upsert,
    InsertOnly,
    UpdateOnly,
}

impl Upsert {
    /// The operation asked for.
    pub fn into_op(self) -> Result<UpdateOp> {
        let points = match (self.points, self.batch) {
            (Some(List(points)), None) => points.into_iter().map(WirePoint::into_point).collect(),
            (None, Some(batch)) => batch.into_points()?,
            _ => {
                return Err(Error::bad_request("Format error in JSON body: give either `points` or `batch`"));
            }
        };
        not_empty(&points)?;
        points.iter().try_for_each(check::point)?;
        let mode = match self.update_mode {
            None | Some(Mode::Upsert) => UpdateMode::Upsert,
            Some(Mode::InsertOnly) => UpdateMode::InsertOnly,
            Some(Mode::UpdateOnly) => UpdateMode::UpdateOnly,
        };
        Ok(UpdateOp::Upsert { points, condition: WireFilter::given(self.update_filter), mode })
    }
}

impl WirePoint {
    /// The point itself, not checked.
    pub fn into_point(self) -> Point {
        Point { id: self.id.0, vectors: self.vector.0, payload: self.payload.unwrap_or_default() }
    }
}

impl Batch {
    fn into_points(self) -> Result<Vec<Point>> {
        let mut points: Vec<Point> = self
            .ids
            .into_ids()
            .into_iter()
            .map(|id| Point { id, vectors: NamedVectors::default(), payload: Payload::default() })
            .collect();
        let columns = match self.vectors {
            BatchVectors::Unnamed(column) => vec![(String::new(), column)],
            BatchVectors::Named(columns) => columns,
        };
        for (name, column) in columns {
            same_length("vectors", column.len(), points.len())?;
            for (point, vector) in points.iter_mut().zip(column) {
                point.vectors.0.push((name.clone(), vector));
            }
        }
        if let Some(List(payloads)) = self.payloads {
            same_length("payloads", payloads.len(), points.len())?;
            for (point, payload) in points.iter_mut().zip(payloads) {
                point.payload = payload.unwrap_or_default();
            }
        }
        Ok(points)
    }
}

fn not_empty<T>(points: &[T]) -> Result<()> {
    if points.is_empty() {
        return Err(Error::bad_request("Wrong input: Empty update request: give at least one point"));
    }
    Ok(())
}

fn same_length(what: &str, given: usize, ids: usize) -> Result<()> {
    if given != ids {
        return Err(Error::invalid(format!(
            "Validation error in JSON body: [batch.{what}: number of ids and {what} must be equal ({ids} != {given})]"
        )));
    }
    Ok(())
}

/// `{"points": [..]}` or `{"filter": {..}}`: which points to delete or clear.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    points: Option<Ids>,
    filter: Option<WireFilter>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

impl Selector {
    /// The selector itself.
    pub fn into_selector(self) -> Result<PointSelector> {
        selector(self.points, self.filter)
    }
}

fn selector(points: Option<Ids>, filter: Option<WireFilter>) -> Result<PointSelector> {
    match (points, filter) {
        (Some(ids), None) => Ok(PointSelector::Ids(ids.into_ids())),
        (None, Some(WireFilter(filter))) => Ok(PointSelector::Filter(filter)),
        (Some(_), Some(_)) => {
            Err(Error::invalid("Validation error in JSON body: give either `points` or `filter`, not both"))
        }
        (None, None) => Err(Error::invalid(
            "Validation error in JSON body: either a list of point ids as `points` or a `filter` must be provided",
        )),
    }
}

/// `POST points/payload` and `PUT points/payload`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPayload {
    payload: Payload,
    points: Option<Ids>,
    filter: Option<WireFilter>,
    key: Option<JsonPath>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

impl SetPayload {
    /// Merges.
    pub fn into_set(self) -> Result<UpdateOp> {
        check::payload(&self.payload, self.key.as_ref())?;
        let points = selector(self.points, self.filter)?;
        Ok(UpdateOp::SetPayload { payload: self.payload, key: self.key, points })
    }

    /// Replaces, which is always at the top.
    pub fn into_overwrite(self) -> Result<UpdateOp> {
        if self.key.is_some() {
            return Err(Error::bad_request(
                "Wrong input: `key` cannot be given when a payload is overwritten",
            ));
        }
        check::payload(&self.payload, None)?;
        Ok(UpdateOp::OverwritePayload { payload: self.payload, points: selector(self.points, self.filter)? })
    }
}

/// `POST points/payload/delete`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletePayload {
    keys: List<JsonPath, MAX_KEYS>,
    points: Option<Ids>,
    filter: Option<WireFilter>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

impl DeletePayload {
    /// The operation asked for.
    pub fn into_op(self) -> Result<UpdateOp> {
        Ok(UpdateOp::DeletePayload { keys: self.keys.0, points: selector(self.points, self.filter)? })
    }
}

/// `PUT points/vectors`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateVectors {
    points: List<WireVectors, MAX_POINTS_PER_WRITE>,
    update_filter: Option<WireFilter>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireVectors {
    id: Id,
    vector: Vectors,
}

impl UpdateVectors {
    /// The operation asked for.
    pub fn into_op(self) -> Result<UpdateOp> {
        let points: Vec<VectorUpdate> =
            self.points.0.into_iter().map(|p| VectorUpdate { id: p.id.0, vectors: p.vector.0 }).collect();
        not_empty(&points)?;
        for (name, vector) in points.iter().flat_map(|p| &p.vectors.0) {
            check::vector_name(name)?;
            check::vector(vector)?;
        }
        Ok(UpdateOp::UpdateVectors { points, condition: WireFilter::given(self.update_filter) })
    }
}

/// `POST points/vectors/delete`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteVectors {
    vector: List<String, MAX_VECTORS_PER_COLLECTION>,
    points: Option<Ids>,
    filter: Option<WireFilter>,
    #[serde(rename = "shard_key")]
    _shard_key: Option<NoShardKey>,
}

impl DeleteVectors {
    /// The operation asked for.
    pub fn into_op(self) -> Result<UpdateOp> {
        if self.vector.0.is_empty() {
            return Err(Error::invalid(
                "Validation error in JSON body: [vector: must name at least one vector]",
            ));
        }
        Ok(UpdateOp::DeleteVectors { names: self.vector.0, points: selector(self.points, self.filter)? })
    }
}

/// `POST points/batch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateBatch {
    operations: List<Operation, MAX_OPS_PER_BATCH>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Upsert(Upsert),
    Delete(Selector),
    SetPayload(SetPayload),
    OverwritePayload(SetPayload),
    DeletePayload(DeletePayload),
    ClearPayload(Selector),
    UpdateVectors(UpdateVectors),
    DeleteVectors(DeleteVectors),
}

impl UpdateBatch {
    /// The operations asked for, in order.
    pub fn into_ops(self) -> Result<Vec<UpdateOp>> {
        self.operations.0.into_iter().map(Operation::into_op).collect()
    }
}

impl Operation {
    fn into_op(self) -> Result<UpdateOp> {
        match self {
            Operation::Upsert(upsert) => upsert.into_op(),
            Operation::Delete(selector) => selector.into_selector().map(UpdateOp::Delete),
            Operation::SetPayload(payload) => payload.into_set(),
            Operation::OverwritePayload(payload) => payload.into_overwrite(),
            Operation::DeletePayload(keys) => keys.into_op(),
            Operation::ClearPayload(selector) => selector.into_selector().map(UpdateOp::ClearPayload),
            Operation::UpdateVectors(vectors) => vectors.into_op(),
            Operation::DeleteVectors(vectors) => vectors.into_op(),
        }
    }
}
