#!/usr/bin/env python3
"""Search while points stream in: how long searches take and what they find, beside the same without the stream.

A part of the points is uploaded and indexed. Two clients then search all the time, first in quiet, then while new
points come in at a fixed rate, and once more in quiet when all is indexed: there are many more points then. Each write
waits for its acknowledgement. Recall is over what was acknowledged when a search was sent: a hit counts if it is as
near as the tenth of those; points on their way may be found or not.
"""

import multiprocessing
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from _bench import Server, at_rest, data, metrics, parser, percentiles, report, serving, wordnet
from _wire import Grpc
from harness.wordnet_check import recall, wait_for_index
from qdrant_client import grpc as api
from qdrant_client.conversions.conversion import payload_to_grpc

LIMIT = 10
UNDER_WAY = 8
"""Writes that may be unanswered at once."""
REST = 35
"""Seconds without writes after which a server has begun to merge what there is."""
NOISE = 0.02
"""By how much each component of a streamed point differs from the point it was made of: about a third of its length."""


@dataclass
class Answer:
    """One search."""

    query: int
    sent: float
    took: float
    hits: list[tuple[int, float]]


def streamed(points: Any, count: int) -> np.ndarray:
    """New vectors of unit length that lie among the points."""
    rng = np.random.default_rng(1)
    of = points.unit()[rng.integers(0, len(points.payload), count)]
    rows = of + rng.standard_normal(of.shape, dtype=np.float32) * NOISE
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def messages(points: Any, rows: np.ndarray, batch: int) -> list[bytes]:
    """Upserts of the new points, whose numbers follow those of the old."""
    first, found = len(points.payload), []
    for start in range(0, len(rows), batch):
        made = [
            api.PointStruct(
                id=api.PointId(num=first + start + i),
                vectors=api.Vectors(vector=api.Vector(dense=api.DenseVector(data=row))),
                payload=payload_to_grpc(points.payload[(start + i) % first]),
            )
            for i, row in enumerate(rows[start : start + batch])
        ]
        found.append(api.UpsertPoints(collection_name=wordnet.COLLECTION, points=made, wait=True).SerializeToString())
    return found


def write(port: int, writes: list[bytes], gap: float, go: Any, out: Any) -> None:
    """Sends a write every `gap` seconds; puts when each was acknowledged."""
    acknowledged = [0.0] * len(writes)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/qdrant.Points/Upsert", lambda raw: raw, api.PointsOperationResponse.FromString)
        go.wait()
        begun = time.monotonic()
        pending: deque[Any] = deque()

        def note(number: int) -> None:
            acknowledged[number] = time.monotonic()

        for number, message in enumerate(writes):
            time.sleep(max(0.0, begun + number * gap - time.monotonic()))
            future = call.future(message, timeout=60)
            future.add_done_callback(lambda _, number=number: note(number))
            pending.append(future)
            while len(pending) >= UNDER_WAY:
                pending.popleft().result()
        for future in pending:
            future.result()
        # Callbacks may run a little after the result is there.
        while not all(acknowledged):
            time.sleep(0.001)
    out.put((begun, acknowledged))


def search(port: int, queries: np.ndarray, seed: int, pause: float, stop: Any, out: Any) -> None:
    """Searches one after the other until told to stop; puts the answers."""
    rng = random.Random(seed)
    made = [
        api.QueryPoints(
            collection_name=wordnet.COLLECTION,
            query=api.Query(nearest=api.VectorInput(dense=api.DenseVector(data=query))),
            limit=LIMIT,
        ).SerializeToString()
        for query in queries
    ]
    raw = []
    with Grpc(port) as wire:
        headers = wire.headers("/qdrant.Points/Query")
        while not stop.is_set():
            query = rng.randrange(len(queries))
            sent = time.monotonic()
            answer = wire.ask(headers, made[query])
            raw.append((query, sent, time.monotonic() - sent, answer))
            if pause:
                time.sleep(pause)
    out.put([Answer(query, sent, took, _hits(answer)) for query, sent, took, answer in raw])


def _hits(answer: bytes) -> list[tuple[int, float]]:
    return [(hit.id.num, hit.score) for hit in api.QueryResponse.FromString(answer).result]


class Searchers:
    """Processes that search."""

    def __init__(self, server: Server, queries: np.ndarray, count: int, pause: float) -> None:
        context = multiprocessing.get_context("fork")
        self._stop, self._out = context.Event(), context.Queue()
        port = server.grpc_port
        self._processes = [
            context.Process(target=search, args=(port, queries, number, pause, self._stop, self._out), daemon=True)
            for number in range(count)
        ]
        for process in self._processes:
            process.start()

    def finish(self) -> list[Answer]:
        """Stops them; all answers."""
        self._stop.set()
        return [answer for _ in self._processes for answer in self._out.get(timeout=120)]


