#!/usr/bin/env python3
"""Memory and disk held to a tenth of the data: 200 collections in a far bucket, searched as often as their rank in Zipf's law says, then each
once, then by that law again.

How far memory and disk ever went beyond what was allowed, and the share of searches that got nothing from the bucket, beside what
a plain LRU of whole collections in as much room would have had.
"""

import subprocess
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from _bench import LocalStore, Server, binary, parser, percentiles, report, serving, wordnet
from cold import Relay
from harness.minio import Minio
from harness.stores import MinioStore

LIMIT = 10


@dataclass
class Collections:
    """What there is in the bucket."""

    rows: list[int]
    """Of each collection."""
    share: list[int]
    """Bytes of the segments of each."""

    @property
    def whole(self) -> int:
        """Bytes of all segments."""
        return sum(self.share)


def name(number: int) -> str:
    """Of a collection."""
    return f"c{number:03}"


def rows_of(count: int, least: int, most: int) -> list[int]:
    """Sizes of collections, evenly spread in their logarithm."""
    rng = np.random.default_rng(3)
    return [int(n) for n in np.exp(rng.uniform(np.log(least), np.log(most), count))]


def fill(store: LocalStore, rows: list[int]) -> None:
    """Points near those of WordNet, each collection one indexed segment."""
    points = wordnet.load().unit()
    with serving(store) as server, httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        for number in range(len(rows)):
            settings = {
                "vectors": {"size": points.shape[1], "distance": "Cosine"},
                "optimizers_config": {"indexing_threshold": 500},
            }
            http.put(f"/collections/{name(number)}", json=settings).raise_for_status()
        server.stop()
    with tempfile.TemporaryDirectory(prefix="lodestone-budgets-") as home:
        npy = Path(home) / "vectors.npy"
        for number, count in enumerate(rows):
            rng = np.random.default_rng(number)
            near = points[rng.integers(0, len(points), count)]
            np.save(npy, near + 0.02 * rng.standard_normal(near.shape, dtype=np.float32))
            line = [str(binary()), "import", *store.arguments(), "--local", f"{home}/local", "--restart"]
            line += ["--collection", name(number), str(npy)]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def measured(store: LocalStore, rows: list[int]) -> Collections:
    """Bytes of all collections in the bucket; each has as many as its rows are of all rows."""
    whole = sum(size for key, size in store.objects().items() if key.startswith("parts/"))
    return Collections(rows, [whole * count // sum(rows) for count in rows])


class Watch:
    """Looks again and again at what a process takes of memory and disk, and keeps the most."""

    def __init__(self, server: Server) -> None:
        assert server.process is not None
        self._process, self._local = Path(f"/proc/{server.process.pid}"), server.local
        self._idle = self._memory()
        self.most = {"memory": 0, "anonymous": 0, "proportional": 0, "disk": 0}
        """Bytes; of memory those beyond what it took when the watch began."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            now = {kind: size - self._idle[kind] for kind, size in self._memory().items()} | {"disk": self._disk()}
            self.most = {kind: max(most, now[kind]) for kind, most in self.most.items()}

    def close(self) -> None:
        """Looks no more."""
        self._over.set()
        self._thread.join()

    def _memory(self) -> dict[str, int]:
        lines = (self._process / "smaps_rollup").read_text().splitlines()[1:]
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return {"memory": kib["Rss"] << 10, "anonymous": kib["Anonymous"] << 10, "proportional": kib["Pss"] << 10}

    def _disk(self) -> int:
        """What is allocated to files, those included that have no name any more and are open or mapped."""
        found: dict[int, int] = {}
        for path in self._local.rglob("*"):
            self._count(path, found)
        for link in (self._process / "fd").iterdir():
            self._count(link, found, unnamed=True)
        for link in (self._process / "map_files").iterdir():
            self._count(link, found, unnamed=True)
        return sum(found.values())

    def _count(self, path: Path, found: dict[int, int], *, unnamed: bool = False) -> None:
        try:
            if unnamed:
                target = str(path.readlink())
                if not (target.startswith(str(self._local)) and target.endswith(" (deleted)")):
                    return
            status = path.stat()
            found[status.st_ino] = status.st_blocks * 512
        except OSError:
            pass  # it has just gone


class Lru:
    """A cache of whole collections that keeps those used last."""

    def __init__(self, collections: Collections, room: int) -> None:
        self._share, self._room = collections.share, room
        self._kept: OrderedDict[int, int] = OrderedDict()

    def has(self, number: int) -> bool:
        """Whether a collection was there; it is now, if it fits at all."""
        was = number in self._kept
        self._kept[number] = self._share[number]
        self._kept.move_to_end(number)
        while sum(self._kept.values()) > self._room:
            self._kept.popitem(last=False)
        return was


@dataclass
class Search:
    """One search."""

    took: float
    near: bool
    """It got nothing from the bucket. Whether there is news is asked all the same, and the answer is empty where there is none."""
    lru: bool
    """The LRU would have had it."""


class Traffic:
    """Searches, and what became of them."""

    def __init__(self, server: Server, relay: Relay, lru: Lru, vectors: np.ndarray) -> None:
        self._http = httpx.Client(base_url=server.url, trust_env=False, timeout=120, headers={"x-lodestone-usage": "yes"})
        self._relay, self._lru = relay, lru
        self._vectors = vectors.tolist()
        self._asked = 0

    def search(self, number: int) -> Search:
        """Searches a collection."""
        vector = self._vectors[self._asked % len(self._vectors)]
        self._asked += 1
        begun = time.perf_counter()
        answer = self._http.post(
            f"/collections/{name(number)}/points/query", json={"query": vector, "limit": LIMIT, "with_payload": False}
        )
        took = time.perf_counter() - begun
        assert len(answer.raise_for_status().json()["result"]["points"]) == LIMIT
        usage = dict(pair.split("=") for pair in answer.headers["x-lodestone-usage"].split(", "))
        return Search(took, usage["bytes"] == "0", self._lru.has(number))

    def phase(self, what: str, trace: list[int]) -> None:
        """Searches these one after the other, and reports; the second half, when there was time to fill, again by itself."""
        self._relay.counts()
        searches = [self.search(number) for number in trace]
        counts = self._relay.counts()
        late = searches[len(searches) // 2 :]
        near = [search.took for search in searches if search.near]
        far = [search.took for search in searches if not search.near]
        report(
            f"budgets: {what}",
            searches=len(searches),
            **percentiles([search.took for search in searches]),
            near=percentiles(near) if near else None,
            far=percentiles(far) if far else None,
            hit_rate=share([search.near for search in searches]),
            lru_hit_rate=share([search.lru for search in searches]),
            second_half={"hit_rate": share([s.near for s in late]), "lru_hit_rate": share([s.lru for s in late])},
            gets=counts["gets"],
            megabytes=round(counts["bytes"] / 1e6),
        )


def share(flags: list[bool]) -> float:
    """Of those that are true."""
    return round(float(np.mean(flags)), 3)


def zipf(count: int, length: int, exponent: float, seed: int) -> list[int]:
    """Numbers below `count`, the one of rank k as often as k to the power of `-exponent` says; ranks by chance."""
    weights = np.arange(1, count + 1) ** -exponent
    ranks = np.random.default_rng(4).permutation(count)
    return [int(n) for n in np.random.default_rng(seed).choice(ranks, length, p=weights / weights.sum())]


def copy(store: LocalStore, to: MinioStore) -> None:
    """Puts all objects of a directory into a bucket."""
    for key in store.objects():
        to.write(key, store.read(key))


def measure(bucket: MinioStore, relay: Relay, collections: Collections, options: Any) -> None:
    """One process with an empty disk, all phases."""
    room = collections.whole // 10
    bucket.endpoint = relay.endpoint
    server = Server(
        bucket,
        environment={"LODESTONE_CACHE_MEMORY": str(room), "LODESTONE_CACHE_DISK": str(room)},
        arguments=["--roles", options.role],
    )
    try:
        server.start()
        time.sleep(2)
        watch = Watch(server)
        queries = wordnet.load(1).queries.astype(np.float32)
        traffic = Traffic(server, relay, Lru(collections, room), queries)
        count = len(collections.rows)
        traffic.phase("by rank", zipf(count, options.searches, options.exponent, 5))
        traffic.phase("each once", [int(n) for n in np.random.default_rng(6).permutation(count)])
        after = zipf(count, options.searches, options.exponent, 7)
        traffic.phase("by rank, the next tenth", after[: options.searches // 10])
        traffic.phase("by rank, the rest", after[options.searches // 10 :])
        watch.close()
        report(
            "budgets: most that was taken",
            allowed_mb=round(room / 1e6, 1),
            **{f"{kind}_mb": round(most / 1e6, 1) for kind, most in watch.most.items()},
            **{f"{kind}_excess_percent": round(100 * (most / room - 1), 1) for kind, most in watch.most.items()},
        )
    finally:
        server.close()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--collections", type=int, default=200)
    arguments.add_argument("--least", type=int, default=2_000, help="points of the smallest collection")
    arguments.add_argument("--most", type=int, default=10_000, help="points of the largest")
    arguments.add_argument("--searches", type=int, default=3_000, help="before everything is searched once, and after")
    arguments.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    arguments.add_argument("--delay", type=float, default=63, help="milliseconds that each request to the bucket waits")
    arguments.add_argument("--role", choices=["all", "query"], default="all")
    arguments.add_argument("--keep", type=Path, help="where the filled store is kept, for another run")
    options = arguments.parse_args()
    rows = rows_of(options.collections, options.least, options.most)
    store = LocalStore(options.keep)
    minio = Minio()
    relay = None
    try:
        if not store.objects():
            fill(store, rows)
        collections = measured(store, rows)
        report("budgets: data", collections=len(rows), points=sum(rows), megabytes=round(collections.whole / 1e6, 1))
        bucket = MinioStore(minio)
        copy(store, bucket)
        relay = Relay(minio.endpoint, options.delay)
        measure(bucket, relay, collections, options)
    finally:
        if relay:
            relay.close()
        minio.stop()
        if not options.keep:
            store.close()


if __name__ == "__main__":
    main()
