//! What the gRPC interface refuses, with which code, and that it lives on.

mod common;
mod server;

use std::io::Write;
use std::time::Duration;

use common::Trouble;
use lodestone_api::auth::{ApiKey, ApiKeys};
use lodestone_api::grpc::GrpcOptions;
use lodestone_types::Error;
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::points_client::PointsClient;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, Distance, Filter, GetPointsBuilder, PointStruct,
    QueryPointsBuilder, ScrollPointsBuilder, UpsertPointsBuilder, Value, VectorParamsBuilder,
};
use qdrant_client::{Payload, Qdrant, QdrantError};
use server::{Server, code};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};

const NAME: &str = "things";

async fn with_collection(options: GrpcOptions) -> Server {
    let server = Server::start_with(options).await;
    let config = VectorParamsBuilder::new(2, Distance::Dot);
    let create = CreateCollectionBuilder::new(NAME).vectors_config(config).build();
    server.collections().create(with_key(create)).await.unwrap();
    server
}

/// The request of somebody who may do everything; where no key is set, it does no harm.
fn with_key<M>(message: M) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("api-key", "all".parse().unwrap());
    request
}

fn upsert(points: Vec<PointStruct>) -> proto::UpsertPoints {
    UpsertPointsBuilder::new(NAME, points).build()
}

fn point(id: impl Into<proto::PointId>, vector: Vec<f32>) -> PointStruct {
    PointStruct::new(id, vector, Payload::new())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, says: &str) {
    let status = answer.expect_err("it was accepted");
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(says), "{}", status.message());
}

#[tokio::test]
async fn bad_points_are_refused() {
    let server = with_collection(GrpcOptions::default()).await;
    let mut points = server.points();
    let mut value = point(1, vec![1.0, 2.0]);
    value.payload.insert("n".into(), Value::from(f64::NAN));
    let mut no_id = point(1, vec![1.0, 2.0]);
    no_id.id = None;
    let mut large = point(1, vec![1.0, 2.0]);
    large.payload.insert("text".into(), Value::from("x".repeat(9 << 20)));
    let sparse = proto::Vector::from(vec![(1, 1.0)]);
    let sparse = PointStruct::new(1, proto::NamedVectors::default().add_vector("s", sparse), Payload::new());
    let multi = PointStruct::new(1, proto::Vector::new_multi(vec![vec![1.0, 2.0]]), Payload::new());
    for (bad, code, says) in [
        (point(1, vec![1.0]), Code::InvalidArgument, "dim"),
        (point(1, vec![]), Code::InvalidArgument, "component"),
        (point(1, vec![1.0, f32::NAN]), Code::InvalidArgument, "finite"),
        (point("abc", vec![1.0, 2.0]), Code::InvalidArgument, "UUID"),
        (no_id, Code::InvalidArgument, "id"),
        (value, Code::InvalidArgument, "NaN"),
        (large, Code::InvalidArgument, "payload"),
        (sparse, Code::Unimplemented, "sparse"),
        (multi, Code::Unimplemented, "multivectors"),
    ] {
        refused(points.upsert(upsert(vec![bad])).await, code, says);
    }
    let many = vec![PointStruct { id: Some(1.into()), ..Default::default() }; 100_001];
    refused(points.upsert(upsert(many)).await, Code::InvalidArgument, "points");
    let lost = UpsertPointsBuilder::new("nowhere", vec![point(1, vec![1.0, 2.0])]).build();
    refused(points.upsert(lost).await, Code::NotFound, "nowhere");
    refused(points.delete(proto::DeletePoints::default()).await, Code::InvalidArgument, "selector");
    let none = points.count(CountPointsBuilder::new(NAME).build()).await.unwrap();
    assert_eq!(none.into_inner().result.unwrap().count, 0);
}

