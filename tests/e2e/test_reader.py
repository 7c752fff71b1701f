"""`serve --roles query`: reads of the bucket alone, beside the process that writes, after it, and without it."""

import os
import random
import time
from collections.abc import Callable

import httpx
import pytest
from qdrant_client.http.exceptions import UnexpectedResponse

from harness.readers import COLLECTION, COMPANIONS, Crew, RegisterReader, RegisterWriter, create_registers
from harness.server import SMALL_LIMITS, Server, StartFailed
from harness.stores import LocalStore, Store

SECONDS = float(os.environ.get("CONSISTENCY_SECONDS", "8"))
QUERY = ["--roles", "query"]


def requests(server: Server) -> dict[str, int]:
    """Requests to the bucket by kind."""
    text = httpx.get(f"{server.url}/metrics", timeout=10, trust_env=False).raise_for_status().text
    start = "lodestone_store_requests_total{kind="
    lines = (line[len(start) :].split("} ") for line in text.splitlines() if line.startswith(start))
    return {kind.strip('"'): int(count) for kind, count in lines}


def wrote_nothing(server: Server) -> None:
    """It sent nothing that changes a bucket."""
    sent = requests(server)
    assert sent["get"] > 0 and not any(sent[kind] for kind in ("create", "put", "delete")), sent


def test_p3_a_reader_sees_what_was_acknowledged_elsewhere(store: Store, launch: Callable[..., Server]) -> None:
    limits = SMALL_LIMITS | {"LODESTONE_COMPACT_FOLD_ROWS": "50"}
    server = launch(store, environment=limits).start()
    registers = create_registers(server.client(), 3)
    other = launch(store, arguments=QUERY).start()
    writers = [RegisterWriter(register, seed=5) for register in registers]
    readers = [RegisterReader(number, registers, seed=5) for number in range(3)]
    crew = Crew()
    for number, writer in enumerate(writers):
        crew.add(writer.write, server.client(grpc=number % 2 == 0))
    for number, reader in enumerate(readers):
        crew.add(reader.read, other.client(grpc=number % 2 == 1))
    time.sleep(SECONDS)
    server.kill()
    # Without anybody who writes, what was acknowledged is still there.
    time.sleep(1)
    crew.finish()
    assert min(w.acknowledged for w in writers) > 0 and min(r.reads for r in readers) > 0
    errors = [e for reader in readers for e in reader.errors]
    assert not errors, f"a reader answered with errors: {errors}"
    client = other.client()
    assert all(reader.read(client) for reader in readers)
    wrote_nothing(other)
    # The next process that writes is not hindered, and is followed.
    server.start()
    assert all(writer.write(server.client()) for writer in writers)
    assert all(reader.read(client) for reader in readers)


def test_a_reader_of_an_orphaned_store(store: Store, launch: Callable[..., Server]) -> None:
    server = launch(store).start()
    registers = create_registers(server.client(), 2)
    writer = RegisterWriter(registers[0], seed=6)
    for _ in range(20):
        assert writer.write(server.client()), writer.errors
    server.kill()
    before = store.objects()
    reader = launch(store, arguments=QUERY).start()
    checks = RegisterReader(0, registers, seed=6)
    for number in range(20):
        assert checks.read(reader.client(grpc=number % 2 == 1)), checks.errors
    info = reader.client().get_collection(COLLECTION)
    assert info.points_count == 2 * (1 + COMPANIONS)
    assert store.objects() == before
    wrote_nothing(reader)


def test_a_reader_refuses_writes_and_says_what_to_do(store: Store, launch: Callable[..., Server]) -> None:
    server = launch(store).start()
    (register,) = create_registers(server.client(), 1)
    reader = launch(store, arguments=QUERY).start()
    rest, grpc = reader.client(), reader.client(grpc=True)
    with pytest.raises(UnexpectedResponse) as refused:
        rest.delete(COLLECTION, [0])
    assert refused.value.status_code == 403 and b"all roles" in refused.value.content
    for change in (
        lambda: grpc.delete(COLLECTION, [0]),
        lambda: rest.delete_collection(COLLECTION),
        lambda: rest.create_payload_index(COLLECTION, "version", "integer"),
    ):
        with pytest.raises(Exception, match="all roles"):
            change()
    assert [c.name for c in rest.get_collections().collections] == [COLLECTION]
    assert RegisterReader(0, [register], seed=7).read(rest)
    assert httpx.get(f"{reader.url}/healthz", trust_env=False).status_code == 200


def test_nothing_is_asked_while_nobody_reads(store: Store, launch: Callable[..., Server]) -> None:
    server = launch(store).start()
    create_registers(server.client(), 1)
    reader = launch(store, arguments=QUERY).start()
    reader.client().count(COLLECTION)
    before = requests(reader)
    time.sleep(3)
    assert requests(reader) == before
    reader.stop()


def test_collections_come_and_go(store: Store, launch: Callable[..., Server]) -> None:
    server = launch(store).start()
    reader = launch(store, arguments=QUERY).start()
    writing, reading = server.client(), reader.client(grpc=True)
    rng = random.Random(8)
    for turn in range(6):
        create_registers(writing, 1)
        assert reading.collection_exists(COLLECTION) and reading.count(COLLECTION).count == 1 + COMPANIONS
        if rng.random() < 0.5:
            server.kill()
            server.start()
            writing = server.client()
        writing.delete_collection(COLLECTION)
        assert not reading.collection_exists(COLLECTION), turn


def test_a_reader_makes_no_store(launch: Callable[..., Server]) -> None:
    store = LocalStore()
    store.close()
    reader = launch(store, arguments=QUERY)
    with pytest.raises(StartFailed, match="there is no directory"):
        reader.start()
    assert not store.path.exists()
