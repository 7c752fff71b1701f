//! Bad requests: a clear error each, and nothing changes.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::client::Client;

const POINTS: &str = "/collections/c/points";

#[tokio::test]
async fn mistakes_are_named() {
    let client = Client::with_points().await;
    let (query, scroll) = ("/collections/c/points/query", "/collections/c/points/scroll");
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        // Bodies
        ("POST", query, "", 400, "Format error in JSON body: EOF"),
        ("POST", query, "[]", 400, "Format error in JSON body"),
        ("POST", query, r#"{"query":[1,2"#, 400, "Format error in JSON body"),
        ("POST", query, r#"{"query":[1,2,3]} x"#, 400, "trailing characters"),
        ("POST", query, r#"{"limitt":3}"#, 400, "unknown field `limitt`"),
        ("POST", query, r#"{"limit":3,"limit":4}"#, 400, "duplicate field `limit`"),
        // Windows
        ("POST", query, r#"{"limit":1000000000}"#, 422, "must be 1000000 or smaller"),
        ("POST", query, r#"{"limit":1,"offset":18446744073709551615}"#, 422, "must be 1000000 or smaller"),
        ("POST", query, r#"{"limit":1e9}"#, 400, "invalid type: floating point"),
        ("POST", query, r#"{"limit":-1}"#, 400, "invalid value"),
        ("POST", query, r#"{"limit":0}"#, 422, "must be 1 or larger"),
        ("POST", scroll, r#"{"limit":1000001}"#, 422, "must be 1000000 or smaller"),
        ("POST", scroll, r#"{"limit":0}"#, 422, "must be 1 or larger"),
        ("POST", "/collections/c/points/search", r#"{"vector":[1,2,3]}"#, 400, "missing field `limit`"),
        // Vectors of queries
        ("POST", query, r#"{"query":[]}"#, 400, "at least one component"),
        ("POST", query, r#"{"query":[1e400,0,0]}"#, 400, "number out of range"),
        ("POST", query, r#"{"query":[1e39,0,0]}"#, 400, "Format error in JSON body"),
        ("POST", query, r#"{"query":[null,0,0]}"#, 400, "a number"),
        ("POST", query, r#"{"query":"abc"}"#, 400, "value abc is not a valid point ID"),
        ("POST", query, r#"{"query":{"nearst":[1,2,3]}}"#, 400, "unknown field `nearst`"),
        ("POST", query, r#"{"query":{}}"#, 400, "a query needs one of"),
        ("POST", query, r#"{"query":{"nearest":1,"sample":"random"}}"#, 400, "one kind only"),
        ("POST", query, r#"{"query":true}"#, 400, "a vector, a point ID"),
        ("POST", query, r#"{"params":{"ef":3}}"#, 400, "unknown field `ef`"),
        ("POST", query, r#"{"score_threshold":1e39}"#, 400, ""),
        ("POST", query, r#"{"with_payload":3}"#, 400, "a boolean, a list of paths"),
        ("POST", query, r#"{"with_payload":{"inclde":[]}}"#, 400, "unknown variant `inclde`"),
        ("POST", query, r#"{"with_payload":["a["]}"#, 400, "Invalid json path"),
        // Filters
        ("POST", scroll, r#"{"filter":{"musst":[]}}"#, 400, "unknown field `musst`"),
        ("POST", scroll, r#"{"filter":[]}"#, 400, "a filter"),
        (
            "POST",
            scroll,
            r#"{"order_by":{"key":"n"},"offset":3}"#,
            400,
            "`offset` cannot be used with `order_by`",
        ),
        ("POST", scroll, r#"{"order_by":{"key":"n","direction":"up"}}"#, 400, "unknown variant `up`"),
        ("POST", scroll, r#"{"offset":1.5}"#, 400, "a point ID"),
        // Points
        ("PUT", POINTS, "{}", 400, "give either `points` or `batch`"),
        ("PUT", POINTS, r#"{"points":[]}"#, 400, "Empty update request"),
        ("PUT", POINTS, r#"{"points":[{"id":1}]}"#, 400, "missing field `vector`"),
        ("PUT", POINTS, r#"{"points":[{"vector":[1,2,3]}]}"#, 400, "missing field `id`"),
        ("PUT", POINTS, r#"{"points":[{"id":-1,"vector":[1,2,3]}]}"#, 400, "unsigned integer"),
        (
            "PUT",
            POINTS,
            r#"{"points":[{"id":"12","vector":[1,2,3]}]}"#,
            400,
            "value 12 is not a valid point ID",
        ),
        ("PUT", POINTS, r#"{"points":[{"id":18446744073709551616,"vector":[1,2,3]}]}"#, 400, "a point ID"),
        ("PUT", POINTS, r#"{"points":[{"id":1,"vector":[1,2]}]}"#, 400, "expected dim: 3, got 2"),
        ("PUT", POINTS, r#"{"points":[{"id":1,"vector":[NaN,2,3]}]}"#, 400, "Format error in JSON body"),
        ("PUT", POINTS, r#"{"points":[{"id":1,"vector":[-1e39,2,3]}]}"#, 400, "Format error in JSON body"),
        (
            "PUT",
            POINTS,
            r#"{"points":[{"id":1,"vector":[[1],[2]]}]}"#,
            400,
            "multivectors are not supported yet",
        ),
        (
            "PUT",
            POINTS,
            r#"{"points":[{"id":1,"vector":{"a":{"indices":[1],"values":[1]}}}]}"#,
            400,
            "sparse vectors",
        ),
        (
            "PUT",
            POINTS,
            r#"{"points":[{"id":1,"vector":{"a":[1],"a":[2]}}]}"#,
            400,
            "vector `a` is given twice",
        ),
        ("PUT", POINTS, r#"{"points":[{"id":1,"vector":{"text":"x","model":"m"}}]}"#, 501, "inference"),
        ("PUT", POINTS, r#"{"points":[{"id":1,"vector":[1,2,3],"payload":[1]}]}"#, 400, "expected a map"),
        (
            "PUT",
            POINTS,
            r#"{"points":[{"id":1,"vector":[1,2,3],"paylod":{}}]}"#,
            400,
            "unknown field `paylod`",
        ),
        ("PUT", POINTS, r#"{"batch":{"ids":[1,2],"vectors":[[1,2,3]]}}"#, 422, "number of ids and vectors"),
        (
            "PUT",
            POINTS,
            r#"{"batch":{"ids":[1],"vectors":[[1,2,3]],"payloads":[]}}"#,
            422,
            "number of ids and payloads",
        ),
        ("PUT", POINTS, r#"{"points":[],"update_mode":"replace"}"#, 400, "unknown variant `replace`"),
        ("PUT", POINTS, r#"{"points":[],"shard_key":"k"}"#, 501, "not supported yet: shard keys"),
        ("POST", "/collections/c/points/delete", "{}", 422, "`points` or a `filter`"),
        ("POST", "/collections/c/points/delete", r#"{"points":[1],"filter":{}}"#, 422, "not both"),
        ("POST", "/collections/c/points/payload", r#"{"payload":{}}"#, 422, "`points` or a `filter`"),
        (
            "PUT",
            "/collections/c/points/payload",
            r#"{"payload":{},"points":[1],"key":"a"}"#,
            400,
            "`key` cannot be given",
        ),
        (
            "POST",
            "/collections/c/points/vectors/delete",
            r#"{"points":[1],"vector":[]}"#,
            422,
            "at least one vector",
        ),
        (
            "POST",
            "/collections/c/points/batch",
            r#"{"operations":[{"explode":{}}]}"#,
            400,
            "unknown variant `explode`",
        ),
        // Collections
        ("PUT", "/collections/d", r#"{"vectors":{"size":0,"distance":"Dot"}}"#, 422, "vectors.size"),
        ("PUT", "/collections/d", r#"{"vectors":{"size":65537,"distance":"Dot"}}"#, 422, "65536"),
        (
            "PUT",
            "/collections/d",
            r#"{"vectors":{"size":4,"distance":"Hamming"}}"#,
            400,
            "unknown variant `Hamming`",
        ),
        (
            "PUT",
            "/collections/d",
            r#"{"vectors":{"size":4,"distance":"Dot","dims":3}}"#,
            400,
            "unknown field `dims`",
        ),
        (
            "PUT",
            "/collections/d",
            r#"{"vectors":{"size":4,"distance":"Dot","datatype":"turbo4"}}"#,
            501,
            "turbo",
        ),
        (
            "PUT",
            "/collections/d",
            r#"{"vectors":{"size":4,"distance":"Dot","multivector_config":{"comparator":"max_sim"}}}"#,
            400,
            "multivectors",
        ),
        (
            "PUT",
            "/collections/d",
            r#"{"sparse_vectors":{"s":{}}}"#,
            400,
            "sparse vectors are not supported yet",
        ),
        ("PUT", "/collections/d", r#"{"sharding_method":"custom"}"#, 501, "custom sharding"),
        ("PUT", "/collections/d", r#"{"shard_number":0}"#, 422, "shard_number"),
        ("PUT", "/collections/d", r#"{"shard_number":1000000}"#, 422, "256"),
        ("PUT", "/collections/d", r#"{"quantization_config":{"scalar":{"type":"int3"}}}"#, 400, "int3"),
        (
            "PUT",
            "/collections/d",
            r#"{"optimizers_config":{"deleted_threshold":2}}"#,
            422,
            "deleted_threshold",
        ),
        ("PUT", "/collections/d", r#"{"vectros":{}}"#, 400, "unknown field `vectros`"),
        ("PUT", "/collections/a%2Fb", "{}", 422, "cannot contain '/'"),
        ("PUT", "/collections/a%0Ab", "{}", 422, "cannot contain"),
        ("PUT", "/collections/c", r#"{"vectors":{"size":4,"distance":"Dot"}}"#, 409, "already exists"),
        (
            "PUT",
            "/collections/c/index",
            r#"{"field_name":"n","field_schema":"magic"}"#,
            400,
            "unknown variant `magic`",
        ),
        ("PUT", "/collections/c/index", r#"{"field_name":"n"}"#, 400, "field_schema"),
        (
            "PUT",
            "/collections/c/index",
            r#"{"field_name":"a[","field_schema":"keyword"}"#,
            400,
            "Invalid json path",
        ),
        (
            "POST",
            "/collections/aliases",
            r#"{"actions":[{"create_alias":{"collection_name":"c","alias_name":"a/b"}}]}"#,
            422,
            "cannot contain",
        ),
        (
            "POST",
            "/collections/aliases",
            r#"{"actions":[{"make_alias":{}}]}"#,
            400,
            "unknown variant `make_alias`",
        ),
        // Query strings and paths
        ("POST", "/collections/c/points/query?timeout=abc", "{}", 400, "query string"),
        ("POST", "/collections/c/points/query?timeout=0", "{}", 422, "timeout"),
        ("POST", "/collections/c/points/query?timeout=18446744073709551615", "{}", 422, "timeout"),
        ("POST", "/collections/c/points/query?consistency=some", "{}", 400, "consistency `some` is unknown"),
        ("POST", "/collections/c/points/query?consistency=0", "{}", 400, "consistency `0` is unknown"),
        ("PUT", "/collections/c/points?ordering=loose", "{}", 400, "query string"),
        ("PUT", "/collections/c/points?wait=maybe", "{}", 400, "query string"),
        ("GET", "/collections/c/points/abc", "", 400, "value abc is not a valid point ID"),
        ("GET", "/collections/c/points/77", "", 404, "Not found: Point with id 77 does not exists!"),
        ("GET", "/collections/%FF", "", 400, "path"),
        ("DELETE", "/collections/c/index/a%5B", "", 400, "Invalid json path"),
        ("GET", "/collections/none", "", 404, "Not found: Collection `none` doesn't exist!"),
        ("POST", "/collections/none/points/query", "{}", 404, "Not found: Collection `none` doesn't exist!"),
        ("GET", "/nowhere", "", 404, "Not found"),
        ("POST", "/collections", "{}", 405, "does not know the method POST"),
        ("BREW", "/collections/c", "", 405, "does not know the method BREW"),
    ];
    for (method, path, body, status, word) in cases {
        let answer = client.send(method, path, Body::from(*body)).await;
        assert_eq!(answer.status.as_u16(), *status, "{method} {path} {body}: {}", answer.text);
        assert!(answer.error().contains(word), "{method} {path} {body}: {}", answer.text);
    }
    let info = client.get("/collections/c").await.result();
    assert_eq!((&info["points_count"], &info["payload_schema"]), (&json!(5), &json!({})));
    assert_eq!(client.get("/collections").await.result(), json!({"collections": [{"name": "c"}]}));
}

#[tokio::test]
async fn bodies_without_end_or_sense_do_no_harm() {
    let client = Client::with_points().await;
    let nested = format!(r#"{{"filter":{}"#, r#"{"must":[{"nested":{"key":"a","filter":"#.repeat(10_000));
    let clauses = format!(r#"{{"filter":{}{}}}"#, r#"{"must":["#.repeat(10_000), "]}".repeat(10_000));
    for body in [nested, clauses, "[".repeat(1 << 20), "\u{0}".repeat(1000)] {
        let answer = client.send("POST", "/collections/c/points/scroll", Body::from(body)).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.error().len() > 8);
    }
    let bytes = Body::from(vec![0xff_u8, 0xfe, 0, 1]);
    assert_eq!(client.send("POST", "/collections/c/points/scroll", bytes).await.status, 400);
}

#[tokio::test]
async fn errors_do_not_repeat_what_was_sent_without_end() {
    let client = Client::with_points().await;
    let body = format!(r#"{{"{}":1}}"#, "ü".repeat(1 << 20));
    let answer = client.send("POST", "/collections/c/points/scroll", Body::from(body)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.len() < 3000);
}

#[tokio::test]
async fn too_many_elements_are_refused_while_they_are_read() {
    let client = Client::with_points().await;
    let ids = |n: usize| format!(r#"{{"ids":[{}]}}"#, vec!["1"; n].join(","));
    assert_eq!(client.send("POST", POINTS, Body::from(ids(1000))).await.status, 200);
    let answer = client.send("POST", POINTS, Body::from(ids(1_000_001))).await;
    assert_eq!((answer.status.as_u16(), answer.error().contains("more than 1000000 elements")), (400, true));
    let searches = format!(r#"{{"searches":[{}]}}"#, vec!["{}"; 1001].join(","));
    let answer = client.send("POST", "/collections/c/points/query/batch", Body::from(searches)).await;
    assert_eq!((answer.status.as_u16(), answer.error().contains("more than 1000 elements")), (400, true));
    let long = format!(r#"{{"query":[{}]}}"#, vec!["1"; 65_537].join(","));
    let answer = client.send("POST", "/collections/c/points/query", Body::from(long)).await;
    assert_eq!((answer.status.as_u16(), answer.error().contains("more than 65536 components")), (400, true));
    let payload = json!({"points": [{"id": 1, "vector": [1, 2, 3], "payload": {"t": "x".repeat(9 << 20)}}]});
    let answer = client.put(POINTS, payload).await;
    assert_eq!((answer.status.as_u16(), answer.error().contains("a payload is over the limit")), (400, true));
}

#[tokio::test]
async fn only_json_is_read() {
    let client = Client::with_points().await;
    for (content_type, status) in [
        (None, 400),
        (Some("text/plain"), 400),
        (Some("application/json; charset=utf-8"), 200),
        (Some("Application/JSON"), 200),
    ] {
        let mut request = Request::builder().method("POST").uri("/collections/c/points/count");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = client.ask(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{content_type:?}: {}", answer.text);
    }
}