#[tokio::test]
async fn bad_reads_are_refused() {
    let server = with_collection(GrpcOptions::default()).await;
    let mut points = server.points();
    let query = || QueryPointsBuilder::new(NAME).query(vec![1.0, 2.0]);
    let fusion = proto::Query::new_fusion(proto::Fusion::Rrf);
    let empty = proto::Query { variant: None };
    let shard = proto::ShardKeySelector::from("eu".to_owned());
    for (bad, code, says) in [
        (query().limit(0), Code::InvalidArgument, "limit"),
        (query().limit(1_000_000_000), Code::InvalidArgument, "limit"),
        (query().limit(10).offset(u64::MAX), Code::InvalidArgument, "offset"),
        (query().timeout(0), Code::InvalidArgument, "timeout"),
        (query().score_threshold(f32::NAN), Code::InvalidArgument, "score_threshold"),
        (query().query(vec![f32::INFINITY, 0.0]), Code::InvalidArgument, "finite"),
        (query().query(empty), Code::InvalidArgument, "query"),
        (query().query(proto::PointId::from("x")), Code::InvalidArgument, "UUID"),
        (query().query(fusion), Code::Unimplemented, "fusion"),
        (query().query(vec![(1u32, 1.0f32)]), Code::Unimplemented, "sparse"),
        (query().add_prefetch(proto::PrefetchQuery::default()), Code::Unimplemented, "prefetch"),
        (query().shard_key_selector(shard), Code::Unimplemented, "shard"),
        (query().filter(Filter::must([Condition::matches("a[", 1)])), Code::InvalidArgument, "path"),
    ] {
        refused(points.query(bad.build()).await, code, says);
    }
    refused(points.get(GetPointsBuilder::new("x", vec![]).build()).await, Code::NotFound, "x");
    let scroll = ScrollPointsBuilder::new(NAME).offset(proto::PointId { point_id_options: None });
    refused(points.scroll(scroll.build()).await, Code::InvalidArgument, "id");
    refused(points.facet(proto::FacetCounts::default()).await, Code::Unimplemented, "not supported yet");
    let mut odd = tonic::Request::new(query().build());
    odd.metadata_mut().insert("consistency", "maybe".parse().unwrap());
    refused(points.query(odd).await, Code::InvalidArgument, "consistency");
}

#[tokio::test]
async fn bad_collections_are_refused() {
    let server = Server::start().await;
    let mut collections = server.collections();
    let create = |name: &str, params: VectorParamsBuilder| {
        CreateCollectionBuilder::new(name).vectors_config(params).build()
    };
    let good = || VectorParamsBuilder::new(4, Distance::Cosine);
    let multi = proto::MultiVectorConfigBuilder::new(proto::MultiVectorComparator::MaxSim);
    let mut sharded = create("a", good());
    sharded.sharding_method = Some(proto::ShardingMethod::Custom as i32);
    let mut many_shards = create("a", good());
    many_shards.shard_number = Some(100_000);
    for (bad, code, says) in [
        (create("", good()), Code::InvalidArgument, "name"),
        (create("a/b", good()), Code::InvalidArgument, "name"),
        (create(&"x".repeat(300), good()), Code::InvalidArgument, "name"),
        (create("a", VectorParamsBuilder::new(0, Distance::Dot)), Code::InvalidArgument, "size"),
        (create("a", VectorParamsBuilder::new(70_000, Distance::Dot)), Code::InvalidArgument, "size"),
        (
            create("a", VectorParamsBuilder::new(4, Distance::UnknownDistance)),
            Code::InvalidArgument,
            "distance",
        ),
        (create("a", good().datatype(proto::Datatype::Turbo4)), Code::Unimplemented, "turbo"),
        (create("a", good().multivector_config(multi)), Code::Unimplemented, "multivectors"),
        (sharded, Code::Unimplemented, "sharding"),
        (many_shards, Code::InvalidArgument, "shard_number"),
    ] {
        refused(collections.create(bad).await, code, says);
    }
    let change = proto::UpdateCollection { collection_name: "nowhere".into(), ..Default::default() };
    refused(collections.update(change).await, Code::NotFound, "nowhere");
    let empty =
        proto::ChangeAliases { actions: vec![proto::AliasOperations { action: None }], timeout: None };
    refused(collections.update_aliases(empty).await, Code::InvalidArgument, "alias");
    let keys = proto::ListShardKeysRequest { collection_name: "a".into() };
    refused(collections.list_shard_keys(keys).await, Code::Unimplemented, "not supported yet");
    assert!(server.client.list_collections().await.unwrap().collections.is_empty());
}

