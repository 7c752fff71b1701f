#!/usr/bin/env python3
"""What a vector takes in the bucket once segments are merged and indexed: WordNet's vectors as `f32`, brought by `lodestone import`
without payload, and with it."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from _bench import LocalStore, Server, binary, data, parser, report, wordnet
from cold import settle


def main() -> None:
    options = parser(__doc__).parse_args()
    points: Any = data(options.points)
    with tempfile.TemporaryDirectory(prefix="lodestone-rest-") as home:
        vectors, payloads = Path(home, "vectors.npy"), Path(home, "payloads.jsonl")
        np.save(vectors, points.unit())
        with payloads.open("w") as lines:
            lines.writelines(json.dumps(payload) + "\n" for payload in points.payload)
        for more in ([], ["--payload", str(payloads)]):
            at_rest(points, vectors, more)


def at_rest(points: Any, vectors: Path, more: list[str]) -> None:
    """Imports, lets a server merge until nothing is due, and reports what all segments take."""
    store = LocalStore()
    line = [str(binary()), "import", *store.arguments(), "--local", f"{store.path}.local", "--collection", wordnet.COLLECTION]
    subprocess.run([*line, "--distance", "cosine", *more, str(vectors)], stdout=subprocess.DEVNULL, check=True)
    server = Server(store, environment={"LODESTONE_COMPACT_IDLE": "2s"})
    server.start()
    settle(server)
    with httpx.Client(trust_env=False) as http:
        answer = http.get(f"{server.url}/collections/{wordnet.COLLECTION}/warm").raise_for_status().json()
    server.stop()
    server.close()
    store.close()
    shutil.rmtree(f"{store.path}.local", ignore_errors=True)
    of_vector = 4 * points.dimensions
    each = answer["result"]["bytes"] / len(points.payload)
    report(
        "at rest",
        payload=bool(more),
        vector_bytes=of_vector,
        bytes_per_point=round(each, 1),
        times_the_vector=round(each / of_vector, 3),
    )


if __name__ == "__main__":
    main()
