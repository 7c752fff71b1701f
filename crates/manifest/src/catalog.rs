//! The part of the transition that changes collections, aliases and payload indexes.

use std::sync::Arc;

use imbl::OrdMap;
use lodestone_types::{AliasAction, CollectionConfig, CollectionPatch, limits};
use serde::{Deserialize, Serialize};

use crate::record::SystemOp;
use crate::state::{Collection, OpOutcome, Shard, State};
use crate::{CollectionId, ShardId};

/// Why a system operation had no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CatalogError {
    /// A collection has that name.
    #[error("Wrong input: Collection `{0}` already exists!")]
    NameTaken(String),
    /// An alias has that name.
    #[error("Wrong input: Alias `{0}` already exists!")]
    AliasTaken(String),
    /// The collection is gone.
    #[error("the collection does not exist any more")]
    NoCollection,
    /// An alias action names a collection that does not exist.
    #[error("Not found: Collection `{0}` doesn't exist!")]
    UnknownCollection(String),
    /// An alias action names an alias that does not exist.
    #[error("Not found: Alias `{0}` doesn't exist!")]
    UnknownAlias(String),
    /// A patch names a vector the collection does not have.
    #[error("Wrong input: Not existing vector name error: {0}")]
    UnknownVector(String),
    /// A limit is reached.
    #[error("{0}")]
    Limit(String),
    /// A job's result comes too late.
    #[error("out of date: {0}")]
    Stale(String),
}

pub(crate) fn apply(state: &mut State, op: &SystemOp) -> Result<OpOutcome, CatalogError> {
    match op {
        SystemOp::CreateCollection { name, config } => create(state, name, config).map(OpOutcome::Created),
        SystemOp::UpdateCollection { collection, patch } => {
            let mut changed = Collection::clone(find(state, *collection)?);
            patch_config(Arc::make_mut(&mut changed.config), patch)?;
            state.collections.insert(*collection, Arc::new(changed));
            Ok(OpOutcome::Done)
        }
        SystemOp::DeleteCollection { collection } => {
            delete(state, *collection)?;
            Ok(OpOutcome::Done)
        }
        SystemOp::Aliases(actions) => {
            state.aliases = apply_aliases(state, actions)?;
            Ok(OpOutcome::Done)
        }
        SystemOp::CreateFieldIndex { collection, field, index } => {
            let mut changed = Collection::clone(find(state, *collection)?);
            if changed.fields.get(field).is_some_and(|(existing, _)| existing == index) {
                return Ok(OpOutcome::Done);
            }
            if changed.fields.len() >= limits::MAX_FIELD_INDEXES && !changed.fields.contains_key(field) {
                return Err(CatalogError::Limit(format!(
                    "a collection may have {} payload indexes; drop one first",
                    limits::MAX_FIELD_INDEXES
                )));
            }
            changed.fields.insert(field.clone(), (index.clone(), state.slot));
            state.collections.insert(*collection, Arc::new(changed));
            Ok(OpOutcome::Done)
        }
        SystemOp::DeleteFieldIndex { collection, field } => {
            let mut changed = Collection::clone(find(state, *collection)?);
            changed.fields.remove(field);
            state.collections.insert(*collection, Arc::new(changed));
            Ok(OpOutcome::Done)
        }
        SystemOp::Pin { collection, pinned } => {
            find(state, *collection)?;
            if *pinned {
                state.pinned.insert(*collection);
            } else {
                state.pinned.remove(collection);
            }
            Ok(OpOutcome::Done)
        }
        SystemOp::Rewrite(_) => unreachable!("rewrites are applied by the state itself"),
    }
}

fn find(state: &State, id: CollectionId) -> Result<&Arc<Collection>, CatalogError> {
    state.collections.get(&id).ok_or(CatalogError::NoCollection)
}

fn create(state: &mut State, name: &str, config: &CollectionConfig) -> Result<CollectionId, CatalogError> {
    if state.names.contains_key(name) {
        return Err(CatalogError::NameTaken(name.to_owned()));
    }
    if state.aliases.contains_key(name) {
        return Err(CatalogError::AliasTaken(name.to_owned()));
    }
    if state.collections.len() >= limits::MAX_COLLECTIONS {
        return Err(CatalogError::Limit(format!(
            "a bucket may hold {} collections",
            limits::MAX_COLLECTIONS
        )));
    }
    let id = state.next_collection;
    state.next_collection = id.next();
    let last = state.collections.get_max().map(|(_, last)| &last.config);
    let config = match last {
        Some(same) if **same == *config => same.clone(),
        _ => Arc::new(config.clone()),
    };
    let collection = Collection { id, name: name.to_owned(), config, fields: OrdMap::default() };
    for shard in collection.shards() {
        state
            .shards
            .insert(shard, Arc::new(Shard { folded: state.slot, lsn: state.slot, ..Shard::default() }));
    }
    state.names.insert(name.to_owned(), id);
    state.collections.insert(id, Arc::new(collection));
    Ok(id)
}