#[tokio::test]
async fn filters_too_deep_for_us_or_for_the_decoder_are_the_clients_fault() {
    let server = with_collection(GrpcOptions::default()).await;
    for levels in [40, 300] {
        let deep = (0..levels).fold(Filter::default(), |inner, _| Filter::must([Condition::from(inner)]));
        let count = CountPointsBuilder::new(NAME).filter(deep).build();
        refused(server.points().count(count).await, Code::InvalidArgument, "");
    }
    let wide = Filter::must(vec![Condition::is_empty("a"); 10_001]);
    let count = CountPointsBuilder::new(NAME).filter(wide).build();
    refused(server.points().count(count).await, Code::InvalidArgument, "conditions");
    assert!(server.client.count(CountPointsBuilder::new(NAME)).await.is_ok());
}

#[tokio::test]
async fn messages_over_the_limit_are_refused_and_compressed_ones_read() {
    let options = GrpcOptions { max_message_bytes: 100_000, ..GrpcOptions::default() };
    let server = with_collection(options).await;
    let large = |bytes: usize| {
        let mut p = point(1, vec![1.0, 2.0]);
        p.payload.insert("text".into(), Value::from("x".repeat(bytes)));
        upsert(vec![p])
    };
    refused(server.points().upsert(large(200_000)).await, Code::ResourceExhausted, "too large");
    let mut zipped = PointsClient::new(server.channel()).send_compressed(CompressionEncoding::Gzip);
    assert!(zipped.upsert(large(50_000)).await.is_ok());
    refused(zipped.upsert(large(10_000_000)).await, Code::ResourceExhausted, "limit");
    assert_eq!(server.client.count(CountPointsBuilder::new(NAME)).await.unwrap().result.unwrap().count, 1);
}

