#!/usr/bin/env python3
"""Upload over gRPC from two client processes in batches of 256 until acknowledged; points per second.

Twice: by the official client's own uploader, which spends most of its time making messages, and with messages made
beforehand, which shows what the server takes in.
"""

import multiprocessing
import time
from typing import Any

import grpc
import numpy as np
from _bench import Server, data, metrics, parser, report, serving, stages, wordnet
from qdrant_client import grpc as api
from qdrant_client.conversions.conversion import payload_to_grpc

COLLECTION = wordnet.COLLECTION


def by_client(server: Server, points: Any, processes: int, batch: int) -> float:
    """Seconds that the client's uploader takes."""
    client = server.client(grpc=True)
    wordnet.create(client, points)
    begun = time.perf_counter()
    wordnet.upload(client, points, batch_size=batch, parallel=processes, wait=True)
    took = time.perf_counter() - begun
    assert client.count(COLLECTION, exact=True).count == len(points.payload)
    return took


def encoded(points: Any, first: int, last: int, batch: int) -> list[bytes]:
    """Upserts as bytes."""
    rows = points.vectors[first:last].astype(np.float32)
    found = []
    for start in range(0, len(rows), batch):
        made = [
            api.PointStruct(
                id=api.PointId(num=first + i),
                vectors=api.Vectors(vector=api.Vector(dense=api.DenseVector(data=rows[i]))),
                payload=payload_to_grpc(points.payload[first + i]),
            )
            for i in range(start, min(start + batch, len(rows)))
        ]
        found.append(api.UpsertPoints(collection_name=COLLECTION, points=made, wait=True).SerializeToString())
    return found


def _send(port: int, points: Any, first: int, last: int, batch: int, ready: Any, go: Any) -> None:
    messages = encoded(points, first, last, batch)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/qdrant.Points/Upsert", lambda raw: raw, api.PointsOperationResponse.FromString)
        ready.release()
        go.wait()
        # Two requests under way per process, so that the server never waits for the client's turn.
        pending: list[Any] = []
        for message in messages:
            pending.append(call.future(message, timeout=60))
            if len(pending) == 2:
                pending.pop(0).result()
        for each in pending:
            each.result()


def by_bytes(server: Server, points: Any, processes: int, batch: int) -> float:
    """Seconds that ready-made messages take."""
    client = server.client()
    wordnet.create(client, points)
    context = multiprocessing.get_context("fork")
    ready, go = context.Semaphore(0), context.Event()
    share = -(-len(points.payload) // processes)
    workers = [
        context.Process(
            target=_send,
            args=(server.grpc_port, points, n * share, min((n + 1) * share, len(points.payload)), batch, ready, go),
        )
        for n in range(processes)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    begun = time.perf_counter()
    go.set()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    took = time.perf_counter() - begun
    assert client.count(COLLECTION, exact=True).count == len(points.payload)
    return took


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--batch", type=int, default=256)
    options = arguments.parse_args()
    points = data(options.points)
    for name, upload in (("messages made beforehand", by_bytes), ("the client's uploader", by_client)):
        with serving() as server:
            before = metrics(server)
            took = upload(server, points, options.processes, options.batch)
            report(
                "upload",
                by=name,
                points=len(points.payload),
                dimensions=points.dimensions,
                seconds=round(took, 2),
                points_per_second=round(len(points.payload) / took),
                stages=stages(before, metrics(server)),
                resident_mb=round(server.resident_bytes() / 1e6),
            )


if __name__ == "__main__":
    main()
