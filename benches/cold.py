#!/usr/bin/env python3
"""The first search of a process whose disk is empty, in a bucket that is far away: MinIO behind a relay that delays every
request, without and with filters. Trips, requests and bytes as the server states them and as the relay counts them; recall; time
from process start; LanceDB beside it, where a Python that has it is named."""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from _bench import Server, binary, data, parser, percentiles, report, serving, wordnet
from harness.minio import Minio
from harness.stores import MinioStore, Store
from qdrant_client import models

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 10
RESTING = {"LODESTONE_COMPACT_IDLE": "2s"}
"""Has a server merge soon after the last write."""
STAGES = ["state", "outline", "codes", "rows", "load", "search"]


class Relay:
    """The relay, and what it has counted."""

    def __init__(self, endpoint: str, delay: float, *flags: str) -> None:
        target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
        program = os.environ.get("LODESTONE_RELAY_BIN", f"{target}/release/examples/relay")
        if not Path(program).is_file():
            sys.exit(f"no {program}: cargo build --release -p lodestone-store --example relay")
        line = [program, "--to", endpoint.split("//")[1], "--delay", str(delay), *flags]
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = f"http://{self._process.stdout.readline().strip()}"

    def counts(self) -> dict[str, int]:
        """Requests and bytes since the last call."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


@dataclass
class Question:
    """What is asked of every process: all points, or those that a filter lets pass."""

    name: str
    field: str | None
    """That the filter asks for."""
    filter: dict[str, Any] | None
    nearest: np.ndarray
    """Of each query the ids of the ten nearest."""


def questions(points: Any, queries: np.ndarray, shares: list[float], together: list[int], tenants: bool) -> list[Question]:
    """No filter; filters that let pass these shares of the points, whichever they are, and so many that follow one another. Adds the
    fields they ask for: truth values, or names of tenants."""
    rng = np.random.default_rng(7)
    scores = queries @ points.unit().T
    made = [Question("none", None, None, np.argsort(-scores, axis=1)[:, :LIMIT])]
    count = len(points.payload)
    passing = [(f"{100 * share:g} %", f"one_in_{round(1 / share)}", rng.random(count) < share) for share in shares]
    for many in together:
        rows = np.arange(count) - count // 2
        passing.append((f"{many} together", f"among_{many}", (rows >= 0) & (rows < many)))
    for name, field, allowed in passing:
        values = ["others", "this one"] if tenants else [False, True]
        for payload, passes in zip(points.payload, allowed.tolist()):
            payload[field] = values[passes]
        nearest = np.argsort(-np.where(allowed, scores, -np.inf), axis=1)[:, :LIMIT]
        made.append(Question(name, field, {"must": [{"key": field, "match": {"value": values[True]}}]}, nearest))
    return made


@dataclass
class Answer:
    """One search."""

    took: float
    usage: dict[str, float]
    recall: float


def ask(http: httpx.Client, server: Server, question: Question, query: int, vector: list[float], payload: bool) -> Answer:
    """Searches once."""
    body = {"query": vector, "limit": LIMIT, "with_payload": payload, "filter": question.filter}
    begun = time.perf_counter()
    answer = http.post(
        f"{server.url}/collections/{wordnet.COLLECTION}/points/query", json=body, headers={"x-lodestone-usage": "yes"}
    )
    took = time.perf_counter() - begun
    answer.raise_for_status()
    stated = dict(pair.split("=") for pair in answer.headers["x-lodestone-usage"].split(", "))
    points = answer.json()["result"]["points"]
    assert not payload or all(point["payload"] for point in points)
    usage = {name: float(value) for name, value in stated.items()}
    return Answer(took, usage, overlap([point["id"] for point in points], question.nearest[query]))


def started(server: Server) -> float:
    """Seconds from process start on an empty disk until it is ready."""
    server.forget()
    begun = time.perf_counter()
    server.launch()
    with httpx.Client(trust_env=False, timeout=30) as http:
        while True:
            try:
                if http.get(f"{server.url}/readyz").status_code == 200:
                    return time.perf_counter() - begun
            except httpx.HTTPError:
                pass
            if not server.is_alive():
                raise RuntimeError(f"the server ended:\n{server.log()}")
            time.sleep(0.002)


def overlap(found: list[int], nearest: np.ndarray) -> float:
    """The share of the true nearest that was found."""
    return len(set(found) & set(nearest.tolist())) / len(nearest)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--delay", type=float, default=63, help="milliseconds a request waits, the median with --spread")
    arguments.add_argument("--spread", action="store_true", help="delays vary as those of S3 do")
    arguments.add_argument("--total", action="store_true", help="a delay is all that a request takes; else MinIO's own time comes on top")
    arguments.add_argument("--starts", type=int, default=15)
    arguments.add_argument("--queries", type=int, default=100, help="searches of one process that keeps nothing")
    arguments.add_argument("--roles", nargs="+", default=["all", "query"])
    arguments.add_argument("--shares", nargs="*", type=float, default=[0.5, 0.1, 0.01], help="what filters let pass")
    arguments.add_argument("--together", nargs="*", type=int, default=[], help="filters that let so many points pass that follow one another")
    arguments.add_argument("--tenants", action="store_true", help="filters ask for a tenant's name, of fields that are declared so, instead of a truth value")
    arguments.add_argument("--no-payload", action="store_true")
    arguments.add_argument("--set", type=Path, help="a folder with vectors.npy and queries.npy, both of unit length, instead of WordNet; see ann.sets")
    arguments.add_argument("--lancedb-python", help="a Python with LanceDB, to measure that beside")
    options = arguments.parse_args()
    points: Any = VectorSet(options.set) if options.set else data(options.points)
    queries = points.queries[: max(options.queries, options.starts)].astype(np.float32)
    asked = questions(points, queries, options.shares, options.together, options.tenants)
    minio = Minio()
    relay = None
    try:
        store = MinioStore(minio)
        schema = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True) if options.tenants else "bool"
        fields = {question.field: schema for question in asked if question.field}
        (load if options.set else fill)(store, points, fields)
        relay = Relay(minio.endpoint, options.delay, *(f"--{name}" for name in ["spread", "total"] if getattr(options, name)))
        if options.lancedb_python:
            beside_lancedb(options, store, minio.endpoint, relay, points, queries, asked[0])
        for role in options.roles:
            for question in asked:
                measure(role, question, store, relay, queries, options)
    finally:
        if relay:
            relay.close()
        minio.stop()


class VectorSet:
    """Vectors of a file, the same of another for queries; payloads have nothing but what filters ask for."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "vectors.npy"
        self.vectors, self.queries = np.load(self.file, mmap_mode="r"), np.load(folder / "queries.npy")
        self.payload: list[dict[str, Any]] = [{} for _ in self.vectors]

    def unit(self) -> np.ndarray:
        """The vectors."""
        return self.vectors


