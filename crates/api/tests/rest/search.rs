//! Queries in every form arrive as what they mean.

use std::time::Duration;

use lodestone_types::{
    OrderBy, OrderDirection, OrderValue, PayloadSelector, PointId, QueryTarget, ReadConsistency,
    VectorSelector,
};
use serde_json::{Value, json};

use crate::client::Client;

const QUERY: &str = "/collections/c/points/query";
const SEARCH: &str = "/collections/c/points/search";

#[tokio::test]
async fn hits_come_nearest_first_in_the_form_of_their_path() {
    let client = Client::with_points().await;
    let hits = json!([{"id": 5, "version": 1, "score": 5.5}, {"id": 4, "version": 1, "score": 4.5}]);
    let query = json!({"query": [1, 0, 1], "limit": 2});
    let search = json!({"vector": [1, 0, 1], "limit": 2});
    assert_eq!(client.post(QUERY, query.clone()).await.result(), json!({"points": hits}));
    assert_eq!(client.post(SEARCH, search.clone()).await.result(), hits);
    let batch = client.post(&format!("{QUERY}/batch"), json!({"searches": [query, query]})).await.result();
    assert_eq!(batch, json!([{"points": hits}, {"points": hits}]));
    let batch = client.post(&format!("{SEARCH}/batch"), json!({"searches": [search, search]})).await.result();
    assert_eq!(batch, json!([hits, hits]));
    assert_eq!(client.post(&format!("{QUERY}/batch"), json!({"searches": []})).await.result(), json!([]));
}

