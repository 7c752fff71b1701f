"""Bad requests: a clear error each, the process alive, the data untouched. REST and gRPC."""

import json
import math
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as api

from harness.server import Server
from harness.stores import LocalStore

GOOD = "good"
OK = {"vector": [0.1, 0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def client(shared_server: Server) -> QdrantClient:
    """A collection of ten points with known answers."""
    made = shared_server.client()
    made.create_collection(GOOD, models.VectorParams(size=4, distance=models.Distance.DOT))
    points = [models.PointStruct(id=i, vector=[i, 0, 0, 1], payload={"n": i}) for i in range(10)]
    made.upsert(GOOD, points, wait=True)
    return made


@pytest.fixture(autouse=True)
def _nothing_changed(shared_server: Server, client: QdrantClient) -> Iterator[None]:
    """After every test the same process answers the same questions as before."""
    assert shared_server.process is not None
    before = shared_server.process.pid
    yield
    assert shared_server.is_alive() and shared_server.process.pid == before
    hits = client.query_points(GOOD, query=[1.0, 0, 0, 0], limit=3).points
    assert [h.id for h in hits] == [9, 8, 7]
    assert client.count(GOOD, exact=True).count == 10
    assert [c.name for c in client.get_collections().collections] == [GOOD]


def nested(depth: int) -> dict[str, Any]:
    """A filter within a filter within a filter."""
    text = '{"must":[' * depth + '{"key":"n","match":{"value":1}}' + "]}" * depth
    return {"raw": text}


def points_body(**point: Any) -> dict[str, Any]:
    """An upsert of one point that is good but for what is given."""
    return {"points": [{"id": 1, "vector": [1, 2, 3, 4], **point}]}


def vectors_body(**params: Any) -> dict[str, Any]:
    """A collection with one vector that is good but for what is given."""
    return {"vectors": {"size": 4, "distance": "Dot", **params}}


def query_body(**query: Any) -> dict[str, Any]:
    """A query that is good but for what is given."""
    return {"query": [1, 2, 3, 4], "limit": 3, **query}


def condition_body(**condition: Any) -> dict[str, Any]:
    """A scroll with one condition."""
    return {"filter": {"must": [condition]}}


POINTS, QUERY, SCROLL = f"/collections/{GOOD}/points", f"/collections/{GOOD}/points/query", f"/collections/{GOOD}/points/scroll"
BAD = {400, 422}

REST: dict[str, tuple[str, str, Any, set[int]]] = {
    # --- points
    "too few dimensions": ("PUT", POINTS, points_body(vector=[1, 2, 3]), BAD),
    "too many dimensions": ("PUT", POINTS, points_body(vector=[1, 2, 3, 4, 5]), BAD),
    "one bad point among good ones": (
        "PUT",
        POINTS,
        {"points": [{"id": 1, "vector": [0, 0, 0, 0]}, {"id": 2, "vector": [0]}]},
        BAD,
    ),
    "NaN": ("PUT", POINTS, '{"points":[{"id":1,"vector":[NaN,0,0,0]}]}', BAD),
    "1e400": ("PUT", POINTS, '{"points":[{"id":1,"vector":[1e400,0,0,0]}]}', BAD),
    "infinite in single precision": ("PUT", POINTS, points_body(vector=[1e39, 0, 0, 0]), BAD),
    "text in a vector": ("PUT", POINTS, points_body(vector=["1", 0, 0, 0]), BAD),
    "named vector where there is none": ("PUT", POINTS, points_body(vector={"nowhere": [1, 2, 3, 4]}), BAD),
    "id abc": ("PUT", POINTS, points_body(id="abc"), BAD),
    "negative id": ("PUT", POINTS, points_body(id=-1), BAD),
    "fractional id": ("PUT", POINTS, points_body(id=1.5), BAD),
    "id over 64 bits": ("PUT", POINTS, '{"points":[{"id":18446744073709551616,"vector":[1,2,3,4]}]}', BAD),
    "no id": ("PUT", POINTS, {"points": [{"vector": [1, 2, 3, 4]}]}, BAD),
    "payload is a list": ("PUT", POINTS, points_body(payload=[1]), BAD),
    "no points": ("PUT", POINTS, {"points": []}, BAD),
    "ids and vectors of different length": ("PUT", POINTS, {"batch": {"ids": [1, 2], "vectors": [[1, 2, 3, 4]]}}, BAD),
    "neither points nor batch": ("PUT", POINTS, {"things": []}, BAD),
    "payload of 9 MB": ("PUT", POINTS, points_body(payload={"text": "x" * (9 << 20)}), BAD | {413}),
    "delete by nothing": ("POST", f"{POINTS}/delete", {}, BAD),
    "set payload on nothing": ("POST", f"{POINTS}/payload", {"payload": {"a": 1}}, BAD),
    "delete an unknown vector": ("POST", f"{POINTS}/vectors/delete", {"points": [1], "vector": ["nowhere"]}, BAD),
    "unknown operation in a batch": ("POST", f"{POINTS}/batch", {"operations": [{"explode": {"points": [1]}}]}, BAD),
    "batch whose second operation is bad": (
        "POST",
        f"{POINTS}/batch",
        {"operations": [{"delete": {"points": []}}, {"upsert": {"points": [{"id": 1, "vector": [1]}]}}]},
        BAD,
    ),
    # --- reading
    "limit of a thousand million": ("POST", QUERY, query_body(limit=1_000_000_000), BAD),
    "offset of a thousand million": ("POST", QUERY, query_body(offset=1_000_000_000), BAD),
    "limit beyond 64 bits": ("POST", QUERY, '{"query":[1,2,3,4],"limit":1e30}', BAD),
    "negative limit": ("POST", QUERY, query_body(limit=-1), BAD),
    "limit zero": ("POST", QUERY, query_body(limit=0), BAD),
    "scroll of a thousand million": ("POST", SCROLL, {"limit": 1_000_000_000}, BAD),
    "scroll from id abc": ("POST", SCROLL, {"offset": "abc"}, BAD),
    "query of the wrong dimension": ("POST", QUERY, query_body(query=[1, 2]), BAD),
    "query by an id that is not there": ("POST", QUERY, query_body(query=777), {404}),
    "query with an unknown vector": ("POST", QUERY, query_body(using="nowhere"), BAD),
    "unknown field": ("POST", QUERY, query_body(limitt=4), BAD),
    "unknown clause": ("POST", SCROLL, {"filter": {"musst": []}}, BAD),
    "unknown condition": ("POST", SCROLL, condition_body(key="n", matches={"value": 1}), BAD),
    "field without a condition": ("POST", SCROLL, condition_body(key="n"), BAD),
    "broken path": ("POST", SCROLL, condition_body(key="a[", match={"value": 1}), BAD),
    "empty path": ("POST", SCROLL, condition_body(key="", match={"value": 1}), BAD),
    "date that is none": ("POST", SCROLL, condition_body(key="n", range={"gte": "yesterday"}), BAD),
    "latitude 900": (
        "POST",
        SCROLL,
        condition_body(key="n", geo_radius={"center": {"lon": 0, "lat": 900}, "radius": 1}),
        BAD,
    ),
    "polygon that does not close": (
        "POST",
        SCROLL,
        condition_body(
            key="n",
            geo_polygon={"exterior": {"points": [{"lon": 0, "lat": 0}, {"lon": 1, "lat": 0}, {"lon": 1, "lat": 1}]}},
        ),
        BAD,
    ),
    "10,000 nested filters": ("POST", SCROLL, '{"filter":' + nested(10_000)["raw"] + "}", BAD),
    "100 nested filters": ("POST", SCROLL, '{"filter":' + nested(100)["raw"] + "}", BAD),
    "20,000 conditions": (
        "POST",
        SCROLL,
        {"filter": {"should": [{"key": "n", "match": {"value": i}} for i in range(20_000)]}},
        BAD | {413},
    ),
    "1,000,000 open brackets": ("POST", SCROLL, "[" * 1_000_000, BAD),
    "timeout abc": ("POST", f"{QUERY}?timeout=abc", query_body(), BAD),
    "timeout zero": ("POST", f"{QUERY}?timeout=0", query_body(), BAD),
    "retrieve id abc": ("GET", f"{POINTS}/abc", None, BAD),
    "retrieve what is not there": ("GET", f"{POINTS}/777", None, {404}),
    # --- bodies
    "broken JSON": ("POST", QUERY, '{"query":[1,2', BAD),
    "no body": ("POST", QUERY, "", BAD),
    "a list": ("POST", QUERY, "[]", BAD),
    "bytes that are no text": ("POST", QUERY, b"\xff\xfe\x00\x01", BAD),
    # --- collections
    "missing collection, query": ("POST", "/collections/none/points/query", query_body(), {404}),
    "missing collection, upsert": ("PUT", "/collections/none/points", points_body(), {404}),
    "missing collection, info": ("GET", "/collections/none", None, {404}),
    "collection that exists": ("PUT", f"/collections/{GOOD}", vectors_body(), {409}),
    "distance that is none": ("PUT", "/collections/new", vectors_body(distance="Hamming"), BAD),
    "no dimensions": ("PUT", "/collections/new", vectors_body(size=0), BAD),
    "65,537 dimensions": ("PUT", "/collections/new", vectors_body(size=65_537), BAD),
    "10^18 dimensions": ("PUT", "/collections/new", vectors_body(size=10**18), BAD),
    "datatype that is none": ("PUT", "/collections/new", vectors_body(datatype="float4"), BAD),
    "no shards": ("PUT", "/collections/new", {**vectors_body(), "shard_number": 0}, BAD),
    "a million shards": ("PUT", "/collections/new", {**vectors_body(), "shard_number": 1_000_000}, BAD),
    "name of 300 letters": ("PUT", "/collections/" + "n" * 300, vectors_body(), BAD),
    "name with a slash": ("PUT", "/collections/a%2Fb", vectors_body(), BAD | {404}),
    "name with a line break": ("PUT", "/collections/a%0Ab", vectors_body(), BAD),
    "name that climbs": ("PUT", "/collections/..%2F..%2Fetc", vectors_body(), BAD | {404}),
    "65 named vectors": (
        "PUT",
        "/collections/new",
        {"vectors": {f"v{i}": {"size": 4, "distance": "Dot"} for i in range(65)}},
        BAD,
    ),
    "alias of nothing": (
        "POST",
        "/collections/aliases",
        {"actions": [{"create_alias": {"collection_name": "none", "alias_name": "x"}}]},
        {404},
    ),
    "alias named as a collection": (
        "POST",
        "/collections/aliases",
        {"actions": [{"create_alias": {"collection_name": GOOD, "alias_name": GOOD}}]},
        BAD | {409},
    ),
    "index of an unknown kind": ("PUT", f"/collections/{GOOD}/index", {"field_name": "n", "field_schema": "magic"}, BAD),
    "index on a broken path": ("PUT", f"/collections/{GOOD}/index", {"field_name": "a[", "field_schema": "keyword"}, BAD),
}


def send(server: Server, method: str, path: str, body: Any) -> httpx.Response:
    """One raw request."""
    content = body if isinstance(body, (str, bytes)) or body is None else json.dumps(body)
    headers = {"content-type": "application/json"}
    return httpx.request(method, server.url + path, content=content, headers=headers, timeout=60, trust_env=False)


@pytest.mark.parametrize("name", REST)
def test_rest(shared_server: Server, name: str) -> None:
    method, path, body, wanted = REST[name]
    answer = send(shared_server, method, path, body)
    assert answer.status_code in wanted, answer.text[:500]
    error = answer.json()["status"]["error"]
    assert isinstance(error, str) and len(error) > 8, error
    assert "panick" not in error


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nowhere"), ("DELETE", QUERY), ("POST", "/collections"), ("GET", "/%ff%fe")]
)
def test_unknown_paths(shared_server: Server, method: str, path: str) -> None:
    assert send(shared_server, method, path, None).status_code in (400, 404, 405)


@pytest.mark.parametrize("feature", ["recommend", "discover", "search/groups", "search/matrix/pairs"])
def test_what_is_not_there_yet_says_so(shared_server: Server, feature: str) -> None:
    answer = send(shared_server, "POST", f"{POINTS}/{feature}", {"positive": [1], "limit": 3})
    assert answer.status_code in (400, 404, 422, 501), answer.text


def test_body_of_200_megabytes(shared_server: Server) -> None:
    """Refused by its announced length, or as soon as it is too long."""
    for announce in (True, False):
        status = _send_endlessly(shared_server, 200 << 20, announce)
        assert status == 413, f"status {status}, length announced: {announce}"


def _send_endlessly(server: Server, size: int, announce: bool) -> int | None:
    length = f"content-length: {size}" if announce else "transfer-encoding: chunked"
    head = f"PUT {POINTS} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
    chunk = b" " * (1 << 20)
    framed = chunk if announce else b"100000\r\n" + chunk + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=30) as connection:
        connection.sendall(head.encode())
        try:
            for _ in range(size >> 20):
                if select.select([connection], [], [], 0)[0]:
                    break
                connection.sendall(framed)
        except OSError:
            pass
        return _status(connection)


