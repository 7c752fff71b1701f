"""The whole WordNet check: upload, plain and filtered queries, everything exact, payload as written."""

import random
import time
from collections.abc import Callable

import numpy as np
from qdrant_client import QdrantClient, models

from .wordnet import COLLECTION, Exact, WordNet, create, create_indexes, filters, upload

LIMIT = 10


def upload_all(client: QdrantClient, data: WordNet, *, shards: int = 1, say: Callable[[str], None] = print) -> None:
    """Creates the collection, uploads with the client's defaults, and makes the indexes half way."""
    create(client, data, shards=shards)
    begun = time.monotonic()
    upload(client, data)
    took = time.monotonic() - begun
    say(f"uploaded {len(data.payload)} points in {took:.1f} s, {len(data.payload) / took:.0f} points/s")
    create_indexes(client)


def check_all(
    client: QdrantClient, data: WordNet, exact: Exact, *, queries: int, say: Callable[[str], None] = print
) -> None:
    """Every answer to `queries` plain and `queries` filtered questions is exact; every point is as it was written."""
    assert client.count(COLLECTION, exact=True).count == len(data.payload)
    begun = time.monotonic()
    for query in range(queries):
        hits = _ask(client, data, query)
        exact.check(query, hits, LIMIT)
        if data.neighbors is not None:
            _check_neighbors(data.neighbors[query], hits, exact.scores(query))
    say(f"{queries} plain queries exact, {1000 * (time.monotonic() - begun) / queries:.1f} ms each with the check")
    conditions = filters(data)
    begun = time.monotonic()
    for query in range(queries):
        name, condition, allowed = conditions[query % len(conditions)]
        try:
            exact.check(query, _ask(client, data, query, condition), LIMIT, allowed)
        except AssertionError as failure:
            raise AssertionError(f"filter {name}: {failure}") from None
    say(f"{queries} filtered queries exact, {1000 * (time.monotonic() - begun) / queries:.1f} ms each with the check")
    for name, condition, allowed in conditions:
        count = client.count(COLLECTION, count_filter=condition, exact=True).count
        assert count == allowed.sum(), f"filter {name}: count {count}, expected {allowed.sum()}"
    _check_records(client, data)


def _ask(client: QdrantClient, data: WordNet, query: int, condition: models.Filter | None = None) -> list:
    vector = data.queries[query].astype(np.float32).tolist()
    return client.query_points(COLLECTION, query=vector, query_filter=condition, limit=LIMIT, with_payload=False).points


def _check_neighbors(wanted: np.ndarray, hits: list, scores: np.ndarray) -> None:
    # Ties may come in any order, so an id that is not in the list must score as the one in its place does.
    for place, hit in enumerate(hits):
        if hit.id != wanted[place]:
            same = abs(scores[hit.id] - scores[wanted[place]]) <= 1e-6
            assert same, f"place {place} is {hit.id}, expected {wanted[place]}"


def _check_records(client: QdrantClient, data: WordNet, sample: int = 500) -> None:
    ids = random.Random(1).sample(range(len(data.payload)), min(sample, len(data.payload)))
    rows = data.unit()
    records = client.retrieve(COLLECTION, ids, with_payload=True, with_vectors=True)
    assert sorted(r.id for r in records) == sorted(ids)
    for record in records:
        assert record.payload == data.payload[record.id], f"payload of {record.id}"
        assert np.allclose(record.vector, rows[record.id], atol=1e-6), f"vector of {record.id}"
