#!/usr/bin/env python3
"""What a vector takes in the bucket once segments are merged and indexed: WordNet's vectors as `f32`, brought by `lodestone import`
without payload, and with it: segments alone, and all objects of the bucket once what is no longer needed was collected."""

import json
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from _bench import LocalStore, data, parser, report, serving, wordnet
from cold import RESTING, bring, settle


def main() -> None:
    options = parser(__doc__).parse_args()
    points: Any = data(options.points)
    with tempfile.TemporaryDirectory(prefix="lodestone-rest-") as home:
        vectors, payloads = Path(home, "vectors.npy"), Path(home, "payloads.jsonl")
        np.save(vectors, points.unit())
        with payloads.open("w") as lines:
            lines.writelines(json.dumps(payload) + "\n" for payload in points.payload)
        for payload in (None, payloads):
            at_rest(points, vectors, payload)


def at_rest(points: Any, vectors: Path, payloads: Path | None) -> None:
    """Imports, lets a server merge until nothing is due, and reports what all segments take."""
    with closing(LocalStore()) as store:
        bring(store, vectors, payloads)
        with serving(store, {**RESTING, "LODESTONE_GC_GRACE": "10s"}) as server, httpx.Client(trust_env=False) as http:
            settle(server)
            answer = http.get(f"{server.url}/collections/{wordnet.COLLECTION}/warm").raise_for_status().json()
            bucket = collected(store)
            server.stop()
    of_vector = 4 * points.dimensions
    each = answer["result"]["bytes"] / len(points.payload)
    report(
        "at rest",
        payload=payloads is not None,
        vector_bytes=of_vector,
        bytes_per_point=round(each, 1),
        times_the_vector=round(each / of_vector, 3),
        bucket_times_the_vector=round(bucket / len(points.payload) / of_vector, 3),
    )


def collected(store: LocalStore) -> int:
    """Bytes of all objects, once nothing was added or removed for longer than what is not needed stays."""
    sizes: list[int] = []
    deadline = time.monotonic() + 180
    while len(sizes) < 20 or len(set(sizes[-20:])) > 1:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the bucket is still changed: {sizes[-20:]}")
        time.sleep(1)
        sizes.append(sum(store.objects().values()))
    return sizes[-1]


if __name__ == "__main__":
    main()
