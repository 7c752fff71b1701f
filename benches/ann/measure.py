"""The run: engines are built one after the other, climb their ladders for recall, then take turns against the clock."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .curve import recall
from .engines import Effort, Engine
from .process import EngineFailed, Process
from .sets.folder import Folder

K = 10
LEAST_RECALL = 0.85
"""Efforts below it are not timed."""
ENOUGH_RECALL = 0.997
"""A ladder ends here."""
LEAST_GAIN = 0.0005
"""A ladder ends where two steps together bring less."""


@dataclass
class Plan:
    """How long and how often."""

    threads: list[int]
    rounds: int
    slice_seconds: float
    """About what one timing takes."""
    rebuild: bool
    stride: int
    """Every how many-th step of a ladder is taken."""


@dataclass
class Timed:
    """One effort of one engine."""

    effort: Effort
    recall: float
    rate: float
    """A first guess of queries per second."""
    runs: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """By number of threads, the replies without their ids."""

    def speed(self, threads: int) -> float:
        """Median over the rounds of queries per second."""
        return statistics.median(run["count"] / run["seconds"] for run in self.runs[threads])


@dataclass
class Result:
    """One engine, or why it has no figures."""

    engine: Engine
    hello: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    resident: int = 0
    """Growth of resident memory from before the build to after a pass over all queries with one thread."""
    timed: list[Timed] = field(default_factory=list)
    failure: str | None = None

    def points(self, threads: int) -> list[tuple[float, float]]:
        """Recall and speed of each effort."""
        return [(each.recall, each.speed(threads)) for each in self.timed if threads in each.runs]


class Run:
    """All engines on one data set."""

    def __init__(self, folder: Folder, plan: Plan, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._plan = plan
        self._say = say
        self._queries = folder.about["queries"]
        self._neighbors = folder.neighbors()

    def measure(self, engines: list[Engine]) -> list[Result]:
        """Figures of all engines; one that fails has the reason instead."""
        results = [Result(engine) for engine in engines]
        started: list[tuple[Result, Process]] = []
        try:
            for result in results:
                process = self._guard(result, lambda result=result: self._started(result, started))
                if process:
                    self._guard(result, lambda result=result, process=process: self._climb(result, process))
            for number in range(self._plan.rounds):
                for threads in self._plan.threads:
                    for result, process in started:
                        self._guard(result, lambda r=result, p=process: self._turn(r, p, number, threads))
        finally:
            for _, process in started:
                process.close()
        return results

    def _guard(self, result: Result, act: Callable[[], Any]) -> Any:
        if result.failure is None:
            try:
                return act()
            except EngineFailed as failure:
                result.failure = str(failure)
                self._say(f"{result.engine.name}: {failure}")
        return None

    def _started(self, result: Result, started: list[tuple[Result, Process]]) -> Process:
        process = Process(result.engine, self._folder.path, max(self._plan.threads), self._plan.rebuild)
        started.append((result, process))
        result.hello = process.ask(op="hello")
        before = process.resident()
        result.build = process.ask(op="build")
        # One search thread: a peer may need a process for each further one.
        ladder = result.engine.ladders[0]
        process.search(ladder[len(ladder) // 2], K, 0, self._queries, 1)
        result.resident = process.resident() - before
        fresh = "" if result.build.get("fresh", True) else " when it was built"
        self._say(
            f"{result.engine.name}: {result.hello['engine']}, {result.build['seconds']:.1f} s to build{fresh}, "
            f"{result.resident / 1e6:.0f} MB"
        )
        return process

    def _climb(self, result: Result, process: Process) -> None:
        begun = time.perf_counter()
        for ladder in result.engine.ladders:
            seen: list[float] = []
            for effort in ladder[:: self._plan.stride]:
                reply = process.search(effort, K, 0, self._queries, max(self._plan.threads))
                found = recall(reply["ids"], self._neighbors)
                if found >= LEAST_RECALL:
                    result.timed.append(Timed(effort, found, self._queries / reply["seconds"]))
                seen.append(found)
                if found >= ENOUGH_RECALL or (len(seen) > 2 and found - seen[-3] < LEAST_GAIN):
                    break
        tops = max((each.recall for each in result.timed), default=0)
        self._say(f"    {len(result.timed)} efforts, recall up to {tops:.4f}, {time.perf_counter() - begun:.1f} s")

    def _turn(self, result: Result, process: Process, number: int, threads: int) -> None:
        for each in result.timed:
            per_thread = each.rate / max(self._plan.threads)
            count = int(np.clip(per_thread * threads * self._plan.slice_seconds, 50, self._queries))
            first = min(number * self._queries // self._plan.rounds, self._queries - count)
            reply = process.search(each.effort, K, first, count, threads)
            del reply["ids"]
            each.runs.setdefault(threads, []).append(reply | {"first": first, "count": count})
