"""`lodestone import` and `lodestone export`: real vectors in and out, killed in between, and wrong inputs."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from harness.paths import server_binary
from harness.server import Server, run_tool
from harness.stores import Store
from harness.wordnet import WordNet

COUNT = 3000
PARQUET = Path(__file__).resolve().parents[2] / "crates" / "server" / "tests" / "parquet"
CHECKSUM = re.compile(r"checksum +([0-9a-f]{32})")


@pytest.fixture
def bulk(shared_server: Server, request: pytest.FixtureRequest) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command on the shared server and on a collection of this test."""
    name = re.sub(r"\W", "_", request.node.name)
    shared_server.client().delete_collection(name)

    def start(command: str, *arguments: object, collection: str = name) -> subprocess.Popen[str]:
        url = f"http://127.0.0.1:{shared_server.grpc_port}"
        line = [str(server_binary()), command, "--url", url, "--collection", collection, *map(str, arguments)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    start.collection = name  # type: ignore[attr-defined]
    return start


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    """What it said, once it has ended as it should."""
    said, _ = process.communicate(timeout=60)
    assert process.returncode == status, said
    return said


def checksum(said: str) -> str:
    found = CHECKSUM.search(said)
    assert found, said
    return found[1]


def noted(state: Path) -> str:
    """What is noted of how far an import has come; nothing where it has ended or not begun."""
    try:
        return state.read_text()
    except FileNotFoundError:
        return ""


@pytest.fixture
def npy(data: WordNet, tmp_path: Path) -> Path:
    path = tmp_path / "vectors.npy"
    np.save(path, data.vectors[:COUNT])
    lines = "".join(json.dumps(row) + "\n" for row in data.payload[:COUNT])
    path.with_suffix(".payload.jsonl").write_text(lines)
    return path


def test_npy_killed_and_resumed_exported_and_imported_again(
    shared_server: Server, bulk: Callable[..., subprocess.Popen[str]], npy: Path, data: WordNet
) -> None:
    arguments = [npy, "--payload", npy.with_suffix(".payload.jsonl"), "--distance", "cosine", "--batch", 20]
    arguments += ["--parallel", 2]
    state = npy.with_name(f"{npy.name}.{bulk.collection}.import.json")
    client = shared_server.client()
    kills = 0
    while kills < 3:
        process = bulk("import", *arguments)
        before = noted(state)
        while process.poll() is None and noted(state) in ("", before):
            time.sleep(0.002)
        process.kill()
        process.communicate()
        if not state.exists():
            break
        kills += 1
        acknowledged = json.loads(state.read_text())["mark"]["points"]
        assert client.count(bulk.collection, exact=True).count >= acknowledged
    assert kills, "it was never killed in the middle"
    imported = ended(bulk("import", *arguments, "--verify"))
    assert "before" in imported and "read back" in imported, imported
    assert not state.exists()
    assert client.count(bulk.collection, exact=True).count == COUNT
    point = client.retrieve(bulk.collection, [7], with_vectors=True)[0]
    assert point.payload == data.payload[7]
    assert np.allclose(point.vector, data.unit()[7], atol=1e-6)

    lines = npy.with_name("out.jsonl")
    exported = ended(bulk("export", "--to", lines))
    assert checksum(exported) == checksum(imported)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(COUNT))
    array, payloads = npy.with_name("out.npy"), npy.with_name("out.payload.jsonl")
    rows_exported = ended(bulk("export", "--to", array, "--payload", payloads))
    assert checksum(rows_exported) == checksum(imported)
    assert np.load(array.with_name("out.ids.npy")).tolist() == list(range(COUNT))
    vectors = np.load(array)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.array([row["vector"] for row in rows], dtype=np.float32))
    assert [json.loads(line) for line in payloads.read_text().splitlines()] == [row["payload"] for row in rows]

    again = bulk.collection + "_again"
    client.delete_collection(again)
    # What is normalised already stays as it is, to the last bit.
    back = bulk("import", lines, "--distance", "cosine", "--verify", collection=again)
    assert checksum(ended(back)) == checksum(imported)
    client.delete_collection(again)


