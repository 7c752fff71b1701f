"""Vectors get an index in the background; answers stay near the exact ones, filters exact, writes visible at once."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from harness.server import Server
from harness.stores import LocalStore
from harness.wordnet import COLLECTION, Exact, WordNet, create, filters, upload
from harness.wordnet_check import recall, upload_all, wait_for_index

QUERIES = 100
LEAST = 0.98
"""The recall that nobody should have to ask for."""


@pytest.fixture(scope="module")
def server(data: WordNet) -> Iterator[Server]:
    """A server whose points are all indexed; tests leave it as they found it."""
    store = LocalStore()
    server = Server(store).start()
    try:
        client = server.client(grpc=True, timeout=120)
        upload_all(client, data)
        # Vectors get an index once they are in a segment of some size; the last few are scanned.
        client.update_collection(COLLECTION, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=500))
        wait_for_index(client)
        yield server
    finally:
        server.close()
        store.close()


def test_most_vectors_are_indexed(server: Server, data: WordNet) -> None:
    info = server.client().get_collection(COLLECTION)
    assert 0.4 * len(data.payload) <= info.indexed_vectors_count <= len(data.payload)


def test_recall_without_any_settings(server: Server, data: WordNet, exact: Exact, protocol: str) -> None:
    client = server.client(grpc=protocol == "grpc")
    assert recall(client, data, exact, queries=QUERIES, params=None) >= LEAST


def test_a_wider_search_finds_more(server: Server, data: WordNet, exact: Exact) -> None:
    client = server.client()
    found = [
        recall(client, data, exact, queries=QUERIES, params=models.SearchParams(hnsw_ef=ef))
        for ef in (10, 100, 1000, 2**64 - 1)
    ]
    assert found[0] <= found[1] <= found[2] <= found[3] and found[2] >= 0.999, found
    assert recall(client, data, exact, queries=QUERIES, params=models.SearchParams(exact=True)) == 1.0


def scores(client: Any, data: WordNet, **told: Any) -> tuple[float, float]:
    """The greatest difference of a score from the exact one, and the share of scores that differ, over some queries."""
    params = models.SearchParams(quantization=models.QuantizationSearchParams(**told))
    off = []
    for number in range(20):
        query = data.queries[number].astype(np.float32)
        query /= np.linalg.norm(query)
        hits = client.query_points(COLLECTION, query=query.tolist(), limit=10, search_params=params).points
        off += [abs(hit.score - float(data.unit()[hit.id] @ query)) for hit in hits]
    return max(off), float(np.mean(np.array(off) > 1e-5))


def test_codes_are_used_as_told(server: Server, data: WordNet, exact: Exact, protocol: str) -> None:
    client = server.client(grpc=protocol == "grpc")

    def found(**told: Any) -> float:
        params = models.SearchParams(hnsw_ef=16, quantization=models.QuantizationSearchParams(**told))
        return recall(client, data, exact, queries=QUERIES, params=params)

    plain, ignored = found(), found(ignore=True)
    assert plain <= found(oversampling=20.0) <= ignored
    assert scores(client, data)[0] < 1e-5 and scores(client, data, ignore=True)[0] < 1e-5
    greatest, share = scores(client, data, rescore=False)
    assert greatest < 0.1 and share > 0.3, (greatest, share)
    with pytest.raises(Exception, match="oversampling"):
        found(oversampling=0.5)


def test_settings_of_quantization_choose_codes(launch: Callable[..., Server], data: WordNet) -> None:
    store = LocalStore()
    client = launch(store).start().client(timeout=120)
    part = WordNet(data.vectors[:12_000], data.payload[:12_000], data.queries, None)
    create(client, part)
    client.update_collection(COLLECTION, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=500))
    upload(client, part)
    wait_for_index(client)
    exact = Exact(part)
    coarse = scores(client, part, rescore=False)[0]
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8)
    client.update_collection(COLLECTION, quantization_config=models.ScalarQuantization(scalar=scalar))
    assert client.get_collection(COLLECTION).status == models.CollectionStatus.YELLOW
    wait_for_index(client)
    fine = scores(client, part, rescore=False)[0]
    assert fine < coarse / 3, (fine, coarse)
    client.update_collection(
        COLLECTION, quantization_config=models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
    )
    wait_for_index(client)
    assert recall(client, part, exact, queries=50, params=None) >= LEAST


def test_filters_are_honoured_and_cost_no_recall(server: Server, data: WordNet, exact: Exact) -> None:
    client = server.client()
    for name, condition, allowed in filters(data):
        found = recall(client, data, exact, queries=30, condition=condition, allowed=allowed, params=None)
        assert found >= LEAST - 0.01, f"{name}: {found}"


def test_writes_are_seen_at_once(server: Server, data: WordNet) -> None:
    client = server.client()
    query = data.queries[0].astype(np.float32).tolist()
    first = client.query_points(COLLECTION, query=query, limit=3).points
    client.delete(COLLECTION, [first[0].id])
    assert [p.id for p in client.query_points(COLLECTION, query=query, limit=2).points] == [p.id for p in first[1:]]
    row = data.unit()[first[0].id].tolist()
    client.upsert(COLLECTION, [models.PointStruct(id=first[0].id, vector=row, payload=data.payload[first[0].id])])
    assert [p.id for p in client.query_points(COLLECTION, query=query, limit=3).points] == [p.id for p in first]


def test_a_point_is_not_near_itself(server: Server) -> None:
    for hits in [server.client().query_points(COLLECTION, query=7, limit=5).points]:
        assert len(hits) == 5 and 7 not in [hit.id for hit in hits]


@pytest.mark.parametrize(
    "off",
    [{"optimizers_config": models.OptimizersConfigDiff(indexing_threshold=0)}, {"hnsw_config": models.HnswConfigDiff(m=0)}],
    ids=["threshold 0", "m 0"],
)
def test_users_may_turn_it_off(launch: Callable[..., Server], data: WordNet, off: dict) -> None:
    store = LocalStore()
    client = launch(store).start().client(grpc=True)
    part = WordNet(data.vectors[:12_000], data.payload[:12_000], data.queries, None)
    create(client, part)
    client.update_collection(COLLECTION, **off)
    upload(client, part)
    info = client.get_collection(COLLECTION)
    assert info.indexed_vectors_count == 0
    assert recall(client, part, Exact(part), queries=20, params=None) == 1.0


def test_an_index_begun_is_finished_after_a_crash(launch: Callable[..., Server], data: WordNet, exact: Exact) -> None:
    store = LocalStore()
    server = launch(store).start()
    client = server.client(grpc=True)
    create(client, data)
    upload(client, data)
    server.kill()
    server.start()
    wait_for_index(server.client())
    assert recall(server.client(), data, exact, queries=50, params=None) >= LEAST