def load(store: MinioStore, points: VectorSet, fields: dict[str, Any]) -> None:
    """Brings vectors straight into the bucket, then lets a server make indexes of the fields and merge until it rests."""
    with tempfile.TemporaryDirectory() as directory:
        payloads = Path(directory, "payloads.jsonl")
        with payloads.open("w") as lines:
            lines.writelines(json.dumps(payload) + "\n" for payload in points.payload)
        begun = time.perf_counter()
        bring(store, points.file, payloads)
        report("import", points=len(points.payload), seconds=round(time.perf_counter() - begun, 1))
    with serving(store, RESTING) as server, closing(server.client(grpc=True, timeout=600)) as client:
        for field, schema in fields.items():
            client.create_payload_index(wordnet.COLLECTION, field, schema, wait=True)
        settle(server, 900)
        server.stop()


def bring(store: Store, vectors: Path, payloads: Path | None) -> None:
    """Imports a file of vectors straight into the bucket."""
    with tempfile.TemporaryDirectory() as local:
        to = [*store.arguments(), "--local", local, "--collection", wordnet.COLLECTION, "--distance", "cosine"]
        line = [str(binary()), "import", *to, *(["--payload", str(payloads)] if payloads else []), str(vectors)]
        subprocess.run(line, env={**os.environ, **store.environment()}, stdout=subprocess.DEVNULL, check=True)


def fill(store: MinioStore, points: Any, fields: dict[str, Any]) -> None:
    """Uploads everything, and waits until the server lets it rest."""
    with serving(store, RESTING) as server, closing(server.client(grpc=True, timeout=120)) as client:
        wordnet.create(client, points)
        for field, schema in fields.items():
            client.create_payload_index(wordnet.COLLECTION, field, schema, wait=True)
        wordnet.upload(client, points, parallel=2, batch_size=256, wait=True)
        settle(server)
        server.stop()


def settle(server: Server, seconds: float = 300) -> None:
    """Waits until no job is due, and none was for longer than it takes to call the collection at rest."""
    with httpx.Client(trust_env=False, timeout=60) as http:
        deadline, green = time.monotonic() + seconds, 0
        while green < 12 and time.monotonic() < deadline:
            info = http.get(f"{server.url}/collections/{wordnet.COLLECTION}").json()["result"]
            green = green + 1 if info["status"] == "green" else 0
            time.sleep(0.5)
        if green < 12:
            raise TimeoutError(f"not at rest after {seconds} s: {info}")
        # MinIO reads past the page cache, and would wait for what is still being written.
        os.sync()
        report("collection", segments=info["segments_count"], indexed=info["indexed_vectors_count"], points=info["points_count"])


