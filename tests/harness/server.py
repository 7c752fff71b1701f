"""A `lodestone serve` process: start, wait until it answers, stop, kill, pause, forget the local disk."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from qdrant_client import QdrantClient

from .paths import server_binary
from .ports import free_ports
from .stores import Store

SMALL_LIMITS = {
    "LODESTONE_COMPACT_FOLD_ROWS": "100",
    "LODESTONE_COMPACT_FOLD_BYTES": "64KiB",
    "LODESTONE_COMPACT_MERGE_FAN_IN": "3",
    "LODESTONE_COMPACT_INDEX_ROWS": "8",
    "LODESTONE_GC_GRACE": "2s",
}
"""Folds, merges and collects garbage every hundred rows or so, so that short tests meet all of them, and indexes vectors
of collections whose `indexing_threshold` is low."""

JOBS = re.compile(r'^lodestone_compaction_jobs_total\{kind="(\w+)"\} (\d+)$', re.MULTILINE)


class StartFailed(RuntimeError):
    """The process ended, or did not answer in time. The message has what it logged."""


class Server:
    """One process at a time on one store; ports stay the same over restarts."""

    def __init__(
        self,
        store: Store,
        *,
        environment: dict[str, str] | None = None,
        arguments: list[str] | None = None,
        api_key: str | None = None,
    ) -> None:
        self.store = store
        self.http_port, self.grpc_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.api_key = api_key
        self.home = Path(tempfile.mkdtemp(prefix="lodestone-home-"))
        self.local = self.home / "local"
        self.log_path = self.home / "log"
        self._environment = environment or {}
        self._arguments = arguments or []
        self.process: subprocess.Popen[bytes] | None = None

    # --- life

    def command(self) -> list[str]:
        """The command line."""
        line = [str(server_binary()), "serve", *self.store.arguments(), "--local", str(self.local)]
        line += ["--host", "127.0.0.1", "--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port)]
        if self.api_key is not None:
            line += ["--api-key", self.api_key]
        return line + self._arguments

    def launch(self, *extra: str) -> None:
        """Starts the process and does not wait."""
        assert self.process is None or self.process.poll() is not None, "already running"
        environment = os.environ | self.store.environment() | self._environment
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.command(), *extra], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start(self, *extra: str, timeout: float = 60) -> "Server":
        """Starts the process and waits until it is ready."""
        self.launch(*extra)
        return self.wait_ready(timeout)

    def wait_ready(self, timeout: float = 60) -> "Server":
        """Waits until `/readyz` says 200."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise StartFailed(f"ended with {self.process and self.process.returncode}:\n{self.log()}")
            if self.is_ready():
                return self
            time.sleep(0.02)
        raise StartFailed(f"not ready after {timeout} s:\n{self.log()}")

    def is_ready(self) -> bool:
        """Whether it says that it can serve."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def wait_exit(self, timeout: float = 30) -> int:
        """Waits for the process to end by itself; returns its status."""
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self, timeout: float = 60) -> None:
        """Asks the process to end, and insists that it ends well."""
        self.signal(signal.SIGTERM)
        status = self.wait_exit(timeout)
        assert status == 0, f"status {status} after SIGTERM:\n{self.log()}"

    def kill(self) -> None:
        """`kill -9`."""
        self.signal(signal.SIGKILL)
        self.wait_exit()

    def pause(self) -> None:
        """`kill -STOP`."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """`kill -CONT`."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Sends a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def forget(self) -> None:
        """Deletes everything but the bucket."""
        assert not self.is_alive()
        shutil.rmtree(self.local, ignore_errors=True)

    def close(self) -> None:
        """Ends the process however it is, and removes what it left locally."""
        if self.is_alive():
            self.resume()
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    # --- use

    def log(self, length: int = 4000) -> str:
        """The end of what it logged."""
        return self.log_path.read_text(errors="replace")[-length:] if self.log_path.exists() else ""

    def client(self, *, grpc: bool = False, timeout: int = 60) -> QdrantClient:
        """An official client."""
        return QdrantClient(
            url=self.url,
            grpc_port=self.grpc_port,
            prefer_grpc=grpc,
            api_key=self.api_key,
            timeout=timeout,
            check_compatibility=True,
        )

    def jobs(self) -> dict[str, int]:
        """How many jobs of each kind the process has done."""
        return {kind: int(count) for kind, count in JOBS.findall(self._metrics())}

    def metric(self, name: str) -> float:
        """One number that the process counts, by its name with labels."""
        return next(float(line[len(name) :]) for line in self._metrics().splitlines() if line.startswith(f"{name} "))

    def _metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics", timeout=10, trust_env=False).raise_for_status().text

    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


class RefusedServer(Server):
    """A server whose kernel refuses io_uring, as that of many containers does."""

    def command(self) -> list[str]:
        """The command line."""
        return [sys.executable, str(Path(__file__).with_name("refuse.py")), *super().command()]


def run_tool(store: Store, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs `lodestone SUBCOMMAND ...` on a store and returns what it said."""
    command, *rest = arguments
    line = [str(server_binary()), command, *store.arguments(), *rest]
    environment = os.environ | store.environment()
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
