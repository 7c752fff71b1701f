"""The table, and everything as JSON."""

import os
import platform
from pathlib import Path
from typing import Any

from .curve import frontier, speed_at
from .measure import Result
from .sets.folder import Folder

RECALLS = [0.95, 0.99]
BY_PROCESSOR = "cpu"
"""One thread, queries per second of processor time: the columns to read where other work disturbed the run."""


def summary(folder: Folder, results: list[Result], threads: list[int]) -> dict[str, Any]:
    """What was found on one data set, for `results.json`."""
    return {"set": folder.about, "machine": machine(), "engines": [_engine(result, threads) for result in results]}


def _engine(result: Result, threads: list[int]) -> dict[str, Any]:
    if result.failure is not None:
        return {"name": result.engine.name, "failure": result.failure}
    curves = {str(t): result.points(t) for t in threads}
    if 1 in threads:
        curves[BY_PROCESSOR] = result.points_by_processor()
    return {
        "name": result.engine.name,
        "ours": result.engine.ours,
        **result.hello,
        "build": result.build,
        "resident_bytes": result.resident,
        "speed": {name: {str(recall): speed_at(points, recall) for recall in RECALLS} for name, points in curves.items()},
        "frontier": {name: frontier(points) for name, points in curves.items() if name != BY_PROCESSOR},
        "efforts": [
            {
                "effort": each.effort,
                "recall": each.recall,
                "speed": {str(t): each.speed(t) for t in each.runs},
                "runs": {str(t): runs for t, runs in each.runs.items()},
            }
            for each in result.timed
        ],
    }


def table(found: dict[str, Any]) -> str:
    """One line per engine, and how Lodestone stands beside the best peer."""
    about = found["set"]
    threads = list(next((e["speed"] for e in found["engines"] if "speed" in e), {}))
    lines = [f"{about['name']}: {about['points']:,} x {about['dim']}, {about['metric']}, recall@10; {found['machine']}"]
    lines += [
        f"  {what}: local dimension {figures['local_dimension']}, contrast {figures['contrast']}"
        for what, figures in about["shape"].items()
    ]
    heads = [f"{recall} {t if t == BY_PROCESSOR else 'x' + t}" for t in threads for recall in RECALLS]
    lines.append(f"  {'engine':24}" + "".join(f"{head:>10}" for head in heads) + f"{'build s':>10}{'cpu s':>8}{'RAM MB':>9}{'disk MB':>9}")
    for engine in found["engines"]:
        if "failure" in engine:
            lines.append(f"  {engine['name']:24}  {engine['failure']}")
            continue
        speeds = [engine["speed"][t][str(recall)] for t in threads for recall in RECALLS]
        built = f"{engine['build']['seconds']:.1f}" + ("" if engine["build"].get("fresh", True) else "*")
        spent = engine["build"].get("cpu_seconds")
        spent = "-" if spent is None else f"{spent:.1f}"
        # An engine that says more than it grew by mapped something, or read it before it was asked to build.
        memory = f"{max(engine['resident_bytes'], engine['build']['bytes'] or 0) / 1e6:.0f}"
        disk = engine["build"].get("disk_bytes")
        stored = f"{disk / 1e6:.0f}" if disk else "-"
        cells = "".join(f"{'-' if speed is None else f'{speed:.0f}':>10}" for speed in speeds)
        lines.append(f"  {engine['name']:24}{cells}{built:>10}{spent:>8}{memory:>9}{stored:>9}")
    return "\n".join(lines + _ratios(found, threads) + ["  * built in an earlier run"])


def _ratios(found: dict[str, Any], threads: list[str]) -> list[str]:
    measured = [engine for engine in found["engines"] if "speed" in engine]
    lines = []
    for ours in (engine for engine in measured if engine["ours"]):
        cells = []
        for t in threads:
            for recall in map(str, RECALLS):
                peers = [e["speed"][t][recall] or 0 for e in measured if not e["ours"]]
                best, speed = max(peers, default=0), ours["speed"][t][recall]
                cells.append(f"{f'{speed / best:.2f}x' if speed and best else '-':>10}")
        lines.append(f"  {ours['name'] + ' / best':24}" + "".join(cells))
    return lines


def machine() -> str:
    """Cores, kind and load."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, load {os.getloadavg()[0]:.1f}"
