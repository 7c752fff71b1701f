//! Strict-mode settings: message to REST's JSON and back. Kept and reported.

use std::collections::HashMap;

use lodestone_types::Result;
use qdrant_client::qdrant as proto;
use serde_json::{Map, Value};

use super::json::{Reader, Writer, short, stored};
use crate::settings;

/// The stored form.
pub(super) fn text(m: proto::StrictModeConfig) -> Result<String> {
    let multivectors = m.multivector_config.map(|c| {
        let one =
            |s: proto::StrictModeMultivector| Writer::default().with("max_vectors", s.max_vectors).object();
        Value::Object(c.multivector_config.into_iter().map(|(name, s)| (name, one(s))).collect())
    });
    let sparse = m.sparse_config.map(|c| {
        let one = |s: proto::StrictModeSparse| Writer::default().with("max_length", s.max_length).object();
        Value::Object(c.sparse_config.into_iter().map(|(name, s)| (name, one(s))).collect())
    });
    let oversampling = m.search_max_oversampling.map(short).transpose()?;
    let json = Writer::default()
        .with("enabled", m.enabled)
        .with("max_query_limit", m.max_query_limit)
        .with("max_timeout", m.max_timeout)
        .with("unindexed_filtering_retrieve", m.unindexed_filtering_retrieve)
        .with("unindexed_filtering_update", m.unindexed_filtering_update)
        .with("search_max_hnsw_ef", m.search_max_hnsw_ef)
        .with("search_allow_exact", m.search_allow_exact)
        .with("search_max_oversampling", oversampling)
        .with("upsert_max_batchsize", m.upsert_max_batchsize)
        .with("search_max_batchsize", m.search_max_batchsize)
        .with("max_collection_vector_size_bytes", m.max_collection_vector_size_bytes)
        .with("read_rate_limit", m.read_rate_limit)
        .with("write_rate_limit", m.write_rate_limit)
        .with("max_collection_payload_size_bytes", m.max_collection_payload_size_bytes)
        .with("filter_max_conditions", m.filter_max_conditions)
        .with("condition_max_size", m.condition_max_size)
        .with("multivector_config", multivectors)
        .with("sparse_config", sparse)
        .with("max_points_count", m.max_points_count)
        .with("max_payload_index_count", m.max_payload_index_count);
    settings::strict_mode(json.object())
}

/// The message of stored settings.
pub(super) fn message(text: &str) -> Result<proto::StrictModeConfig> {
    let map: Map<String, Value> = stored(text)?;
    let s = Reader(&map);
    Ok(proto::StrictModeConfig {
        enabled: s.bool("enabled"),
        max_query_limit: s.u32("max_query_limit"),
        max_timeout: s.u32("max_timeout"),
        unindexed_filtering_retrieve: s.bool("unindexed_filtering_retrieve"),
        unindexed_filtering_update: s.bool("unindexed_filtering_update"),
        search_max_hnsw_ef: s.u32("search_max_hnsw_ef"),
        search_allow_exact: s.bool("search_allow_exact"),
        search_max_oversampling: s.f32("search_max_oversampling"),
        upsert_max_batchsize: s.u64("upsert_max_batchsize"),
        search_max_batchsize: s.u64("search_max_batchsize"),
        max_collection_vector_size_bytes: s.u64("max_collection_vector_size_bytes"),
        read_rate_limit: s.u32("read_rate_limit"),
        write_rate_limit: s.u32("write_rate_limit"),
        max_collection_payload_size_bytes: s.u64("max_collection_payload_size_bytes"),
        filter_max_conditions: s.u64("filter_max_conditions"),
        condition_max_size: s.u64("condition_max_size"),
        multivector_config: s.object("multivector_config").map(multivectors),
        sparse_config: s.object("sparse_config").map(sparse),
        max_points_count: s.u64("max_points_count"),
        max_payload_index_count: s.u64("max_payload_index_count"),
        ..Default::default()
    })
}

fn multivectors(by_name: Reader<'_>) -> proto::StrictModeMultivectorConfig {
    let one = |s: Reader<'_>| proto::StrictModeMultivector { max_vectors: s.u64("max_vectors") };
    proto::StrictModeMultivectorConfig { multivector_config: each(by_name, one) }
}

fn sparse(by_name: Reader<'_>) -> proto::StrictModeSparseConfig {
    let one = |s: Reader<'_>| proto::StrictModeSparse { max_length: s.u64("max_length") };
    proto::StrictModeSparseConfig { sparse_config: each(by_name, one) }
}

fn each<M>(by_name: Reader<'_>, one: impl Fn(Reader<'_>) -> M) -> HashMap<String, M> {
    let objects = by_name.0.iter().filter_map(|(name, v)| Some((name.clone(), v.as_object()?)));
    objects.map(|(name, object)| (name, one(Reader(object)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back() {
        let settings = proto::StrictModeConfig {
            enabled: Some(true),
            max_query_limit: Some(100),
            search_max_oversampling: Some(2.4),
            upsert_max_batchsize: Some(u64::MAX),
            multivector_config: Some(proto::StrictModeMultivectorConfig {
                multivector_config: HashMap::from([(
                    "a".to_owned(),
                    proto::StrictModeMultivector { max_vectors: Some(3) },
                )]),
            }),
            ..Default::default()
        };
        let stored = text(settings.clone()).unwrap();
        assert!(stored.contains(r#""search_max_oversampling":2.4"#), "{stored}");
        assert_eq!(message(&stored).unwrap(), settings);
    }
}