def _status(connection: socket.socket) -> int | None:
    try:
        line = connection.recv(65536).split(b"\r\n")[0].split(b" ")
    except OSError:
        return None
    return int(line[1]) if len(line) > 1 else None


def test_a_request_that_never_ends_blocks_nobody(shared_server: Server, client: QdrantClient) -> None:
    head = f"PUT {POINTS} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n\r\n{{"
    connections = [socket.create_connection(("127.0.0.1", shared_server.http_port)) for _ in range(50)]
    try:
        for connection in connections:
            connection.sendall(head.encode())
        begun = time.monotonic()
        assert client.count(GOOD).count == 10
        assert time.monotonic() - begun < 5
    finally:
        for connection in connections:
            connection.close()


# --- gRPC

POINT = api.PointStruct(
    id=api.PointId(num=1), vectors=api.Vectors(vector=api.Vector(dense=api.DenseVector(data=[1, 2, 3, 4])))
)


def _point(**fields: Any) -> Any:
    point = api.PointStruct()
    point.CopyFrom(POINT)
    for name, value in fields.items():
        getattr(point, name).CopyFrom(value)
    return point


def _upsert(*points: Any, collection: str = GOOD) -> Any:
    return api.UpsertPoints(collection_name=collection, points=points, wait=True)


def _vector(*values: float) -> Any:
    return api.Vectors(vector=api.Vector(dense=api.DenseVector(data=values)))


