"""The run: engines are built one after the other, climb their ladders for recall, then take turns against the clock."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
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

    def speed_by_processor(self) -> float:
        """The same for one thread, by the processor time that it spent: other work on the machine hardly changes it."""
        return statistics.median(run["count"] / run["cpu_seconds"] for run in self.runs[1])


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

    def points_by_processor(self) -> list[tuple[float, float]]:
        """The same by processor time, of one thread."""
        return [(each.recall, each.speed_by_processor()) for each in self.timed if 1 in each.runs]


def grouped(results: list[Result], vector_bytes: int, memory: int) -> list[list[Result]]:
    """In order, as many at a time as memory holds; one that is too large for it stands alone."""
    groups: list[list[Result]] = []
    left = 0.0
    for result in results:
        needed = result.engine.own_memory * vector_bytes
        if not groups or needed > left:
            groups.append([])
            left = float(memory)
        groups[-1].append(result)
        left -= needed
    return groups


def available_memory() -> int:
    """Bytes that are free or can be had, less a fifth for the data set and everything else."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024 * 4 // 5


class Run:
    """All engines on one data set."""

    def __init__(self, folder: Folder, plan: Plan, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._plan = plan
        self._say = say
        self._queries = folder.about["queries"]
        self._neighbors = folder.neighbors()

    def measure(self, engines: list[Engine]) -> list[Result]:
        """Figures of all engines; one that fails has the reason instead.

        Peers come in as many groups as memory asks for; Lodestone's engines stay and take turns with each group.
        """
        results = [Result(engine) for engine in engines]
        ours = [result for result in results if result.engine.ours]
        with ExitStack() as stay:
            staying = self._start(ours, stay)
            peers = [result for result in results if not result.engine.ours]
            for group in grouped(peers, self._folder.f32_bytes, available_memory()) or [[]]:
                with ExitStack() as leave:
                    self._rounds(staying + self._start(group, leave))
        return results

    def _start(self, results: list[Result], stack: ExitStack) -> list[tuple[Result, Process]]:
        started = []
        for result in results:
            process = self._guard(result, partial(self._started, result, stack))
            if process:
                self._guard(result, partial(self._climb, result, process))
                started.append((result, process))
        return started

    def _rounds(self, started: list[tuple[Result, Process]]) -> None:
        for number in range(self._plan.rounds):
            for threads in self._plan.threads:
                for result, process in started:
                    self._guard(result, partial(self._turn, result, process, number, threads))

    def _guard(self, result: Result, act: Callable[[], Any]) -> Any:
        if result.failure is None:
            try:
                return act()
            except EngineFailed as failure:
                result.failure = str(failure)
                self._say(f"{result.engine.name}: {failure}")
        return None

    def _started(self, result: Result, stack: ExitStack) -> Process:
        process = Process(result.engine, self._folder.path, max(self._plan.threads), self._plan.rebuild)
        stack.callback(process.close)
        result.hello = process.ask(op="hello")
        before = process.resident()
        result.build = process.build()
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