#[tokio::test]
async fn too_much_at_once_is_told_to_come_back() {
    let options = GrpcOptions { max_bodies_bytes: 1000, ..GrpcOptions::default() };
    let server = with_collection(options).await;
    let points = (0..1000).map(|n| point(n, vec![1.0, 2.0])).collect();
    let status = server.points().upsert(upsert(points)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(server.points().upsert(upsert(vec![point(1, vec![1.0, 2.0])])).await.is_ok());

    let server = Server::start_with(GrpcOptions { max_calls: 0, ..GrpcOptions::default() }).await;
    let status = server.points().count(CountPointsBuilder::new(NAME).build()).await.unwrap_err();
    assert_eq!(
        (status.code(), status.metadata().contains_key("retry-after")),
        (Code::ResourceExhausted, true)
    );
    assert!(server.client.health_check().await.is_ok());
}

#[tokio::test]
async fn keys_are_checked() {
    let keys = ApiKeys { full: Some(ApiKey::new("all")), read_only: Some(ApiKey::new("some")) };
    let server = with_collection(GrpcOptions { keys, ..GrpcOptions::default() }).await;
    let client = |key: &str| {
        let url = format!("http://{}", server.address);
        Qdrant::from_url(&url).api_key(key).skip_compatibility_check().build().unwrap()
    };
    let count = || CountPointsBuilder::new(NAME);
    let write = || UpsertPointsBuilder::new(NAME, vec![point(1, vec![1.0, 2.0])]);

    assert_eq!(code(server.client.count(count()).await.unwrap_err()), Code::Unauthenticated);
    assert!(server.client.health_check().await.is_ok(), "clients ask for the version before all else");
    assert_eq!(code(client("none").count(count()).await.unwrap_err()), Code::Unauthenticated);
    assert!(client("all").upsert_points(write()).await.is_ok());
    assert!(client("some").count(count()).await.is_ok());
    assert_eq!(code(client("some").upsert_points(write()).await.unwrap_err()), Code::PermissionDenied);
    assert_eq!(code(client("some").delete_collection(NAME).await.unwrap_err()), Code::PermissionDenied);
    let mut bearer = tonic::Request::new(count().build());
    bearer.metadata_mut().insert("authorization", "Bearer all".parse().unwrap());
    assert!(server.points().count(bearer).await.is_ok());
}

#[tokio::test]
async fn errors_keep_their_code_and_a_panic_is_one_of_them() {
    let server = with_collection(GrpcOptions::default()).await;
    let count = async || server.points().count(CountPointsBuilder::new(NAME).build()).await;
    for (error, code) in [
        (Error::unavailable("no bucket"), Code::Unavailable),
        (Error::outcome_unknown("lost"), Code::Unknown),
        (Error::damaged("torn"), Code::DataLoss),
        (Error::timeout("slow"), Code::DeadlineExceeded),
        (Error::conflict("taken"), Code::AlreadyExists),
        (Error::internal("oops"), Code::Internal),
    ] {
        server.engine.trouble_ahead(Trouble::Error(error.clone()));
        refused(count().await, code, &error.message);
    }
    server.engine.trouble_ahead(Trouble::Error(Error::busy("slow down", Duration::from_secs(3))));
    match server.client.count(CountPointsBuilder::new(NAME)).await.unwrap_err() {
        QdrantError::ResourceExhaustedError { retry_after_seconds, .. } => assert_eq!(retry_after_seconds, 3),
        other => panic!("{other}"),
    }
    server.engine.trouble_ahead(Trouble::Panic);
    refused(count().await, Code::Internal, "report");
    assert!(count().await.is_ok());
}

#[tokio::test]
async fn health_is_told_and_calls_are_counted() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let options = GrpcOptions::default();
    let metrics = options.metrics.clone();
    let server = with_collection(options).await;
    let mut health = HealthClient::new(server.channel());
    let status = health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status;
    assert_eq!(status, tonic_health::ServingStatus::Serving as i32);
    let unknown = HealthCheckRequest { service: "nothing".into() };
    refused(health.check(unknown).await, Code::NotFound, "nothing");
    refused(server.points().get(GetPointsBuilder::new("x", vec![]).build()).await, Code::NotFound, "");
    refused(server.points().facet(proto::FacetCounts::default()).await, Code::Unimplemented, "");
    let text = metrics.render();
    let counted = |line: &str| assert!(text.lines().any(|l| l.starts_with(line)), "{line} not in\n{text}");
    counted("grpc_responses_total{endpoint=\"/qdrant.Collections/Create\",status=\"0\"} 1");
    counted("grpc_responses_total{endpoint=\"/qdrant.Points/Get\",status=\"5\"} 1");
    counted("grpc_responses_total{endpoint=\"unimplemented\",status=\"12\"} 1");
    counted("grpc_responses_duration_seconds_total{endpoint=\"/qdrant.Points/Get\",status=\"5\"} ");
}

#[tokio::test]
async fn noise_on_the_port_does_no_harm() {
    let server = with_collection(GrpcOptions::default()).await;
    for noise in ["GET / HTTP/1.1\r\n\r\n", "\0\0\0\0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{1}\u{2}\u{3}"] {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        stream.write_all(noise.as_bytes()).unwrap();
    }
    assert!(server.client.count(CountPointsBuilder::new(NAME)).await.is_ok());
}

#[tokio::test]
async fn a_stop_is_graceful() {
    let server = with_collection(GrpcOptions::default()).await;
    assert!(server.client.count(CountPointsBuilder::new(NAME)).await.is_ok());
    let stopped = tokio::time::timeout(Duration::from_secs(10), server.stop()).await;
    stopped.expect("it hangs").unwrap();
}
