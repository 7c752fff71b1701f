#!/usr/bin/env python3
"""What a vector takes in the bucket once segments are merged and indexed: WordNet's vectors as `f32`, brought by `lodestone import`
without payload, and with it."""

import json
import tempfile
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
        with serving(store, RESTING) as server, httpx.Client(trust_env=False) as http:
            settle(server)
            answer = http.get(f"{server.url}/collections/{wordnet.COLLECTION}/warm").raise_for_status().json()
            server.stop()
    of_vector = 4 * points.dimensions
    each = answer["result"]["bytes"] / len(points.payload)
    report(
        "at rest",
        payload=payloads is not None,
        vector_bytes=of_vector,
        bytes_per_point=round(each, 1),
        times_the_vector=round(each / of_vector, 3),
    )


if __name__ == "__main__":
    main()
