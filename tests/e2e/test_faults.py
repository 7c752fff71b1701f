"""A bucket that fails one request in twenty, lost replies included: nothing lost, nothing doubled, no error outside."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from harness.minio import Minio
from harness.proxy import Proxy
from harness.server import SMALL_LIMITS, Server
from harness.stores import MinioStore
from harness.workload import Writer, create_collection, verify

SECONDS = float(os.environ.get("FAULTS_SECONDS", "20"))
NAME = "faults"


@pytest.fixture
def proxy(minio: Minio) -> Iterator[Proxy]:
    """A proxy before MinIO that fails one request in twenty."""
    made = Proxy(minio.endpoint)
    yield made
    made.stop()


@pytest.mark.timeout(900)
def test_a_retry_cures_it(minio: Minio, proxy: Proxy, launch: Callable[..., Server]) -> None:
    store = MinioStore(minio, endpoint=proxy.endpoint)
    proxy.faults = 0.05
    server = launch(store, environment=SMALL_LIMITS).start(timeout=120)
    create_collection(server.client(timeout=120), NAME)
    writers = [Writer(number, seed=7) for number in range(4)]
    stop = threading.Event()
    threads = [
        threading.Thread(target=w.run, args=(server.client(grpc=w.number % 2 == 1, timeout=120), NAME, stop))
        for w in writers
    ]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    stop.set()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a writer hangs"
    errors = [error for writer in writers for error in writer.errors]
    assert not errors, f"errors reached a client: {errors}"
    assert proxy.refused > 20 and min(w.counts.total() for w in writers) > 0
    verify(server.client(timeout=120), NAME, writers, random.Random(7))
    server.kill()
    server.forget()
    server.start(timeout=120)
    proxy.faults = 0.0
    verify(server.client(timeout=120), NAME, writers, random.Random(7))
    store.close()
