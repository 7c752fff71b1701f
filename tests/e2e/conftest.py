"""Fixtures: one MinIO per run, a store of either kind, a server on it."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.minio import Minio
from harness.paths import minio_binary, server_binary
from harness.server import Server
from harness.stores import LocalStore, MinioStore, Store
from harness.wordnet import Exact, WordNet, load


@pytest.fixture(scope="session", autouse=True)
def _binary() -> None:
    if not server_binary().is_file():
        pytest.exit(f"no server at {server_binary()}: cargo build -p lodestone-server, or set LODESTONE_BIN", 2)


@pytest.fixture(scope="session")
def minio() -> Iterator[Minio]:
    """The MinIO of this run."""
    if minio_binary() is None:
        pytest.fail("no MinIO: run tests/install, or set MINIO_BIN")
    running = Minio()
    yield running
    running.stop()


@pytest.fixture(scope="module", params=["local", "minio"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of store."""
    return request.param


@pytest.fixture(scope="module", params=["rest", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Both protocols."""
    return request.param


@pytest.fixture(scope="session")
def data() -> WordNet:
    """WordNet's points, as many as `WORDNET_POINTS` says (0: all 117,659). Tests leave them as they are."""
    try:
        return load(int(os.environ.get("WORDNET_POINTS", "20000")) or None)
    except FileNotFoundError as missing:
        pytest.skip(f"NOT TESTED: {missing}")


@pytest.fixture(scope="session")
def exact(data: WordNet) -> Exact:
    """The right answers about these points."""
    return Exact(data)


@pytest.fixture
def store(store_kind: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A fresh store of the wanted kind."""
    made = LocalStore() if store_kind == "local" else MinioStore(request.getfixturevalue("minio"))
    yield made
    made.close()


@pytest.fixture
def launch() -> Iterator[Callable[..., Server]]:
    """Makes servers, and ends them with the test."""
    made: list[Server] = []

    def make(on: Store, **options: Any) -> Server:
        made.append(Server(on, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    """One server on a local directory for all tests of a module that leave it as they found it."""
    store = LocalStore()
    server = Server(store)
    try:
        yield server.start()
    finally:
        server.close()
        store.close()
