//! Requests that create and change collections, aliases and payload indexes.

use std::collections::BTreeMap;

use lodestone_types::{
    AliasAction, CollectionConfig, CollectionParams, CollectionPatch, Datatype, Distance, Error, FieldIndex,
    HnswConfig, JsonPath, OptimizersConfig, Result, VectorParams, VectorParamsPatch,
};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny};
use serde_json::{Map, Value};

use super::UNSUPPORTED;
use super::list::List;
use crate::{check, settings};

/// Changes of aliases in one request.
const MAX_ALIAS_ACTIONS: usize = 10_000;

/// `PUT collections/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCollection {
    vectors: Option<Vectors>,
    shard_number: Option<u32>,
    sharding_method: Option<ShardingMethod>,
    replication_factor: Option<u32>,
    write_consistency_factor: Option<u32>,
    on_disk_payload: Option<bool>,
    #[serde(rename = "payload")]
    _payload: Option<Placement>,
    #[serde(rename = "id_tracker")]
    _id_tracker: Option<Placement>,
    hnsw_config: Option<Hnsw>,
    #[serde(rename = "wal_config")]
    _wal_config: Option<Wal>,
    optimizers_config: Option<Optimizers>,
    quantization_config: Option<Value>,
    sparse_vectors: Option<Map<String, Value>>,
    strict_mode_config: Option<Value>,
    metadata: Option<Map<String, Value>>,
}

impl CreateCollection {
    /// The settings in our words, checked.
    pub fn into_config(self) -> Result<CollectionConfig> {
        no_sparse(self.sparse_vectors.as_ref())?;
        if let Some(ShardingMethod::Custom) = self.sharding_method {
            return Err(not_yet("custom sharding"));
        }
        let vectors = self.vectors.map_or_else(BTreeMap::new, |Vectors(vectors)| vectors);
        let config = CollectionConfig {
            params: CollectionParams {
                vectors: vectors
                    .into_iter()
                    .map(|(name, vector)| Ok((name, vector.into_params()?)))
                    .collect::<Result<_>>()?,
                shard_number: self.shard_number.unwrap_or(1),
                replication_factor: self.replication_factor.unwrap_or(1),
                write_consistency_factor: self.write_consistency_factor.unwrap_or(1),
                on_disk_payload: self.on_disk_payload.unwrap_or(true),
            },
            hnsw: self.hnsw_config.map(Hnsw::into_config).unwrap_or_default(),
            optimizers: self
                .optimizers_config
                .map_or_else(|| Ok(OptimizersConfig::default()), Optimizers::into_config)?,
            quantization: self.quantization_config.map(settings::quantization).transpose()?,
            metadata: self.metadata.map(|metadata| Value::Object(metadata).to_string()),
            strict_mode: self.strict_mode_config.map(settings::strict_mode).transpose()?,
        };
        check::collection_config(&config)?;
        Ok(config)
    }
}

fn not_yet(what: &str) -> Error {
    Error::unsupported(format!("{UNSUPPORTED}{what}"))
}