fn delete(state: &mut State, id: CollectionId) -> Result<(), CatalogError> {
    let collection = state.collections.remove(&id).ok_or(CatalogError::NoCollection)?;
    state.names.remove(&collection.name);
    state.pinned.remove(&id);
    state.aliases = state.aliases.iter().filter(|(_, t)| **t != id).map(|(a, t)| (a.clone(), *t)).collect();
    let shards: Vec<ShardId> = collection.shards().collect();
    for shard in shards {
        state.drop_shard(shard);
    }
    Ok(())
}

fn apply_aliases(
    state: &State,
    actions: &[AliasAction],
) -> Result<OrdMap<String, CollectionId>, CatalogError> {
    let mut aliases = state.aliases.clone();
    for action in actions {
        match action {
            AliasAction::Create { collection, alias } => {
                let target = state
                    .names
                    .get(collection)
                    .ok_or_else(|| CatalogError::UnknownCollection(collection.clone()))?;
                if state.names.contains_key(alias) {
                    return Err(CatalogError::NameTaken(alias.clone()));
                }
                aliases.insert(alias.clone(), *target);
            }
            AliasAction::Delete { alias } => {
                aliases.remove(alias).ok_or_else(|| CatalogError::UnknownAlias(alias.clone()))?;
            }
            AliasAction::Rename { old, new } => {
                if state.names.contains_key(new) {
                    return Err(CatalogError::NameTaken(new.clone()));
                }
                let target = aliases.remove(old).ok_or_else(|| CatalogError::UnknownAlias(old.clone()))?;
                aliases.insert(new.clone(), target);
            }
        }
    }
    Ok(aliases)
}

/// Lays `patch` over `config`: given fields replace, others stay.
fn patch_config(config: &mut CollectionConfig, patch: &CollectionPatch) -> Result<(), CatalogError> {
    macro_rules! overlay {
        ($target:expr, $source:expr, $($field:ident),+) => {
            $(if $source.$field.is_some() { $target.$field = $source.$field.clone(); })+
        };
    }
    for name in patch.vectors.keys() {
        if !config.params.vectors.contains_key(name) {
            return Err(CatalogError::UnknownVector(name.clone()));
        }
    }
    for (name, changes) in &patch.vectors {
        let Some(vector) = config.params.vectors.get_mut(name) else { continue };
        overlay!(vector, changes, quantization, on_disk);
        if let Some(hnsw) = &changes.hnsw {
            let target = vector.hnsw.get_or_insert_default();
            overlay!(target, hnsw, m, ef_construct, full_scan_threshold, max_indexing_threads);
            overlay!(target, hnsw, on_disk, payload_m, inline_storage);
        }
    }
    if let Some(hnsw) = &patch.hnsw {
        overlay!(config.hnsw, hnsw, m, ef_construct, full_scan_threshold, max_indexing_threads);
        overlay!(config.hnsw, hnsw, on_disk, payload_m, inline_storage);
    }
    if let Some(o) = &patch.optimizers {
        overlay!(config.optimizers, o, deleted_threshold, vacuum_min_vector_number, default_segment_number);
        overlay!(config.optimizers, o, max_segment_size, memmap_threshold, indexing_threshold);
        overlay!(config.optimizers, o, flush_interval_sec, max_optimization_threads);
    }
    overlay!(config, patch, quantization);
    merge_json(&mut config.metadata, patch.metadata.as_deref());
    merge_json(&mut config.strict_mode, patch.strict_mode.as_deref());
    let params = &mut config.params;
    params.replication_factor = patch.replication_factor.unwrap_or(params.replication_factor);
    params.write_consistency_factor =
        patch.write_consistency_factor.unwrap_or(params.write_consistency_factor);
    params.on_disk_payload = patch.on_disk_payload.unwrap_or(params.on_disk_payload);
    Ok(())
}

/// Lays the keys of the object `patch` over those of `target`, both JSON texts; `null` removes one.
fn merge_json(target: &mut Option<String>, patch: Option<&str>) {
    let Some(patch) = patch else { return };
    let keys = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok();
    let merged = match (target.as_deref().and_then(keys), keys(patch)) {
        (Some(mut object), Some(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    object.remove(&key)
                } else {
                    object.insert(key, value)
                };
            }
            serde_json::Value::Object(object).to_string()
        }
        // What is no object cannot be merged; the newer one counts.
        _ => patch.to_owned(),
    };
    *target = Some(merged);
}