def measure(role: str, question: Question, store: Any, relay: Relay, queries: Any, options: Any) -> None:
    """Starts the process on an empty disk again and again, then lets one that keeps nothing search."""
    environment = {"LODESTONE_CACHE_HYDRATE": "false"}
    store.endpoint = relay.endpoint
    arguments = ["--roles", "query"] if role == "query" else []
    server = Server(store, environment=environment, arguments=arguments)
    ready: list[float] = []
    first: list[Answer] = []
    counted: list[dict[str, int]] = []
    try:
        with httpx.Client(trust_env=False, timeout=60) as http:
            for start in range(options.starts):
                ready.append(started(server))
                relay.counts()
                first.append(ask(http, server, question, start, queries[start].tolist(), not options.no_payload))
                counted.append(relay.counts())
                if start + 1 < options.starts:
                    server.stop()
            report(
                "cold",
                role=role,
                filter=question.name,
                delay_ms=options.delay,
                ready_ms=round(1000 * float(np.median(ready))),
                start_to_answer=percentiles([a + b.took for a, b in zip(ready, first)]),
                **summary(first),
                relay_gets=float(np.median([row["gets"] for row in counted])),
                relay_megabytes=round(float(np.median([row["bytes"] for row in counted])) / 1e6, 2),
                connections=float(np.median([row["connections"] for row in counted])),
            )
            later = [
                ask(http, server, question, query, vector.tolist(), not options.no_payload)
                for query, vector in enumerate(queries[: options.queries])
            ]
            report("kept nothing", role=role, filter=question.name, **summary(later))
    finally:
        server.close()


def summary(answers: list[Answer]) -> dict[str, Any]:
    """Time, usage and recall of some searches."""
    gets = [answer.usage["gets"] for answer in answers]
    return {
        "search": percentiles([answer.took for answer in answers]),
        "stages_ms": {
            stage: round(float(np.median([answer.usage[f"{stage}_ms"] for answer in answers])), 1) for stage in STAGES
        },
        "price": float(np.median([answer.usage["price"] for answer in answers])),
        "trips": max(answer.usage["trips"] for answer in answers),
        "gets": float(np.median(gets)),
        "most_gets": max(gets),
        "megabytes": round(float(np.median([answer.usage["bytes"] for answer in answers])) / 1e6, 2),
        "recall": round(float(np.mean([answer.recall for answer in answers])), 4),
    }


def beside_lancedb(
    options: Any, store: MinioStore, endpoint: str, relay: Relay, points: Any, queries: Any, question: Question
) -> None:
    """The first search of a process that has LanceDB, on the same data behind the same relay."""

    def run(through: str, **wanted: Any) -> dict[str, Any]:
        keys = store.environment()
        place = {
            "bucket": store.bucket,
            "endpoint": through,
            "access_key": keys["AWS_ACCESS_KEY_ID"],
            "secret_key": keys["AWS_SECRET_ACCESS_KEY"],
        }
        line = [options.lancedb_python, str(ROOT / "benches" / "lancedb_peer.py")]
        asked = json.dumps({"store": place, **wanted})
        return json.loads(subprocess.run(line, input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout)

    with tempfile.TemporaryDirectory() as directory:
        vectors, payloads = Path(directory, "vectors.npy"), Path(directory, "payloads.jsonl")
        np.save(vectors, points.unit())
        payloads.write_text("".join(json.dumps(payload) + "\n" for payload in points.payload), encoding="utf-8")
        run(endpoint, vectors=str(vectors), payloads=str(payloads))
    for nprobes, refine in [(20, 10), (60, 20)]:
        taken, counted, recalls = [], [], []
        for query in range(options.starts):
            relay.counts()
            answer = run(relay.endpoint, query=queries[query].tolist(), nprobes=nprobes, refine=refine)
            counted.append(relay.counts())
            taken.append(answer["seconds"])
            recalls.append(overlap(answer["ids"], question.nearest[query]))
        report(
            "lancedb",
            nprobes=nprobes,
            refine=refine,
            search=percentiles(taken),
            relay_gets=float(np.median([row["gets"] for row in counted])),
            relay_megabytes=round(float(np.median([row["bytes"] for row in counted])) / 1e6, 2),
            recall=round(float(np.mean(recalls)), 4),
        )


if __name__ == "__main__":
    main()
