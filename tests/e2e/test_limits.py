"""What a read may take, asked for and told in headers and metadata of the official client, and what it cost."""

import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as proto
from qdrant_client.http.exceptions import UnexpectedResponse

from harness.minio import Minio
from harness.proxy import Proxy
from harness.server import Server
from harness.stores import MinioStore, Store

COLLECTION = "far"
ROWS, DIMENSIONS, LIMIT = 4000, 64, 10
USAGE, PARTIAL = "x-lodestone-usage", "x-lodestone-partial"


class Asker:
    """An official client that sends some headers with everything, and keeps those of the last answer."""

    def __init__(self, server: Server, protocol: str, **headers: str) -> None:
        sent = {USAGE: "yes"} | {f"x-lodestone-{name.replace('_', '-')}": value for name, value in headers.items()}
        self.told: dict[str, str] = {}
        self._grpc = protocol == "grpc"
        self._headers = list(sent.items())
        self._client = QdrantClient(
            url=server.url, grpc_port=server.grpc_port, prefer_grpc=self._grpc, headers=sent, check_compatibility=False
        )
        if not self._grpc:
            self._client.http.client.add_middleware(self._keep)

    def _keep(self, request: Any, call_next: Callable[[Any], Any]) -> Any:
        response = call_next(request)
        self.told = dict(response.headers)
        return response

    def search(self, vector: np.ndarray) -> list[tuple[int, float]]:
        """Ids and scores of the nearest."""
        if not self._grpc:
            found = self._client.query_points(COLLECTION, query=vector.tolist(), limit=LIMIT).points
            return [(int(point.id), point.score) for point in found]
        nearest = proto.VectorInput(dense=proto.DenseVector(data=vector.tolist()))
        request = proto.QueryPoints(collection_name=COLLECTION, query=proto.Query(nearest=nearest), limit=LIMIT)
        reply, call = self._client.grpc_points.Query.with_call(request, metadata=self._headers)
        self.told = dict(call.initial_metadata())
        return [(point.id.num, point.score) for point in reply.result]

    def refused(self, vector: np.ndarray, status: int, code: grpc.StatusCode) -> str:
        """The message with which a search is refused."""
        with pytest.raises((UnexpectedResponse, grpc.RpcError)) as refusal:
            self.search(vector)
        error: Any = refusal.value
        if self._grpc:
            assert error.code() == code
            return str(error.details())
        assert error.status_code == status
        return str(error.content)

    def count(self) -> int:
        """How many points there are."""
        return self._client.count(COLLECTION, exact=True).count

    def usage(self) -> dict[str, float]:
        """What the last answer cost."""
        return {name: float(value) for name, value in (pair.split("=") for pair in self.told[USAGE].split(", "))}


@pytest.fixture
def vectors() -> np.ndarray:
    """Of the points, by their ids."""
    return np.random.default_rng(4).normal(size=(ROWS, DIMENSIONS)).astype(np.float32)


ENVIRONMENT = {
    "LODESTONE_COMPACT_FOLD_ROWS": "2000",
    "LODESTONE_COMPACT_IDLE": "1s",
    "LODESTONE_CACHE_HYDRATE": "false",
}


@pytest.fixture
def cold(store: Store, launch: Callable[..., Server], vectors: np.ndarray) -> Callable[[], Server]:
    """Starts a server that has nothing here."""
    server = launch(store, environment=ENVIRONMENT).start()
    fill(server, vectors)
    return lambda: restarted(server)


def fill(server: Server, vectors: np.ndarray) -> None:
    """Uploads everything, and waits until all is in segments with an index."""
    client = server.client()
    client.create_collection(
        COLLECTION,
        vectors_config=models.VectorParams(size=DIMENSIONS, distance=models.Distance.DOT),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=16),
    )
    client.upload_collection(COLLECTION, vectors=vectors, ids=range(ROWS), wait=True)
    wait_indexed(client)


def restarted(server: Server) -> Server:
    """With nothing here."""
    server.stop()
    server.forget()
    return server.start()


def wait_indexed(client: QdrantClient) -> None:
    """Until all is in segments with an index."""
    for _ in range(300):
        info = client.get_collection(COLLECTION)
        if info.status == models.CollectionStatus.GREEN and info.indexed_vectors_count == ROWS:
            return
        time.sleep(0.2)
    raise AssertionError(f"not indexed: {info}")


