#!/usr/bin/env python3
"""Searches of a process whose disk is empty, one after another, while it brings here what they need: how long until they are as fast as
they get, and how long they take meanwhile, beside a process that brings nothing. In MinIO behind a relay that delays every request."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from _bench import Server, data, parser, percentiles, report
from cold import Answer, Question, Relay, VectorSet, ask, fill, load, questions, started
from harness.minio import Minio
from harness.stores import MinioStore

QUERIES = 200
"""Asked by turns: all exact scores of more of them are many gigabytes for a million points."""
WINDOW = 50
"""Searches by whose median the speed is judged."""
FAR_BYTES = 100_000
"""A search that reads more than that of the bucket has read segments; less is what finds out what is newest."""


@dataclass
class Search:
    """One search, and when it was asked, in seconds after the first."""

    at: float
    answer: Answer


def searches(server: Server, question: Question, queries: Any, seconds: float, payload: bool) -> list[Search]:
    """What one client asks within so many seconds."""
    found: list[Search] = []
    with httpx.Client(trust_env=False, timeout=60) as http:
        begun = time.perf_counter()
        while (at := time.perf_counter() - begun) < seconds:
            query = len(found) % len(queries)
            found.append(Search(at, ask(http, server, question, query, queries[query].tolist(), payload)))
    return found


def process(store: Any, relay: Relay, question: Question, queries: Any, options: Any, hydrate: bool) -> list[Search]:
    """The searches of a process that begins with nothing."""
    store.endpoint = relay.endpoint
    server = Server(store, environment={"LODESTONE_CACHE_HYDRATE": str(hydrate).lower()}, arguments=["--roles", "query"])
    try:
        started(server)
        return searches(server, question, queries, options.seconds, not options.no_payload)
    finally:
        server.close()


def is_far(search: Search) -> bool:
    """Whether it read segments where they are; what is newest is asked for in any case."""
    return search.answer.usage["bytes"] > FAR_BYTES


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--delay", type=float, default=63, help="milliseconds a request waits")
    arguments.add_argument("--seconds", type=float, default=20, help="how long each process is asked")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--no-payload", action="store_true")
    arguments.add_argument("--set", type=Path, help="a folder of vectors instead of WordNet, as for cold.py")
    options = arguments.parse_args()
    points: Any = VectorSet(options.set) if options.set else data(options.points)
    queries = points.queries[:QUERIES].astype(np.float32)
    question = questions(points, queries, shares=[], together=[], tenants=False)[0]
    minio = Minio()
    relay = None
    try:
        store = MinioStore(minio)
        (load if options.set else fill)(store, points, {})
        relay = Relay(minio.endpoint, options.delay)
        for _ in range(options.rounds):
            without = process(store, relay, question, queries, options, hydrate=False)
            coming = process(store, relay, question, queries, options, hydrate=True)
            compare(without, coming)
    finally:
        if relay:
            relay.close()
        minio.stop()


def compare(without: list[Search], coming: list[Search]) -> None:
    """Reports both."""
    took = [search.answer.took for search in coming]
    fastest = float(np.median(took[-WINDOW:]))
    last_far = max((number for number, search in enumerate(coming) if is_far(search)), default=-1)
    if not 0 <= last_far < len(coming) - WINDOW:
        raise SystemExit("nothing was far, or not all is here: give it more --seconds")
    windows = (n for n in range(last_far + 1, len(took)) if np.median(took[n : n + WINDOW]) <= 1.2 * fastest)
    warm = next(windows, len(took) - 1)
    during = took[: last_far + 1]
    alone = [search.answer.took for search in without]
    ms = percentiles(during)
    report(
        "hydration",
        seconds_until_here=round(coming[last_far].at + during[-1], 2),
        seconds_to_warm_speed=round(coming[warm].at, 2),
        searches_during=len(during),
        during=ms,
        without=percentiles(alone),
        p99_ratio=round(ms["p99_ms"] / percentiles(alone)["p99_ms"], 2),
        warm=percentiles(took[warm:]),
        recall=round(float(np.mean([search.answer.recall for search in coming])), 4),
    )


if __name__ == "__main__":
    main()
