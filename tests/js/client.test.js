// The official JavaScript client against a started server: create, write, filter, search.
// LODESTONE_URL names the server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { QdrantClient } from "@qdrant/js-client-rest";

const client = new QdrantClient({ url: process.env.LODESTONE_URL ?? "http://127.0.0.1:6333" });
const COLLECTION = "js-trees";
const TREES = [
  { id: 1, vector: [0.9, 0.1, 0.1, 0], payload: { name: "oak", height: 30, leaves: ["lobed"], place: { lon: 13.4, lat: 52.5 } } },
  { id: 2, vector: [0.8, 0.3, 0.1, 0], payload: { name: "elm", height: 35, leaves: ["serrate", "ovate"] } },
  { id: 3, vector: [0.1, 0.2, 0.9, 0], payload: { name: "palm", height: 20, leaves: ["fan"], evergreen: true } },
  {
    id: "550e8400-e29b-41d4-a716-446655440000",
    vector: [0.1, 0.9, 0.2, 0],
    payload: { name: "fir", height: 60, leaves: ["needle"], evergreen: true },
  },
];

before(async () => {
  await client.deleteCollection(COLLECTION);
  assert.equal(await client.createCollection(COLLECTION, { vectors: { size: 4, distance: "Cosine" } }), true);
  const result = await client.upsert(COLLECTION, { wait: true, points: TREES });
  assert.equal(result.status, "completed");
});

after(() => client.deleteCollection(COLLECTION));

test("the collection is as it was made", async () => {
  const info = await client.getCollection(COLLECTION);
  assert.equal(info.points_count, 4);
  assert.deepEqual(info.config.params.vectors, { size: 4, distance: "Cosine" });
  assert.equal((await client.collectionExists(COLLECTION)).exists, true);
  const { collections } = await client.getCollections();
  assert.ok(collections.some(({ name }) => name === COLLECTION));
});

test("the nearest points, nearest first", async () => {
  const { points } = await client.query(COLLECTION, { query: [1, 0.2, 0.1, 0], limit: 2, with_payload: true });
  assert.deepEqual(
    points.map((p) => p.payload.name),
    ["oak", "elm"],
  );
  assert.ok(points[0].score > points[1].score && points[0].score <= 1.00001);
});

test("only points that match", async () => {
  const filter = {
    must: [{ key: "height", range: { gte: 25 } }],
    must_not: [{ key: "leaves", match: { any: ["serrate"] } }],
  };
  const { points } = await client.query(COLLECTION, { query: [1, 0.2, 0.1, 0], filter, limit: 10, with_payload: ["name"] });
  assert.deepEqual(
    points.map((p) => p.payload),
    [{ name: "oak" }, { name: "fir" }],
  );
  assert.equal((await client.count(COLLECTION, { filter, exact: true })).count, 2);
  const near = { key: "place", geo_radius: { center: { lon: 13.38, lat: 52.52 }, radius: 10_000 } };
  const page = await client.scroll(COLLECTION, { filter: { must: [near] } });
  assert.deepEqual(
    page.points.map((p) => p.id),
    [1],
  );
});

test("payload changes", async () => {
  await client.setPayload(COLLECTION, { wait: true, payload: { height: 31 }, points: [1] });
  await client.deletePayload(COLLECTION, { wait: true, keys: ["leaves"], filter: { must: [{ key: "evergreen", match: { value: true } }] } });
  const [oak, palm, fir] = await client.retrieve(COLLECTION, { ids: [1, 3, TREES[3].id], with_payload: true, with_vector: true });
  assert.equal(oak.payload.height, 31);
  assert.deepEqual(palm.payload, { name: "palm", height: 20, evergreen: true });
  assert.deepEqual(fir.payload, { name: "fir", height: 60, evergreen: true });
  assert.ok(Math.abs(Math.hypot(...fir.vector) - 1) < 1e-5);
});

test("pages in the order of ids", async () => {
  const seen = [];
  let offset;
  do {
    const page = await client.scroll(COLLECTION, { limit: 3, offset, with_payload: false });
    seen.push(...page.points.map((p) => p.id));
    offset = page.next_page_offset;
  } while (offset != null);
  assert.deepEqual(
    seen,
    TREES.map((t) => t.id),
  );
});

test("an index on live data, and a batch of writes", async () => {
  await client.createPayloadIndex(COLLECTION, { field_name: "name", field_schema: "keyword", wait: true });
  await client.batchUpdate(COLLECTION, {
    wait: true,
    operations: [
      { upsert: { points: [{ id: 9, vector: [0, 0, 0, 1], payload: { name: "ash" } }] } },
      { set_payload: { payload: { height: 40 }, points: [9] } },
      { delete: { points: [2] } },
    ],
  });
  const filter = { should: [{ key: "name", match: { value: "ash" } }, { has_id: [2] }] };
  const page = await client.scroll(COLLECTION, { filter });
  assert.deepEqual(page.points, [{ id: 9, payload: { name: "ash", height: 40 } }]);
});

test("a wrong request is an error that says why", async () => {
  await assert.rejects(client.upsert(COLLECTION, { wait: true, points: [{ id: 1, vector: [1, 2] }] }), (error) => {
    assert.ok(error.status === 400 || error.status === 422, String(error));
    assert.match(JSON.stringify(error.data), /dim/i);
    return true;
  });
  await assert.rejects(client.getCollection("nowhere"), (error) => error.status === 404);
});