fn no_sparse(given: Option<&Map<String, Value>>) -> Result<()> {
    match given {
        Some(sparse) if !sparse.is_empty() => Err(Error::bad_request("sparse vectors are not supported yet")),
        _ => Ok(()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ShardingMethod {
    Auto,
    Custom,
}

/// A hint where to hold something in memory: read, and of no use where every part is a cache.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placement {
    #[serde(rename = "memory")]
    _memory: Option<settings::Memory>,
}

/// Settings of Qdrant's log files: read, and of no use where the bucket is the log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wal {
    #[serde(rename = "wal_capacity_mb")]
    _capacity: Option<u64>,
    #[serde(rename = "wal_segments_ahead")]
    _ahead: Option<u64>,
    #[serde(rename = "wal_retain_closed")]
    _retain: Option<u64>,
}

/// The parameters of the unnamed vector, or an object of parameters by name.
#[derive(Debug)]
struct Vectors(BTreeMap<String, WireVector>);

impl<'de> Deserialize<'de> for Vectors {
    /// Goes through a tree of values: a vector may itself be called `size`, so that the values must be seen.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Map::deserialize(deserializer)?;
        let of_names = object.values().all(Value::is_object);
        let vectors = if of_names {
            serde_json::from_value(Value::Object(object)).map_err(D::Error::custom)?
        } else {
            let unnamed = serde_json::from_value(Value::Object(object)).map_err(D::Error::custom)?;
            BTreeMap::from([(String::new(), unnamed)])
        };
        Ok(Self(vectors))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireVector {
    size: u64,
    distance: WireDistance,
    hnsw_config: Option<Hnsw>,
    quantization_config: Option<Value>,
    on_disk: Option<bool>,
    #[serde(rename = "memory")]
    _memory: Option<settings::Memory>,
    datatype: Option<WireDatatype>,
    multivector_config: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
enum WireDistance {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireDatatype {
    Float32,
    Float16,
    Uint8,
    Turbo4,
    Turbo8,
    Turbo16,
}

impl WireVector {
    fn into_params(self) -> Result<VectorParams> {
        if self.multivector_config.is_some() {
            return Err(Error::bad_request("multivectors are not supported yet"));
        }
        let datatype = match self.datatype {
            None => None,
            Some(WireDatatype::Float32) => Some(Datatype::Float32),
            Some(WireDatatype::Float16) => Some(Datatype::Float16),
            Some(WireDatatype::Uint8) => Some(Datatype::Uint8),
            Some(WireDatatype::Turbo4 | WireDatatype::Turbo8 | WireDatatype::Turbo16) => {
                return Err(not_yet("the turbo datatypes of vectors"));
            }
        };
        Ok(VectorParams {
            size: self.size,
            distance: match self.distance {
                WireDistance::Cosine => Distance::Cosine,
                WireDistance::Dot => Distance::Dot,
                WireDistance::Euclid => Distance::Euclid,
                WireDistance::Manhattan => Distance::Manhattan,
            },
            datatype,
            hnsw: self.hnsw_config.map(Hnsw::into_config),
            on_disk: self.on_disk,
            quantization: self.quantization_config.map(settings::quantization).transpose()?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hnsw {
    m: Option<u64>,
    ef_construct: Option<u64>,
    full_scan_threshold: Option<u64>,
    max_indexing_threads: Option<u64>,
    on_disk: Option<bool>,
    #[serde(rename = "memory")]
    _memory: Option<settings::Memory>,
    payload_m: Option<u64>,
    inline_storage: Option<bool>,
}

impl Hnsw {
    fn into_config(self) -> HnswConfig {
        HnswConfig {
            m: self.m,
            ef_construct: self.ef_construct,
            full_scan_threshold: self.full_scan_threshold,
            max_indexing_threads: self.max_indexing_threads,
            on_disk: self.on_disk,
            payload_m: self.payload_m,
            inline_storage: self.inline_storage,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Optimizers {
    deleted_threshold: Option<f64>,
    vacuum_min_vector_number: Option<u64>,
    default_segment_number: Option<u64>,
    max_segment_size: Option<u64>,
    memmap_threshold: Option<u64>,
    indexing_threshold: Option<u64>,
    flush_interval_sec: Option<u64>,
    max_optimization_threads: Option<Threads>,
    prevent_unoptimized: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "max_optimization_threads is a number or \"auto\"")]
enum Threads {
    Count(u64),
    Auto(Auto),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Auto {
    Auto,
}

impl Optimizers {
    fn into_config(self) -> Result<OptimizersConfig> {
        if self.prevent_unoptimized == Some(true) {
            return Err(not_yet("`prevent_unoptimized`"));
        }
        Ok(OptimizersConfig {
            deleted_threshold: self.deleted_threshold,
            vacuum_min_vector_number: self.vacuum_min_vector_number,
            default_segment_number: self.default_segment_number,
            max_segment_size: self.max_segment_size,
            memmap_threshold: self.memmap_threshold,
            indexing_threshold: self.indexing_threshold,
            flush_interval_sec: self.flush_interval_sec,
            max_optimization_threads: match self.max_optimization_threads {
                Some(Threads::Count(count)) => Some(count),
                Some(Threads::Auto(Auto::Auto)) | None => None,
            },
        })
    }
}

/// `PATCH collections/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateCollection {
    vectors: Option<BTreeMap<String, VectorPatch>>,
    optimizers_config: Option<Optimizers>,
    params: Option<ParamsPatch>,
    hnsw_config: Option<Hnsw>,
    quantization_config: Option<Value>,
    sparse_vectors: Option<Map<String, Value>>,
    strict_mode_config: Option<Value>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorPatch {
    hnsw_config: Option<Hnsw>,
    quantization_config: Option<Value>,
    on_disk: Option<bool>,
    #[serde(rename = "memory")]
    _memory: Option<settings::Memory>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParamsPatch {
    replication_factor: Option<u32>,
    write_consistency_factor: Option<u32>,
    read_fan_out_factor: Option<u32>,
    read_fan_out_delay_ms: Option<u64>,
    on_disk_payload: Option<bool>,
    #[serde(rename = "payload")]
    _payload: Option<Placement>,
    #[serde(rename = "id_tracker")]
    _id_tracker: Option<Placement>,
}

impl UpdateCollection {
    /// The changes in our words, checked.
    pub fn into_patch(self) -> Result<CollectionPatch> {
        no_sparse(self.sparse_vectors.as_ref())?;
        let params = self.params.unwrap_or_default();
        if params.read_fan_out_factor.is_some() || params.read_fan_out_delay_ms.is_some() {
            return Err(not_yet("read fan-out"));
        }
        let patch = CollectionPatch {
            vectors: self
                .vectors
                .unwrap_or_default()
                .into_iter()
                .map(|(name, patch)| Ok((name, patch.into_patch()?)))
                .collect::<Result<_>>()?,
            hnsw: self.hnsw_config.map(Hnsw::into_config),
            optimizers: self.optimizers_config.map(Optimizers::into_config).transpose()?,
            quantization: self.quantization_config.map(settings::quantization).transpose()?,
            metadata: self.metadata.map(|metadata| Value::Object(metadata).to_string()),
            strict_mode: self.strict_mode_config.map(settings::strict_mode).transpose()?,
            replication_factor: params.replication_factor,
            write_consistency_factor: params.write_consistency_factor,
            on_disk_payload: params.on_disk_payload,
        };
        check::collection_patch(&patch)?;
        Ok(patch)
    }
}

impl VectorPatch {
    fn into_patch(self) -> Result<VectorParamsPatch> {
        Ok(VectorParamsPatch {
            hnsw: self.hnsw_config.map(Hnsw::into_config),
            quantization: self.quantization_config.map(settings::quantization).transpose()?,
            on_disk: self.on_disk,
        })
    }
}

/// `POST collections/aliases`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeAliases {
    actions: List<Action, MAX_ALIAS_ACTIONS>,
}

#[derive(Debug, Deserialize)]
enum Action {
    #[serde(rename = "create_alias")]
    Create(CreateAlias),
    #[serde(rename = "delete_alias")]
    Delete(DeleteAlias),
    #[serde(rename = "rename_alias")]
    Rename(RenameAlias),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateAlias {
    collection_name: String,
    alias_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteAlias {
    alias_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameAlias {
    old_alias_name: String,
    new_alias_name: String,
}

impl ChangeAliases {
    /// The actions in our words; new names are checked.
    pub fn into_actions(self) -> Result<Vec<AliasAction>> {
        self.actions.0.into_iter().map(Action::into_action).collect()
    }
}

impl Action {
    fn into_action(self) -> Result<AliasAction> {
        Ok(match self {
            Action::Create(create) => {
                check::collection_name(&create.alias_name)?;
                AliasAction::Create { collection: create.collection_name, alias: create.alias_name }
            }
            Action::Delete(delete) => AliasAction::Delete { alias: delete.alias_name },
            Action::Rename(rename) => {
                check::collection_name(&rename.new_alias_name)?;
                AliasAction::Rename { old: rename.old_alias_name, new: rename.new_alias_name }
            }
        })
    }
}

/// `PUT collections/{name}/index`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateIndex {
    field_name: JsonPath,
    field_schema: Option<Value>,
}

impl CreateIndex {
    /// The field and its index, checked.
    pub fn into_index(self) -> Result<(JsonPath, FieldIndex)> {
        let Some(schema) = self.field_schema else {
            return Err(Error::bad_request(
                "Wrong input: `field_schema` must say the kind of the index, for example \"keyword\"",
            ));
        };
        Ok((self.field_name, settings::field_index(schema)?))
    }
}
