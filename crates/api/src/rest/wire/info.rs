//! What is known about a collection, with Qdrant's defaults where the user left a setting open.

use lodestone_types::{
    CollectionConfig, CollectionInfo, CollectionParams, CollectionStatus, Datatype, Distance, FieldIndex,
    HnswConfig, OptimizersConfig, VectorParams,
};
use serde_json::{Map, Value, json};

use crate::settings::kind_name;

/// The answer to `GET collections/{name}`.
pub fn collection_info(info: &CollectionInfo) -> Value {
    let status = match info.status {
        CollectionStatus::Green => "green",
        CollectionStatus::Yellow => "yellow",
    };
    let schema: Map<String, Value> = info
        .payload_schema
        .iter()
        .map(|(field, (index, points))| (field.to_string(), index_info(index, *points)))
        .collect();
    json!({
        "status": status,
        "optimizer_status": "ok",
        "indexed_vectors_count": info.indexed_vectors_count,
        "points_count": info.points_count,
        "segments_count": info.segments_count,
        "config": config(&info.config),
        "payload_schema": schema,
    })
}

fn index_info(index: &FieldIndex, points: u64) -> Value {
    let kind = kind_name(index.kind);
    let mut info = json!({"data_type": kind, "points": points});
    if let Some(Value::Object(mut params)) = parsed(index.params.as_deref()) {
        params.entry("type").or_insert_with(|| kind.into());
        info["params"] = Value::Object(params);
    }
    info
}

fn config(config: &CollectionConfig) -> Value {
    let mut out = json!({
        "params": params(&config.params),
        "hnsw_config": hnsw(&config.hnsw),
        "optimizer_config": optimizers(&config.optimizers),
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
        "quantization_config": quantization(config.quantization.as_deref()),
    });
    for (key, text) in [("strict_mode_config", &config.strict_mode), ("metadata", &config.metadata)] {
        if let Some(value) = parsed(text.as_deref()) {
            out[key] = value;
        }
    }
    out
}

fn params(params: &CollectionParams) -> Value {
    let vectors = match params.vectors.get("") {
        Some(unnamed) if params.vectors.len() == 1 => vector(unnamed),
        _ => params.vectors.iter().map(|(name, params)| (name.clone(), vector(params))).collect(),
    };
    json!({
        "vectors": vectors,
        "shard_number": params.shard_number,
        "replication_factor": params.replication_factor,
        "write_consistency_factor": params.write_consistency_factor,
        "on_disk_payload": params.on_disk_payload,
    })
}

fn vector(params: &VectorParams) -> Value {
    let distance = match params.distance {
        Distance::Cosine => "Cosine",
        Distance::Dot => "Dot",
        Distance::Euclid => "Euclid",
        Distance::Manhattan => "Manhattan",
    };
    let datatype = params.datatype.map(|datatype| match datatype {
        Datatype::Float32 => "float32",
        Datatype::Float16 => "float16",
        Datatype::Uint8 => "uint8",
    });
    without_nulls(json!({
        "size": params.size,
        "distance": distance,
        "hnsw_config": params.hnsw.as_ref().map(hnsw_given),
        "quantization_config": quantization(params.quantization.as_deref()),
        "on_disk": params.on_disk,
        "datatype": datatype,
    }))
}

fn hnsw_given(config: &HnswConfig) -> Value {
    without_nulls(json!({
        "m": config.m,
        "ef_construct": config.ef_construct,
        "full_scan_threshold": config.full_scan_threshold,
        "max_indexing_threads": config.max_indexing_threads,
        "on_disk": config.on_disk,
        "payload_m": config.payload_m,
        "inline_storage": config.inline_storage,
    }))
}

fn hnsw(config: &HnswConfig) -> Value {
    let defaults = HnswConfig {
        m: config.m.or(Some(16)),
        ef_construct: config.ef_construct.or(Some(100)),
        full_scan_threshold: config.full_scan_threshold.or(Some(10_000)),
        max_indexing_threads: config.max_indexing_threads.or(Some(0)),
        on_disk: config.on_disk.or(Some(false)),
        ..*config
    };
    hnsw_given(&defaults)
}

fn optimizers(config: &OptimizersConfig) -> Value {
    json!({
        "deleted_threshold": config.deleted_threshold.unwrap_or(0.2),
        "vacuum_min_vector_number": config.vacuum_min_vector_number.unwrap_or(1000),
        "default_segment_number": config.default_segment_number.unwrap_or(0),
        "max_segment_size": config.max_segment_size,
        "memmap_threshold": config.memmap_threshold,
        "indexing_threshold": config.indexing_threshold.unwrap_or(10_000),
        "flush_interval_sec": config.flush_interval_sec.unwrap_or(5),
        "max_optimization_threads": config.max_optimization_threads,
    })
}

/// The settings as given; those switched off are none.
fn quantization(text: Option<&str>) -> Option<Value> {
    parsed(text).filter(|value| value != "Disabled")
}

fn parsed(text: Option<&str>) -> Option<Value> {
    serde_json::from_str(text?).ok()
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}
