"""Vectors that are not in memory: because the user says so, or because there is no room. Answers are the same."""

import time
from collections.abc import Callable, Iterator

import pytest
from qdrant_client import models

from harness.server import RefusedServer, Server
from harness.stores import LocalStore
from harness.wordnet import COLLECTION, Exact, WordNet, create, create_indexes, filters, upload
from harness.wordnet_check import recall, wait_for_index

LEAST = 0.98
"""The recall that nobody should have to ask for."""


@pytest.fixture(scope="module")
def store(data: WordNet) -> Iterator[LocalStore]:
    """Indexed vectors that the user wants on disk."""
    made = LocalStore()
    server = Server(made).start()
    try:
        client = server.client(grpc=True, timeout=120)
        create(client, data, on_disk=True)
        upload(client, data)
        create_indexes(client)
        client.update_collection(COLLECTION, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=500))
        wait_for_index(client)
        server.stop()
        yield made
    finally:
        server.close()
        made.close()


def rows(server: Server, by: str | None = None) -> float:
    """Vectors that were read from disk."""
    every = ["io_uring", "pread"] if by is None else [by]
    return sum(server.metric(f'lodestone_vectors_read_total{{by="{name}"}}') for name in every)


def in_memory(server: Server) -> float:
    """Bytes of vectors in memory."""
    return server.metric('lodestone_vectors_bytes{place="memory"}')


def on_disk(server: Server) -> float:
    """Bytes of vectors on disk."""
    return server.metric('lodestone_vectors_bytes{place="disk"}')


def eventually(holds: Callable[[], bool], seconds: float = 60) -> bool:
    """A rebuild that the settings before it began reads the vectors where those wanted them, until it ends."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def test_codes_take_less_than_a_fifth(launch: Callable[..., Server], store: LocalStore, data: WordNet) -> None:
    server = launch(store).start()
    indexed = server.client().get_collection(COLLECTION).indexed_vectors_count
    assert indexed >= 0.4 * len(data.payload)
    codes = sum(size for key, size in store.objects().items() if "-vec-" in key)
    assert codes <= 4 * data.dimensions * indexed / 5, codes / indexed
    server.stop()


@pytest.mark.parametrize("kind", [Server, RefusedServer], ids=["any way", "io_uring refused"])
def test_answers_are_right_and_read_from_disk(
    store: LocalStore, data: WordNet, exact: Exact, kind: type[Server]
) -> None:
    server = kind(store)
    try:
        client = server.start().client(grpc=True)
        assert recall(client, data, exact, queries=100, params=None) >= LEAST
        read = rows(server)
        # At least what is handed out was read, and far from everything.
        assert 100 * 10 / 2 <= read <= 100 * len(data.payload) / 10, read
        assert in_memory(server) == 0 and on_disk(server) >= len(data.payload) * 4 * data.dimensions * 0.4
        if kind is RefusedServer:
            assert rows(server, "pread") == read
        for name, condition, allowed in filters(data):
            found = recall(client, data, exact, queries=20, condition=condition, allowed=allowed, params=None)
            assert found >= LEAST - 0.01, f"{name}: {found}"
        assert rows(server) > read
        read = rows(server)
        assert recall(client, data, exact, queries=20, params=models.SearchParams(exact=True)) == 1.0
        assert 0 < rows(server) - read < 20 * len(data.payload) / 50, "they are read in runs"
    finally:
        server.close()


def test_the_user_may_change_his_mind(
    launch: Callable[..., Server], store: LocalStore, data: WordNet, exact: Exact
) -> None:
    server = launch(store).start()
    client = server.client()
    for wanted in (True, False, True):
        client.update_collection(COLLECTION, vectors_config={"": models.VectorParamsDiff(on_disk=wanted)})
        wait_for_index(client)
        assert recall(client, data, exact, queries=20, params=None) >= LEAST
        # They come into memory beside searches, which read them from disk until then.
        assert eventually(lambda: (in_memory(server) == 0, on_disk(server) > 0) == (wanted, wanted))
        before = rows(server)
        assert recall(client, data, exact, queries=20, params=None) >= LEAST
        assert (rows(server) > before) == wanted
    server.stop()


def test_what_does_not_fit_into_memory_is_read_from_disk(
    launch: Callable[..., Server], store: LocalStore, data: WordNet, exact: Exact
) -> None:
    for memory in ("0", "4GiB"):
        server = launch(store, environment={"LODESTONE_CACHE_MEMORY": memory}).start()
        client = server.client()
        client.update_collection(COLLECTION, vectors_config={"": models.VectorParamsDiff(on_disk=False)})
        wait_for_index(client)
        assert recall(client, data, exact, queries=20, params=None) >= LEAST
        fits = memory != "0"
        assert eventually(lambda: (in_memory(server) > 0, on_disk(server) == 0) == (fits, fits))
        before = rows(server)
        assert recall(client, data, exact, queries=20, params=None) >= LEAST
        assert (rows(server) == before) == fits
        client.update_collection(COLLECTION, vectors_config={"": models.VectorParamsDiff(on_disk=True)})
        server.stop()
