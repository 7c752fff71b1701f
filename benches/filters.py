#!/usr/bin/env python3
"""Filtered search: recall and latency from 0.01 % to 90 % of the points, beside Qdrant's engine in the same run.

Filters match at random, or what is near the query (correlated), or what is far from it (anti-correlated), or two things
at once. Lodestone is asked over gRPC, one query at a time; Qdrant's engine is in this process.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np
import qdrant_edge as edge
from _bench import Server, at_rest, data, parser, percentiles, report, serving, wordnet
from harness.wordnet_check import wait_for_index
from qdrant_client import grpc as api
from qdrant_client import models

LIMIT = 10
SHARES = [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9]
ANCHORS = 10
ROUNDS = 3


@dataclass
class Case:
    """A filter for some queries: all of these ranges at once, a field and its bounds each."""

    name: str
    share: float
    queries: list[int]
    ranges: list[tuple[str, float, float]]

    def allowed(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Which rows match."""
        rows = np.ones(len(columns["random"]), dtype=bool)
        for field, low, high in self.ranges:
            rows &= (columns[field] >= low) & (columns[field] < high)
        return rows


def columns(points: wordnet.WordNet) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """Payload from 0 to 1, evenly spread: at random, and by nearness to each of some queries; and the queries near those."""
    count = len(points.payload)
    random = np.random.default_rng(7)
    made = {"random": random.permutation(count) / count, "other": random.permutation(count) / count}
    rows, queries = points.unit(), points.queries.astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    groups = {}
    for anchor in range(ANCHORS):
        field = f"far{anchor}"
        made[field] = np.empty(count)
        made[field][np.argsort(-(rows @ queries[anchor]))] = np.arange(count) / count
        # Not the query itself: its best answers under such a filter are all as near as one another.
        groups[field] = np.argsort(-(queries @ queries[anchor]))[1:21].tolist()
    return made, groups


def cases(groups: dict[str, list[int]], queries: int) -> Iterator[Case]:
    """Every filter of the benchmark."""
    every = list(range(queries))
    for share in SHARES:
        yield Case("random", share, every, [("random", 0.0, share)])
        half = share**0.5
        yield Case("two at random", share, every, [("random", 0.0, half), ("other", 0.0, half)])
        for field, near in groups.items():
            yield Case("correlated", share, near, [(field, 0.0, share)])
            yield Case("anti-correlated", share, near, [(field, 1.0 - share, 1.0)])
            yield Case("correlated and random", share, near, [(field, 0.0, half), ("random", 0.0, half)])


class Lodestone:
    """The server, asked by messages made beforehand."""

    def __init__(self, port: int, points: wordnet.WordNet) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._call = self._channel.unary_unary("/qdrant.Points/Query", lambda raw: raw, lambda raw: raw)
        self._points = points

    def questions(self, case: Case | None, queries: list[int]) -> list[bytes]:
        """The messages."""
        must = [
            api.Condition(field=api.FieldCondition(key=field, range=api.Range(gte=low, lt=high)))
            for field, low, high in (case.ranges if case else [])
        ]
        return [
            api.QueryPoints(
                collection_name=wordnet.COLLECTION,
                query=api.Query(nearest=api.VectorInput(dense=api.DenseVector(data=self._points.queries[q].astype(np.float32)))),
                filter=api.Filter(must=must) if must else None,
                limit=LIMIT,
                with_payload=api.WithPayloadSelector(enable=False),
            ).SerializeToString()
            for q in queries
        ]

    def ask(self, question: bytes) -> bytes:
        """One answer."""
        return self._call(question, timeout=60)

    @staticmethod
    def ids(answer: bytes) -> list[int]:
        """What it found."""
        return [hit.id.num for hit in api.QueryResponse.FromString(answer).result]


class Qdrant:
    """Qdrant's engine in this process, with its defaults and payload indexes."""

    def __init__(self, points: wordnet.WordNet, payload: list[dict[str, float]]) -> None:
        self._path = tempfile.mkdtemp(prefix="edge-")
        params = edge.EdgeVectorParams(size=points.dimensions, distance=edge.Distance.Cosine)
        optimizers = edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=100)
        self._shard = edge.EdgeShard.create(
            self._path, edge.EdgeConfig(vectors=params, optimizers=optimizers, max_search_threads=1)
        )
        # Before the points, for its graph to have links of its own for what is often asked for.
        for field in payload[0]:
            self._shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Float))
        rows = points.vectors.astype(np.float32)
        for start in range(0, len(rows), 1000):
            batch = [edge.Point(i, rows[i].tolist(), payload[i]) for i in range(start, min(start + 1000, len(rows)))]
            self._shard.update(edge.UpdateOperation.upsert_points(batch))
        self._shard.optimize()
        self._points = points

    def questions(self, case: Case | None, queries: list[int]) -> list[Any]:
        """The requests."""
        must = [
            edge.FieldCondition(key=field, range=edge.RangeFloat(gte=low, lt=high))
            for field, low, high in (case.ranges if case else [])
        ]
        made = edge.Filter(must=[*must]) if must else None
        vectors = self._points.queries.astype(np.float32)
        return [edge.QueryRequest(limit=LIMIT, query=edge.Query.Nearest(vectors[q].tolist()), filter=made) for q in queries]

    def ask(self, question: Any) -> Any:
        """One answer."""
        return self._shard.query(question)

    @staticmethod
    def ids(answer: Any) -> list[int]:
        """What it found."""
        return [hit.id for hit in answer]

    def close(self) -> None:
        """Removes its files."""
        self._shard.close()
        shutil.rmtree(self._path, ignore_errors=True)


