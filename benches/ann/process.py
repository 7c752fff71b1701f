"""A started engine, seen from the driver."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from .engines import Effort, Engine


class EngineFailed(RuntimeError):
    """The engine answered with an error, or ended."""


class Process:
    """Asks and waits; one request at a time."""

    def __init__(self, engine: Engine, data: Path, threads: int, rebuild: bool) -> None:
        line = [*engine.command, "--data", str(data), "--threads", str(threads)]
        for name, value in engine.settings.items():
            line += ["--set", f"{name}={value}"]
        if rebuild and not engine.ours:
            line.append("--rebuild")
        self._data = data.resolve()
        try:
            self._child = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except FileNotFoundError as missing:
            raise EngineFailed(f"no {missing.filename}") from None

    def ask(self, **request: Any) -> dict[str, Any]:
        """The reply. Raises `EngineFailed`."""
        assert self._child.stdin and self._child.stdout
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineFailed(f"ended with status {self._child.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise EngineFailed(reply["error"])
        return reply

    def build(self) -> dict[str, Any]:
        """Times of the build, its `cpu_seconds` among them."""
        before = self._processor_seconds()
        reply = self.ask(op="build")
        if reply.get("fresh", True):
            reply.setdefault("cpu_seconds", self._processor_seconds() - before)
        return reply

    def search(self, effort: Effort, k: int, first: int, count: int, threads: int) -> dict[str, Any]:
        """A timed slice; `ids` become an array `[count, k]`, and `cpu_seconds` is there whether it was said or not."""
        before = self._processor_seconds()
        reply = self.ask(op="search", k=k, first=first, count=count, threads=threads, **effort)
        reply.setdefault("cpu_seconds", self._processor_seconds() - before)
        reply["ids"] = np.array(reply["ids"], dtype=np.int64).reshape(count, k)
        return reply

    def resident(self) -> int:
        """Bytes of memory that the process and what it started hold, the data set's own files left out."""
        return sum(_resident(pid, str(self._data)) for pid in _family(self._child.pid))

    def _processor_seconds(self) -> float:
        # Linux numbers the clocks of processes by their ids: what all threads spent, ended ones too, in nanoseconds.
        return time.clock_gettime(~self._child.pid << 3 | 2)

    def close(self) -> None:
        """Asks it to end, and waits."""
        assert self._child.stdin
        try:
            self._child.stdin.write('{"op":"quit"}\n')
            self._child.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._child.wait(60)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _family(int(child))
    return found


def _resident(pid: int, excluded: str) -> int:
    total = 0
    counted = False
    for line in Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        if not word.endswith(":"):
            counted = excluded not in rest
        elif word == "Rss:" and counted:
            total += int(rest.split()[0]) * 1024
    return total
