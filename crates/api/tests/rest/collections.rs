//! Collections, aliases and indexes: what clients write arrives, and what they read has the form they expect.

use serde_json::{Value, json};

use crate::client::Client;

#[tokio::test]
async fn a_collection_is_created_shown_changed_and_deleted() {
    let client = Client::new();
    client.create("c", json!({"vectors": {"size": 4, "distance": "Cosine"}})).await;
    assert_eq!(client.get("/collections").await.result(), json!({"collections": [{"name": "c"}]}));
    assert_eq!(client.get("/collections/c/exists").await.result(), json!({"exists": true}));
    assert_eq!(client.get("/collections/d/exists").await.result(), json!({"exists": false}));
    let patch = json!({"hnsw_config": {"m": 32}, "optimizers_config": {"indexing_threshold": 5}, "metadata": {"a": 1}});
    let body = axum::body::Body::from(patch.to_string());
    assert_eq!(client.send("PATCH", "/collections/c", body).await.result(), json!(true));
    let info = client.get("/collections/c").await.result();
    assert_eq!(info["config"]["hnsw_config"]["m"], 32);
    assert_eq!(info["config"]["optimizer_config"]["indexing_threshold"], 5);
    assert_eq!(info["config"]["metadata"], json!({"a": 1}));
    assert_eq!(client.delete("/collections/c?timeout=10").await.result(), json!(true));
    assert_eq!(client.delete("/collections/c").await.result(), json!(false));
}

#[tokio::test]
async fn a_plain_collection_shows_every_default_that_clients_need() {
    let client = Client::new();
    client.create("c", json!({"vectors": {"size": 4, "distance": "Dot"}})).await;
    assert_eq!(
        client.get("/collections/c").await.result(),
        json!({
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": 0,
            "points_count": 0,
            "segments_count": 1,
            "config": {
                "params": {
                    "vectors": {"size": 4, "distance": "Dot"},
                    "shard_number": 1,
                    "replication_factor": 1,
                    "write_consistency_factor": 1,
                    "on_disk_payload": true,
                },
                "hnsw_config": {
                    "m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0,
                    "on_disk": false,
                },
                "optimizer_config": {
                    "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
                    "max_segment_size": null, "memmap_threshold": null, "indexing_threshold": 10000,
                    "flush_interval_sec": 5, "max_optimization_threads": null,
                },
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
                "quantization_config": null,
            },
            "payload_schema": {},
        })
    );
}

#[tokio::test]
async fn what_was_set_is_shown() {
    let client = Client::new();
    let given = json!({
        "vectors": {
            "image": {"size": 8, "distance": "Euclid", "datatype": "float16", "on_disk": true,
                "hnsw_config": {"m": 8, "memory": "cold"}, "quantization_config": {"scalar": {"type": "int8"}}},
            "size": {"size": 2, "distance": "Manhattan", "datatype": "uint8", "hnsw_config": null},
        },
        "shard_number": 3,
        "sharding_method": "auto",
        "replication_factor": 2,
        "on_disk_payload": false,
        "wal_config": {"wal_capacity_mb": 1},
        "optimizers_config": {"max_optimization_threads": "auto", "deleted_threshold": 0.5},
        "quantization_config": {"binary": {"always_ram": true}},
        "sparse_vectors": {},
        "strict_mode_config": {"enabled": true, "max_query_limit": 10},
        "metadata": {"owner": "me"},
    });
    client.create("c", given).await;
    let config = client.get("/collections/c").await.result()["config"].take();
    assert_eq!(
        config["params"],
        json!({
            "vectors": {
                "image": {"size": 8, "distance": "Euclid", "datatype": "float16", "on_disk": true,
                    "hnsw_config": {"m": 8}, "quantization_config": {"scalar": {"type": "int8"}}},
                "size": {"size": 2, "distance": "Manhattan", "datatype": "uint8"},
            },
            "shard_number": 3, "replication_factor": 2, "write_consistency_factor": 1, "on_disk_payload": false,
        })
    );
    assert_eq!(config["quantization_config"], json!({"binary": {"always_ram": true}}));
    assert_eq!(config["strict_mode_config"], json!({"enabled": true, "max_query_limit": 10}));
    assert_eq!(config["metadata"], json!({"owner": "me"}));
    assert_eq!(config["optimizer_config"]["deleted_threshold"], 0.5);
}