class Truth:
    """Exact answers by brute force, and how many of them an answer has."""

    def __init__(self, points: wordnet.WordNet) -> None:
        self._exact = wordnet.Exact(points)
        self._known: dict[int, np.ndarray] = {}

    def recall(self, allowed: np.ndarray | None, query: int, found: list[int]) -> tuple[int, int]:
        """How many of the true nearest were found, where equal scores are equally good, and how many there are."""
        if query not in self._known:
            self._known[query] = np.asarray(self._exact.scores(query))
        scores = self._known[query]
        if allowed is not None:
            assert allowed[found].all(), "an answer that does not match"
        among = scores if allowed is None else scores[allowed]
        wanted = min(LIMIT, len(among))
        if wanted == 0:
            return 0, 0
        last = np.partition(among, len(among) - wanted)[len(among) - wanted]
        return int((scores[found] >= last - 1e-6).sum()), wanted


@dataclass
class Tally:
    """What was measured of one engine and kind of filter."""

    seconds: list[float]
    found: int = 0
    wanted: int = 0


def measure(engine: Any, case: Case | None, queries: list[int], truth: Callable[[int, list[int]], tuple[int, int]], tally: Tally) -> None:
    """Asks each query a few times and keeps its median."""
    questions = engine.questions(case, queries)
    for query, question in zip(queries, questions, strict=True):
        taken = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            answer = engine.ask(question)
            taken.append(time.perf_counter() - begun)
        tally.seconds.append(sorted(taken)[len(taken) // 2])
        found, wanted = truth(query, engine.ids(answer))
        tally.found += found
        tally.wanted += wanted


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--queries", type=int, default=200)
    arguments.add_argument("--no-peer", action="store_true", help="leave Qdrant's engine out")
    options = arguments.parse_args()
    points = data(options.points)
    made, groups = columns(points)
    payload = [dict(zip(made, map(float, row), strict=True)) for row in zip(*made.values(), strict=True)]
    points.payload = payload
    truth = Truth(points)
    # So that it is soon at rest: merges beside searches without a filter would make those under filters look good.
    with serving(environment={"LODESTONE_COMPACT_IDLE": "1s"}) as server:
        client = server.client(grpc=True, timeout=120)
        wordnet.create(client, points)
        for field in made:
            client.create_payload_index(wordnet.COLLECTION, field, models.PayloadSchemaType.FLOAT, wait=True)
        wordnet.upload(client, points, parallel=2, batch_size=256, wait=True)
        wait_for_index(client)
        at_rest(server)
        engines: dict[str, Any] = {"lodestone": Lodestone(server.grpc_port, points)}
        if not options.no_peer:
            engines["qdrant-edge"] = Qdrant(points, payload)
        try:
            compare(engines, made, list(cases(groups, options.queries)), options.queries, truth)
        finally:
            if "qdrant-edge" in engines:
                engines["qdrant-edge"].close()


def compare(engines: dict[str, Any], made: dict[str, np.ndarray], asked: list[Case], queries: int, truth: Truth) -> None:
    """Measures all engines case by case, and prints each kind and share of filter beside no filter."""
    tallies: dict[tuple[str, str, float], Tally] = {}
    for case in [None, *asked]:
        allowed = case.allowed(made) if case else None
        key = (case.name, case.share) if case else ("none", 1.0)
        for name, engine in engines.items():
            tally = tallies.setdefault((name, *key), Tally([]))
            numbers = case.queries if case else list(range(queries))
            measure(engine, case, numbers, partial(truth.recall, allowed), tally)
    for (name, kind, share), tally in sorted(tallies.items(), key=lambda item: (item[0][0], item[0][1], item[0][2])):
        plain = percentiles(tallies[name, "none", 1.0].seconds)
        taken = percentiles(tally.seconds)
        report(
            "filters",
            by=name,
            filter=kind,
            share=share,
            recall=round(tally.found / max(tally.wanted, 1), 4),
            p50_ms=taken["p50_ms"],
            p99_ms=taken["p99_ms"],
            p99_of_plain=round(taken["p99_ms"] / plain["p99_ms"], 2),
        )


if __name__ == "__main__":
    main()
