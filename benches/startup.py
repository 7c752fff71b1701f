#!/usr/bin/env python3
"""From process start to the first answer on an existing store with an empty disk; idle memory; size of the binary."""

import time
from typing import Any

import httpx
import numpy as np
from _bench import LocalStore, Server, binary, data, parser, report, serving, wordnet
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse


def first_answer(server: Server, vector: list[float]) -> float:
    """Seconds until the server has answered a search."""
    server.forget()
    begun = time.perf_counter()
    server.launch()
    body = {"query": vector, "limit": 10}
    with httpx.Client(trust_env=False, timeout=30) as http:
        while True:
            try:
                answer = http.post(f"{server.url}/collections/{wordnet.COLLECTION}/points/query", json=body)
                if answer.status_code == 200:
                    assert len(answer.json()["result"]["points"]) == 10
                    return time.perf_counter() - begun
            except (httpx.HTTPError, ResponseHandlingException, UnexpectedResponse):
                pass
            if not server.is_alive():
                raise RuntimeError(f"the server ended:\n{server.log()}")
            time.sleep(0.002)


def idle_bytes(server: Server, seconds: float = 3) -> int:
    """Resident memory after a quiet while."""
    time.sleep(seconds)
    return server.resident_bytes()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--starts", type=int, default=10)
    options = arguments.parse_args()
    report("binary", megabytes=round(binary().stat().st_size / 1e6, 1))
    with serving() as server:
        report("idle", store="empty", resident_mb=round(idle_bytes(server) / 1e6, 1))
    points: Any = data(options.points)
    vector = points.queries[0].astype(np.float32).tolist()
    store = LocalStore()
    try:
        with serving(store) as server:
            client = server.client(grpc=True, timeout=120)
            wordnet.create(client, points)
            wordnet.upload(client, points, parallel=2, batch_size=256, wait=True)
            client.close()
            for kind, end in (("stopped", server.stop), ("killed", server.kill)):
                taken = []
                for _ in range(options.starts):
                    end()
                    taken.append(first_answer(server, vector))
                taken.sort()
                report(
                    "start to first answer",
                    after=kind,
                    points=len(points.payload),
                    median_ms=round(1000 * taken[len(taken) // 2]),
                    worst_ms=round(1000 * taken[-1]),
                    resident_mb=round(server.resident_bytes() / 1e6, 1),
                )
    finally:
        store.close()


if __name__ == "__main__":
    main()
