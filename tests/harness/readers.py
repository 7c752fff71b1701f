"""Readers that check what they read against what was acknowledged before: read-your-writes and monotonic reads.

One register per writer: a point whose payload and vector hold a version that only grows. A read that begins after
version n was acknowledged must see n or later, by whatever kind of read, and a reader never sees less than before.

Every write of a register rewrites its companions too: rows enough for segments to get indexes of their vectors.
"""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import QdrantClient, models

from .workload import describe, is_expected

COLLECTION = "registers"
DIMENSIONS = 32
COMPANIONS = 10


@dataclass
class Register:
    """What is known about one point, shared by its writer and all readers."""

    point_id: int
    acknowledged: int = 0
    """The greatest version whose write was answered with success."""
    attempted: int = 0
    """The greatest version that was ever sent."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class StaleRead(AssertionError):
    """A read missed an acknowledged write, or saw one that nobody sent."""


def create_registers(client: QdrantClient, count: int) -> list[Register]:
    """The collection, with every register at version 0."""
    assert count < DIMENSIONS
    params = models.VectorParams(size=DIMENSIONS, distance=models.Distance.DOT)
    soon = models.OptimizersConfigDiff(indexing_threshold=1)
    client.create_collection(COLLECTION, vectors_config=params, shard_number=2, optimizers_config=soon)
    registers = [Register(number) for number in range(count)]
    for register in registers:
        client.upsert(COLLECTION, points(register, 0), wait=True)
    return registers


def points(register: Register, version: int) -> list[models.PointStruct]:
    """A register at a version, and its companions."""
    number = register.point_id
    payload = {"register": number, "version": version}
    first = 1000 * (number + 1)
    return [
        models.PointStruct(id=number, vector=[float(version), *direction(number)], payload=payload),
        *(
            models.PointStruct(id=first + n, vector=[float(n)] * DIMENSIONS, payload={"companion": number})
            for n in range(COMPANIONS)
        ),
    ]


def direction(number: int) -> list[float]:
    """What a register has besides its version: a vector that is near to no other's."""
    return [1000.0 * (n == number) for n in range(DIMENSIONS - 1)]


class RegisterWriter:
    """Raises one register, one version after the other."""

    def __init__(self, register: Register, seed: int) -> None:
        self.register = register
        self.rng = random.Random(f"writer {seed} {register.point_id}")
        self.acknowledged = 0
        self.errors: Counter[str] = Counter()

    def write(self, client: QdrantClient) -> bool:
        """One write; whether it was acknowledged."""
        register = self.register
        with register.lock:
            register.attempted += 1
            version = register.attempted
        try:
            self._send(client, version)
        except Exception as error:
            if not is_expected(error):
                raise
            self.errors[describe(error)] += 1
            time.sleep(0.02)
            return False
        with register.lock:
            register.acknowledged = max(register.acknowledged, version)
        self.acknowledged += 1
        return True

    def _send(self, client: QdrantClient, version: int) -> None:
        # Only whole points, so that a late duplicate of an unanswered write cannot mix with a newer one.
        client.upsert(COLLECTION, points(self.register, version), wait=True)


class RegisterReader:
    """Reads registers in every way and checks what it sees."""

    def __init__(self, number: int, registers: list[Register], seed: int) -> None:
        self.rng = random.Random(f"reader {seed} {number}")
        self.registers = registers
        self.seen: dict[int, int] = {}
        self.reads = 0
        self.errors: Counter[str] = Counter()

    def read(self, client: QdrantClient) -> bool:
        """One read of one register; whether it was answered."""
        register = self.rng.choice(self.registers)
        kind = self.rng.choice(["retrieve", "scroll", "query", "nearest", "count"])
        with register.lock:
            floor = register.acknowledged
        try:
            version = self._ask(client, kind, register, floor)
        except StaleRead:
            raise
        except Exception as error:
            if not is_expected(error):
                raise
            self.errors[describe(error)] += 1
            time.sleep(0.02)
            return False
        self.reads += 1
        if version is not None:
            self._check(register, kind, version, floor)
        return True

    def _ask(self, client: QdrantClient, kind: str, register: Register, floor: int) -> int | None:
        mine = models.FieldCondition(key="register", match=models.MatchValue(value=register.point_id))
        match kind:
            case "retrieve":
                found: list[Any] = client.retrieve(COLLECTION, [register.point_id], with_payload=True)
            case "scroll":
                found = client.scroll(COLLECTION, scroll_filter=models.Filter(must=[mine]), limit=5)[0]
            case "query":
                axis = [1.0] + [0.0] * (DIMENSIONS - 1)
                found = client.query_points(
                    COLLECTION, query=axis, query_filter=models.Filter(must=[mine]), limit=5
                ).points
                if found and found[0].score != found[0].payload["version"]:
                    raise StaleRead(f"vector says {found[0].score}, payload {found[0].payload}")
            case "nearest":
                # Of all points, so that indexes are used where there are any.
                found = client.query_points(COLLECTION, query=[0.0, *direction(register.point_id)], limit=1).points
                if found and found[0].payload.get("register") != register.point_id:
                    raise StaleRead(f"nearest to register {register.point_id} is {found[0]}")
            case _:
                fresh = models.FieldCondition(key="version", range=models.Range(gte=floor))
                count = client.count(COLLECTION, count_filter=models.Filter(must=[mine, fresh]), exact=True).count
                if count != 1:
                    raise StaleRead(f"count of register {register.point_id} from version {floor} on is {count}")
                return None
        if len(found) != 1:
            raise StaleRead(f"{kind} finds register {register.point_id} {len(found)} times")
        return found[0].payload["version"]

    def _check(self, register: Register, kind: str, version: int, floor: int) -> None:
        last = self.seen.get(register.point_id, 0)
        if version < max(floor, last):
            raise StaleRead(
                f"{kind} of register {register.point_id} sees {version}; acknowledged before: {floor}, seen before: {last}"
            )
        with register.lock:
            attempted = register.attempted
        if version > attempted:
            raise StaleRead(f"{kind} of register {register.point_id} sees {version}, sent were {attempted}")
        self.seen[register.point_id] = version


class Crew:
    """Threads that write or read until told to stop; the first failure is kept."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def add(self, step: Any, *clients: QdrantClient, pause: float = 0) -> None:
        """Calls `step(client)` again and again, with the clients in turn."""

        def work() -> None:
            turn = 0
            while not self.stop.is_set():
                try:
                    step(clients[turn % len(clients)])
                except BaseException as failure:
                    self.failures.append(failure)
                    self.stop.set()
                turn += 1
                if pause:
                    time.sleep(pause)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def finish(self, timeout: float = 60) -> None:
        """Stops all and raises the first failure."""
        self.stop.set()
        for thread in self._threads:
            thread.join(timeout)
            assert not thread.is_alive(), "a client hangs"
        if self.failures:
            raise self.failures[0]
