#!/usr/bin/env python3
"""Very many small collections in one bucket: start, memory, list, a cold search of one, and what an idle process does.

They are made through the interface, on MinIO. Then servers start on it with an empty disk, behind a relay that holds each
request `--delay` milliseconds: one with all roles, one as a reader.
"""

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from _bench import Server, parser, report, requests, serving
from harness.minio import Minio
from harness.proxy import Proxy
from harness.stores import MinioStore

THREADS = 64
FAST = {"LODESTONE_WAL_WINDOW": "5ms"}


def name(number: int) -> str:
    """Of a collection."""
    return f"c{number:07}"


def vectors(number: int, points: int, dimensions: int) -> list[list[float]]:
    """The same whenever asked."""
    rng = random.Random(number)
    return [[round(rng.uniform(-1, 1), 3) for _ in range(dimensions)] for _ in range(points)]


def send_all(port: int, bodies: Iterator[tuple[str, bytes]]) -> float:
    """PUTs everything over some connections; returns the seconds it took."""
    lock = threading.Lock()
    failed: list[bytes] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        while not failed:
            with lock:
                following = next(bodies, None)
            if following is None:
                return
            path, body = following
            connection.request("PUT", path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                failed.append(said)

    begun = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(failed[0].decode())
    return time.perf_counter() - begun


def fill(server: Server, collections: int, points: int, dimensions: int) -> None:
    """Makes the collections and their points."""
    settings = json.dumps({"vectors": {"size": dimensions, "distance": "Cosine"}}).encode()
    creates = ((f"/collections/{name(n)}", settings) for n in range(collections))
    created = send_all(server.http_port, creates)
    # Few different bodies: rendering JSON here would be most of the time.
    rows = [
        json.dumps({"points": [{"id": i, "vector": v} for i, v in enumerate(vectors(n, points, dimensions))]}).encode()
        for n in range(100)
    ]
    writes = ((f"/collections/{name(n)}/points?wait=true", rows[n % 100]) for n in range(collections))
    written = send_all(server.http_port, writes)
    report(
        "many collections: made",
        collections=collections,
        points=points,
        create_seconds=round(created, 1),
        write_seconds=round(written, 1),
        resident_mb=round(server.resident_bytes() / 1e6, 1),
        requests=requests(server),
    )


def search(http: httpx.Client, server: Server, number: int, points: int, dimensions: int) -> bool:
    """Searches a collection for its own first point; whether there was an answer."""
    body = {"query": vectors(number % 100, points, dimensions)[0], "limit": 1}
    try:
        answer = http.post(f"{server.url}/collections/{name(number)}/points/query", json=body)
    except httpx.HTTPError:
        return False
    if answer.status_code != 200:
        return False
    assert answer.json()["result"]["points"][0]["id"] == 0, answer.text
    return True


def processor_seconds(server: Server) -> float:
    """Processor time that the process has used."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measure(server: Server, roles: str, collections: int, points: int, dimensions: int) -> None:
    """One start with an empty disk."""
    rng = random.Random(roles)
    server.forget()
    with httpx.Client(trust_env=False, timeout=120) as http:
        begun = time.perf_counter()
        server.launch("--roles", roles)
        while not search(http, server, 7, points, dimensions):
            if not server.is_alive():
                raise RuntimeError(f"the server ended:\n{server.log()}")
            time.sleep(0.005)
        started, sent = time.perf_counter() - begun, requests(server)
        resident = server.resident_bytes()
        begun = time.perf_counter()
        listed = http.get(f"{server.url}/collections").json()["result"]["collections"]
        list_seconds = time.perf_counter() - begun
        assert len(listed) == collections
        cold = []
        for number in rng.sample(range(collections), 20):
            begun = time.perf_counter()
            assert search(http, server, number, points, dimensions)
            cold.append(time.perf_counter() - begun)
        time.sleep(8)
        asked, used = requests(server), processor_seconds(server)
        time.sleep(10)
        now = requests(server)
        idle = {kind: count - asked.get(kind, 0) for kind, count in now.items() if count != asked.get(kind, 0)}
        report(
            "many collections: start",
            roles=roles,
            collections=collections,
            start_to_answer_ms=round(1000 * started),
            start_requests=sent,
            resident_mb=round(resident / 1e6, 1),
            resident_later_mb=round(server.resident_bytes() / 1e6, 1),
            list_ms=round(1000 * list_seconds),
            cold_search_ms=round(1000 * sorted(cold)[10]),
            cold_search_worst_ms=round(1000 * max(cold)),
            idle_requests_in_10s=idle,
            idle_processor_share=round((processor_seconds(server) - used) / 10, 4),
        )
    server.kill()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--collections", type=int, default=100_000)
    arguments.add_argument("--each", type=int, default=100, help="points of a collection")
    arguments.add_argument("--dimensions", type=int, default=16)
    arguments.add_argument("--delay", type=float, default=63, help="milliseconds that each request to the bucket takes")
    options = arguments.parse_args()
    size = (options.collections, options.each, options.dimensions)
    minio = Minio()
    store = MinioStore(minio)
    relay = Proxy(minio.endpoint, delay=lambda _: options.delay / 1000)
    try:
        with serving(store, environment=FAST) as server:
            fill(server, *size)
            server.stop()
        store.endpoint = relay.endpoint
        for roles in ("query", "all"):
            server = Server(store)
            try:
                measure(server, roles, *size)
            finally:
                server.close()
    finally:
        store.close()
        relay.stop()
        minio.stop()


if __name__ == "__main__":
    main()
