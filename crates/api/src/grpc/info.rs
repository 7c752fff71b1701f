//! What is known about a collection, as the message that tells a client.
//!
//! Clients take some settings for always there; where a user set nothing they are told Qdrant's defaults.

use std::collections::{BTreeMap, HashMap};

use lodestone_types::{
    CollectionConfig, CollectionInfo, CollectionParams, CollectionStatus, Datatype, Distance, Error,
    HnswConfig, OptimizersConfig, Result, VectorParams,
};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::max_optimization_threads::Variant as Threads;
use qdrant_client::qdrant::vectors_config::Config;
use serde_json::Map;

use super::{field_index, quantization, strict_mode, value};

/// The message of `info`.
pub(super) fn message(info: CollectionInfo) -> Result<proto::CollectionInfo> {
    let status = match info.status {
        CollectionStatus::Green => proto::CollectionStatus::Green,
        CollectionStatus::Yellow => proto::CollectionStatus::Yellow,
    };
    let schema = info.payload_schema.iter();
    let payload_schema = schema
        .map(|(path, (index, points))| Ok((path.to_string(), field_index::message(index, *points)?)))
        .collect::<Result<_>>()?;
    Ok(proto::CollectionInfo {
        status: status as i32,
        optimizer_status: Some(proto::OptimizerStatus { ok: true, error: String::new() }),
        segments_count: info.segments_count,
        config: Some(config(info.config)?),
        payload_schema,
        points_count: Some(info.points_count),
        indexed_vectors_count: Some(info.indexed_vectors_count),
        warnings: Vec::new(),
        update_queue: Some(proto::UpdateQueueInfo { length: 0, deferred_points: None }),
        created_at: None,
    })
}

fn config(config: CollectionConfig) -> Result<proto::CollectionConfig> {
    Ok(proto::CollectionConfig {
        params: Some(params(config.params)?),
        hnsw_config: Some(hnsw(&with_defaults(config.hnsw))),
        optimizer_config: Some(optimizers(config.optimizers)),
        wal_config: Some(proto::WalConfigDiff {
            wal_capacity_mb: Some(32),
            wal_segments_ahead: Some(0),
            wal_retain_closed: Some(1),
        }),
        quantization_config: config.quantization.as_deref().map(quantization::message).transpose()?.flatten(),
        strict_mode_config: config.strict_mode.as_deref().map(strict_mode::message).transpose()?,
        metadata: config.metadata.as_deref().map(metadata).transpose()?.unwrap_or_default(),
    })
}

fn metadata(text: &str) -> Result<HashMap<String, proto::Value>> {
    let object: Map<_, _> = serde_json::from_str(text)
        .map_err(|e| Error::internal(format!("stored metadata cannot be read: {e}")))?;
    Ok(value::fields(object))
}

#[expect(deprecated, reason = "clients still read on_disk_payload")]
fn params(params: CollectionParams) -> Result<proto::CollectionParams> {
    Ok(proto::CollectionParams {
        shard_number: params.shard_number,
        on_disk_payload: params.on_disk_payload,
        vectors_config: Some(vectors(&params.vectors)?),
        replication_factor: Some(params.replication_factor),
        write_consistency_factor: Some(params.write_consistency_factor),
        ..Default::default()
    })
}

/// The message of vectors by name.
pub(super) fn vectors(vectors: &BTreeMap<String, VectorParams>) -> Result<proto::VectorsConfig> {
    let config = match (vectors.len(), vectors.get("")) {
        (1, Some(only)) => Config::Params(vector(only)?),
        _ => {
            let map = vectors.iter().map(|(name, params)| Ok((name.clone(), vector(params)?)));
            Config::ParamsMap(proto::VectorParamsMap { map: map.collect::<Result<_>>()? })
        }
    };
    Ok(proto::VectorsConfig { config: Some(config) })
}

#[expect(deprecated, reason = "clients still read on_disk")]
fn vector(params: &VectorParams) -> Result<proto::VectorParams> {
    let distance = match params.distance {
        Distance::Cosine => proto::Distance::Cosine,
        Distance::Dot => proto::Distance::Dot,
        Distance::Euclid => proto::Distance::Euclid,
        Distance::Manhattan => proto::Distance::Manhattan,
    };
    let datatype = params.datatype.map(|datatype| match datatype {
        Datatype::Float32 => proto::Datatype::Float32 as i32,
        Datatype::Float16 => proto::Datatype::Float16 as i32,
        Datatype::Uint8 => proto::Datatype::Uint8 as i32,
    });
    Ok(proto::VectorParams {
        size: params.size,
        distance: distance as i32,
        hnsw_config: params.hnsw.as_ref().map(hnsw),
        quantization_config: params.quantization.as_deref().map(quantization::message).transpose()?.flatten(),
        on_disk: params.on_disk,
        datatype,
        multivector_config: None,
        memory: None,
    })
}

fn with_defaults(config: HnswConfig) -> HnswConfig {
    HnswConfig {
        m: config.m.or(Some(16)),
        ef_construct: config.ef_construct.or(Some(100)),
        full_scan_threshold: config.full_scan_threshold.or(Some(10_000)),
        max_indexing_threads: config.max_indexing_threads.or(Some(0)),
        on_disk: config.on_disk.or(Some(false)),
        ..config
    }
}

#[expect(deprecated, reason = "clients still read on_disk")]
fn hnsw(config: &HnswConfig) -> proto::HnswConfigDiff {
    proto::HnswConfigDiff {
        m: config.m,
        ef_construct: config.ef_construct,
        full_scan_threshold: config.full_scan_threshold,
        max_indexing_threads: config.max_indexing_threads,
        on_disk: config.on_disk,
        payload_m: config.payload_m,
        inline_storage: config.inline_storage,
        memory: None,
    }
}

fn optimizers(config: OptimizersConfig) -> proto::OptimizersConfigDiff {
    let threads = config.max_optimization_threads;
    proto::OptimizersConfigDiff {
        deleted_threshold: config.deleted_threshold.or(Some(0.2)),
        vacuum_min_vector_number: config.vacuum_min_vector_number.or(Some(1000)),
        default_segment_number: config.default_segment_number.or(Some(0)),
        max_segment_size: config.max_segment_size,
        memmap_threshold: config.memmap_threshold,
        indexing_threshold: config.indexing_threshold.or(Some(10_000)),
        flush_interval_sec: config.flush_interval_sec.or(Some(5)),
        deprecated_max_optimization_threads: threads,
        max_optimization_threads: threads
            .map(|n| proto::MaxOptimizationThreads { variant: Some(Threads::Value(n)) }),
        prevent_unoptimized: None,
    }
}
