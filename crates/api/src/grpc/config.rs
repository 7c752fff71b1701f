//! Settings of collections: from the messages that create and change them.
//!
//! `memory`, the newer word for `on_disk`, is kept as `on_disk`: cold is on disk, the rest is not.

use std::collections::{BTreeMap, HashMap};

use lodestone_types::{
    CollectionConfig, CollectionParams, CollectionPatch, Datatype, Distance, Error, HnswConfig,
    OptimizersConfig, Result, VectorParams, VectorParamsPatch,
};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::max_optimization_threads::Variant as Threads;
use qdrant_client::qdrant::{vectors_config, vectors_config_diff};

use super::point::{no_multi, no_sparse};
use super::{quantization, strict_mode, value};
use crate::check;

/// What a collection is created with.
#[expect(deprecated, reason = "clients still set on_disk_payload")]
pub(super) fn new(message: proto::CreateCollection) -> Result<CollectionConfig> {
    if message.sparse_vectors_config.is_some_and(|c| !c.map.is_empty()) {
        return Err(no_sparse());
    }
    if message.sharding_method == Some(proto::ShardingMethod::Custom as i32) {
        return Err(Error::unsupported("not supported yet: custom sharding"));
    }
    let on_disk_payload =
        on_disk(message.on_disk_payload, message.payload.and_then(|p| p.memory))?.unwrap_or(true);
    let params = CollectionParams {
        vectors: message.vectors_config.map(vectors).transpose()?.unwrap_or_default(),
        shard_number: message.shard_number.unwrap_or(1),
        replication_factor: message.replication_factor.unwrap_or(1),
        write_consistency_factor: message.write_consistency_factor.unwrap_or(1),
        on_disk_payload,
    };
    let config = CollectionConfig {
        params,
        hnsw: message.hnsw_config.map(hnsw).transpose()?.unwrap_or_default(),
        optimizers: message.optimizers_config.map(optimizers).transpose()?.unwrap_or_default(),
        quantization: message.quantization_config.map(quantization::text).transpose()?,
        metadata: metadata(message.metadata)?,
        strict_mode: message.strict_mode_config.map(strict_mode::text).transpose()?,
    };
    check::collection_config(&config)?;
    Ok(config)
}

/// What of a collection changes.
#[expect(deprecated, reason = "clients still set on_disk_payload")]
pub(super) fn patch(message: proto::UpdateCollection) -> Result<CollectionPatch> {
    if message.sparse_vectors_config.is_some_and(|c| !c.map.is_empty()) {
        return Err(no_sparse());
    }
    let params = message.params.unwrap_or_default();
    if params.read_fan_out_factor.is_some() || params.read_fan_out_delay_ms.is_some() {
        return Err(Error::unsupported("not supported yet: read fan-out"));
    }
    let patch = CollectionPatch {
        vectors: message.vectors_config.map(vectors_patch).transpose()?.unwrap_or_default(),
        hnsw: message.hnsw_config.map(hnsw).transpose()?,
        optimizers: message.optimizers_config.map(optimizers).transpose()?,
        quantization: message.quantization_config.map(quantization::change_text).transpose()?,
        metadata: metadata(message.metadata)?,
        strict_mode: message.strict_mode_config.map(strict_mode::text).transpose()?,
        replication_factor: params.replication_factor,
        write_consistency_factor: params.write_consistency_factor,
        on_disk_payload: on_disk(params.on_disk_payload, params.payload.and_then(|p| p.memory))?,
    };
    check::collection_patch(&patch)?;
    Ok(patch)
}

fn metadata(fields: HashMap<String, proto::Value>) -> Result<Option<String>> {
    if fields.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::Value::Object(value::object(fields)?).to_string()))
}

fn on_disk(on_disk: Option<bool>, memory: Option<i32>) -> Result<Option<bool>> {
    use proto::Memory::{Cached, Cold, Pinned, Unknown};
    Ok(match memory.map(proto::Memory::try_from) {
        None | Some(Ok(Unknown)) => on_disk,
        Some(Ok(Cold)) => Some(true),
        Some(Ok(Cached | Pinned)) => Some(false),
        Some(Err(_)) => return Err(Error::bad_request("unknown memory placement")),
    })
}

/// Vectors by name.
pub(super) fn vectors(message: proto::VectorsConfig) -> Result<BTreeMap<String, VectorParams>> {
    match message.config {
        Some(vectors_config::Config::Params(params)) => {
            Ok(BTreeMap::from([(String::new(), vector(params)?)]))
        }
        Some(vectors_config::Config::ParamsMap(by_name)) => {
            by_name.map.into_iter().map(|(name, params)| Ok((name, vector(params)?))).collect()
        }
        None => Ok(BTreeMap::new()),
    }
}

