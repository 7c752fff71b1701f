#!/usr/bin/env python3
"""PUTs per second on MinIO with the default window, while 1, 100 and 10,000 collections are written at once.

Every request writes one point and waits until it is acknowledged. What the server counts as written to the bucket is divided by
the time, and so are slots alone: folds and checkpoints add parts, by how many rows and changes there are and not by time.
"""

import itertools
import json
import time
from collections.abc import Iterator

from _bench import Server, metrics, parser, report, requests, serving
from harness.minio import Minio
from harness.stores import MinioStore
from many_collections import name, send_all

DIMENSIONS = 16


def until(end: float, collections: int) -> Iterator[tuple[str, bytes]]:
    """Writes to all collections in turn."""
    for number in itertools.count():
        if time.perf_counter() > end:
            return
        point = {"id": number // collections, "vector": [0.1 + number % 7] * DIMENSIONS}
        yield f"/collections/{name(number % collections)}/points?wait=true", json.dumps({"points": [point]}).encode()


def puts(server: Server) -> int:
    """Objects that it has written."""
    counts = requests(server)
    return sum(counts.get(kind, 0) for kind in ("create", "put"))


def rest(server: Server) -> None:
    """Waits until a checkpoint of what was written before is complete: nothing is written for longer than it takes one to begin."""
    counts = [puts(server)]
    while len(counts) < 8 or counts[-8] < counts[-1]:
        time.sleep(1)
        counts.append(puts(server))


def measure(server: Server, collections: int, seconds: float) -> tuple[float, float]:
    """PUTs per second, and those of slots, from rest on."""
    rest(server)
    before, first = puts(server), metrics(server)["lodestone_slot"]
    counted = 0

    def counting() -> Iterator[tuple[str, bytes]]:
        nonlocal counted
        for body in until(time.perf_counter() + seconds, collections):
            counted += 1
            yield body

    took = send_all(server.http_port, counting())
    written = puts(server) - before
    slots = metrics(server)["lodestone_slot"] - first
    report(
        "PUTs per second",
        collections=collections,
        puts_per_second=round(written / took, 2),
        slots_per_second=round(slots / took, 2),
        writes_per_second=round(counted / took, 1),
    )
    return written / took, slots / took


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=30, help="of each measurement")
    arguments.add_argument("--most", type=int, default=10_000, help="collections written at once")
    options = arguments.parse_args()
    settings = json.dumps({"vectors": {"size": DIMENSIONS, "distance": "Cosine"}}).encode()
    minio = Minio()
    store = MinioStore(minio)
    try:
        with serving(store) as server:
            send_all(server.http_port, ((f"/collections/{name(n)}", settings) for n in range(options.most)))
            rates = [measure(server, count, options.seconds) for count in (1, 100, options.most)]
            ratios = [round(max(each) / max(min(each), 1e-9), 3) for each in zip(*rates)]
            report("PUTs per second: most over least", all=ratios[0], slots=ratios[1])
    finally:
        store.close()
        minio.stop()


if __name__ == "__main__":
    main()
