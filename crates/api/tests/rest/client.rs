//! The router without a network: requests in, status and JSON out.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use lodestone_api::rest::{RestOptions, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::common::MemoryEngine;

/// A router with its engine.
pub struct Client {
    pub engine: Arc<MemoryEngine>,
    router: Router,
    key: Option<&'static str>,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The result of a request that went well, in the envelope it must have.
    pub fn result(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        let mut json = self.json();
        assert_eq!(json["status"], "ok");
        assert!(json["time"].is_f64());
        json["result"].take()
    }

    /// The message of a request that failed, in the envelope it must have.
    pub fn error(&self) -> String {
        let json = self.json();
        assert_eq!(json["result"], Value::Null, "{}", self.text);
        assert!(json["time"].is_f64());
        json["status"]["error"].as_str().unwrap_or_else(|| panic!("no error: {}", self.text)).to_owned()
    }
}

impl Client {
    pub fn new() -> Self {
        Self::with(RestOptions::default())
    }

    pub fn with(options: RestOptions) -> Self {
        let engine = Arc::new(MemoryEngine::default());
        Self { router: router(engine.clone(), options), engine, key: None }
    }

    /// A client of an engine with a collection `c` of three unnamed dimensions and five points.
    pub async fn with_points() -> Self {
        let client = Self::new();
        client.create("c", json!({"vectors": {"size": 3, "distance": "Dot"}})).await;
        let points: Vec<Value> =
            (1..=5).map(|n| json!({"id": n, "vector": [n, 0, 0.5], "payload": {"n": n, "s": "x"}})).collect();
        client.put("/collections/c/points?wait=true", json!({"points": points})).await.result();
        client
    }

    pub async fn create(&self, name: &str, config: Value) {
        assert_eq!(self.put(&format!("/collections/{name}"), config).await.result(), json!(true));
    }

    /// The same router for the bearer of `key`.
    pub fn bearing(&self, key: &'static str) -> Self {
        Self { engine: self.engine.clone(), router: self.router.clone(), key: Some(key) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Body::empty()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, Body::empty()).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, Body::from(body.to_string())).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Body::from(body.to_string())).await
    }

    pub async fn send(&self, method: &str, path: &str, body: Body) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(key) = self.key {
            request = request.header("api-key", key);
        }
        self.ask(request.body(body).unwrap()).await
    }

    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.into()).unwrap(),
        }
    }
}
