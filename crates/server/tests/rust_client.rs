//! The official Rust client against the started binary: create, write, filter, search, and again after a restart.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeletePointsBuilder, Distance, FieldType, Filter, GetPointsBuilder, PointId, PointStruct, PointsIdsList,
    QueryPointsBuilder, Range, ScoredPoint, ScrollPointsBuilder, SetPayloadPointsBuilder,
    UpsertPointsBuilder, VectorParamsBuilder, VectorsConfigBuilder,
};
use qdrant_client::{Payload, Qdrant};
use serde_json::json;

const COLLECTION: &str = "rust-trees";
const FIR: &str = "550e8400-e29b-41d4-a716-446655440000";

/// A started server; killed when dropped.
struct Server {
    process: Child,
    http_port: u16,
    grpc_port: u16,
}

impl Server {
    fn start(directory: &std::path::Path) -> Self {
        let (http_port, grpc_port) = (free_port(), free_port());
        let process = Command::new(env!("CARGO_BIN_EXE_lodestone"))
            .arg("serve")
            .args(["--store".as_ref(), directory.join("store").as_os_str()])
            .args(["--local".as_ref(), directory.join("local").as_os_str()])
            .args(["--http-port", &http_port.to_string(), "--grpc-port", &grpc_port.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary starts");
        Self { process, http_port, grpc_port }
    }

    async fn client(&mut self) -> Qdrant {
        let client = Qdrant::from_url(&format!("http://127.0.0.1:{}", self.grpc_port))
            .timeout(Duration::from_secs(20))
            .skip_compatibility_check()
            .build()
            .expect("a client");
        let begun = Instant::now();
        // A server that is still starting refuses or answers that it cannot serve yet.
        while client.list_collections().await.is_err() {
            let ended = self.process.try_wait().expect("the process can be asked");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        client
    }
}

impl Server {
    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http_port)).expect("connects");
        stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: x\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }
}

/// What writes spent in a stage.
fn seconds(metrics: &str, stage: &str) -> f64 {
    let name = format!("lodestone_write_seconds_total{{stage=\"{stage}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("a stage");
    line.parse().expect("a number")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn tree(id: impl Into<PointId>, vector: [f32; 3], payload: serde_json::Value) -> PointStruct {
    PointStruct::new(id, vector.to_vec(), Payload::try_from(payload).expect("an object"))
}

fn name(point: &ScoredPoint) -> &str {
    point.payload["name"].as_str().map(String::as_str).expect("a name")
}

async fn plant(client: &Qdrant) {
    let mut vectors = VectorsConfigBuilder::default();
    vectors.add_vector_params(VectorParamsBuilder::new(3, Distance::Cosine));
    client
        .create_collection(CreateCollectionBuilder::new(COLLECTION).vectors_config(vectors))
        .await
        .expect("created");
    let trees = vec![
        tree(1, [0.9, 0.1, 0.1], json!({"name": "oak", "height": 30, "leaves": ["lobed"]})),
        tree(2, [0.8, 0.3, 0.1], json!({"name": "elm", "height": 35, "leaves": ["serrate", "ovate"]})),
        tree(3, [0.1, 0.2, 0.9], json!({"name": "palm", "height": 20, "evergreen": true})),
        tree(FIR, [0.1, 0.9, 0.2], json!({"name": "fir", "height": 60, "evergreen": true})),
    ];
    client.upsert_points(UpsertPointsBuilder::new(COLLECTION, trees).wait(true)).await.expect("written");
    let index = CreateFieldIndexCollectionBuilder::new(COLLECTION, "height", FieldType::Integer).wait(true);
    client.create_field_index(index).await.expect("indexed");
}

async fn nearest(client: &Qdrant, filter: Option<Filter>, limit: u64) -> Vec<ScoredPoint> {
    let mut query =
        QueryPointsBuilder::new(COLLECTION).query(vec![1.0, 0.2, 0.1]).limit(limit).with_payload(true);
    if let Some(filter) = filter {
        query = query.filter(filter);
    }
    client.query(query).await.expect("answered").result
}

async fn count(client: &Qdrant, filter: Filter) -> u64 {
    let request = CountPointsBuilder::new(COLLECTION).filter(filter).exact(true);
    client.count(request).await.expect("counted").result.expect("a count").count
}

#[tokio::test(flavor = "multi_thread")]
async fn create_write_filter_search() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(directory.path());
    let client = server.client().await;
    plant(&client).await;

    let hits = nearest(&client, None, 2).await;
    assert_eq!(hits.iter().map(name).collect::<Vec<_>>(), ["oak", "elm"]);
    assert!(hits[0].score > hits[1].score && hits[0].score < 1.000_01);

    let tall = Filter {
        must: vec![Condition::range("height", Range { gte: Some(25.0), ..Range::default() })],
        must_not: vec![Condition::matches("leaves", "serrate".to_owned())],
        ..Filter::default()
    };
    let hits = nearest(&client, Some(tall.clone()), 10).await;
    assert_eq!(hits.iter().map(name).collect::<Vec<_>>(), ["oak", "fir"]);
    assert_eq!(count(&client, tall.clone()).await, 2);

    let grown = Payload::try_from(json!({"height": 24})).expect("an object");
    let set = SetPayloadPointsBuilder::new(COLLECTION, grown)
        .points_selector(PointsIdsList { ids: vec![1.into()] })
        .wait(true);
    client.set_payload(set).await.expect("set");
    assert_eq!(count(&client, tall.clone()).await, 1);
    let evergreen =
        Filter::must([Condition::matches("evergreen", true), Condition::has_id([PointId::from(3)])]);
    client
        .delete_points(DeletePointsBuilder::new(COLLECTION).points(evergreen).wait(true))
        .await
        .expect("deleted");

    let metrics = server.metrics();
    for line in [
        "grpc_responses_total{endpoint=\"/qdrant.Points/Upsert\",status=\"0\"} 1\n",
        "lodestone_write_stages_total{stage=\"encode\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(seconds(&metrics, "put") > 0.0 && seconds(&metrics, "commit") > 0.0, "{metrics}");

    // Dropping kills it with no warning: what was acknowledged is in the store all the same.
    drop(server);
    let mut server = Server::start(directory.path());
    let client = server.client().await;
    let page = client
        .scroll(ScrollPointsBuilder::new(COLLECTION).limit(10).with_payload(true).with_vectors(true))
        .await
        .expect("scrolled")
        .result;
    let ids: Vec<_> = page.iter().filter_map(|p| p.id.clone()?.point_id_options).collect();
    assert_eq!(ids, [PointIdOptions::Num(1), PointIdOptions::Num(2), PointIdOptions::Uuid(FIR.to_owned())]);
    assert_eq!(page[0].payload["height"].as_integer(), Some(24));
    assert_eq!(count(&client, tall).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_errors_that_say_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(directory.path());
    let client = server.client().await;
    plant(&client).await;

    let short = vec![tree(1, [0.0; 3], json!({})), PointStruct::new(2, vec![1.0], Payload::new())];
    let error =
        client.upsert_points(UpsertPointsBuilder::new(COLLECTION, short).wait(true)).await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("dim"), "{error}");
    let found = client
        .get_points(GetPointsBuilder::new(COLLECTION, vec![1.into()]).with_payload(true))
        .await
        .expect("answered")
        .result;
    assert_eq!(found[0].payload["name"].as_str().map(String::as_str), Some("oak"), "half of a refused write");

    let error = client.collection_info("nowhere").await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}