def test_bytes(cold: Callable[[], Server], protocol: str, vectors: np.ndarray) -> None:
    query = np.random.default_rng(5).normal(size=DIMENSIONS).astype(np.float32)
    right = vectors @ query

    server = cold()
    asker = Asker(server, protocol)
    everything = asker.search(query)
    needed = asker.usage()
    assert PARTIAL not in asker.told and needed["gets"] > 0
    assert abs(needed["price"] - 0.4e-6 * (needed["gets"] + needed["heads"]) - 5e-6 * needed["lists"]) < 1e-9
    assert needed["ms"] >= needed["codes_ms"] > 0 and needed["rows_ms"] > 0 and needed["load_ms"] == 0
    assert server.metric("lodestone_store_price_total") >= needed["price"]
    for metric, told in {"trips": "trips", "gets": "gets", "read_bytes": "bytes"}.items():
        assert server.metric(f"lodestone_requests_{metric}_total") >= needed[told]
    codes = server.metric('lodestone_requests_stage_seconds_total{stage="codes"}')
    assert codes >= needed["codes_ms"] / 1000 - 0.001 and server.metric("lodestone_requests_asking_total") >= 1

    server = cold()
    little = str(int(needed["bytes"] / 4))
    message = Asker(server, protocol, max_bytes=little).refused(query, 422, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert "at least" in message and f"allows {little}" in message and "at-limit" in message

    asker = Asker(cold(), protocol, max_bytes=little, at_limit="partial")
    found = asker.search(query)
    assert asker.told[PARTIAL] == "bytes" and asker.usage()["bytes"] <= int(little)
    assert 0 < len(found) <= LIMIT and found != everything
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for point, score in found:
        assert abs(score - right[point]) < 1e-4

    asker = Asker(cold(), protocol, max_bytes=str(int(needed["bytes"] * 2)), max_ms="60000", at_limit="partial")
    assert asker.search(query) == everything
    assert PARTIAL not in asker.told

    server = cold()
    assert Asker(server, protocol, max_bytes="0", at_limit="partial").count() == 0
    assert Asker(server, protocol).count() == ROWS


def test_time(minio: Minio, launch: Callable[..., Server], protocol: str, vectors: np.ndarray) -> None:
    query = np.random.default_rng(6).normal(size=DIMENSIONS).astype(np.float32)
    proxy = Proxy(minio.endpoint, delay=lambda method: 0.4)
    store = MinioStore(minio)
    try:
        server = launch(store, environment=ENVIRONMENT).start()
        fill(server, vectors)
        # These stay in the tail, which is here.
        fresh = [models.PointStruct(id=ROWS + number, vector=(query / 1000).tolist()) for number in range(3)]
        server.client().upsert(COLLECTION, fresh, wait=True)
        store.endpoint = proxy.endpoint
        asker = Asker(restarted(server), protocol, max_ms="1000", at_limit="partial")
        begun = time.monotonic()
        found = asker.search(query)
        assert time.monotonic() - begun < 2
        assert asker.told[PARTIAL] == "ms" and [point for point, _ in found] == [ROWS, ROWS + 1, ROWS + 2]
        message = Asker(restarted(server), protocol, max_ms="600").refused(query, 408, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert "0.6 s" in message
        asker = Asker(server, protocol, max_ms="30000", at_limit="partial")
        assert len(asker.search(query)) == LIMIT and PARTIAL not in asker.told
        assert asker.usage()["codes_ms"] >= 400 and asker.usage()["rows_ms"] >= 400
    finally:
        proxy.stop()
        store.close()


def test_values_that_make_no_sense(cold: Callable[[], Server], protocol: str, vectors: np.ndarray) -> None:
    server = cold()
    for header, value in [("max_bytes", "1MB"), ("max_bytes", "-1"), ("max_ms", "0"), ("max_ms", "x"), ("at_limit", "some")]:
        asker = Asker(server, protocol, **{header: value})
        message = asker.refused(vectors[0], 400, grpc.StatusCode.INVALID_ARGUMENT)
        assert f"x-lodestone-{header.replace('_', '-')}" in message
