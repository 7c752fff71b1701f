//! Requests that write points: each becomes one [`UpdateOp`], a batch becomes several.

use std::collections::HashMap;

use lodestone_types::limits::{MAX_OPS_PER_BATCH, MAX_POINTS_PER_WRITE};
use lodestone_types::{
    Error, JsonPath, Payload, PointSelector, Result, UpdateMode, UpdateOp, UpdateResult, UpdateStatus,
    WriteOptions, WriteOrdering,
};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_update_operation::Operation;

use super::point::{id, point, vector_update};
use super::read::{no_shard_key, timeout};
use super::{filter, value};
use crate::check;

/// How the write is to be acknowledged.
pub(super) fn options(
    wait: Option<bool>,
    ordering: Option<proto::WriteOrdering>,
    seconds: Option<u64>,
) -> Result<WriteOptions> {
    let ordering = match ordering.map(|o| proto::WriteOrderingType::try_from(o.r#type)) {
        None | Some(Ok(proto::WriteOrderingType::Weak)) => WriteOrdering::Weak,
        Some(Ok(proto::WriteOrderingType::Medium)) => WriteOrdering::Medium,
        Some(Ok(proto::WriteOrderingType::Strong)) => WriteOrdering::Strong,
        Some(Err(_)) => return Err(Error::bad_request("unknown write ordering")),
    };
    Ok(WriteOptions { wait: wait.unwrap_or(false), ordering, timeout: timeout(seconds)? })
}

/// Where the write stands.
pub(super) fn result_message(result: UpdateResult) -> proto::UpdateResult {
    let status = match result.status {
        UpdateStatus::Acknowledged => proto::UpdateStatus::Acknowledged,
        UpdateStatus::Completed => proto::UpdateStatus::Completed,
    };
    proto::UpdateResult { operation_id: Some(result.operation_id), status: status as i32 }
}

fn selector(message: Option<proto::PointsSelector>) -> Result<PointSelector> {
    match message.and_then(|m| m.points_selector_one_of) {
        Some(PointsSelectorOneOf::Points(list)) => {
            check::ids(list.ids.len())?;
            Ok(PointSelector::Ids(list.ids.into_iter().map(id).collect::<Result<_>>()?))
        }
        Some(PointsSelectorOneOf::Filter(f)) => Ok(PointSelector::Filter(filter::filter(f)?)),
        None => Err(Error::bad_request("points_selector is expected: ids or a filter")),
    }
}

fn not_too_many(points: usize) -> Result<()> {
    if points > MAX_POINTS_PER_WRITE {
        return Err(Error::bad_request(format!("a write may hold at most {MAX_POINTS_PER_WRITE} points")));
    }
    Ok(())
}

/// Writes whole points.
pub(super) fn upsert(
    points: Vec<proto::PointStruct>,
    condition: Option<proto::Filter>,
    mode: Option<i32>,
    shard_key: Option<proto::ShardKeySelector>,
) -> Result<UpdateOp> {
    no_shard_key(shard_key)?;
    not_too_many(points.len())?;
    let mode = match mode.map(proto::UpdateMode::try_from) {
        None | Some(Ok(proto::UpdateMode::Upsert)) => UpdateMode::Upsert,
        Some(Ok(proto::UpdateMode::InsertOnly)) => UpdateMode::InsertOnly,
        Some(Ok(proto::UpdateMode::UpdateOnly)) => UpdateMode::UpdateOnly,
        Some(Err(_)) => return Err(Error::bad_request("unknown update_mode")),
    };
    let points = points.into_iter().map(point).collect::<Result<_>>()?;
    Ok(UpdateOp::Upsert { points, condition: condition.map(filter::filter).transpose()?, mode })
}

/// Deletes points.
pub(super) fn delete(
    points: Option<proto::PointsSelector>,
    shard_key: Option<proto::ShardKeySelector>,
) -> Result<UpdateOp> {
    no_shard_key(shard_key)?;
    selector(points).map(UpdateOp::Delete)
}

/// Merges keys into payloads.
pub(super) fn set_payload(
    payload: HashMap<String, proto::Value>,
    key: Option<String>,
    points: Option<proto::PointsSelector>,
    shard_key: Option<proto::ShardKeySelector>,
) -> Result<UpdateOp> {
    no_shard_key(shard_key)?;
    let key = key.map(|k| k.parse::<JsonPath>()).transpose()?;
    let payload = checked(payload, key.as_ref())?;
    Ok(UpdateOp::SetPayload { payload, key, points: selector(points)? })
}

/// Replaces payloads.
pub(super) fn overwrite_payload(
    payload: HashMap<String, proto::Value>,
    key: Option<String>,
    points: Option<proto::PointsSelector>,
    shard_key: Option<proto::ShardKeySelector>,
) -> Result<UpdateOp> {
    no_shard_key(shard_key)?;
    if key.is_some() {
        return Err(Error::bad_request("overwriting a payload replaces all of it; `key` is for set_payload"));
    }
    Ok(UpdateOp::OverwritePayload { payload: checked(payload, None)?, points: selector(points)? })
}

fn checked(fields: HashMap<String, proto::Value>, key: Option<&JsonPath>) -> Result<Payload> {
    let payload = value::payload(fields)?;
    check::payload(&payload, key)?;
    Ok(payload)
}

/// Removes keys from payloads.
pub(super) fn delete_payload(
    keys: Vec<String>,
    points: Option<proto::PointsSelector>,
    shard_key: Option<proto::ShardKeySelector>,
) -> Result<UpdateOp> {
    no_shard_key(shard_key)?;
    let keys = keys.iter().map(|k| k.parse()).collect::<Result<_>>()?;
    Ok(UpdateOp::DeletePayload { keys, points: selector(points)? })
}

/// Empties payloads.
pub(super) fn clear_payload(
    points: Option<proto::PointsSelector>,
    shard_key: Option<proto::ShardKeySelector>,
) -> Result<UpdateOp> {
    no_shard_key(shard_key)?;
    selector(points).map(UpdateOp::ClearPayload)
}

/// Sets single vectors.
pub(super) fn update_vectors(
    points: Vec<proto::PointVectors>,
    condition: Option<proto::Filter>,
    shard_key: Option<proto::ShardKeySelector>,
) -> Result<UpdateOp> {
    no_shard_key(shard_key)?;
    not_too_many(points.len())?;
    let points = points.into_iter().map(vector_update).collect::<Result<_>>()?;
    Ok(UpdateOp::UpdateVectors { points, condition: condition.map(filter::filter).transpose()? })
}

/// Removes single vectors.
pub(super) fn delete_vectors(
    vectors: Option<proto::VectorsSelector>,
    points: Option<proto::PointsSelector>,
    shard_key: Option<proto::ShardKeySelector>,
) -> Result<UpdateOp> {
    no_shard_key(shard_key)?;
    let names = vectors.map(|v| v.names).unwrap_or_default();
    if names.is_empty() {
        return Err(Error::bad_request("no vector is named for deletion"));
    }
    Ok(UpdateOp::DeleteVectors { names, points: selector(points)? })
}

/// The operations of a batch, in order.
pub(super) fn batch(messages: Vec<proto::PointsUpdateOperation>) -> Result<Vec<UpdateOp>> {
    if messages.len() > MAX_OPS_PER_BATCH {
        return Err(Error::bad_request(format!("a batch may hold at most {MAX_OPS_PER_BATCH} operations")));
    }
    messages.into_iter().map(operation).collect()
}

#[expect(deprecated, reason = "older clients write these two forms")]
fn operation(message: proto::PointsUpdateOperation) -> Result<UpdateOp> {
    match message.operation.ok_or_else(|| Error::bad_request("an operation of the batch is empty"))? {
        Operation::Upsert(m) => upsert(m.points, m.update_filter, m.update_mode, m.shard_key_selector),
        Operation::DeleteDeprecated(points) => delete(Some(points), None),
        Operation::DeletePoints(m) => delete(m.points, m.shard_key_selector),
        Operation::SetPayload(m) => set_payload(m.payload, m.key, m.points_selector, m.shard_key_selector),
        Operation::OverwritePayload(m) => {
            overwrite_payload(m.payload, m.key, m.points_selector, m.shard_key_selector)
        }
        Operation::DeletePayload(m) => delete_payload(m.keys, m.points_selector, m.shard_key_selector),
        Operation::ClearPayloadDeprecated(points) => clear_payload(Some(points), None),
        Operation::ClearPayload(m) => clear_payload(m.points, m.shard_key_selector),
        Operation::UpdateVectors(m) => update_vectors(m.points, m.update_filter, m.shard_key_selector),
        Operation::DeleteVectors(m) => delete_vectors(m.vectors, m.points_selector, m.shard_key_selector),
    }
}
