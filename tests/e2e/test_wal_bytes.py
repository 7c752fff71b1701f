"""A change by filter is written as what changes and where, not as the rows it touches."""

from collections.abc import Callable

import numpy as np
import pytest
from qdrant_client import models

from harness.server import Server
from harness.stores import LocalStore

COUNT = 100_000


def wal_bytes(store: LocalStore) -> int:
    """Bytes of all objects of the log."""
    return sum(size for key, size in store.objects().items() if key.startswith("wal/"))


@pytest.mark.timeout(900)
def test_filter_update_of_100_000_points(launch: Callable[..., Server]) -> None:
    store = LocalStore()
    server = launch(store).start()
    client = server.client(grpc=True, timeout=300)
    client.create_collection("c", models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upload_collection(
        "c",
        vectors=np.ones((COUNT, 2), dtype=np.float32),
        payload=({"half": i % 2, "n": i} for i in range(COUNT)),
        ids=range(COUNT),
        batch_size=5000,
        wait=True,
    )
    before = wal_bytes(store)
    client.set_payload("c", {"seen": "yes"}, models.Filter(must_not=[models.HasIdCondition(has_id=[COUNT])]), wait=True)
    written = wal_bytes(store) - before
    seen = models.FieldCondition(key="seen", match=models.MatchValue(value="yes"))
    assert client.count("c", count_filter=models.Filter(must=[seen]), exact=True).count == COUNT
    assert 0 < written <= 1_000_000, f"{written} bytes"
    odd = models.FieldCondition(key="half", match=models.MatchValue(value=1))
    before = wal_bytes(store)
    client.delete("c", models.FilterSelector(filter=models.Filter(must=[odd])), wait=True)
    assert client.count("c", exact=True).count == COUNT // 2
    assert 0 < wal_bytes(store) - before <= 1_000_000
    store.close()
