#!/usr/bin/env python3
"""The first search of a process whose disk is empty, in a bucket that is far away: MinIO behind a relay that delays every
request. Trips, requests and bytes as the server states them and as the relay counts them; recall; time from process start."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from _bench import Server, data, parser, percentiles, report, wordnet
from harness.minio import Minio
from harness.stores import MinioStore

ROOT = Path(__file__).resolve().parents[1]


class Relay:
    """The relay, and what it has counted."""

    def __init__(self, endpoint: str, delay: float, spread: bool) -> None:
        target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
        program = os.environ.get("LODESTONE_RELAY_BIN", f"{target}/release/examples/relay")
        if not Path(program).is_file():
            sys.exit(f"no {program}: cargo build --release -p lodestone-store --example relay")
        line = [program, "--to", endpoint.split("//")[1], "--delay", str(delay), *(["--spread"] if spread else [])]
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = f"http://{self._process.stdout.readline().strip()}"

    def counts(self) -> dict[str, int]:
        """Requests and bytes since the last call."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


def ask(http: httpx.Client, server: Server, vector: list[float], payload: bool) -> tuple[float, dict[str, int], list[int]]:
    """Seconds, stated usage and ids of one search."""
    body = {"query": vector, "limit": 10, "with_payload": payload}
    begun = time.perf_counter()
    answer = http.post(
        f"{server.url}/collections/{wordnet.COLLECTION}/points/query", json=body, headers={"x-lodestone-usage": "yes"}
    )
    taken = time.perf_counter() - begun
    answer.raise_for_status()
    stated = dict(pair.split("=") for pair in answer.headers["x-lodestone-usage"].split(", "))
    points = answer.json()["result"]["points"]
    assert not payload or all(point["payload"] for point in points)
    return taken, {name: int(value) for name, value in stated.items()}, [point["id"] for point in points]


def started(server: Server) -> float:
    """Seconds from process start until it is ready."""
    server.forget()
    begun = time.perf_counter()
    server.launch()
    with httpx.Client(trust_env=False, timeout=30) as http:
        while True:
            try:
                if http.get(f"{server.url}/readyz").status_code == 200:
                    return time.perf_counter() - begun
            except httpx.HTTPError:
                pass
            if not server.is_alive():
                raise RuntimeError(f"the server ended:\n{server.log()}")
            time.sleep(0.002)


def overlap(found: list[int], truth: Any) -> float:
    """The share of the true nearest that was found."""
    return len(set(found) & set(int(i) for i in truth[:10])) / 10


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--delay", type=float, default=63, help="milliseconds a request waits, the median with --spread")
    arguments.add_argument("--spread", action="store_true", help="delays vary as those of S3 do")
    arguments.add_argument("--starts", type=int, default=15)
    arguments.add_argument("--queries", type=int, default=100, help="searches of one process that keeps nothing")
    arguments.add_argument("--roles", nargs="+", default=["all", "query"])
    arguments.add_argument("--no-payload", action="store_true")
    options = arguments.parse_args()
    points: Any = data(options.points)
    queries = points.queries.astype(np.float32)
    minio = Minio()
    relay = None
    try:
        store = MinioStore(minio)
        server = Server(store)
        server.start()
        client = server.client(grpc=True, timeout=120)
        wordnet.create(client, points)
        wordnet.upload(client, points, parallel=2, batch_size=256, wait=True)
        settle(server)
        truth = points.neighbors
        client.close()
        server.stop()
        server.close()
        relay = Relay(minio.endpoint, options.delay, options.spread)
        for role in options.roles:
            measure(role, store, relay, queries, truth, options)
    finally:
        if relay:
            relay.close()
        minio.stop()


def settle(server: Server) -> None:
    """Waits until no job is due."""
    with httpx.Client(trust_env=False, timeout=60) as http:
        deadline, green = time.monotonic() + 300, 0
        while green < 5 and time.monotonic() < deadline:
            info = http.get(f"{server.url}/collections/{wordnet.COLLECTION}").json()["result"]
            green = green + 1 if info["status"] == "green" else 0
            time.sleep(0.5)
        report("collection", segments=info["segments_count"], indexed=info["indexed_vectors_count"], points=info["points_count"])


def measure(role: str, store: Any, relay: Relay, queries: Any, truth: Any, options: Any) -> None:
    """Starts the process on an empty disk again and again, then lets one that keeps nothing search."""
    environment = {"LODESTONE_CACHE_HYDRATE": "false"}
    store.endpoint = relay.endpoint
    arguments = ["--roles", "query"] if role == "query" else []
    server = Server(store, environment=environment, arguments=arguments)
    ready, first, whole, usages, counted, recalls = [], [], [], [], [], []
    try:
        with httpx.Client(trust_env=False, timeout=60) as http:
            for start in range(options.starts):
                ready.append(started(server))
                relay.counts()
                taken, usage, ids = ask(http, server, queries[start].tolist(), not options.no_payload)
                first.append(taken)
                whole.append(ready[-1] + taken)
                usages.append(usage)
                counted.append(relay.counts())
                recalls.append(overlap(ids, truth[start]))
                if start + 1 < options.starts:
                    server.stop()
            middle = lambda rows, name: float(np.median([row[name] for row in rows]))  # noqa: E731
            report(
                "cold",
                role=role,
                delay_ms=options.delay,
                ready_ms=round(1000 * float(np.median(ready))),
                first_search=percentiles(first),
                start_to_answer=percentiles(whole),
                trips=max(usage["trips"] for usage in usages),
                gets=middle(usages, "gets"),
                most_gets=max(usage["gets"] for usage in usages),
                megabytes=round(middle(usages, "bytes") / 1e6, 2),
                relay_gets=middle(counted, "gets"),
                relay_megabytes=round(middle(counted, "bytes") / 1e6, 2),
                connections=middle(counted, "connections"),
                recall=round(float(np.mean(recalls)), 4),
            )
            taken, usages, recalls = [], [], []
            for query, nearest in zip(queries[: options.queries], truth):
                seconds, usage, ids = ask(http, server, query.tolist(), not options.no_payload)
                taken.append(seconds)
                usages.append(usage)
                recalls.append(overlap(ids, nearest))
            report(
                "kept nothing",
                role=role,
                search=percentiles(taken),
                trips=max(usage["trips"] for usage in usages),
                gets=middle(usages, "gets"),
                megabytes=round(middle(usages, "bytes") / 1e6, 2),
                recall=round(float(np.mean(recalls)), 4),
            )
    finally:
        server.close()


if __name__ == "__main__":
    main()