def _query(**fields: Any) -> Any:
    nearest = api.Query(nearest=api.VectorInput(dense=api.DenseVector(data=[1, 2, 3, 4])))
    return api.QueryPoints(**{"collection_name": GOOD, "query": nearest, "limit": 3, **fields})


def _deep(depth: int) -> Any:
    condition = api.Condition(field=api.FieldCondition(key="n", match=api.Match(integer=1)))
    for _ in range(depth):
        condition = api.Condition(filter=api.Filter(must=[condition]))
    return api.Filter(must=[condition])


def _create(size: int, name: str = "new", distance: int = 3) -> Any:
    params = api.VectorParams(size=size, distance=distance)
    return api.CreateCollection(collection_name=name, vectors_config=api.VectorsConfig(params=params))


INVALID = {grpc.StatusCode.INVALID_ARGUMENT}
GRPC: dict[str, tuple[str, Callable[[], Any], set[grpc.StatusCode]]] = {
    "wrong dimension": ("Upsert", lambda: _upsert(_point(vectors=_vector(1, 2))), INVALID),
    "NaN": ("Upsert", lambda: _upsert(_point(vectors=_vector(math.nan, 0, 0, 0))), INVALID),
    "infinity": ("Upsert", lambda: _upsert(_point(vectors=_vector(math.inf, 0, 0, 0))), INVALID),
    "no id": ("Upsert", lambda: _upsert(api.PointStruct(vectors=_vector(1, 2, 3, 4))), INVALID),
    "uuid abc": ("Upsert", lambda: _upsert(_point(id=api.PointId(uuid="abc"))), INVALID),
    "no collection name": ("Upsert", lambda: _upsert(POINT, collection=""), INVALID | {grpc.StatusCode.NOT_FOUND}),
    "missing collection": ("Upsert", lambda: _upsert(POINT, collection="none"), {grpc.StatusCode.NOT_FOUND}),
    "limit of a thousand million": ("Query", lambda: _query(limit=1_000_000_000), INVALID),
    "unknown vector": ("Query", lambda: _query(using="nowhere"), INVALID),
    "query of the wrong dimension": (
        "Query",
        lambda: _query(query=api.Query(nearest=api.VectorInput(dense=api.DenseVector(data=[1])))),
        INVALID,
    ),
    "query in a missing collection": (
        "Query",
        lambda: _query(collection_name="none"),
        {grpc.StatusCode.NOT_FOUND},
    ),
    "broken path": (
        "Scroll",
        lambda: api.ScrollPoints(
            collection_name=GOOD,
            filter=api.Filter(must=[api.Condition(field=api.FieldCondition(key="a[", match=api.Match(integer=1)))]),
        ),
        INVALID,
    ),
    "empty condition": (
        "Scroll",
        lambda: api.ScrollPoints(collection_name=GOOD, filter=api.Filter(must=[api.Condition()])),
        INVALID,
    ),
    "45 nested filters": ("Scroll", lambda: api.ScrollPoints(collection_name=GOOD, filter=_deep(45)), INVALID),
    "delete by nothing": ("Delete", lambda: api.DeletePoints(collection_name=GOOD), INVALID),
}


