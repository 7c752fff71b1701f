#!/usr/bin/env python3
"""From process start to the first answer on an existing store with an empty disk; idle memory; size of the binary.

With `--delay 63` the store is MinIO behind a relay that holds each request so many milliseconds; without, a directory.
Each is started with all roles (after a stop, and after a kill) and as a reader (`--roles query`).
"""

import time
from typing import Any

import httpx
import numpy as np
from _bench import LocalStore, Server, binary, data, parser, report, requests, serving, wordnet
from harness.minio import Minio
from harness.proxy import Proxy
from harness.stores import MinioStore, Store


def first_answer(server: Server, vector: list[float], *roles: str) -> float:
    """Seconds until the server has answered a search."""
    server.forget()
    body = {"query": vector, "limit": 10}
    with httpx.Client(trust_env=False, timeout=30) as http:
        begun = time.perf_counter()
        server.launch(*roles)
        while True:
            try:
                answer = http.post(f"{server.url}/collections/{wordnet.COLLECTION}/points/query", json=body)
                if answer.status_code == 200:
                    assert len(answer.json()["result"]["points"]) == 10
                    return time.perf_counter() - begun
            except httpx.HTTPError:
                pass
            if not server.is_alive():
                raise RuntimeError(f"the server ended:\n{server.log()}")
            time.sleep(0.002)


def idle_bytes(server: Server, seconds: float = 3) -> int:
    """Resident memory after a quiet while."""
    time.sleep(seconds)
    return server.resident_bytes()


def fill(store: Store, points: Any) -> None:
    """Puts the points into the store."""
    with serving(store) as server:
        client = server.client(grpc=True, timeout=120)
        wordnet.create(client, points)
        wordnet.upload(client, points, parallel=2, batch_size=256, wait=True)
        client.close()
        # Until what folds, merges and indexes has come to rest.
        while server.client().get_collection(wordnet.COLLECTION).status != "green":
            time.sleep(0.2)
        time.sleep(6)
        server.stop()


def measure(store: Store, points: Any, starts: int, **what: Any) -> None:
    """Starts servers on the store in each way, each with an empty disk."""
    vector = points.queries[0].astype(np.float32).tolist()
    server = Server(store)
    kinds = (("stopped", server.stop, ()), ("killed", server.kill, ()), ("any", server.kill, ("--roles", "query")))
    try:
        for after, end, roles in kinds:
            taken = []
            for _ in range(starts + 1):
                taken.append(first_answer(server, vector, *roles))
                sent, resident = requests(server), server.resident_bytes()
                end()
            # The first came after whatever was before.
            taken = sorted(taken[1:])
            report(
                "start to first answer",
                roles="query" if roles else "all",
                after=after,
                points=len(points.payload),
                median_ms=round(1000 * taken[len(taken) // 2]),
                worst_ms=round(1000 * taken[-1]),
                requests=sent,
                resident_mb=round(resident / 1e6, 1),
                **what,
            )
    finally:
        server.close()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--starts", type=int, default=10)
    arguments.add_argument("--delay", type=float, default=0, help="milliseconds that each request to the bucket takes")
    options = arguments.parse_args()
    report("binary", megabytes=round(binary().stat().st_size / 1e6, 1))
    with serving() as server:
        report("idle", store="empty", resident_mb=round(idle_bytes(server) / 1e6, 1))
    points: Any = data(options.points)
    if not options.delay:
        store = LocalStore()
        try:
            fill(store, points)
            measure(store, points, options.starts)
        finally:
            store.close()
        return
    minio = Minio()
    near = MinioStore(minio)
    relay = Proxy(minio.endpoint, delay=lambda _: options.delay / 1000)
    try:
        fill(near, points)
        near.endpoint = relay.endpoint
        measure(near, points, options.starts, delay_ms=options.delay)
    finally:
        near.close()
        relay.stop()
        minio.stop()


if __name__ == "__main__":
    main()
