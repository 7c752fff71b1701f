//! The official Rust client against a served gRPC interface, from creating a collection to deleting it.

mod common;
mod server;

use std::collections::HashMap;

use qdrant_client::Payload;
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateAliasBuilder, CreateCollectionBuilder,
    CreateFieldIndexCollectionBuilder, DeleteFieldIndexCollectionBuilder, DeletePayloadPointsBuilder,
    DeletePointVectorsBuilder, DeletePointsBuilder, Direction, Distance, FieldType, Filter, GetPointsBuilder,
    HnswConfigDiffBuilder, KeywordIndexParamsBuilder, NamedVectors, OptimizersConfigDiffBuilder,
    OrderByBuilder, PointId, PointStruct, PointVectors, PointsIdsList, Query, QueryBatchPointsBuilder,
    QueryPointsBuilder, Range, RenameAliasBuilder, ScalarQuantizationBuilder, ScrollPointsBuilder,
    SearchPointsBuilder, SetPayloadPointsBuilder, UpdateCollectionBuilder, UpdatePointVectorsBuilder,
    UpsertPointsBuilder, Value, VectorParamsBuilder, VectorsConfigBuilder, point_id, points_update_operation,
    vector_output, vectors_output,
};

use qdrant_client::qdrant::with_vectors_selector::SelectorOptions;
use server::Server;

const NAME: &str = "things";

fn payload(city: &str, n: i64) -> Payload {
    Payload::from(HashMap::from([("city", Value::from(city)), ("n", Value::from(n))]))
}

/// Ten points on a quarter of a circle, the even ones in Berlin.
fn points() -> Vec<PointStruct> {
    (0..10u64)
        .map(|n| {
            let angle = n as f32 / 10.0;
            let city = if n % 2 == 0 { "Berlin" } else { "Oslo" };
            PointStruct::new(n, vec![angle.cos(), angle.sin()], payload(city, n as i64))
        })
        .collect()
}

async fn with_points() -> Server {
    let server = Server::start().await;
    let config = VectorParamsBuilder::new(2, Distance::Cosine);
    server.client.create_collection(CreateCollectionBuilder::new(NAME).vectors_config(config)).await.unwrap();
    server.client.upsert_points(UpsertPointsBuilder::new(NAME, points()).wait(true)).await.unwrap();
    server
}

fn numbers(ids: impl IntoIterator<Item = Option<PointId>>) -> Vec<u64> {
    ids.into_iter()
        .map(|id| match id.unwrap().point_id_options.unwrap() {
            point_id::PointIdOptions::Num(n) => n,
            point_id::PointIdOptions::Uuid(uuid) => panic!("unexpected {uuid}"),
        })
        .collect()
}

fn berlin() -> Filter {
    Filter::must([Condition::matches("city", "Berlin".to_owned())])
}

