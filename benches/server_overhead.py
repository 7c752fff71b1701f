#!/usr/bin/env python3
"""What the server adds to a search through an index: time and processor time of gRPC and REST, one query at a time.

Time: what a client that sends bytes made beforehand waits, beside what the same answer says that the search took inside
(`time`: the request read and the search done, the answer not yet written). Processor time of the server: by query where
each is a call, and where a call has sixteen of them. Both are linear in what a call and what a query costs.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Server, data, parser, percentiles, report, serving, wordnet
from _wire import Grpc, Rest
from harness.wordnet_check import recall, wait_for_index
from qdrant_client import QdrantClient
from qdrant_client import grpc as api

LIMIT = 10
BATCH = 16
TICK = os.sysconf("SC_CLK_TCK")
Asked = tuple[float, float]
"""Seconds that an answer took, and seconds that it says it took."""


class Calls:
    """Calls of one protocol, made beforehand: single queries, batches of them, and one that asks for nothing."""

    def __init__(self, wire: Grpc | Rest, single: list[bytes], batches: list[bytes]) -> None:
        of_grpc = isinstance(wire, Grpc)
        self._wire = wire
        self._decode = _decode_grpc if of_grpc else _decode_rest
        points = f"/collections/{wordnet.COLLECTION}/points/query"
        self._headers = {
            "query": wire.headers("/qdrant.Points/Query" if of_grpc else points),
            "batch": wire.headers("/qdrant.Points/QueryBatch" if of_grpc else f"{points}/batch"),
            "nothing": wire.headers("/qdrant.Qdrant/HealthCheck" if of_grpc else points),
        }
        self.messages = {"query": single, "batch": batches, "nothing": [b""] * len(batches) if of_grpc else []}

    def ask(self, kind: str) -> list[Asked]:
        """All calls of a kind, one after the other."""
        asked = []
        for message in self.messages[kind]:
            begun = time.perf_counter()
            answer = self._wire.ask(self._headers[kind], message)
            took = time.perf_counter() - begun
            asked.append((took, self._decode(kind, answer)))
        return asked


def _decode_grpc(kind: str, answer: bytes) -> float:
    if kind == "nothing":
        return 0.0
    if kind == "query":
        one = api.QueryResponse.FromString(answer)
        assert len(one.result) == LIMIT
        return one.time
    many = api.QueryBatchResponse.FromString(answer)
    assert [len(each.result) for each in many.result] == [LIMIT] * BATCH
    return many.time


def _decode_rest(kind: str, answer: bytes) -> float:
    said = json.loads(answer)
    results = [said["result"]] if kind == "query" else said["result"]
    assert all(len(each["points"]) == LIMIT for each in results)
    return said["time"]


def grpc_calls(server: Server, queries: list[list[float]]) -> Calls:
    """The queries as gRPC messages."""

    def message(vector: list[float]) -> api.QueryPoints:
        nearest = api.Query(nearest=api.VectorInput(dense=api.DenseVector(data=vector)))
        return api.QueryPoints(collection_name=wordnet.COLLECTION, query=nearest, limit=LIMIT)

    single = [message(vector) for vector in queries]
    batches = [
        api.QueryBatchPoints(collection_name=wordnet.COLLECTION, query_points=some) for some in _in_batches(single)
    ]
    return Calls(
        Grpc(server.grpc_port),
        [each.SerializeToString() for each in single],
        [each.SerializeToString() for each in batches],
    )


def rest_calls(server: Server, queries: list[list[float]]) -> Calls:
    """The queries as JSON."""
    single = [{"query": [round(x, 8) for x in vector], "limit": LIMIT} for vector in queries]
    batches = [{"searches": some} for some in _in_batches(single)]
    return Calls(
        Rest(server.http_port),
        [json.dumps(each).encode() for each in single],
        [json.dumps(each).encode() for each in batches],
    )


def _in_batches(items: list[Any]) -> list[list[Any]]:
    return [items[at : at + BATCH] for at in range(0, len(items) - BATCH + 1, BATCH)]


def cpu_seconds(server: Server) -> float:
    """Processor time of the server so far."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(server: Server, calls: dict[str, Calls], rounds: int) -> tuple[dict, dict]:
    """Answers and processor seconds by protocol and kind; the kinds take turns."""
    asked: dict[tuple[str, str], list[Asked]] = defaultdict(list)
    cpu: dict[tuple[str, str], float] = defaultdict(float)
    for turn in range(-1, rounds):
        for protocol, of in calls.items():
            for kind in of.messages:
                before = cpu_seconds(server)
                found = of.ask(kind)
                # The first turn warms up.
                if turn >= 0:
                    asked[protocol, kind] += found
                    cpu[protocol, kind] += cpu_seconds(server) - before
    return asked, cpu


