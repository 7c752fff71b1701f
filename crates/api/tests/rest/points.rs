//! Writing points and reading them back by id, by page and by count.

use lodestone_types::{WriteOptions, WriteOrdering};
use serde_json::{Value, json};

use crate::client::Client;

const POINTS: &str = "/collections/c/points";

async fn one(client: &Client, id: &str) -> Value {
    client.get(&format!("{POINTS}/{id}")).await.result()
}

#[tokio::test]
async fn points_come_back_as_they_were_written() {
    let client = Client::new();
    client
        .create(
            "c",
            json!({"vectors": {"": {"size": 2, "distance": "Dot"}, "b": {"size": 1, "distance": "Dot"}}}),
        )
        .await;
    let uuid = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26";
    let body = json!({"points": [
        {"id": 1, "vector": [0.1, -3]},
        {"id": u64::MAX, "vector": {"b": [1e-7]}, "payload": {"a": [1, {"b": null}], "f": 0.1}},
        {"id": uuid, "vector": {}, "payload": null},
        {"id": 4, "vector": {"": [1, 2], "b": [3]}},
    ], "shard_key": null, "update_filter": null, "update_mode": "upsert"});
    let written = client.put(&format!("{POINTS}?wait=true&ordering=strong&timeout=7"), body).await.result();
    assert_eq!(written, json!({"operation_id": 1, "status": "completed"}));
    let expected = WriteOptions {
        wait: true,
        ordering: WriteOrdering::Strong,
        timeout: Some(std::time::Duration::from_secs(7)),
    };
    assert_eq!(client.engine.last_write(), Some(expected));

    let first = client.get(&format!("{POINTS}/1")).await;
    assert!(first.text.contains(r#""vector":[0.1,-3.0]"#), "{}", first.text);
    assert_eq!(
        one(&client, &u64::MAX.to_string()).await,
        json!({"id": u64::MAX, "vector": {"b": [1e-7]}, "payload": {"a": [1, {"b": null}], "f": 0.1}})
    );
    assert_eq!(one(&client, uuid).await, json!({"id": uuid, "vector": {}, "payload": {}}));
    assert_eq!(one(&client, "4").await["vector"], json!({"": [1.0, 2.0], "b": [3.0]}));
}

#[tokio::test]
async fn columns_become_points() {
    let client = Client::new();
    client
        .create(
            "c",
            json!({"vectors": {"a": {"size": 1, "distance": "Dot"}, "b": {"size": 1, "distance": "Dot"}}}),
        )
        .await;
    let body = json!({"batch": {
        "ids": [1, 2],
        "vectors": {"a": [[1], [2]], "b": [[3], [4]]},
        "payloads": [{"x": 1}, null],
    }});
    client.put(POINTS, body).await.result();
    let second = json!({"id": 2, "vector": {"a": [2.0], "b": [4.0]}, "payload": {}});
    assert_eq!(one(&client, "2").await, second);
    assert_eq!(one(&client, "1").await["payload"], json!({"x": 1}));

    let client = Client::with_points().await;
    client
        .put(POINTS, json!({"batch": {"ids": [9], "vectors": [[1, 2, 3]], "payloads": null}}))
        .await
        .result();
    assert_eq!(one(&client, "9").await, json!({"id": 9, "vector": [1.0, 2.0, 3.0], "payload": {}}));
}

#[tokio::test]
async fn every_write_does_its_own_thing() {
    let client = Client::with_points().await;
    let post = async |path: &str, body: Value| {
        let result = client.post(&format!("{POINTS}/{path}"), body).await.result();
        assert_eq!(result["status"], "acknowledged", "{path}");
    };
    post("payload", json!({"payload": {"m": 1}, "points": [1], "key": null})).await;
    post("payload", json!({"payload": {"m": 2}, "filter": {"must": {"key": "n", "range": {"gt": 3}}}})).await;
    post("payload", json!({"payload": {"inner": 1}, "points": [2], "key": "deep"})).await;
    assert_eq!(one(&client, "1").await["payload"], json!({"n": 1, "s": "x", "m": 1}));
    assert_eq!(one(&client, "2").await["payload"], json!({"n": 2, "s": "x", "deep": {"inner": 1}}));
    assert_eq!(one(&client, "5").await["payload"], json!({"n": 5, "s": "x", "m": 2}));
    client.put(&format!("{POINTS}/payload"), json!({"payload": {"only": 1}, "points": [2]})).await.result();
    assert_eq!(one(&client, "2").await["payload"], json!({"only": 1}));
    post("payload/delete", json!({"keys": ["s"], "points": [1]})).await;
    assert_eq!(one(&client, "1").await["payload"], json!({"n": 1, "m": 1}));
    post("payload/clear", json!({"points": [1]})).await;
    assert_eq!(one(&client, "1").await["payload"], json!({}));
    client
        .put(&format!("{POINTS}/vectors"), json!({"points": [{"id": 1, "vector": [7, 7, 7]}]}))
        .await
        .result();
    assert_eq!(one(&client, "1").await["vector"], json!([7.0, 7.0, 7.0]));
    post("vectors/delete", json!({"points": [1], "vector": [""]})).await;
    assert_eq!(one(&client, "1").await["vector"], json!({}));
    post("delete", json!({"points": [1, 77]})).await;
    post("delete", json!({"filter": {"must": [{"key": "n", "match": {"value": 3}}]}})).await;
    assert_eq!(client.get(&format!("{POINTS}/1")).await.status, 404);
    let count = client.post(&format!("{POINTS}/count"), json!({})).await.result();
    assert_eq!(count, json!({"count": 3}));
}

#[tokio::test]
async fn a_batch_is_applied_in_order() {
    let client = Client::with_points().await;
    let body = json!({"operations": [
        {"upsert": {"points": [{"id": 10, "vector": [1, 1, 1], "payload": {"a": 1}}]}},
        {"upsert": {"batch": {"ids": [11], "vectors": [[1, 1, 1]]}}},
        {"set_payload": {"payload": {"b": 2}, "points": [10]}},
        {"overwrite_payload": {"payload": {"c": 3}, "points": [11]}},
        {"delete_payload": {"keys": ["a"], "points": [10]}},
        {"update_vectors": {"points": [{"id": 10, "vector": [2, 2, 2]}]}},
        {"clear_payload": {"points": [5]}},
        {"delete_vectors": {"points": [4], "vector": [""]}},
        {"delete": {"points": [1]}},
    ]});
    let results = client.post(&format!("{POINTS}/batch?wait=true"), body).await.result();
    assert_eq!(results.as_array().unwrap().len(), 9);
    assert!(results.as_array().unwrap().iter().all(|r| r["status"] == "completed"));
    assert_eq!(one(&client, "10").await, json!({"id": 10, "vector": [2.0, 2.0, 2.0], "payload": {"b": 2}}));
    assert_eq!(one(&client, "11").await["payload"], json!({"c": 3}));
    assert_eq!(one(&client, "5").await["payload"], json!({}));
    assert_eq!(one(&client, "4").await["vector"], json!({}));
    assert_eq!(client.get(&format!("{POINTS}/1")).await.status, 404);
}

#[tokio::test]
async fn conditions_and_modes_of_an_upsert_arrive() {
    let client = Client::with_points().await;
    let upsert = async |rest: Value| {
        let mut body = json!({"points": [
            {"id": 1, "vector": [0, 0, 0], "payload": {"new": 1}}, {"id": 50, "vector": [0, 0, 0]},
        ]});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        client.put(POINTS, body).await.result();
        let exists = client.get(&format!("{POINTS}/50")).await.status == 200;
        (one(&client, "1").await["payload"] == json!({"new": 1}), exists)
    };
    let never = json!({"must": [{"key": "n", "match": {"value": 99}}]});
    assert_eq!(upsert(json!({"update_mode": "update_only", "update_filter": never})).await, (false, false));
    assert_eq!(upsert(json!({"update_mode": "insert_only"})).await, (false, true));
    assert_eq!(upsert(json!({"update_mode": null})).await, (true, true));
}

#[tokio::test]
async fn what_to_return_is_chosen() {
    let client = Client::with_points().await;
    let retrieve = async |rest: Value| {
        let mut body = json!({"ids": [2]});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        client.post(POINTS, body).await.result()[0].take()
    };
    let payload = json!({"n": 2, "s": "x"});
    for (asked, expected) in [
        (json!({}), json!({"id": 2, "payload": payload})),
        (json!({"with_payload": false}), json!({"id": 2})),
        (json!({"with_payload": ["n"]}), json!({"id": 2, "payload": {"n": 2}})),
        (json!({"with_payload": {"include": ["s"]}}), json!({"id": 2, "payload": {"s": "x"}})),
        (json!({"with_payload": {"exclude": ["s"]}}), json!({"id": 2, "payload": {"n": 2}})),
        (json!({"with_payload": false, "with_vector": true}), json!({"id": 2, "vector": [2.0, 0.0, 0.5]})),
        (json!({"with_payload": false, "with_vectors": [""]}), json!({"id": 2, "vector": [2.0, 0.0, 0.5]})),
        (json!({"with_payload": false, "with_vector": ["nowhere"]}), json!({"id": 2, "vector": {}})),
    ] {
        assert_eq!(retrieve(asked.clone()).await, expected, "{asked}");
    }
}

#[tokio::test]
async fn pages_follow_each_other() {
    let client = Client::with_points().await;
    let scroll = async |body: Value| client.post(&format!("{POINTS}/scroll"), body).await.result();
    let first = scroll(json!({"limit": 2, "with_payload": false})).await;
    assert_eq!(first, json!({"points": [{"id": 1}, {"id": 2}], "next_page_offset": 3}));
    let last = scroll(json!({"limit": 9, "offset": 5, "with_payload": false})).await;
    assert_eq!(last, json!({"points": [{"id": 5}], "next_page_offset": null}));
    let ordered = scroll(json!({
        "limit": 2, "with_payload": false,
        "order_by": {"key": "n", "direction": "desc", "start_from": 4},
    }))
    .await;
    assert_eq!(ordered["points"], json!([{"id": 4, "order_value": 4}, {"id": 3, "order_value": 3}]));
    assert_eq!(scroll(json!({"order_by": "n", "limit": 1})).await["points"][0]["id"], 1);
}

#[tokio::test]
async fn a_body_of_many_megabytes_is_read() {
    let client = Client::new();
    client.create("c", json!({"vectors": {"size": 128, "distance": "Dot"}})).await;
    let vector: Vec<f32> = (0..128).map(|i| i as f32 / 7.0).collect();
    let points: Vec<Value> = (0..3000).map(|id| json!({"id": id, "vector": vector})).collect();
    let body = json!({"points": points});
    assert!(body.to_string().len() > 2 << 20);
    client.put(POINTS, body).await.result();
    let page = client.post(&format!("{POINTS}/scroll"), json!({"limit": 3000, "with_vector": true})).await;
    let page = page.result();
    let read: Vec<f32> = serde_json::from_value(page["points"][2999]["vector"].clone()).unwrap();
    assert_eq!(read, vector);
}