#[expect(deprecated, reason = "clients still set on_disk")]
fn vector(message: proto::VectorParams) -> Result<VectorParams> {
    if message.multivector_config.is_some() {
        return Err(no_multi());
    }
    Ok(VectorParams {
        size: message.size,
        distance: distance(message.distance)?,
        datatype: message.datatype.map(datatype).transpose()?.flatten(),
        hnsw: message.hnsw_config.map(hnsw).transpose()?,
        on_disk: on_disk(message.on_disk, message.memory)?,
        quantization: message.quantization_config.map(quantization::text).transpose()?,
    })
}

fn vectors_patch(message: proto::VectorsConfigDiff) -> Result<BTreeMap<String, VectorParamsPatch>> {
    match message.config {
        Some(vectors_config_diff::Config::Params(params)) => {
            Ok(BTreeMap::from([(String::new(), vector_patch(params)?)]))
        }
        Some(vectors_config_diff::Config::ParamsMap(by_name)) => {
            by_name.map.into_iter().map(|(name, params)| Ok((name, vector_patch(params)?))).collect()
        }
        None => Ok(BTreeMap::new()),
    }
}

#[expect(deprecated, reason = "clients still set on_disk")]
fn vector_patch(message: proto::VectorParamsDiff) -> Result<VectorParamsPatch> {
    Ok(VectorParamsPatch {
        hnsw: message.hnsw_config.map(hnsw).transpose()?,
        quantization: message.quantization_config.map(quantization::change_text).transpose()?,
        on_disk: on_disk(message.on_disk, message.memory)?,
    })
}

fn distance(number: i32) -> Result<Distance> {
    match proto::Distance::try_from(number) {
        Ok(proto::Distance::Cosine) => Ok(Distance::Cosine),
        Ok(proto::Distance::Dot) => Ok(Distance::Dot),
        Ok(proto::Distance::Euclid) => Ok(Distance::Euclid),
        Ok(proto::Distance::Manhattan) => Ok(Distance::Manhattan),
        Ok(proto::Distance::UnknownDistance) | Err(_) => {
            Err(Error::bad_request("a vector's distance is Cosine, Dot, Euclid or Manhattan"))
        }
    }
}

fn datatype(number: i32) -> Result<Option<Datatype>> {
    use proto::Datatype::{Default, Float16, Float32, Turbo4, Turbo8, Turbo16, Uint8};
    match proto::Datatype::try_from(number) {
        Ok(Default) => Ok(None),
        Ok(Float32) => Ok(Some(Datatype::Float32)),
        Ok(Float16) => Ok(Some(Datatype::Float16)),
        Ok(Uint8) => Ok(Some(Datatype::Uint8)),
        Ok(Turbo4 | Turbo8 | Turbo16) => Err(Error::unsupported("not supported yet: turbo datatypes")),
        Err(_) => Err(Error::bad_request(format!("{number} is no datatype"))),
    }
}

#[expect(deprecated, reason = "clients still set on_disk")]
fn hnsw(message: proto::HnswConfigDiff) -> Result<HnswConfig> {
    Ok(HnswConfig {
        m: message.m,
        ef_construct: message.ef_construct,
        full_scan_threshold: message.full_scan_threshold,
        max_indexing_threads: message.max_indexing_threads,
        on_disk: on_disk(message.on_disk, message.memory)?,
        payload_m: message.payload_m,
        inline_storage: message.inline_storage,
    })
}

fn optimizers(message: proto::OptimizersConfigDiff) -> Result<OptimizersConfig> {
    if message.prevent_unoptimized == Some(true) {
        return Err(Error::unsupported("not supported yet: prevent_unoptimized"));
    }
    let threads = match message.max_optimization_threads.and_then(|t| t.variant) {
        Some(Threads::Value(n)) => Some(n),
        Some(Threads::Setting(_)) => None,
        None => message.deprecated_max_optimization_threads,
    };
    Ok(OptimizersConfig {
        deleted_threshold: message.deleted_threshold,
        vacuum_min_vector_number: message.vacuum_min_vector_number,
        default_segment_number: message.default_segment_number,
        max_segment_size: message.max_segment_size,
        memmap_threshold: message.memmap_threshold,
        indexing_threshold: message.indexing_threshold,
        flush_interval_sec: message.flush_interval_sec,
        max_optimization_threads: threads,
    })
}
