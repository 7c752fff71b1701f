"""Generated collections, writes and questions: the server answers as the Python client's local mode does.

`DIFFERENTIAL_SEEDS` is how many cases run, from `DIFFERENTIAL_FIRST_SEED` on; `tests/soak/differential` runs many.
"""

import os
from collections.abc import Iterator

import pytest
from qdrant_client import QdrantClient

from differential.backends import ClientBackend
from differential.case import run_case
from differential.edge import EdgeBackend
from differential.model import Collection
from differential.oracle import LocalOracle
from harness.server import SMALL_LIMITS, Server
from harness.stores import LocalStore

SEEDS = int(os.environ.get("DIFFERENTIAL_SEEDS", "24"))
FIRST = int(os.environ.get("DIFFERENTIAL_FIRST_SEED", "0"))


@pytest.fixture(scope="module", params=["defaults", "small segments"])
def client(request: pytest.FixtureRequest, protocol: str) -> Iterator[QdrantClient]:
    """A client of a server whose data is all in the tail, or spread over many small segments."""
    store = LocalStore()
    server = Server(store, environment=SMALL_LIMITS | {"LODESTONE_COMPACT_FOLD_ROWS": "10"} if "small" in request.param else {})
    try:
        yield server.start().client(grpc=protocol == "grpc")
    finally:
        server.close()
        store.close()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_answers_as_the_reference_does(client: QdrantClient, seed: int) -> None:
    def subject(collection: Collection) -> ClientBackend:
        return ClientBackend(client, collection, "lodestone", key=f"case-{seed}")

    assert run_case(seed, subject, LocalOracle) > 0


@pytest.mark.parametrize("seed", range(3))
def test_reference_agrees_with_the_engine(seed: int) -> None:
    """The reference is only as good as its list of known differences."""
    assert run_case(seed, EdgeBackend, LocalOracle, indexes=False, booleans=False) > 0