#[tokio::test]
async fn a_collection_may_have_no_vectors() {
    let client = Client::new();
    for (name, config) in [("a", json!({})), ("b", json!({"vectors": {}})), ("c", json!({"vectors": null}))] {
        client.create(name, config).await;
        let info = client.get(&format!("/collections/{name}")).await.result();
        assert_eq!(info["config"]["params"]["vectors"], json!({}));
    }
}

#[tokio::test]
async fn aliases_are_made_renamed_and_dropped() {
    let client = Client::with_points().await;
    let change = async |actions: Value| {
        client.post("/collections/aliases", json!({"actions": actions})).await.result();
    };
    change(json!([{"create_alias": {"collection_name": "c", "alias_name": "a"}}])).await;
    let one = json!({"aliases": [{"alias_name": "a", "collection_name": "c"}]});
    assert_eq!(client.get("/aliases").await.result(), one);
    assert_eq!(client.get("/collections/c/aliases").await.result(), one);
    assert_eq!(client.get("/collections/a").await.result()["points_count"], 5);
    change(json!([
        {"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}},
        {"delete_alias": {"alias_name": "b"}},
    ]))
    .await;
    assert_eq!(client.get("/aliases").await.result(), json!({"aliases": []}));
}

#[tokio::test]
async fn indexes_are_shown_with_their_parameters() {
    let client = Client::with_points().await;
    let index = async |body: Value| {
        let result = client.put("/collections/c/index?wait=true", body).await.result();
        assert_eq!(result["status"], "completed");
    };
    index(json!({"field_name": "s", "field_schema": "keyword"})).await;
    index(json!({"field_name": "a.b[]", "field_schema": {"type": "text", "tokenizer": "word", "lowercase": true}}))
        .await;
    assert_eq!(
        client.get("/collections/c").await.result()["payload_schema"],
        json!({
            "s": {"data_type": "keyword", "points": 5},
            "a.b[]": {"data_type": "text", "points": 5,
                "params": {"type": "text", "tokenizer": "word", "lowercase": true}},
        })
    );
    client.delete("/collections/c/index/a.b%5B%5D").await.result();
    let schema = client.get("/collections/c").await.result()["payload_schema"].take();
    assert_eq!(schema.as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_near_can_be_asked_for_seen_and_made_to_stay() {
    let client = Client::new();
    for name in ["c", "large"] {
        client.create(name, json!({"vectors": {"v": {"size": 1, "distance": "Dot"}}})).await;
    }
    let near = |pin, bytes| json!({"pin": pin, "bytes": bytes, "here": 4, "in_memory": 2});
    assert_eq!(client.get("/collections/c/warm").await.result(), near("none", 8));
    assert_eq!(client.post("/collections/c/warm", json!({})).await.result(), near("none", 8));
    let little = json!({"vectors": ["v"], "with_payload": false});
    assert_eq!(client.post("/collections/c/warm?timeout=5", little).await.result(), near("none", 6));
    let body = || axum::body::Body::empty();
    assert_eq!(client.send("PUT", "/collections/c/pin", body()).await.result(), json!(true));
    assert_eq!(client.get("/collections/c/warm").await.result(), near("kept", 8));
    assert_eq!(client.delete("/collections/c/pin").await.result(), json!(true));
    assert_eq!(client.get("/collections/c/warm").await.result(), near("none", 8));
    for (path, body, status) in [
        ("large", json!({}), 422),
        ("nowhere", json!({}), 404),
        ("c", json!({"vectors": ["w"]}), 400),
        ("c", json!({"vectors": "v"}), 400),
        ("c", json!({"payload": true}), 400),
    ] {
        assert_eq!(client.post(&format!("/collections/{path}/warm"), body).await.status, status, "{path}");
    }
    assert_eq!(client.send("PUT", "/collections/nowhere/pin", body()).await.status, 404);
}
