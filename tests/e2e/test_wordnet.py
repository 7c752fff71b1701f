"""A real data set through the official client, exact answers, before and after the local disk is gone.

`WORDNET_POINTS` is how many points (0: all 117,659); `tests/full/wordnet` uses all.
"""

import os
from collections.abc import Callable

import pytest

from harness.server import Server
from harness.stores import Store
from harness.wordnet import Exact, WordNet
from harness.wordnet_check import check_all, upload_all

QUERIES = int(os.environ.get("WORDNET_QUERIES", "200"))


@pytest.mark.timeout(1800)
def test_answers_are_exact(
    store: Store, protocol: str, launch: Callable[..., Server], data: WordNet, exact: Exact
) -> None:
    server = launch(store).start()
    client = server.client(grpc=protocol == "grpc", timeout=120)
    upload_all(client, data, shards=2 if protocol == "grpc" else 1)
    check_all(client, data, exact, queries=QUERIES)
    server.stop()
    server.forget()
    server.start()
    check_all(server.client(grpc=protocol == "grpc", timeout=120), data, exact, queries=50)