#[tokio::test]
async fn collections_live_and_tell_what_they_are() {
    let server = Server::start().await;
    let client = &server.client;
    assert_eq!(client.health_check().await.unwrap().version, "1.19.0");

    let mut vectors = VectorsConfigBuilder::default();
    let quantization = ScalarQuantizationBuilder::default().quantile(0.99).always_ram(true).build();
    vectors.add_named_vector_params(
        "image",
        VectorParamsBuilder::new(3, Distance::Euclid).datatype(proto::Datatype::Float16).on_disk(true),
    );
    vectors.add_named_vector_params("text", VectorParamsBuilder::new(2, Distance::Dot));
    let create = CreateCollectionBuilder::new(NAME)
        .vectors_config(vectors)
        .hnsw_config(HnswConfigDiffBuilder::default().m(32))
        .optimizers_config(OptimizersConfigDiffBuilder::default().indexing_threshold(5))
        .quantization_config(quantization)
        .shard_number(3)
        .on_disk_payload(false);
    let mut create = create.build();
    create.metadata.insert("owner".to_owned(), Value::from("me"));
    assert!(client.create_collection(create.clone()).await.unwrap().result);
    let error = client.create_collection(create).await.unwrap_err();
    assert_eq!(server::code(error), tonic::Code::AlreadyExists);
    assert!(client.collection_exists(NAME).await.unwrap());
    assert!(!client.collection_exists("others").await.unwrap());
    assert_eq!(client.list_collections().await.unwrap().collections[0].name, NAME);

    let index = CreateFieldIndexCollectionBuilder::new(NAME, "city", FieldType::Keyword)
        .field_index_params(KeywordIndexParamsBuilder::default().is_tenant(true));
    client.create_field_index(index).await.unwrap();
    let index = CreateFieldIndexCollectionBuilder::new(NAME, "n", FieldType::Integer).wait(true);
    client.create_field_index(index).await.unwrap();
    client.delete_field_index(DeleteFieldIndexCollectionBuilder::new(NAME, "n")).await.unwrap();
    let changes = UpdateCollectionBuilder::new(NAME)
        .optimizers_config(OptimizersConfigDiffBuilder::default().indexing_threshold(7));
    client.update_collection(changes).await.unwrap();

    let info = client.collection_info(NAME).await.unwrap().result.unwrap();
    assert_eq!(info.status, proto::CollectionStatus::Green as i32);
    assert_eq!(info.payload_schema.len(), 1);
    let schema = &info.payload_schema["city"];
    assert_eq!(schema.data_type, proto::PayloadSchemaType::Keyword as i32);
    let config = info.config.unwrap();
    assert_eq!(config.hnsw_config.unwrap().m, Some(32));
    assert_eq!(config.hnsw_config.unwrap().ef_construct, Some(100));
    let optimizers = config.optimizer_config.unwrap();
    assert_eq!((optimizers.indexing_threshold, optimizers.flush_interval_sec), (Some(7), Some(5)));
    assert_eq!(config.metadata["owner"], Value::from("me"));
    let params = config.params.unwrap();
    assert_eq!(params.shard_number, 3);
    let Some(proto::vectors_config::Config::ParamsMap(map)) = params.vectors_config.unwrap().config else {
        panic!("not a map of vectors")
    };
    assert_eq!(map.map["image"].datatype, Some(proto::Datatype::Float16 as i32));
    assert_eq!(map.map["text"].distance, Distance::Dot as i32);
    match config.quantization_config.unwrap().quantization.unwrap() {
        proto::quantization_config::Quantization::Scalar(s) => assert_eq!(s.quantile, Some(0.99)),
        other => panic!("{other:?}"),
    }

    assert!(client.delete_collection(NAME).await.unwrap().result);
    assert!(!client.delete_collection(NAME).await.unwrap().result);
    let error = client.collection_info(NAME).await.unwrap_err();
    assert_eq!(server::code(error), tonic::Code::NotFound);
}

#[tokio::test]
async fn aliases_are_made_renamed_listed_and_removed() {
    let server = with_points().await;
    let client = &server.client;
    client.create_alias(CreateAliasBuilder::new(NAME, "now")).await.unwrap();
    client.rename_alias(RenameAliasBuilder::new("now", "then")).await.unwrap();
    let all = client.list_aliases().await.unwrap().aliases;
    assert_eq!((all[0].alias_name.as_str(), all[0].collection_name.as_str()), ("then", NAME));
    assert_eq!(client.list_collection_aliases(NAME).await.unwrap().aliases.len(), 1);
    assert_eq!(client.list_collection_aliases("then").await.unwrap().aliases.len(), 0);
    let counted = client.count(CountPointsBuilder::new("then")).await.unwrap();
    assert_eq!(counted.result.unwrap().count, 10);
    client.delete_alias("then").await.unwrap();
    assert!(client.count(CountPointsBuilder::new("then")).await.is_err());
}

