"""The whole WordNet check: upload, plain and filtered queries, exact when asked, payload as written."""

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


def wait_for_index(client: QdrantClient, seconds: float = 300) -> int:
    """Waits until some vectors have an index and nothing more is due; returns how many have."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        info = client.get_collection(COLLECTION)
        if info.status == models.CollectionStatus.GREEN and info.indexed_vectors_count:
            return info.indexed_vectors_count
        time.sleep(0.1)
    raise AssertionError(f"after {seconds} s: {info.status}, {info.indexed_vectors_count} indexed")


def recall(
    client: QdrantClient,
    data: WordNet,
    exact: Exact,
    *,
    queries: int,
    condition: models.Filter | None = None,
    allowed: np.ndarray | None = None,
    params: models.SearchParams | None = None,
) -> float:
    """The share of the exact answers that a search finds; what it finds matches, and has the right score and order."""
    found = wanted = 0
    for query in range(queries):
        hits = _ask(client, data, query, condition, params)
        scores = exact.scores(query)
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
        for hit in hits:
            assert abs(hit.score - scores[hit.id]) < 1e-5, f"{hit.id} scores {hit.score} instead of {scores[hit.id]}"
            assert allowed is None or allowed[hit.id], f"{hit.id} does not match"
        best = np.sort(scores if allowed is None else scores[allowed])[::-1][:LIMIT]
        assert len(hits) == len(best)
        wanted += len(best)
        found += sum(hit.score >= best[-1] - 1e-6 for hit in hits)
    return found / wanted if wanted else 1.0


def _ask(
    client: QdrantClient,
    data: WordNet,
    query: int,
    condition: models.Filter | None = None,
    params: models.SearchParams | None = models.SearchParams(exact=True),
) -> list:
    vector = data.queries[query].astype(np.float32).tolist()
    return client.query_points(
        COLLECTION, query=vector, query_filter=condition, limit=LIMIT, with_payload=False, search_params=params
    ).points


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
        number = int(record.id)
        assert record.payload == data.payload[number], f"payload of {number}"
        assert np.allclose(np.asarray(record.vector), rows[number], atol=1e-6), f"vector of {number}"
