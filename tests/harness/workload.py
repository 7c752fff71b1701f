"""Writers that keep score, and the check that nothing acknowledged is lost and no batch is torn.

Points come in groups. Every write of a group is one request that touches all its points and leaves the same version on
each of them (or removes them all). A writer owns its groups and sends one request at a time, so after a crash a group
must be whole, at the last acknowledged version or at one that was sent after it and never answered.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

DIMENSIONS = 16
GROUP_SIZE = 20
GROUPS_PER_WRITER = 12
ABSENT = -1
Failure = (ResponseHandlingException, UnexpectedResponse, OSError)


@dataclass
class Group:
    """What is known about one group of points."""

    ids: list[int]
    certain: int = ABSENT
    """The version last acknowledged; `ABSENT` if the points were last removed, or never written."""
    possible: set[int] = field(default_factory=set)
    """Versions sent after that without an answer that says what became of them."""

    def allowed(self) -> set[int]:
        """The versions the group may have."""
        return {self.certain} | self.possible


class Writer:
    """One client that writes its groups until told to stop. Survives a server that goes away."""

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self.rng = random.Random(f"{seed}-{number}")
        first = number * 1_000_000
        self.groups = [
            Group([first + g * GROUP_SIZE + i for i in range(GROUP_SIZE)]) for g in range(GROUPS_PER_WRITER)
        ]
        self.version = 0
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def run(self, client: QdrantClient, collection: str, stop: threading.Event, pause: float = 0) -> None:
        """Writes until `stop` is set."""
        while not stop.is_set():
            self.write(client, collection)
            if pause:
                time.sleep(pause)

    def write(self, client: QdrantClient, collection: str) -> bool:
        """One write of one group; whether it was acknowledged."""
        group = self.rng.choice(self.groups)
        kind, version, send = self._draw(group)
        group.possible.add(version)
        try:
            send(client, collection)
        except Exception as error:
            if not is_expected(error):
                raise
            if is_refusal(error):
                group.possible.discard(version)
            self.errors[describe(error)] += 1
            time.sleep(0.02)
            return False
        group.certain, group.possible = version, set()
        self.counts[kind] += 1
        return True

    def _draw(self, group: Group) -> tuple[str, int, Callable[[QdrantClient, str], Any]]:
        self.version += 1
        version = self.version
        present = group.certain != ABSENT and not group.possible
        kinds = ["upsert", "upsert", "upsert", "delete", "delete by filter"]
        kind = self.rng.choice([*kinds, "payload", "payload by filter", "batch"] if present else kinds)
        if kind == "upsert":
            return kind, version, lambda c, n: c.upsert(n, self.points(group, version), wait=True)
        if kind == "delete":
            return kind, ABSENT, lambda c, n: c.delete(n, models.PointIdsList(points=group.ids), wait=True)
        if kind == "delete by filter":
            return kind, ABSENT, lambda c, n: c.delete(n, self._filter(group), wait=True)
        if kind == "payload":
            return kind, version, lambda c, n: c.set_payload(n, {"version": version}, group.ids, wait=True)
        if kind == "payload by filter":
            return kind, version, lambda c, n: c.set_payload(n, {"version": version}, self._filter(group), wait=True)
        return "upsert", version, lambda c, n: c.upsert(n, self.points(group, version), wait=True)

    def _filter(self, group: Group) -> models.FilterSelector:
        matches = models.FieldCondition(key="group", match=models.MatchValue(value=group.ids[0]))
        return models.FilterSelector(filter=models.Filter(must=[matches]))

    def points(self, group: Group, version: int) -> list[models.PointStruct]:
        """All points of a group; vector and payload tell the same version."""
        return [
            models.PointStruct(
                id=point_id,
                vector=vector_of(point_id, version),
                payload={"writer": self.number, "group": group.ids[0], "version": version, "written": version},
            )
            for point_id in group.ids
        ]


def vector_of(point_id: int, version: int) -> list[float]:
    """A vector that says whose it is and when it was written, exactly in single precision."""
    return [float(version), float(point_id % 1_000_000), *([1.0] * (DIMENSIONS - 2))]


def is_expected(error: Exception) -> bool:
    """Whether a server that is killed, fenced or busy may cause this."""
    return isinstance(error, Failure) or type(error).__module__.startswith(("grpc", "httpx", "httpcore"))


def is_refusal(error: Exception) -> bool:
    """Whether the answer promises that nothing was written: the request never reached a server, or it said no."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code in (400, 401, 403, 404, 409, 413, 422, 429, 503)
    return "Connection refused" in str(error)