def test_named_vectors_of_other_types(
    shared_server: Server, bulk: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    client = shared_server.client()
    client.create_collection(
        bulk.collection,
        {
            "half": models.VectorParams(size=8, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16),
            "bytes": models.VectorParams(size=4, distance=models.Distance.EUCLID, datatype=models.Datatype.UINT8),
        },
    )
    random = np.random.default_rng(3)
    bytes_ = random.integers(0, 256, (500, 4), dtype=np.uint8)
    np.save(tmp_path / "a.npy", bytes_[:200])
    np.save(tmp_path / "b.npy", bytes_[200:])
    said = ended(
        bulk("import", tmp_path / "a.npy", tmp_path / "b.npy", "--vector", "bytes", "--first-id", 10, "--verify")
    )
    assert "500 in the files" in said, said
    assert client.retrieve(bulk.collection, [509], with_vectors=True)[0].vector == {"bytes": bytes_[499].tolist()}
    ids = ["8f1e7c5a-6a43-4d5e-9d0e-1f0e2d3c4b5a", 2**64 - 1, 3]
    rows = random.standard_normal((3, 8)).tolist()
    points = [{"id": i, "vector": {"half": r}, "payload": {"x": [1, 1.5, None]}} for i, r in zip(ids, rows, strict=True)]
    lines = tmp_path / "c.jsonl"
    lines.write_text("\n".join(map(json.dumps, points)) + "\n\n")
    ended(bulk("import", lines, "--verify"))
    assert client.count(bulk.collection, exact=True).count == 503

    # One vector of each point that has it; ids are text where some are UUIDs.
    out = tmp_path / "out.npy"
    assert "`half`" in ended(bulk("export", "--to", out), 1)
    said = ended(bulk("export", "--to", out, "--vector", "half"))
    assert "3 in the file, 500 left out" in said, said
    found = dict(zip(np.load(tmp_path / "out.ids.npy").tolist(), np.load(out), strict=True))
    assert found.keys() == {str(i).encode() for i in ids} and next(iter(found.values())).dtype == np.float16
    for i, row in zip(ids, rows, strict=True):
        assert np.array_equal(found[str(i).encode()], np.array(row, dtype=np.float16))
    said = ended(bulk("export", "--to", out, "--vector", "bytes"))
    assert "500 in the file, 3 left out" in said and np.array_equal(np.load(out), bytes_), said
    assert ".npy" in ended(bulk("export", "--to", tmp_path / "x.jsonl", "--vector", "half"), 1)


def test_parquet_of_another_writer(shared_server: Server, bulk: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    path = tmp_path / "books.parquet"
    shutil.copy(PARQUET / path.name, path)
    said = ended(bulk("import", path, "--distance", "dot", "--batch", 70, "--verify"))
    assert "300 in the files" in said and "read back" in said, said
    point = shared_server.client().retrieve(bulk.collection, [1008], with_vectors=True)[0]
    assert point.vector == [8, 8.5, -8, 1]
    assert point.payload == {
        "title": "book 8",
        "year": 1908,
        "tags": ["t0", "t1"],
        "info": {"a": 8, "b": True},
        "price": 2,
        "at": "2024-02-29T20:30:00Z",
        "day": "2024-03-08T00:00:00Z",
    }
    said = ended(bulk("import", PARQUET / "bad-ragged.parquet", "--state", tmp_path / "state"), 1)
    assert "has 2 components, the collection takes 4" in said, said


def test_wrong_inputs_say_what_to_change(
    shared_server: Server, bulk: Callable[..., subprocess.Popen[str]], npy: Path, tmp_path: Path
) -> None:
    client = shared_server.client()
    assert "--distance" in ended(bulk("import", npy), 1)
    assert "doesn't exist" in ended(bulk("export", "--to", tmp_path / "x.jsonl"), 1)
    client.create_collection(bulk.collection, models.VectorParams(size=3, distance=models.Distance.DOT))
    assert "has 384 components, the collection takes 3" in ended(bulk("import", npy), 1)

    def wrong(name: str, content: bytes, *parts: str, extra: tuple[object, ...] = ()) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        said = ended(bulk("import", path, *extra), 1)
        assert all(part in said for part in (name, *parts)) and "panic" not in said, said

    good = b'{"id": 1, "vector": [1, 2, 3]}\n'
    wrong("cut.npy", npy.read_bytes()[:-10], "cut short")
    wrong("short.npy", b"\x93NUM", "too short")
    wrong("bad.jsonl", good + b"\n{nonsense}\n", "line 3", "column 2")
    wrong("size.jsonl", good + b'{"id": 2, "vector": [1, 2]}', "line 2", "has 2 components")
    wrong("name.jsonl", b'{"id": 2, "vector": {"x": [1, 2, 3]}}', "line 1", "`x`")
    wrong("large.jsonl", b'{"id": 2, "vector": [1, 2, 3], "payload": {"n": 18446744073709551615}}', "line 1", "text")
    wrong("a.csv", b"1,2,3", ".jsonl", ".npy", ".parquet")
    wrong("a.parquet", b"PAR1", "Parquet")
    np.save(tmp_path / "three.npy", np.ones((5, 3), dtype=np.float32))
    (tmp_path / "p.jsonl").write_text('{"a": 1}\n[]\n{}\n{}\n{}\n')
    said = ended(bulk("import", tmp_path / "three.npy", "--payload", tmp_path / "p.jsonl"), 1)
    assert "p.jsonl line 2" in said, said
    line = [str(server_binary()), "import", "--url", "http://127.0.0.1:1", "--collection", "c", str(npy)]
    said = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert said.returncode == 1 and "gRPC answers" in said.stderr, said


def test_into_a_bucket_without_a_server(
    store: Store, launch: Callable[..., Server], npy: Path, data: WordNet, tmp_path: Path
) -> None:
    def run(command: str, *arguments: object) -> subprocess.Popen[str]:
        line = [str(server_binary()), command, *store.arguments(), "--local", str(tmp_path / "local")]
        line += ["--collection", "c", *map(str, arguments)]
        environment = os.environ | store.environment()
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    arguments = [npy, "--payload", npy.with_suffix(".payload.jsonl"), "--distance", "cosine", "--batch", 200]
    state = npy.with_name(f"{npy.name}.c.import.json")
    process = run("import", *arguments)
    while process.poll() is None and not state.exists():
        time.sleep(0.002)
    process.kill()
    process.communicate()
    in_the_middle = state.exists()
    imported = ended(run("import", *arguments, "--verify"))
    assert ("before" in imported or not in_the_middle) and "read back" in imported, imported
    lines = tmp_path / "out.jsonl"
    assert checksum(ended(run("export", "--to", lines))) == checksum(imported)

    server = launch(store).start()
    client = server.client()
    assert client.count("c", exact=True).count == COUNT
    client.set_payload("c", {"pos": "other"}, points=[11], wait=True)
    hits = client.query_points("c", data.vectors[7].astype(np.float32).tolist(), limit=1, with_payload=True).points
    assert hits[0].id == 7 and hits[0].payload == data.payload[7]
    assert "held by another process" in ended(run("import", *arguments), 1)
    server.stop()
    # Again over what is there: the same points, the changed one as the file says.
    again = ended(run("import", *arguments, "--verify"))
    assert checksum(again) == checksum(imported)
    doctor = run_tool(store, "doctor")
    assert doctor.returncode == 0, doctor.stdout


def test_a_server_that_is_killed_is_waited_for(launch: Callable[..., Server], store: Store, npy: Path) -> None:
    server = launch(store).start()
    state = npy.with_name(f"{npy.name}.cut.import.json")
    url = f"http://127.0.0.1:{server.grpc_port}"
    line = [str(server_binary()), "import", "--url", url, "--collection", "cut", str(npy), "--distance", "cosine"]
    line += ["--batch", "20", "--parallel", "2", "--verify"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    noticed = noted(state)
    for _ in range(3):
        while process.poll() is None and noted(state) in ("", noticed):
            time.sleep(0.002)
        assert process.poll() is None, process.communicate()[0]
        noticed = noted(state)
        acknowledged = json.loads(noticed)["mark"]["points"]
        server.kill()
        time.sleep(0.3)
        assert process.poll() is None, process.communicate()[0]
        server.start()
        assert server.client().count("cut", exact=True).count >= acknowledged
    assert "read back" in ended(process)
    assert not state.exists()
    assert server.client().count("cut", exact=True).count == COUNT
