"""Warm-ups and pins, with room for three of six collections."""

import random
import shutil
import time
from collections.abc import Callable
from typing import Any

import httpx

from harness.server import Server
from harness.stores import LocalStore

NAMES = [f"c{number}" for number in range(6)]
POINTS, DIM = 800, 64
READER = {"api-key": "reader"}
WRITER = {"api-key": "writer"}


class Http:
    """Calls of a server, which are expected to end well unless a status is named."""

    def __init__(self, server: Server) -> None:
        self._client = httpx.Client(base_url=server.url, timeout=60, trust_env=False)

    def __call__(
        self, method: str, path: str, json: object = None, *, key: dict[str, str] = WRITER, status: int = 200
    ) -> Any:
        """The result, or the error of an answer with another status."""
        content = {} if json is None else {"json": json}
        answer = self._client.request(method, path, headers=key, **content)
        assert answer.status_code == status, answer.text
        body = answer.json()
        return body["result"] if status == 200 else body["status"]["error"]

    def gets(self, name: str, vector: list[float]) -> int:
        """GETs of the bucket that a search with payloads took."""
        asked = {"query": vector, "limit": 10, "with_payload": True}
        path = f"/collections/{name}/points/query"
        answer = self._client.post(path, json=asked, headers=READER | {"x-lodestone-usage": "yes"})
        assert len(answer.raise_for_status().json()["result"]["points"]) == 10
        counts = dict(pair.split("=") for pair in answer.headers["x-lodestone-usage"].split(", "))
        return int(counts["gets"])

    def until_here(self, name: str) -> int:
        """Waits until a pinned collection is here; its bytes."""
        for _ in range(1500):
            near = self("GET", f"/collections/{name}/warm", key=READER)
            if near["pin"] == "kept" and near["here"] == near["bytes"]:
                return int(near["bytes"])
            time.sleep(0.02)
        raise AssertionError(f"not here: {near}")


def test_warm_and_pinned_collections_are_here(launch: Callable[..., Server]) -> None:
    rng = random.Random(1)
    vector = [rng.uniform(-1, 1) for _ in range(DIM)]
    store = LocalStore()
    environment = {"LODESTONE_COMPACT_FOLD_ROWS": str(POINTS), "LODESTONE_READ_ONLY_API_KEY": "reader"}
    server = launch(store, environment=environment, api_key="writer")
    server.start()
    http = Http(server)
    for name in NAMES:
        settings = {"size": DIM, "distance": "Dot"}
        optimizers = {"indexing_threshold": 16}
        http("PUT", f"/collections/{name}", {"vectors": settings, "optimizers_config": optimizers})
        points = [
            {"id": id, "vector": [rng.uniform(-1, 1) for _ in range(DIM)], "payload": {"text": f"{id} of {name}"}}
            for id in range(POINTS)
        ]
        http("PUT", f"/collections/{name}/points?wait=true", {"points": points})
    for name in NAMES:
        for _ in range(600):
            info = http("GET", f"/collections/{name}")
            if info["status"] == "green" and info["indexed_vectors_count"]:
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"no index: {info}")
    bytes_each = http("GET", "/collections/c0/warm")["bytes"]
    server.stop()

    environment["LODESTONE_CACHE_DISK"] = str(int(3.3 * bytes_each))
    environment["LODESTONE_CACHE_MEMORY"] = str(int(2 * bytes_each))
    shutil.rmtree(server.local)
    server.start()
    http = Http(server)
    warmed = http("POST", "/collections/c5/warm", {}, key=READER)
    assert warmed["here"] == warmed["bytes"] == http("GET", "/collections/c5/warm")["here"]
    assert http.gets("c5", vector) == 0
    assert "read-only" in http("PUT", "/collections/c0/pin", key=READER, status=403)
    http("PUT", "/collections/c0/pin")
    http.until_here("c0")
    for _ in range(6):
        for name in NAMES[1:]:
            http.gets(name, vector)
            http("POST", f"/collections/{name}/warm", {}, key=READER)
    assert http.until_here("c0") and http.gets("c0", vector) == 0
    assert http("GET", "/collections/c1/warm")["here"] < bytes_each, "others come and go"
    for name in NAMES[1:3]:
        http("PUT", f"/collections/{name}/pin")
    no_room = http("PUT", "/collections/c3/pin", status=422)
    assert "cache.disk" in no_room and "pinned collections take" in no_room, no_room
    http("DELETE", "/collections/c2/pin")
    server.kill()

    shutil.rmtree(server.local)
    server.start()
    http = Http(server)
    for name in NAMES[:2]:
        assert http.until_here(name) and http.gets(name, vector) == 0
    assert http("GET", "/collections/c2/warm")["pin"] == "none"
    store.close()
