"""Rounds of writing and dying: the shared body of the crash tests and of the long scripts."""

import random
import re
import threading
import time
from collections import Counter
from typing import Callable

from .server import Server, run_tool
from .stores import Store
from .workload import Writer, create_collection, verify

COLLECTION = "crash"


def crash_rounds(
    store: Store,
    rounds: int,
    *,
    forget: bool,
    seed: int,
    environment: dict[str, str],
    clients: int = 4,
    longest: float = 1.5,
    say: Callable[[str], None] = print,
) -> dict[str, int]:
    """Writes from several clients, kills the server at a random moment, starts it again and checks, many times.

    With `forget`, everything but the bucket is deleted before each start. Afterwards the bucket must hold no object
    that nothing needs and miss none. Where small segments may have indexes, some must have been built on the way.
    """
    rng = random.Random(seed)
    writers = [Writer(number, seed) for number in range(clients)]
    server = Server(store, environment=environment)
    totals: Counter[str] = Counter()
    try:
        server.start()
        with_client(server, lambda client: create_collection(client, COLLECTION))
        for number in range(rounds):
            acknowledged, indexes = write_and_kill(server, writers, rng.uniform(0.1, longest))
            if forget:
                server.forget()
            begun = time.monotonic()
            server.start()
            took = time.monotonic() - begun
            found = with_client(server, lambda client: verify(client, COLLECTION, writers, rng))
            totals["rounds"] += 1
            totals["acknowledged"] += acknowledged
            totals["indexes"] += indexes
            totals["uncertain groups"] += found["uncertain groups"]
            say(f"round {number + 1}/{rounds}: {acknowledged} acknowledged, {indexes} indexes, {found}, ready after {took:.2f} s")
        totals["indexes"] += settle(server)
        assert totals["indexes"] or "LODESTONE_COMPACT_INDEX_ROWS" not in environment, "no index was built"
        totals["objects left"] = examine(server, store, collected="LODESTONE_GC_GRACE" in environment)
        return dict(totals)
    except AssertionError as failure:
        raise AssertionError(f"seed {seed}, {store.kind}, after {totals}: {failure}\nserver log:\n{server.log()}") from None
    finally:
        server.close()


def with_client(server: Server, use: Callable) -> object:
    """Uses a client and closes it."""
    client = server.client()
    try:
        return use(client)
    finally:
        client.close()


def write_and_kill(server: Server, writers: list[Writer], after: float) -> tuple[int, int]:
    """Lets all writers write for so many seconds, then `kill -9`; how many writes were acknowledged and indexes built."""
    before = sum(w.counts.total() for w in writers)
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(writer: Writer) -> None:
        client = server.client(grpc=writer.number % 2 == 1, timeout=10)
        try:
            writer.run(client, COLLECTION, stop)
        except BaseException as failure:
            failures.append(failure)
        finally:
            client.close()

    threads = [threading.Thread(target=work, args=(writer,), daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(after)
    indexes = server.jobs()["index"]
    server.kill()
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a writer hangs"
    assert not failures, f"a writer failed: {failures[0]!r}"
    return sum(w.counts.total() for w in writers) - before, indexes


def settle(server: Server, within: float = 60) -> int:
    """Waits until no work is due any more; returns how many indexes the process has built."""
    deadline = time.monotonic() + within
    while with_client(server, lambda client: client.get_collection(COLLECTION).status) != "green":
        assert time.monotonic() < deadline, f"work stays due: {server.jobs()}"
        time.sleep(0.1)
    return server.jobs()["index"]


def examine(server: Server, store: Store, *, collected: bool, within: float = 60) -> int:
    """Lets `doctor` look at the idle and at the stopped store; returns the number of objects left.

    With `collected`, everything that nothing needs must be gone soon. After the stop that no longer holds: its
    checkpoint makes garbage of the one before.
    """
    deadline = time.monotonic() + within
    while collected and not re.search(r"orphans +none", said := _doctor(store)):
        assert time.monotonic() < deadline, f"orphans stay:\n{said}"
        time.sleep(1)
    server.stop()
    _doctor(store)
    return len(store.objects())


def _doctor(store: Store) -> str:
    report = run_tool(store, "doctor")
    said = report.stdout + report.stderr
    assert report.returncode == 0, f"doctor says {report.returncode}:\n{said}"
    return said
