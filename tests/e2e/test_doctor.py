"""`lodestone doctor` on a sound store, and on stores with something missing or damaged."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from qdrant_client import models

from harness.server import SMALL_LIMITS, Server, run_tool
from harness.stores import Store

COUNT = 2000


def fill(store: Store, launch: Callable[..., Server]) -> Server:
    """A stopped server that left segments in the store."""
    server = launch(store, environment=SMALL_LIMITS).start()
    client = server.client()
    client.create_collection("c", models.VectorParams(size=32, distance=models.Distance.DOT))
    rows = np.random.default_rng(1).random((COUNT, 32), dtype=np.float32)
    for start in range(0, COUNT, 500):
        points = [
            models.PointStruct(id=i, vector=rows[i].tolist(), payload={"n": i}) for i in range(start, start + 500)
        ]
        client.upsert("c", points, wait=True)
    deadline = time.monotonic() + 30
    while client.get_collection("c").status != models.CollectionStatus.GREEN:
        assert time.monotonic() < deadline, "not green"
        time.sleep(0.1)
    server.stop()
    return server


def largest_part(store: Store) -> str:
    """The name of an object that holds parts of a segment."""
    parts = {key: size for key, size in store.objects().items() if key.startswith("parts/")}
    assert parts, store.objects()
    return max(parts, key=lambda key: parts[key])


def test_sound(store: Store, launch: Callable[..., Server]) -> None:
    fill(store, launch)
    before = store.objects()
    report = run_tool(store, "doctor")
    assert report.returncode == 0, report.stdout + report.stderr
    assert store.objects() == before, "looking changed the store"


@pytest.mark.parametrize("damage", ["missing", "flipped bit", "cut short"])
def test_damaged(store: Store, launch: Callable[..., Server], damage: str) -> None:
    server = fill(store, launch)
    key = largest_part(store)
    body = store.read(key)
    if damage == "missing":
        store.remove(key)
    elif damage == "cut short":
        store.write(key, body[: len(body) // 2])
    else:
        middle = len(body) // 2
        store.write(key, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])
    report = run_tool(store, "doctor")
    said = report.stdout + report.stderr
    assert report.returncode == 1, said
    assert key.rsplit("/", 1)[-1][:12] in said, f"{key} is not named:\n{said}"
    # Damage is never answered with wrong results: reading everything fails, or finds every byte as it was. What is kept
    # locally would hide it.
    server.forget()
    server.launch()
    try:
        server.wait_ready(20)
        client = server.client()
        client.scroll("c", limit=COUNT, with_payload=True, with_vectors=True)
        client.query_points("c", query=[1.0] * 32, limit=COUNT)
    except Exception as error:
        assert "panick" not in str(error), error
    else:
        pytest.fail(f"{damage}: everything could be read")
    assert "panicked" not in server.log(100_000), server.log()
