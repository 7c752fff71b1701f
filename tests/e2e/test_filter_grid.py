"""Every shape of a value against every kind of condition: the same points as Qdrant's own engine finds.

The answers must not depend on where the points are (tail or segment) nor on payload indexes.
"""

from collections.abc import Iterator

import pytest
from qdrant_client import models

from differential.backends import ClientBackend
from differential.edge import EdgeBackend
from differential.grid import PAYLOADS, UUID, as_filter, conditions
from differential.model import Collection
from harness.server import SMALL_LIMITS, Server
from harness.stores import LocalStore

COLLECTION = Collection({"": models.VectorParams(size=2, distance=models.Distance.DOT)})
POINTS = models.UpsertOperation(
    upsert=models.PointsList(
        points=[models.PointStruct(id=i, vector=[1, i], payload=payload) for i, payload in enumerate(PAYLOADS)]
    )
)
# With a uuid index the engine compares UUIDs, without one their text; an index of that kind is a wish for the former.
NOT_THE_SAME_WITH = {"uuid": {f"a: = {UUID!r}"}}
KINDS = [None, "keyword", "integer", "float", "bool", "datetime", "uuid", "geo"]


@pytest.fixture(scope="module")
def expected() -> Iterator[dict[str, list[int]]]:
    """The engine's answers."""
    engine = EdgeBackend(COLLECTION)
    engine.apply([POINTS])
    yield {name: [p.id for p in engine.scroll(as_filter(c), 1000)[0]] for name, c in conditions().items()}
    engine.close()


@pytest.fixture(scope="module", params=["tail", "segments"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that keeps the points in its tail, or folds them into segments of a few rows."""
    store = LocalStore()
    folding = SMALL_LIMITS | {"LODESTONE_COMPACT_FOLD_ROWS": "5"} if request.param == "segments" else {}
    made = Server(store, environment=folding)
    try:
        yield made.start()
    finally:
        made.close()
        store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_the_engine_finds(
    server: Server, protocol: str, kind: str | None, expected: dict[str, list[int]]
) -> None:
    subject = ClientBackend(server.client(grpc=protocol == "grpc"), COLLECTION, "lodestone", key=f"grid-{kind}")
    subject.apply([POINTS])
    for path in ("a", "a[].b") if kind else ():
        subject.create_index(path, models.PayloadSchemaType(kind))
    found = {name: [p.id for p in subject.scroll(as_filter(c), 1000)[0]] for name, c in conditions().items()}
    asked = expected.keys() - NOT_THE_SAME_WITH.get(kind or "", set())
    different = {name: (found[name], expected[name]) for name in asked if found[name] != expected[name]}
    subject.close()
    listing = "\n".join(
        f"{name}: extra {[PAYLOADS[i] for i in set(got) - set(wanted)]}, "
        f"missing {[PAYLOADS[i] for i in set(wanted) - set(got)]}"
        for name, (got, wanted) in different.items()
    )
    assert not different, f"{len(different)} of {len(asked)} conditions:\n{listing}"
