//! Keys, limits, panics, and what is seen of them from outside.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use futures::stream;
use lodestone_api::auth::{ApiKey, ApiKeys};
use lodestone_api::rest::RestOptions;
use lodestone_types::{Error, ErrorKind};
use serde_json::json;

use crate::client::Client;
use crate::common::Trouble;

fn locked() -> RestOptions {
    let keys = ApiKeys { full: Some(ApiKey::new("all")), read_only: Some(ApiKey::new("some")) };
    RestOptions { keys, ..RestOptions::default() }
}

#[tokio::test]
async fn keys_open_what_they_are_for() {
    let client = Client::with(locked());
    let (full, reader, wrong) = (client.bearing("all"), client.bearing("some"), client.bearing("none"));
    full.create("c", json!({"vectors": {"size": 1, "distance": "Dot"}})).await;

    for path in ["/", "/healthz", "/livez", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    for path in ["/collections", "/metrics", "/telemetry", "/nowhere", "/cluster", "/collections/c/points/1"]
    {
        assert_eq!(client.get(path).await.status, 401, "{path}");
        assert_eq!(wrong.get(path).await.status, 401, "{path}");
    }
    let error = client.get("/collections").await.error();
    assert_eq!(error, "Must provide an API key or an Authorization bearer token");

    for path in
        ["/collections", "/metrics", "/telemetry", "/aliases", "/collections/c", "/collections/c/exists"]
    {
        assert_eq!(reader.get(path).await.status, 200, "{path}");
    }
    for (path, body) in [
        ("points", json!({"ids": []})),
        ("points/scroll", json!({})),
        ("points/count", json!({})),
        ("points/query", json!({})),
        ("points/query/batch", json!({"searches": []})),
        ("points/search/batch", json!({"searches": []})),
        ("warm", json!({})),
    ] {
        assert_eq!(reader.post(&format!("/collections/c/{path}"), body).await.status, 200, "{path}");
    }
    for (method, path) in [
        ("PUT", "/collections/d"),
        ("PATCH", "/collections/c"),
        ("DELETE", "/collections/c"),
        ("POST", "/collections/aliases"),
        ("PUT", "/collections/c/index"),
        ("PUT", "/collections/c/pin"),
        ("DELETE", "/collections/c/pin"),
        ("DELETE", "/collections/c/index/a"),
        ("PUT", "/collections/c/points"),
        ("POST", "/collections/c/points/delete"),
        ("POST", "/collections/c/points/payload"),
        ("PUT", "/collections/c/points/payload"),
        ("POST", "/collections/c/points/payload/delete"),
        ("POST", "/collections/c/points/payload/clear"),
        ("PUT", "/collections/c/points/vectors"),
        ("POST", "/collections/c/points/vectors/delete"),
        ("POST", "/collections/c/points/batch"),
    ] {
        let answer = reader.send(method, path, Body::from("{}")).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
        assert!(answer.error().contains("read-only"));
        let answer = full.send(method, path, Body::from("not json")).await;
        assert!(answer.status != 401 && answer.status != 403, "{method} {path}: {}", answer.text);
        if method == "DELETE" && path == "/collections/c" {
            full.create("c", json!({})).await;
        }
    }
}

#[tokio::test]
async fn a_key_may_be_a_bearer_token() {
    let client = Client::with(locked());
    let get = |name: &str, value: &str| {
        Request::builder().uri("/collections").header(name, value).body(Body::empty()).unwrap()
    };
    assert_eq!(client.ask(get("authorization", "Bearer some")).await.status, 200);
    assert_eq!(client.ask(get("API-Key", "some")).await.status, 200);
    assert_eq!(client.ask(get("authorization", "Basic some")).await.status, 401);
    let open = Client::with(RestOptions { open_metrics: true, ..locked() });
    assert_eq!(open.get("/metrics").await.status, 200);
}

/// A body that counts how many of its chunks of 1 MiB were asked for.
fn endless() -> (Body, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let chunks = stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from_static(&[b' '; 1 << 20]))
    });
    (Body::from_stream(chunks), asked)
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read_on() {
    let client = Client::with(RestOptions { max_body_bytes: 3 << 20, ..RestOptions::default() });
    let (body, asked) = endless();
    let answer = client.send("POST", "/collections/c/points/count", body).await;
    assert_eq!((answer.status.as_u16(), answer.error().contains("limit of 3145728 bytes")), (413, true));
    assert_eq!(asked.load(Ordering::Relaxed), 4);

    let (body, asked) = endless();
    let request = Request::builder().method("POST").uri("/collections/c/points/count");
    let request = request.header("content-type", "application/json").header("content-length", "200000000");
    assert_eq!(client.ask(request.body(body).unwrap()).await.status, 413);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn memory_for_bodies_is_shared_and_given_back() {
    let client = Client::with(RestOptions { max_bodies_bytes: 2 << 20, ..RestOptions::default() });
    client.create("c", json!({})).await;
    let (body, asked) = endless();
    let answer = client.send("POST", "/collections/c/points/count", body).await;
    assert_eq!((answer.status.as_u16(), asked.load(Ordering::Relaxed)), (429, 3));
    assert_eq!(answer.headers["retry-after"], "1");
    for _ in 0..5 {
        let body = format!("{{}}{}", " ".repeat(3 << 19));
        let answer = client.send("POST", "/collections/c/points/count", Body::from(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up() {
    let options = RestOptions { body_timeout: Duration::from_millis(20), ..RestOptions::default() };
    let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let answer = Client::with(options).send("POST", "/collections/c/points/count", body).await;
    assert_eq!((answer.status.as_u16(), answer.error().contains("did not arrive in time")), (408, true));
}

#[tokio::test]
async fn too_many_requests_are_told_to_come_back_and_health_is_answered() {
    let client = Client::with(RestOptions { max_requests: 0, ..RestOptions::default() });
    let answer = client.get("/collections").await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (429, &"1".parse().unwrap()));
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn every_kind_of_error_has_its_status() {
    let client = Client::with_points().await;
    let count = async || client.post("/collections/c/points/count", json!({})).await;
    for (kind, status) in [
        (ErrorKind::BadRequest, 400),
        (ErrorKind::Invalid, 422),
        (ErrorKind::Unauthorized, 401),
        (ErrorKind::Forbidden, 403),
        (ErrorKind::NotFound, 404),
        (ErrorKind::Conflict, 409),
        (ErrorKind::TooLarge, 413),
        (ErrorKind::LimitReached, 422),
        (ErrorKind::Unsupported, 501),
        (ErrorKind::Timeout, 408),
        (ErrorKind::Unavailable, 503),
        (ErrorKind::LostCopy, 503),
        (ErrorKind::OutcomeUnknown, 500),
        (ErrorKind::Damaged, 500),
        (ErrorKind::Internal, 500),
    ] {
        client.engine.trouble_ahead(Trouble::Error(Error::new(kind, "a reason")));
        let answer = count().await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (status, "a reason"), "{kind:?}");
    }
    client.engine.trouble_ahead(Trouble::Error(Error::busy("wait", Duration::from_millis(2500))));
    let answer = count().await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (429, &"2".parse().unwrap()));
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_next_request_goes_on() {
    let client = Client::with_points().await;
    client.engine.trouble_ahead(Trouble::Panic);
    let answer = client.post("/collections/c/points/count", json!({})).await;
    assert_eq!(answer.status, 500);
    assert!(!answer.error().contains("trouble"), "{}", answer.text);
    assert_eq!(client.post("/collections/c/points/count", json!({})).await.result(), json!({"count": 5}));
}

#[tokio::test]
async fn the_server_says_who_it_is_and_what_it_did() {
    let client = Client::with_points().await;
    let root = client.get("/").await.json();
    assert_eq!((&root["title"], &root["version"]), (&json!("lodestone"), &json!("1.19.0")));
    assert_eq!(root["lodestone_version"], env!("CARGO_PKG_VERSION"));
    client.get("/collections/none").await;
    client.get("/nowhere").await;

    let metrics = client.get("/metrics").await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    for line in [
        "operations_total 1\n",
        "rest_responses_total{method=\"PUT\",endpoint=\"/collections/{name}/points\",status=\"200\"} 1\n",
        "rest_responses_total{method=\"GET\",endpoint=\"/collections/{name}\",status=\"404\"} 1\n",
        "rest_responses_total{method=\"GET\",endpoint=\"unmatched\",status=\"404\"} 1\n",
        "rest_responses_duration_seconds_count{method=\"GET\",endpoint=\"/\",status=\"200\"} 1\n",
    ] {
        assert!(metrics.text.contains(line), "{line} in {}", metrics.text);
    }
    let telemetry = client.get("/telemetry").await.result();
    assert_eq!(telemetry["collections"]["number_of_collections"], 1);
    assert_eq!(telemetry["app"]["name"], "lodestone");
    assert!(lodestone_types::parse_datetime(telemetry["app"]["startup"].as_str().unwrap()).is_some());
}