#[tokio::test]
async fn scores_are_written_in_their_shortest_form() {
    let client = Client::with_points().await;
    let answer = client
        .post(QUERY, json!({"query": [0.1, 0, 0], "limit": 1, "filter": {"must": {"has_id": [1]}}}))
        .await;
    assert!(answer.text.contains(r#""score":0.1"#), "{}", answer.text);
    assert!(!answer.text.contains("0.10000000149"), "{}", answer.text);
}

#[tokio::test]
async fn every_form_of_a_query_means_something() {
    let client = Client::with_points().await;
    let uuid = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26";
    let order = |direction, start_from| {
        QueryTarget::OrderBy(OrderBy { key: "n".parse().unwrap(), direction, start_from })
    };
    for (form, meaning) in [
        (json!([1, 2.5, -3]), QueryTarget::Vector(vec![1.0, 2.5, -3.0])),
        (json!({"nearest": [1, 2, 3]}), QueryTarget::Vector(vec![1.0, 2.0, 3.0])),
        (json!({"nearest": 7, "mmr": null}), QueryTarget::Point(PointId::Num(7))),
        (json!(7), QueryTarget::Point(PointId::Num(7))),
        (json!(uuid), QueryTarget::Point(uuid.parse().unwrap())),
        (json!({"nearest": uuid}), QueryTarget::Point(uuid.parse().unwrap())),
        (json!(null), QueryTarget::Nothing),
        (json!({"sample": "random"}), QueryTarget::Sample),
        (json!({"order_by": "n"}), order(OrderDirection::Asc, None)),
        (
            json!({"order_by": {"key": "n", "direction": "desc", "start_from": 1.5}}),
            order(OrderDirection::Desc, Some(OrderValue::Float(1.5))),
        ),
        (
            json!({"order_by": {"key": "n", "start_from": "1970-01-01T00:00:01Z"}}),
            order(OrderDirection::Asc, Some(OrderValue::Int(1_000_000))),
        ),
    ] {
        let answer = client.post(QUERY, json!({"query": form})).await;
        // An id that is not there is a matter of the engine's.
        assert!(answer.status == 200 || answer.status == 404, "{form}: {}", answer.text);
        assert_eq!(client.engine.last_query().unwrap().0.target, meaning, "{form}");
    }
}

#[tokio::test]
async fn every_setting_of_a_query_arrives() {
    let client = Client::with_points().await;
    let body = json!({
        "query": 1, "using": "image", "limit": 7, "offset": 3, "score_threshold": 0.25,
        "filter": {"must": {"has_id": [1]}},
        "params": {"exact": true, "hnsw_ef": 64, "indexed_only": true, "acorn": {"enable": true},
            "quantization": {"ignore": false, "rescore": true, "oversampling": 2.0}, "idf": null},
        "lookup_from": {"collection": "other", "vector": "text", "shard_key": null},
        "with_payload": ["a"], "with_vector": ["image"], "prefetch": [], "shard_key": null,
    });
    client.post(&format!("{QUERY}?consistency=eventual&timeout=3"), body).await;
    let (request, options) = client.engine.last_query().unwrap();
    assert_eq!((request.using.as_str(), request.limit, request.offset), ("image", 7, 3));
    assert_eq!(request.score_threshold, Some(0.25));
    assert_eq!(request.filter.unwrap().must.len(), 1);
    assert_eq!((request.exact, request.hnsw_ef, request.indexed_only), (true, Some(64), true));
    assert_eq!(request.lookup_from, Some(("other".to_owned(), Some("text".to_owned()))));
    assert_eq!(request.with_payload, PayloadSelector::Include(vec!["a".parse().unwrap()]));
    assert_eq!(request.with_vectors, VectorSelector::Names(vec!["image".to_owned()]));
    assert_eq!(options.consistency, ReadConsistency::Eventual);
    assert_eq!(options.timeout, Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn an_open_query_has_defaults() {
    let client = Client::with_points().await;
    for consistency in
        ["", "?consistency=1", "?consistency=majority", "?consistency=quorum", "?consistency=all"]
    {
        client.post(&format!("{QUERY}{consistency}"), json!({})).await.result();
        let (request, options) = client.engine.last_query().unwrap();
        assert_eq!((request.limit, request.offset, request.using.as_str()), (10, 0, ""));
        assert_eq!(
            (request.with_payload, request.with_vectors),
            (PayloadSelector::None, VectorSelector::None)
        );
        assert_eq!(options.consistency, ReadConsistency::Strong);
        assert!(options.timeout.is_some());
    }
}

#[tokio::test]
async fn the_older_search_takes_a_named_vector() {
    let client = Client::with_points().await;
    for (vector, name) in [(json!([1, 2, 3]), ""), (json!({"name": "image", "vector": [1, 2, 3]}), "image")] {
        client.post(SEARCH, json!({"vector": vector, "limit": 3, "with_payload": true})).await;
        let (request, _) = client.engine.last_query().unwrap();
        assert_eq!(request.target, QueryTarget::Vector(vec![1.0, 2.0, 3.0]));
        assert_eq!(request.using, name);
        assert_eq!(request.with_payload, PayloadSelector::All);
    }
}

#[tokio::test]
async fn what_is_still_to_come_says_so() {
    let client = Client::with_points().await;
    let later: [Value; 14] = [
        json!({"query": {"recommend": {"positive": [1]}}}),
        json!({"query": {"discover": {"target": 1, "context": []}}}),
        json!({"query": {"context": []}}),
        json!({"query": {"fusion": "rrf"}, "prefetch": [{"query": [1, 2, 3]}]}),
        json!({"query": {"fusion": "rrf"}}),
        json!({"query": {"rrf": {}}}),
        json!({"query": {"formula": {"sum": []}}}),
        json!({"query": {"relevance_feedback": {}}}),
        json!({"query": {"nearest": [1, 2, 3], "mmr": {"diversity": 0.5}}}),
        json!({"query": {"text": "hello", "model": "some"}}),
        json!({"prefetch": {"query": [1, 2, 3]}}),
        json!({"shard_key": "k"}),
        json!({"params": {"idf": "global"}}),
        json!({"filter": {"must": [{"slice": {"total": 2, "index": 1}}]}}),
    ];
    for body in later {
        let answer = client.post(QUERY, body.clone()).await;
        assert_eq!(answer.status, 501, "{body}: {}", answer.text);
        assert!(answer.error().starts_with("not supported yet: "), "{}", answer.text);
    }
    for (body, word) in [
        (json!({"query": {"indices": [1], "values": [1.0]}}), "sparse vectors are not supported yet"),
        (
            json!({"query": {"nearest": {"indices": [1], "values": [1.0]}}}),
            "sparse vectors are not supported yet",
        ),
        (json!({"query": [[1, 2], [3, 4]]}), "multivectors are not supported yet"),
    ] {
        let answer = client.post(QUERY, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert!(answer.error().contains(word), "{}", answer.text);
    }
    for (method, path) in [
        ("GET", "/cluster"),
        ("GET", "/snapshots"),
        ("POST", "/collections/c/snapshots"),
        ("POST", "/collections/c/facet"),
        ("PUT", "/collections/c/vectors/v"),
        ("PUT", "/collections/c/shards"),
        ("POST", "/collections/c/points/query/groups"),
        ("POST", "/collections/c/points/search/matrix/pairs"),
        ("POST", "/collections/c/points/recommend/batch"),
        ("POST", "/collections/c/points/discover"),
        ("DELETE", "/cluster/peer/1"),
        ("GET", "/collections/c/shards/0/snapshot"),
    ] {
        let answer = client.send(method, path, axum::body::Body::empty()).await;
        assert_eq!(answer.status, 501, "{method} {path}: {}", answer.text);
        assert!(answer.error().starts_with(&format!("not supported yet: {method} /")), "{}", answer.text);
    }
}
