#!/usr/bin/env python3
"""Exact search: p50 and p99 of single queries over REST and gRPC, beside qdrant-edge-py exact in the same run."""

import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import qdrant_edge as edge
from _bench import data, parser, percentiles, report, serving, wordnet
from qdrant_client import models

LIMIT = 10


def timed(queries: np.ndarray, ask: Callable[[list[float]], Any]) -> list[float]:
    """Seconds of each query, one after the other."""
    vectors = [q.astype(np.float32).tolist() for q in queries]
    for vector in vectors[:20]:
        ask(vector)
    taken = []
    for vector in vectors:
        begun = time.perf_counter()
        ask(vector)
        taken.append(time.perf_counter() - begun)
    return taken


def peer(points: Any, queries: np.ndarray) -> list[float]:
    """The same queries asked of Qdrant's engine in this process, exactly."""
    path = tempfile.mkdtemp(prefix="edge-")
    params = edge.EdgeVectorParams(size=points.dimensions, distance=edge.Distance.Cosine)
    shard = edge.EdgeShard.create(path, edge.EdgeConfig(vectors=params))
    try:
        rows = points.vectors.astype(np.float32)
        for start in range(0, len(rows), 1000):
            batch = [
                edge.Point(i, rows[i].tolist(), points.payload[i]) for i in range(start, min(start + 1000, len(rows)))
            ]
            shard.update(edge.UpdateOperation.upsert_points(batch))
        exactly = edge.SearchParams(exact=True)
        return timed(
            queries,
            lambda v: shard.query(edge.QueryRequest(limit=LIMIT, query=edge.Query.Nearest(v), params=exactly)),
        )
    finally:
        shard.close()
        shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--queries", type=int, default=300)
    options = arguments.parse_args()
    points = data(options.points)
    queries = points.queries[: options.queries]
    exact = wordnet.Exact(points)
    verb = models.Filter(must=[models.FieldCondition(key="pos", match=models.MatchValue(value="verb"))])
    allowed = np.array([p["pos"] == "verb" for p in points.payload])
    report("search", by="qdrant-edge-py, in process, exact", points=len(points.payload), **percentiles(peer(points, queries)))
    with serving() as server:
        loader = server.client(grpc=True, timeout=120)
        wordnet.create(loader, points)
        wordnet.upload(loader, points, parallel=2, batch_size=256, wait=True)
        wordnet.create_indexes(loader)
        _settle(loader)
        for grpc in (True, False):
            client = server.client(grpc=grpc)
            for name, condition, rows in (("plain", None, None), ("filtered", verb, allowed)):

                def ask(vector: list[float], condition: Any = condition, client: Any = client) -> list[Any]:
                    return client.query_points(
                        wordnet.COLLECTION, query=vector, query_filter=condition, limit=LIMIT, with_payload=False
                    ).points

                taken = timed(queries, ask)
                for number in range(0, len(queries), 10):
                    exact.check(number, ask(queries[number].astype(np.float32).tolist()), LIMIT, rows)
                protocol = "gRPC" if grpc else "REST"
                report("search", by=f"lodestone, {protocol}, {name}", points=len(points.payload), **percentiles(taken))
        report("memory", resident_mb=round(server.resident_bytes() / 1e6), points=len(points.payload))


def _settle(client: Any, within: float = 120) -> None:
    deadline = time.monotonic() + within
    while client.get_collection(wordnet.COLLECTION).status != models.CollectionStatus.GREEN:
        if time.monotonic() > deadline:
            raise TimeoutError("the collection does not become green")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