def describe(error: Exception) -> str:
    """A short name for counting."""
    if isinstance(error, UnexpectedResponse):
        return f"{error.status_code} {error.content[:160]!r}"
    code = getattr(error, "code", None)
    return f"{type(error).__name__} {code() if callable(code) else ''} {str(error)[:80]}"


def create_collection(client: QdrantClient, name: str, shards: int = 2) -> None:
    """The collection that writers write to; a KiB of vectors gets an index."""
    params = models.VectorParams(size=DIMENSIONS, distance=models.Distance.DOT)
    soon = models.OptimizersConfigDiff(indexing_threshold=1)
    client.create_collection(name, vectors_config=params, shard_number=shards, optimizers_config=soon)
    client.create_payload_index(name, "group", models.PayloadSchemaType.INTEGER, wait=True)


def read_all(client: QdrantClient, collection: str) -> dict[int, Any]:
    """Every point by its id."""
    found: dict[int, Any] = {}
    offset = None
    while True:
        page, offset = client.scroll(collection, limit=1000, offset=offset, with_payload=True, with_vectors=True)
        found |= {point.id: point for point in page}
        if offset is None:
            return found


def verify(client: QdrantClient, collection: str, writers: list[Writer], rng: random.Random) -> dict[str, int]:
    """Raises `AssertionError` if something acknowledged is lost or a batch is torn. Settles what was uncertain."""
    points = read_all(client, collection)
    known = {point_id for writer in writers for group in writer.groups for point_id in group.ids}
    assert not points.keys() - known, f"points that nobody wrote: {sorted(points.keys() - known)[:5]}"
    settled = 0
    for writer in writers:
        for group in writer.groups:
            settled += bool(group.possible)
            _verify_group(writer, group, points)
    count = client.count(collection, exact=True).count
    assert count == len(points), f"count says {count}, scroll finds {len(points)}"
    _verify_search(client, collection, writers, points, rng)
    return {"points": len(points), "uncertain groups": settled}


def _verify_search(
    client: QdrantClient, collection: str, writers: list[Writer], points: dict[int, Any], rng: random.Random
) -> None:
    """Searches, through indexes where there are any: all that they find is there, as near as they say, and whole."""
    for limit in (1, 10, GROUP_SIZE):
        query = [float(rng.randrange(-9, 10)) for _ in range(DIMENSIONS)]
        group = rng.choice(rng.choice(writers).groups).ids
        only = models.Filter(must=[models.FieldCondition(key="group", match=models.MatchValue(value=group[0]))])
        for condition, among in ((None, points.keys()), (only, points.keys() & set(group))):
            hits = client.query_points(collection, query=query, query_filter=condition, limit=limit).points
            assert len(hits) == min(limit, len(among)), f"{len(hits)} hits of {limit} wanted among {len(among)}"
            assert len({hit.id for hit in hits} & among) == len(hits), f"a hit that should not be: {hits}"
            for hit in hits:
                score = sum(a * b for a, b in zip(query, points[hit.id].vector, strict=True))
                assert abs(hit.score - score) <= 1e-5 * (1 + abs(score)), f"{hit} should score {score}"


def _verify_group(writer: Writer, group: Group, points: dict[int, Any]) -> None:
    present = [points[i] for i in group.ids if i in points]
    where = f"writer {writer.number}, group {group.ids[0]}: "
    if not present:
        found = ABSENT
    else:
        assert len(present) == len(group.ids), f"{where}torn: {len(present)} of {len(group.ids)} points"
        versions = {point.payload["version"] for point in present}
        assert len(versions) == 1, f"{where}torn: versions {versions}"
        found = versions.pop()
        for point in present:
            written = point.payload["written"]
            assert point.vector == vector_of(point.id, written), f"{where}vector and payload of {point.id} differ"
    assert found in group.allowed(), f"{where}has version {found}, allowed are {group.allowed()}"
    group.certain, group.possible = found, set()