@pytest.fixture(scope="module")
def channel(shared_server: Server) -> Iterator[grpc.Channel]:
    """A raw channel without limits of its own."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{shared_server.grpc_port}", options=options) as made:
        yield made


def code_of(call: Callable[[], Any]) -> tuple[Any, str]:
    """The status of a call that must fail."""
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


@pytest.mark.parametrize("name", GRPC)
def test_grpc(channel: grpc.Channel, name: str) -> None:
    method, request, wanted = GRPC[name]
    code, details = code_of(lambda: getattr(api.PointsStub(channel), method)(request(), timeout=30))
    assert code in wanted, f"{code}: {details}"
    assert len(details) > 8 and "panick" not in details, details


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (_create(0), INVALID),
        (_create(65_537), INVALID),
        (_create(4, name="n" * 300), INVALID),
        (_create(4, distance=0), INVALID),
        (_create(4, name=GOOD), {grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.INVALID_ARGUMENT}),
    ],
    ids=["no dimensions", "65,537 dimensions", "long name", "no distance", "name that exists"],
)
def test_grpc_collections(channel: grpc.Channel, request_: Any, wanted: set[grpc.StatusCode]) -> None:
    code, details = code_of(lambda: api.CollectionsStub(channel).Create(request_, timeout=30))
    assert code in wanted, f"{code}: {details}"


def test_grpc_10_000_nested_filters(channel: grpc.Channel) -> None:
    """More levels than protobuf itself encodes, so the bytes are made by hand."""
    message = _field(1, b"\x0a\x01n")
    for _ in range(10_000):
        message = _field(4, _field(2, message))
    request = _field(1, GOOD.encode()) + _field(2, message)
    call = channel.unary_unary("/qdrant.Points/Scroll", lambda raw: raw, lambda raw: raw)
    code, details = code_of(lambda: call(request, timeout=30))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL), f"{code}: {details}"


def _field(number: int, value: bytes) -> bytes:
    length, size = len(value), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + value


def test_grpc_message_of_200_megabytes(channel: grpc.Channel) -> None:
    big = api.Value(string_value="x" * (200 << 20))
    point = api.PointStruct(id=api.PointId(num=1), vectors=_vector(1, 2, 3, 4), payload={"text": big})
    code, details = code_of(lambda: api.PointsStub(channel).Upsert(_upsert(point), timeout=60))
    assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE), f"{code}: {details}"


def test_grpc_bytes_that_are_no_message(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/qdrant.Points/Upsert", lambda raw: raw, lambda raw: raw)
    code, _ = code_of(lambda: call(b"\xff" * 100, timeout=30))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


# --- keys


def test_keys() -> None:
    """No key, a wrong key, the right key; probes need none."""
    store = LocalStore()
    server = Server(store, api_key="the-right-key")
    try:
        server.start()
        url = f"{server.url}/collections"
        assert httpx.get(url).status_code in (401, 403)
        assert httpx.get(url, headers={"api-key": "wrong"}).status_code in (401, 403)
        assert httpx.get(url, headers={"api-key": "the-right-key"}).status_code == 200
        assert httpx.get(url, headers={"authorization": "Bearer the-right-key"}).status_code == 200
        for probe in ("/healthz", "/livez", "/readyz"):
            assert httpx.get(server.url + probe).status_code == 200
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = api.CollectionsStub(channel)
            request = api.ListCollectionsRequest()
            refused = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            assert code_of(lambda: stub.List(request, timeout=10))[0] in refused
            assert code_of(lambda: stub.List(request, timeout=10, metadata=(("api-key", "wrong"),)))[0] in refused
            assert not stub.List(request, timeout=10, metadata=(("api-key", "the-right-key"),)).collections
        assert not server.client().get_collections().collections
        assert not server.client(grpc=True).get_collections().collections
    finally:
        server.close()
        store.close()
