#!/usr/bin/env python3
"""Search with vectors in memory and on disk: speed, recall and resident memory, for one client.

First vectors that are `on_disk`, as a user sets it, with the usual codes and with `binary` ones, of which only signs are in memory, each with several efforts, and
once where io_uring is refused; then vectors that should be in memory with room for none, half and all. Each twice: with the page cache emptied of the files before each
search, so that what is on disk is really read there, and with what it has kept since.
"""

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _bench import data, metrics, parser, percentiles, report, wordnet
from harness.server import RefusedServer, Server
from harness.stores import LocalStore
from harness.wordnet_check import wait_for_index
from qdrant_client import QdrantClient, models

LIMIT = 10
SHARDS = 2
"""So that half of the vectors can be in memory."""


BINARY = models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
EFFORTS = [16, 32, 64, None, 256, 512]
"""Values of `hnsw_ef`; `None` is what users get who say nothing."""


def build(points: Any, on_disk: bool, codes: models.QuantizationConfig | None) -> LocalStore:
    """A store with the points in one indexed segment per shard."""
    store = LocalStore()
    late = {"LODESTONE_COMPACT_FOLD_ROWS": "1000000", "LODESTONE_COMPACT_FOLD_BYTES": "8GiB"}
    soon = {"LODESTONE_COMPACT_FOLD_ROWS": "1", "LODESTONE_COMPACT_MERGE_FAN_IN": "2"}
    _serve(store, late, lambda client: _fill(client, points, on_disk, codes))
    _serve(store, soon, _index)
    return store


def _serve(store: LocalStore, environment: dict[str, str], work: Callable[[QdrantClient], None]) -> None:
    server = Server(store, environment=environment).start()
    try:
        work(server.client(grpc=True, timeout=120))
        server.stop(120)
    finally:
        server.close()


def _fill(client: QdrantClient, points: Any, on_disk: bool, codes: models.QuantizationConfig | None) -> None:
    wordnet.create(client, points, shards=SHARDS, on_disk=on_disk)
    client.update_collection(
        wordnet.COLLECTION,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
        quantization_config=codes,
    )
    wordnet.upload(client, points, parallel=2, batch_size=256, wait=True)


def _index(client: QdrantClient) -> None:
    deadline = time.monotonic() + 120
    while client.get_collection(wordnet.COLLECTION).segments_count > SHARDS:
        if time.monotonic() > deadline:
            raise TimeoutError("segments are not merged")
        time.sleep(0.2)
    client.update_collection(wordnet.COLLECTION, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=500))
    wait_for_index(client)


def drop(folder: Path) -> None:
    """Takes files out of the page cache, as far as they are not mapped into memory."""
    for path in folder.iterdir():
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # It was being written, and has its name now.
            continue
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def resident(server: Server) -> dict[str, float]:
    """Resident memory, in MB: what the process made, and what is mapped of files."""
    assert server.process is not None
    rows = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {row.split()[0].rstrip(":"): int(row.split()[1]) for row in rows}
    anonymous = kib["Anonymous"]
    return {"anonymous_mb": round(anonymous / 1024, 1), "mapped_mb": round((kib["Rss"] - anonymous) / 1024, 1)}


def kept(figures: dict[str, float], points: Any) -> dict[str, float]:
    """Bytes that searches keep in memory per vector beside vectors, ids and models included, and as a share of the vectors as `f32`."""
    whole = figures["lodestone_views_bytes"] - figures['lodestone_vectors_bytes{place="memory"}']
    per_vector = whole / len(points.payload)
    return {"bytes_per_vector": round(per_vector, 1), "share_of_f32": round(per_vector / (4 * points.dimensions), 3)}


def disk(folder: Path, reads: int = 1000) -> dict[str, float]:
    """What one read of 4 KiB at a random place takes here, past the page cache, alone."""
    path = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    handle, block = os.open(path, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 4096)
    places = np.random.default_rng(1).integers(0, path.stat().st_size // 4096, reads)
    taken = []
    try:
        for place in places:
            begun = time.perf_counter()
            os.preadv(handle, [block], int(place) * 4096)
            taken.append(time.perf_counter() - begun)
    finally:
        os.close(handle)
    return percentiles(taken)


def measure(
    server: Server, points: Any, exact: wordnet.Exact, queries: int, effort: int | None, forgets: bool
) -> dict[str, Any]:
    """One client, one query after another; `forgets`: the page cache has nothing of the files."""
    params = models.SearchParams(hnsw_ef=effort)
    client = server.client(grpc=True)
    vectors = [q.astype(np.float32).tolist() for q in points.queries[:queries]]

    def ask(vector: list[float]) -> list[Any]:
        found = client.query_points(
            wordnet.COLLECTION, query=vector, limit=LIMIT, with_payload=False, search_params=params
        )
        return found.points

    for vector in vectors[: 1 if forgets else None]:
        ask(vector)
    before = metrics(server)
    taken, found = [], 0
    for number, vector in enumerate(vectors):
        if forgets:
            drop(server.local / "parts")
        begun = time.perf_counter()
        hits = ask(vector)
        taken.append(time.perf_counter() - begun)
        least = np.partition(exact.scores(number), -LIMIT)[-LIMIT]
        found += sum(hit.score >= least - 1e-6 for hit in hits)
    after = metrics(server)
    read = {
        name: round((after[key] - before[key]) / len(vectors), 1)
        for name in ("io_uring", "pread")
        if (key := f'lodestone_vectors_read_total{{by="{name}"}}') in after
    }
    where = {
        f"vectors_{place}_mb": round(after[f'lodestone_vectors_bytes{{place="{place}"}}'] / 2**20, 1)
        for place in ("memory", "disk")
    }
    return {
        "recall": round(found / LIMIT / len(vectors), 4),
        "queries_per_s": round(len(vectors) / sum(taken)),
        **percentiles(taken),
        "read_per_query": read,
        **kept(after, points),
        **where,
        **resident(server),
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--queries", type=int, default=1000)
    options = arguments.parse_args()
    points = data(options.points)
    exact = wordnet.Exact(points)
    whole = 4 * points.dimensions * len(points.payload)
    usual: list[int | None] = [None]
    settings = [
        (True, None, [("any", whole, Server, EFFORTS), ("any", whole, RefusedServer, usual)]),
        (True, BINARY, [("any", whole, Server, EFFORTS)]),
        # Shards are not quite of one size.
        (
            False,
            None,
            [("none", 0, Server, usual), ("half", int(0.8 * whole), Server, usual), ("all", 2 * whole, Server, usual)],
        ),
    ]
    for on_disk, codes, budgets in settings:
        store = build(points, on_disk, codes)
        about = {"points": len(points.payload), "on_disk": on_disk, "codes": "binary" if codes else "usual"}
        try:
            for room, memory, kind, efforts in budgets:
                server = kind(store, environment={"LODESTONE_CACHE_MEMORY": str(memory)})
                try:
                    server.start()
                    for effort in efforts:
                        for forgets in (True, False):
                            measured = measure(server, points, exact, options.queries, effort, forgets)
                            report("memory", **about, room_for=room, hnsw_ef=effort, page_cache=not forgets, **measured)
                    if kind is RefusedServer:
                        report("one read of the disk", **disk(server.local / "parts"))
                finally:
                    server.close()
        finally:
            store.close()


if __name__ == "__main__":
    main()
