"""A bucket that is full, read-only, forbidden or gone: clear errors, the process alive, nothing lost."""

import random
import time
from collections.abc import Callable, Iterator

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from harness.minio import Minio
from harness.mounts import MountRefused, SmallDisk
from harness.proxy import Proxy
from harness.server import Server
from harness.stores import LocalStore, MinioStore

NAME = "things"


def create(client: QdrantClient) -> None:
    """A collection of points that random numbers fill quickly."""
    client.create_collection(NAME, models.VectorParams(size=256, distance=models.Distance.DOT))


def write(client: QdrantClient, batch: int, count: int = 100) -> None:
    """One batch; its number is in every point."""
    rng = random.Random(batch)
    points = [
        models.PointStruct(
            id=batch * count + i, vector=[rng.random() for _ in range(256)], payload={"batch": batch, "of": count}
        )
        for i in range(count)
    ]
    client.upsert(NAME, points, wait=True)


def has_batch(client: QdrantClient, batch: int) -> int:
    """How many points of a batch are there."""
    mine = models.FieldCondition(key="batch", match=models.MatchValue(value=batch))
    return client.count(NAME, count_filter=models.Filter(must=[mine]), exact=True).count


def refused(client: QdrantClient, batch: int) -> UnexpectedResponse:
    """The error of a write that must fail with an answer, not with a broken connection."""
    with pytest.raises(UnexpectedResponse) as error:
        write(client, batch)
    assert error.value.status_code >= 500, error.value
    assert b'"error"' in error.value.content, error.value.content
    return error.value


def recovers(client: QdrantClient, batch: int, within: float = 60) -> None:
    """Writes succeed again soon after the cause is gone."""
    deadline = time.monotonic() + within
    while True:
        try:
            write(client, batch)
            return
        except (UnexpectedResponse, ResponseHandlingException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """A file system of 12 MiB."""
    try:
        made = SmallDisk(12)
    except MountRefused as reason:
        pytest.skip(f"NOT TESTED: cannot mount a small disk: {reason}")
    yield made
    made.close()


@pytest.fixture
def proxy(minio: Minio) -> Iterator[Proxy]:
    """A proxy before MinIO that can refuse."""
    made = Proxy(minio.endpoint)
    yield made
    made.stop()


@pytest.fixture
def bucket(minio: Minio, proxy: Proxy) -> Iterator[MinioStore]:
    """A bucket seen through the proxy."""
    made = MinioStore(minio, endpoint=proxy.endpoint)
    yield made
    made.close()


def test_full_disk(disk: SmallDisk, launch: Callable[..., Server]) -> None:
    server = launch(LocalStore(disk.path / "store")).start()
    client = server.client()
    create(client)
    acknowledged: list[int] = []
    refusals: list[int] = []
    for batch in range(400):
        try:
            write(client, batch)
        except UnexpectedResponse as error:
            # A job that gives up leaves room for a few more: it is full when two in a row are refused.
            assert error.status_code >= 500 and b'"error"' in error.content, error
            refusals.append(batch)
            if refusals[-2:] == [batch - 1, batch]:
                break
        else:
            acknowledged.append(batch)
    else:
        pytest.fail("40,000 points fit into 12 MiB")
    assert server.is_alive()
    assert all(has_batch(client, batch) == 100 for batch in acknowledged)
    disk.resize(200)
    recovers(client, 2000)
    server.kill()
    server.start()
    client = server.client()
    assert all(has_batch(client, batch) == 100 for batch in [*acknowledged, 2000])
    assert all(has_batch(client, batch) in (0, 100) for batch in refusals)


def test_read_only_directory(disk: SmallDisk, launch: Callable[..., Server]) -> None:
    server = launch(LocalStore(disk.path / "store")).start()
    client = server.client()
    create(client)
    write(client, 1)
    server.stop()
    disk.set_writable(False)
    server.launch()
    if server.wait_exit(30) == 0:
        pytest.fail("ended as if all were well")
    said = server.log().lower()
    assert "read-only" in said or "permission" in said or "write" in said, said
    disk.set_writable(True)
    server.start()
    assert has_batch(server.client(), 1) == 100


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["read-only", "full", "forbidden", "down", "hang up"])
def test_bucket_that_refuses_for_a_while(
    bucket: MinioStore, proxy: Proxy, launch: Callable[..., Server], mode: str
) -> None:
    server = launch(bucket).start()
    client = server.client(timeout=180)
    create(client)
    write(client, 1)
    proxy.mode = mode
    refused(client, 2)
    assert proxy.refused > 0
    assert server.is_alive()
    proxy.mode = "pass"
    recovers(client, 3)
    assert has_batch(client, 1) == has_batch(client, 3) == 100
    assert has_batch(client, 2) in (0, 100)
    server.kill()
    server.forget()
    server.start()
    client = server.client()
    assert has_batch(client, 1) == has_batch(client, 3) == 100
    assert has_batch(client, 2) in (0, 100)


@pytest.mark.parametrize("mode", ["forbidden", "down", "hang up", "silent"])
def test_reads_and_catalog_changes_do_not_wait_long_for_a_bucket_that_is_down(
    bucket: MinioStore, proxy: Proxy, launch: Callable[..., Server], mode: str
) -> None:
    server = launch(bucket).start()
    client = server.client(timeout=60)
    create(client)
    write(client, 1)
    proxy.mode = mode
    time.sleep(1.5)  # longer than a proof of leadership serves
    for ask in (
        lambda: client.count(NAME, exact=True),
        client.get_collections,
        lambda: client.create_collection("more", models.VectorParams(size=2, distance=models.Distance.DOT)),
    ):
        begun = time.monotonic()
        with pytest.raises(UnexpectedResponse) as error:
            ask()
        assert error.value.status_code >= 500 and time.monotonic() - begun < 15
    assert server.is_alive()
    proxy.mode = "pass"
    assert has_batch(client, 1) == 100
    assert not client.collection_exists("more")


@pytest.mark.parametrize("mode", ["read-only", "forbidden"])
def test_start_on_a_bucket_that_refuses(
    bucket: MinioStore, proxy: Proxy, launch: Callable[..., Server], mode: str
) -> None:
    proxy.mode = mode
    assert_refuses_to_start(launch(bucket))


def test_wrong_credentials(minio: Minio, launch: Callable[..., Server]) -> None:
    store = MinioStore(minio, secret_key="not-the-secret")
    try:
        assert_refuses_to_start(launch(store))
    finally:
        store.close()


def test_missing_bucket(minio: Minio, launch: Callable[..., Server]) -> None:
    store = MinioStore(minio)
    store.close()
    assert_refuses_to_start(launch(store))


def assert_refuses_to_start(server: Server) -> None:
    """Ends by itself, soon, and says what is wrong without a panic or a trace."""
    server.launch()
    status = server.wait_exit(60)
    said = server.log()
    assert status not in (0, 101, -6), f"status {status}:\n{said}"
    assert "panicked" not in said and "RUST_BACKTRACE" not in said, said
    assert any(word in said.lower() for word in ("denied", "credential", "403", "forbidden", "bucket", "permission")), said
