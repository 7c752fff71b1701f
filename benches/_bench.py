"""What the benchmarks share: the harness, a server on a fresh store, percentiles, one way to print."""

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
os.environ.setdefault("LODESTONE_BIN", str(Path(__file__).resolve().parents[1] / "target" / "release" / "lodestone"))

from harness import wordnet  # noqa: E402
from harness.paths import server_binary  # noqa: E402
from harness.server import Server  # noqa: E402
from harness.stores import LocalStore, Store  # noqa: E402


STAGE = re.compile(r'lodestone_write_seconds_total\{stage="(\w+)"\}')
"""The time that writes spent in a stage."""

ANSWERED = (
    'grpc_responses_duration_seconds_total{endpoint="/qdrant.Points/Upsert"',
    'rest_responses_duration_seconds_sum{method="PUT",endpoint="/collections/{name}/points"',
)
"""The time to answer upserts."""


def parser(text: str) -> argparse.ArgumentParser:
    """Arguments that all benchmarks take."""
    binary()
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--points", type=int, default=0, help="how many WordNet points, 0 for all 117,659")
    return made


def binary() -> Path:
    """The server under test: a release build, unless `LODESTONE_BIN` says otherwise."""
    found = server_binary()
    if not found.is_file():
        sys.exit(f"no {found}: cargo build --release -p lodestone-server --bin lodestone")
    return found


def data(points: int) -> wordnet.WordNet:
    """The WordNet vectors and payload."""
    return wordnet.load(points or None)


@contextmanager
def serving(store: Store | None = None, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """A started server on a fresh directory, or on the given store."""
    own = store is None
    used = store or LocalStore()
    server = Server(used, environment=environment)
    try:
        yield server.start()
    finally:
        server.close()
        if own:
            used.close()


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the greatest, in milliseconds."""
    values = np.array(seconds) * 1000
    return {
        "p50_ms": round(float(np.percentile(values, 50)), 2),
        "p99_ms": round(float(np.percentile(values, 99)), 2),
        "max_ms": round(float(values.max()), 2),
    }


def metrics(server: Server) -> dict[str, float]:
    """Every number that the server counts."""
    text = httpx.get(f"{server.url}/metrics", trust_env=False).raise_for_status().text
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def at_rest(server: Server, seconds: float = 5) -> None:
    """Waits until no job has been done for so long."""
    done, since = -1.0, time.monotonic()
    while time.monotonic() - since < seconds:
        jobs = sum(value for key, value in metrics(server).items() if key.startswith("lodestone_compaction_jobs_total"))
        if jobs != done:
            done, since = jobs, time.monotonic()
        time.sleep(0.2)


def stages(before: dict[str, float], after: dict[str, float]) -> dict[str, dict[str, float]]:
    """Seconds and share of each stage of the upserts answered between two looks at the metrics, greatest first.

    `interface` is what the stages leave of the time to answer: receiving, decoding and encoding messages.
    """
    spent = {name: value - before.get(name, 0.0) for name, value in after.items()}
    seconds = {match[1]: value for name, value in spent.items() if (match := STAGE.fullmatch(name))}
    whole = sum(value for name, value in spent.items() if name.startswith(ANSWERED))
    seconds["interface"] = max(whole - sum(seconds.values()), 0.0)
    whole = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return {name: {"s": round(value, 3), "share": round(value / whole, 3)} for name, value in ordered if value > 0}


def requests(server: Server) -> dict[str, int]:
    """Requests to the bucket by kind, those that were sent."""
    start = 'lodestone_store_requests_total{kind="'
    counted = {name[len(start) : -2]: int(value) for name, value in metrics(server).items() if name.startswith(start)}
    return {kind: count for kind, count in counted.items() if count}


def report(name: str, **figures: Any) -> None:
    """One line of JSON with the figures and the machine."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    print(json.dumps({"benchmark": name, **figures, "machine": machine}), flush=True)