def ask_officially(client: QdrantClient, vector: list[float]) -> Any:
    """One search by an official client."""
    return client.query_points(wordnet.COLLECTION, query=vector, limit=LIMIT, with_payload=False)


def by_client(ask: Callable[[list[float]], Any], queries: list[list[float]]) -> list[float]:
    """Seconds that an official client takes for each query."""
    taken = []
    for vector in queries:
        begun = time.perf_counter()
        ask(vector)
        taken.append(time.perf_counter() - begun)
    return taken[len(taken) // 10 :]


def show(protocol: str, asked: dict, cpu: dict) -> None:
    """One protocol's figures."""
    singles = asked[protocol, "query"]
    inside = [said for _, said in singles]
    each = 1e6 * cpu[protocol, "query"] / len(singles)
    batched = 1e6 * cpu[protocol, "batch"] / len(asked[protocol, "batch"])
    # each = call + search, batched = call + BATCH * search
    search = (batched - each) / (BATCH - 1)
    figures = {
        "waited": percentiles([took for took, _ in singles]),
        "inside": percentiles(inside),
        "added_p50_ms": round(1000 * float(np.median([took - said for took, said in singles])), 3),
        "server_cpu_us": {"query": round(each), "of_that_search": round(search), "of_that_call": round(each - search)},
        "call_share_of_cpu": round((each - search) / each, 2),
    }
    nothing = asked[protocol, "nothing"]
    if nothing:
        figures["call_that_asks_nothing"] = percentiles([took for took, _ in nothing])
        figures["server_cpu_us"]["call_that_asks_nothing"] = round(1e6 * cpu[protocol, "nothing"] / len(nothing))
    report("server overhead", protocol=protocol, **figures)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--queries", type=int, default=640)
    arguments.add_argument("--rounds", type=int, default=8)
    options = arguments.parse_args()
    points = data(options.points)
    queries = points.queries[: options.queries].astype(np.float32).tolist()
    with serving() as server:
        client = server.client(grpc=True, timeout=120)
        wordnet.create(client, points)
        wordnet.upload(client, points, parallel=2, batch_size=256, wait=True)
        indexed = wait_for_index(client)
        found = recall(client, points, wordnet.Exact(points), queries=200)
        report("index", points=len(points.payload), indexed=indexed, recall_at_10=round(found, 4))
        time.sleep(1)
        before, pause = cpu_seconds(server), 2.0
        time.sleep(pause)
        report("idle", cpu_ms_per_second=round(1000 * (cpu_seconds(server) - before) / pause, 1))
        calls = {"gRPC": grpc_calls(server, queries), "REST": rest_calls(server, queries)}
        asked, cpu = measure(server, calls, options.rounds)
        for protocol in calls:
            show(protocol, asked, cpu)
        for protocol in calls:
            ask = partial(ask_officially, server.client(grpc=protocol == "gRPC"))
            taken = by_client(ask, queries)
            report("server overhead", protocol=protocol, by="the official Python client", **percentiles(taken))


if __name__ == "__main__":
    main()
