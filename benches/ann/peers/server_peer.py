"""Lodestone behind its gRPC interface: a started server, loaded and asked as any Qdrant client would.

The client makes all messages beforehand and reads answers after the clock has stopped, so that it takes as little as it
can of the cores that it shares with the server. Build time runs from the first message until the collection is green.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from qdrant_client import grpc as api
from qdrant_client import models

from ..sets.prepare import ROOT, TARGET
from . import Peer
from .processes import Searchers

sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault("LODESTONE_BIN", str(TARGET / "release" / "lodestone"))

from harness.paths import server_binary  # noqa: E402
from harness.server import Server  # noqa: E402
from harness.stores import LocalStore  # noqa: E402

COLLECTION = "ann"
BATCH = 256
IN_FLIGHT = 4
GREEN_WITHIN = 3600.0
TICKS = os.sysconf("SC_CLK_TCK")


class LodestoneServer(Peer):
    """`lodestone serve` on a fresh directory; `LODESTONE_BIN` names the binary."""

    engine = "lodestone server"

    def __init__(self, settings: dict[str, str]) -> None:
        super().__init__(settings)
        if not server_binary().is_file():
            raise FileNotFoundError(f"no {server_binary()}: cargo build --release -p lodestone-server --bin lodestone")
        self._store = LocalStore()
        self._server = Server(self._store)

    def build(self, vectors: np.ndarray, metric: str, threads: int, folder: Path) -> None:
        self._server.start()
        empty = self._server.resident_bytes()
        client = self._server.client(grpc=True, timeout=60)
        distance = models.Distance.COSINE if metric == "cosine" else models.Distance.EUCLID
        client.create_collection(COLLECTION, models.VectorParams(size=vectors.shape[1], distance=distance))
        begun = time.perf_counter()
        self._upload(vectors)
        uploaded = time.perf_counter() - begun
        while client.get_collection(COLLECTION).status != models.CollectionStatus.GREEN:
            if time.perf_counter() - begun > GREEN_WITHIN:
                raise TimeoutError("the collection does not become green")
            time.sleep(0.05)
        self.build_detail = {
            "seconds": time.perf_counter() - begun,
            "cpu_seconds": self._processor_seconds(),
            "upload_seconds": uploaded,
            "bytes": self._server.resident_bytes() - empty,
        }
        self._searchers = Searchers(_Client, lambda _: (self._server.grpc_port, self._queries))

    def as_queries(self, queries: np.ndarray) -> np.ndarray:
        self._queries = queries
        return np.arange(len(queries))

    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        self._effort = effort
        self._searchers.ready(threads)

    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        before = self._processor_seconds()
        replies = self._searchers.search(queries, k, self._effort, threads)
        spent = self._processor_seconds() - before
        latencies = np.concatenate([latency for _, latency in replies])
        # Each client's own time: making messages beforehand and reading answers afterwards is not the server's.
        seconds = max(float(latency.sum()) for _, latency in replies)
        self.search_detail = {
            "seconds": seconds,
            "cpu_seconds": spent,
            "latencies_us": (latencies * 1e6).round().astype(int).tolist(),
        }
        return np.vstack([ids for ids, _ in replies])

    def close(self) -> None:
        self._server.close()
        self._store.close()

    def _upload(self, vectors: np.ndarray) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._server.grpc_port}") as channel:
            upsert = channel.unary_unary(
                "/qdrant.Points/Upsert", api.UpsertPoints.SerializeToString, api.PointsOperationResponse.FromString
            )
            under_way: list[Any] = []
            for start in range(0, len(vectors), BATCH):
                rows = np.asarray(vectors[start : start + BATCH], dtype=np.float32)
                points = [_point(start + i, row) for i, row in enumerate(rows)]
                under_way.append(upsert.future(api.UpsertPoints(collection_name=COLLECTION, points=points, wait=True), timeout=60))
                if len(under_way) == IN_FLIGHT:
                    under_way.pop(0).result()
            for each in under_way:
                each.result()

    def _processor_seconds(self) -> float:
        assert self._server.process
        fields = Path(f"/proc/{self._server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class _Client:
    """One connection, one query at a time."""

    def __init__(self, port: int, queries: np.ndarray) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._call = self._channel.unary_unary("/qdrant.Points/Query", lambda raw: raw, lambda raw: raw)
        self._queries = queries
        self._made: tuple[int, int | None, list[bytes]] = (0, None, [])

    def search(self, numbers: np.ndarray, k: int, effort: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        messages = self._messages(k, effort["ef"])
        answers = []
        latencies = np.empty(len(numbers))
        for place, number in enumerate(numbers):
            begun = time.perf_counter()
            answers.append(self._call(messages[number], timeout=60))
            latencies[place] = time.perf_counter() - begun
        ids = np.full((len(numbers), k), -1, dtype=np.int64)
        for row, answer in zip(ids, answers, strict=True):
            hits = api.QueryResponse.FromString(answer).result
            row[: len(hits)] = [hit.id.num for hit in hits]
        return ids, latencies

    def _messages(self, k: int, ef: int) -> list[bytes]:
        if self._made[:2] != (k, ef):
            self._made = (k, ef, [_query(query, k, ef) for query in self._queries])
        return self._made[2]


def _point(number: int, row: np.ndarray) -> api.PointStruct:
    vector = api.Vector(dense=api.DenseVector(data=row))
    return api.PointStruct(id=api.PointId(num=number), vectors=api.Vectors(vector=vector))


def _query(query: np.ndarray, k: int, ef: int) -> bytes:
    wanted = api.VectorInput(dense=api.DenseVector(data=query.astype(np.float32)))
    return api.QueryPoints(
        collection_name=COLLECTION,
        query=api.Query(nearest=wanted),
        limit=k,
        params=api.SearchParams(hnsw_ef=ef),
        with_payload=api.WithPayloadSelector(enable=False),
    ).SerializeToString()