def found_share(answers: list[Answer], rows: np.ndarray, known: np.ndarray, queries: np.ndarray) -> float:
    """The share of the ten nearest of what was known when each search was sent that it found.

    `known`: the time from which on each row has to be considered. Raises where a score is wrong.
    """
    found = 0
    for answer in answers:
        scores = rows @ queries[answer.query]
        for number, score in answer.hits:
            assert abs(scores[number] - score) < 1e-4, f"{number} scores {score} instead of {scores[number]}"
        among = scores[known < answer.sent]
        tenth = np.partition(among, len(among) - LIMIT)[len(among) - LIMIT]
        found += sum(score >= tenth - 1e-6 for _, score in answer.hits)
    return found / (LIMIT * len(answers))


def show(name: str, answers: list[Answer], seconds: float, found: float, **more: Any) -> None:
    """One line about some answers."""
    taken = percentiles([answer.took for answer in answers])
    report("search", during=name, per_second=round(len(answers) / seconds), **taken, recall_at_10=round(found, 4), **more)


def in_quiet(server: Server, queries: np.ndarray, seconds: float, options: Any) -> list[Answer]:
    """Searches while nothing else is done."""
    searchers = Searchers(server, queries, options.clients, options.pause)
    time.sleep(seconds)
    return searchers.finish()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rate", type=int, default=5000, help="points per second")
    arguments.add_argument("--seconds", type=int, default=30)
    arguments.add_argument("--batch", type=int, default=100)
    arguments.add_argument("--clients", type=int, default=2)
    arguments.add_argument("--pause", type=float, default=0.0, help="seconds that a client rests between searches")
    arguments.add_argument("--sample", type=int, default=400, help="searches whose recall is looked at")
    options = arguments.parse_args()
    points = data(options.points)
    queries = points.queries.astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    new = streamed(points, options.rate * options.seconds)
    writes = messages(points, new, options.batch)
    rows = np.concatenate([points.unit(), new])
    context = multiprocessing.get_context("fork")
    go, out = context.Event(), context.Queue()
    with serving() as server:
        gap = options.batch / options.rate
        # Before there are threads that a fork would break.
        writer = context.Process(target=write, args=(server.grpc_port, writes, gap, go, out), daemon=True)
        writer.start()
        client = server.client(timeout=120)
        wordnet.create(client, points)
        wordnet.upload(client, points, parallel=2, batch_size=256, wait=True)
        indexed = wait_for_index(client)
        report("index", points=len(points.payload), indexed=indexed)
        # What is quiet has no merge beside it.
        at_rest(server)
        quiet_seconds = options.seconds / 3
        quiet = in_quiet(server, queries, quiet_seconds, options)
        searchers = Searchers(server, queries, options.clients, options.pause)
        before = metrics(server)
        go.set()
        begun, acknowledged = out.get(timeout=600)
        ended = max(acknowledged)
        busy = [answer for answer in searchers.finish() if begun <= answer.sent <= ended]
        after = metrics(server)
        wait_for_index(client, 600)
        # What came in is merged when nothing more does.
        time.sleep(REST)
        indexed = wait_for_index(client, 1200)
        at_rest(server)
        quiet_later = in_quiet(server, queries, quiet_seconds, options)
        later = recall(client, points, wordnet.Exact(wordnet.WordNet(rows, [], queries, None)), queries=100)
        resident = server.resident_bytes()
    known = np.concatenate([np.zeros(len(points.payload)), np.repeat(acknowledged, options.batch)[: len(new)]])
    rng = random.Random(2)
    shares = [
        found_share(rng.sample(some, min(options.sample, len(some))), rows, known, queries)
        for some in (quiet, busy, quiet_later)
    ]
    show("quiet", quiet, quiet_seconds, shares[0])
    jobs = {
        kind: int(after[key] - before[key])
        for kind in ("fold", "merge", "index", "failed")
        for key in (f'lodestone_compaction_jobs_total{{kind="{kind}"}}',)
    }
    show(
        "stream",
        busy,
        ended - begun,
        shares[1],
        points_per_second=round(len(new) / (ended - begun)),
        streamed=len(new),
        jobs=jobs,
    )
    show("quiet afterwards", quiet_later, quiet_seconds, shares[2])
    beside, before_it, after_it = (
        percentiles([answer.took for answer in some])["p99_ms"] for some in (busy, quiet, quiet_later)
    )
    ratios = {"p99_ratio": round(beside / before_it, 2), "p99_ratio_afterwards": round(beside / after_it, 2)}
    report("stream beside quiet", **ratios)
    report("afterwards", points=len(rows), indexed=indexed, recall_at_10=round(later, 4), resident_mb=round(resident / 1e6))


if __name__ == "__main__":
    main()