#[tokio::test]
async fn queries_find_what_is_near_and_matches() {
    let server = with_points().await;
    let client = &server.client;
    let nearest = QueryPointsBuilder::new(NAME).query(vec![1.0, 0.0]).limit(3).with_payload(true);
    let found = client.query(nearest.clone()).await.unwrap();
    assert!(found.time > 0.0);
    assert_eq!(numbers(found.result.iter().map(|p| p.id.clone())), [0, 1, 2]);
    assert!((found.result[0].score - 1.0).abs() < 1e-6);
    assert_eq!(found.result[1].payload["city"], Value::from("Oslo"));
    assert!(found.result[0].vectors.is_none());

    let filtered = client.query(nearest.clone().filter(berlin()).offset(1)).await.unwrap();
    assert_eq!(numbers(filtered.result.into_iter().map(|p| p.id)), [2, 4, 6]);
    let by_id = client.query(QueryPointsBuilder::new(NAME).query(PointId::from(5)).limit(2)).await.unwrap();
    let mut by_id = numbers(by_id.result.into_iter().map(|p| p.id));
    by_id.sort_unstable();
    assert_eq!(by_id, [4, 6]);
    let thresholded = client.query(nearest.clone().limit(10).score_threshold(0.99)).await.unwrap();
    assert_eq!(thresholded.result.len(), 2);
    let all = client.query(QueryPointsBuilder::new(NAME)).await.unwrap();
    assert_eq!(all.result.len(), 10);

    let batch = QueryBatchPointsBuilder::new(
        NAME,
        vec![nearest.clone().build(), nearest.clone().filter(berlin()).build()],
    );
    let batch = client.query_batch(batch).await.unwrap().result;
    assert_eq!(numbers(batch[1].result.iter().map(|p| p.id.clone())), [0, 2, 4]);
    let search = SearchPointsBuilder::new(NAME, vec![0.0, 1.0], 1).with_vectors(true);
    let search = client.search_points(search).await.unwrap().result;
    assert_eq!(numbers(search.iter().map(|p| p.id.clone())), [9]);
    match search[0].vectors.clone().unwrap().vectors_options.unwrap() {
        vectors_output::VectorsOptions::Vector(v) => {
            assert!(matches!(v.vector, Some(vector_output::Vector::Dense(d)) if d.data.len() == 2));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn reads_by_page_by_id_and_by_number() {
    let server = with_points().await;
    let client = &server.client;
    let mut seen = Vec::new();
    let mut offset = None;
    loop {
        let mut page = ScrollPointsBuilder::new(NAME).limit(4);
        if let Some(offset) = offset.take() {
            page = page.offset::<PointId>(offset);
        }
        let page = client.scroll(page).await.unwrap();
        assert!(page.result.iter().all(|p| p.payload.contains_key("city")), "payload comes by default");
        seen.extend(numbers(page.result.into_iter().map(|p| p.id)));
        offset = page.next_page_offset;
        if offset.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());

    let ordered = ScrollPointsBuilder::new(NAME).limit(3).filter(berlin()).order_by(
        OrderByBuilder::new("n")
            .direction(Direction::Desc as i32)
            .start_from(proto::start_from::Value::Integer(6)),
    );
    let ordered = client.scroll(ordered).await.unwrap();
    assert_eq!(ordered.result[0].order_value.unwrap().variant, Some(proto::order_value::Variant::Int(6)));
    assert_eq!(numbers(ordered.result.into_iter().map(|p| p.id)), [6, 4, 2]);

    let got = GetPointsBuilder::new(NAME, vec![3.into(), 77.into(), 1.into()]);
    let got = client.get_points(got.clone().with_payload(true)).await.unwrap().result;
    assert_eq!(got[0].payload["n"], Value::from(3));
    assert_eq!(numbers(got.into_iter().map(|p| p.id)), [3, 1]);

    let narrow =
        Filter::must([Condition::range("n", Range { gte: Some(3.0), lt: Some(6.0), ..Default::default() })]);
    let counted = client.count(CountPointsBuilder::new(NAME).filter(narrow).exact(true)).await.unwrap();
    assert_eq!(counted.result.unwrap().count, 3);
}

#[tokio::test]
async fn payloads_are_set_overwritten_and_cleared() {
    let server = with_points().await;
    let client = &server.client;
    let only = |id: u64| PointsIdsList { ids: vec![id.into()] };
    let get = async |id: u64| {
        let got = GetPointsBuilder::new(NAME, vec![id.into()]).with_payload(true);
        client.get_points(got).await.unwrap().result.remove(0).payload
    };
    let list = proto::ListValue { values: vec![Value::from(1.5), Value::from("x")] };
    let list = Value { kind: Some(proto::value::Kind::ListValue(list)) };
    let tree = Value::from(vec![("list", list)]);
    let set = Payload::from(HashMap::from([("tree", tree.clone())]));
    let answer = client
        .set_payload(SetPayloadPointsBuilder::new(NAME, set.clone()).points_selector(only(1)).wait(true))
        .await
        .unwrap();
    assert_eq!(answer.result.unwrap().status, proto::UpdateStatus::Completed as i32);
    let now = get(1).await;
    assert_eq!((&now["tree"], now.len()), (&tree, 3));
    client.overwrite_payload(SetPayloadPointsBuilder::new(NAME, set).points_selector(only(1))).await.unwrap();
    assert_eq!(get(1).await.len(), 1);
    client
        .delete_payload(DeletePayloadPointsBuilder::new(NAME, vec!["n".to_owned()]).points_selector(berlin()))
        .await
        .unwrap();
    assert_eq!((get(2).await.len(), get(3).await.len()), (1, 2));
    let clear = proto::ClearPayloadPointsBuilder::new(NAME).points(only(3));
    client.clear_payload(clear).await.unwrap();
    assert!(get(3).await.is_empty());
}

#[tokio::test]
async fn named_vectors_are_written_changed_and_removed() {
    let server = Server::start().await;
    let client = &server.client;
    let mut vectors = VectorsConfigBuilder::default();
    vectors.add_named_vector_params("a", VectorParamsBuilder::new(2, Distance::Dot));
    vectors.add_named_vector_params("b", VectorParamsBuilder::new(1, Distance::Dot));
    client.create_collection(CreateCollectionBuilder::new(NAME).vectors_config(vectors)).await.unwrap();
    let named = NamedVectors::default().add_vector("a", vec![1.0, 2.0]).add_vector("b", vec![3.0]);
    let point = PointStruct::new("5c56c793-69f3-4fbf-87e6-c4bf54c28c26", named, Payload::new());
    client.upsert_points(UpsertPointsBuilder::new(NAME, vec![point.clone()]).wait(true)).await.unwrap();
    let id = point.id.unwrap();

    let get = async |selector: SelectorOptions| {
        let got = GetPointsBuilder::new(NAME, vec![id.clone()]).with_vectors(selector);
        client.get_points(got).await.unwrap().result.remove(0).vectors.unwrap()
    };
    let dense = |v: &proto::VectorsOutput, name: &str| match v.get_vector_by_name(name) {
        Some(vector_output::Vector::Dense(d)) => Some(d.data),
        _ => None,
    };
    let all = get(true.into()).await;
    assert_eq!((dense(&all, "a"), dense(&all, "b")), (Some(vec![1.0, 2.0]), Some(vec![3.0])));
    let one = get(proto::VectorsSelector { names: vec!["b".to_owned()] }.into()).await;
    assert_eq!((dense(&one, "a"), dense(&one, "b")), (None, Some(vec![3.0])));

    let change = NamedVectors::default().add_vector("b", vec![4.0]);
    let change = PointVectors { id: Some(id.clone()), vectors: Some(change.into()) };
    client.update_vectors(UpdatePointVectorsBuilder::new(NAME, vec![change]).wait(true)).await.unwrap();
    let delete = DeletePointVectorsBuilder::new(NAME)
        .points_selector(PointsIdsList { ids: vec![id.clone()] })
        .vectors(proto::VectorsSelector { names: vec!["a".to_owned()] });
    client.delete_vectors(delete).await.unwrap();
    let all = get(true.into()).await;
    assert_eq!((dense(&all, "a"), dense(&all, "b")), (None, Some(vec![4.0])));
    let by_name = QueryPointsBuilder::new(NAME).query(vec![2.0]).using("b");
    assert_eq!(client.query(by_name).await.unwrap().result[0].score, 8.0);
}

#[tokio::test]
async fn both_written_forms_of_a_vector_arrive() {
    let server = with_points().await;
    #[expect(deprecated, reason = "what clients before 1.16 send")]
    let flat = proto::Vector { data: vec![0.6, 0.8], ..Default::default() };
    let dense = proto::vector::Vector::Dense(proto::DenseVector { data: vec![0.6, 0.8] });
    let new = proto::Vector { vector: Some(dense), ..Default::default() };
    for (id, vector) in [(100, flat), (101, new)] {
        let vectors = proto::vectors::VectorsOptions::Vector(vector);
        let point = PointStruct {
            id: Some(id.into()),
            payload: HashMap::new(),
            vectors: Some(proto::Vectors { vectors_options: Some(vectors) }),
        };
        server.client.upsert_points(UpsertPointsBuilder::new(NAME, vec![point])).await.unwrap();
        let got = GetPointsBuilder::new(NAME, vec![id.into()]).with_vectors(true);
        let got = server.client.get_points(got).await.unwrap().result.remove(0);
        match got.vectors.unwrap().get_vector().unwrap() {
            vector_output::Vector::Dense(d) => assert_eq!(d.data, [0.6, 0.8]),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn points_are_deleted_by_id_by_filter_and_in_batches() {
    let server = with_points().await;
    let client = &server.client;
    let count = async || client.count(CountPointsBuilder::new(NAME)).await.unwrap().result.unwrap().count;
    let ids = PointsIdsList { ids: vec![1.into(), 3.into(), 55.into()] };
    client.delete_points(DeletePointsBuilder::new(NAME).points(ids).wait(true)).await.unwrap();
    assert_eq!(count().await, 8);

    use points_update_operation::{DeletePoints, Operation, PointStructList, SetPayload};
    let selector = |filter| proto::PointsSelector {
        points_selector_one_of: Some(proto::points_selector::PointsSelectorOneOf::Filter(filter)),
    };
    let operations = [
        Operation::SetPayload(SetPayload {
            payload: HashMap::from([("city".to_owned(), Value::from("Bonn"))]),
            points_selector: Some(selector(berlin())),
            ..Default::default()
        }),
        Operation::Upsert(PointStructList {
            points: vec![PointStruct::new(99, vec![1.0, 0.0], payload("Berlin", 99))],
            ..Default::default()
        }),
        Operation::DeletePoints(DeletePoints { points: Some(selector(berlin())), shard_key_selector: None }),
    ];
    let operations = operations.map(|o| proto::PointsUpdateOperation { operation: Some(o) });
    let batch = proto::UpdateBatchPointsBuilder::new(NAME, operations.to_vec());
    let results = client.update_points_batch(batch).await.unwrap().result;
    assert_eq!(results.len(), 3);
    assert_eq!(count().await, 8, "only point 99 was left in Berlin");
    client.delete_points(DeletePointsBuilder::new(NAME).points(Filter::default())).await.unwrap();
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn options_of_reads_and_writes_reach_the_engine() {
    use std::time::Duration;

    use lodestone_types::{PayloadSelector, ReadConsistency, VectorSelector, WriteOrdering};

    let server = with_points().await;
    let mut points = server.points();
    let mut query = tonic::Request::new(
        QueryPointsBuilder::new(NAME)
            .query(Query::new_sample(proto::Sample::Random))
            .timeout(7)
            .params(proto::SearchParamsBuilder::default().exact(true).hnsw_ef(99))
            .with_payload(proto::PayloadIncludeSelector { fields: vec!["city".to_owned()] })
            .with_vectors(proto::VectorsSelector { names: vec!["a".to_owned()] })
            .build(),
    );
    query.metadata_mut().insert("consistency", "eventual".parse().unwrap());
    points.query(query).await.unwrap();
    let (request, options) = server.engine.last_query().unwrap();
    assert_eq!(options.consistency, ReadConsistency::Eventual);
    assert_eq!(options.timeout, Some(Duration::from_secs(7)));
    assert_eq!((request.exact, request.hnsw_ef, request.limit), (true, Some(99), 10));
    assert_eq!(request.with_payload, PayloadSelector::Include(vec!["city".parse().unwrap()]));
    assert_eq!(request.with_vectors, VectorSelector::Names(vec!["a".to_owned()]));

    let ordering = proto::WriteOrdering { r#type: proto::WriteOrderingType::Strong as i32 };
    let write = UpsertPointsBuilder::new(NAME, Vec::new()).wait(true).ordering(ordering).timeout(3);
    server.client.upsert_points(write).await.unwrap();
    let options = server.engine.last_write().unwrap();
    assert_eq!((options.wait, options.ordering), (true, WriteOrdering::Strong));
    assert_eq!(options.timeout, Some(Duration::from_secs(3)));
}
