"""What a process keeps on disk is damaged while it answers, while it starts and while nobody runs: no answer may be wrong, none may stay an
error, and no process may end by itself."""

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qdrant_client import QdrantClient, models

from .asker import Asker, Truth, Uncured
from .damage import Damager
from .mounts import MountRefused, SmallDisk
from .readers import Crew
from .server import RefusedServer, Server, StartFailed
from .stores import Store
from .wordnet import WordNet, create_indexes, upload

ANSWERS = 50
"""Of a round, after its damage was done."""
LEAST_RECALL = 0.9
JUDGED = 300
"""Nearest points to be found until recall is judged: those of about two rounds."""


class Crash(AssertionError):
    """The process ended by itself, or a thread of it did."""


@dataclass
class Plan:
    """How long, and with what."""

    rounds: int
    seed: int
    per_life: int = 5
    """Rounds until the process is ended and another started."""
    special: int = 5
    """Every so many lives the disk is full or io_uring refused, in turn."""
    disks: tuple[str, ...] = ("", "", "4MiB")
    """What the cache may take of the disk, one of these in each life; empty for the default. The last is less than one collection."""
    keep_going: bool = False
    """Whether failures are counted instead of raised."""


def cache_rounds(store: Store, data: WordNet, plan: Plan, say: Callable[[str], None] = print) -> dict[str, int]:
    """Fills the store with some of the data, then starts one process after the other on it, all on one local directory, and
    damages that.

    How many rounds, answers, damages and failures; raises the first failure unless told to keep going.
    """
    truths = collections(data)
    fill(store, truths)
    rounds = _Rounds(store, truths, plan)
    try:
        while rounds.totals["rounds"] < plan.rounds:
            say(rounds.live())
        return dict(rounds.totals)
    finally:
        rounds.close()


def collections(whole: WordNet, count: int = 3000) -> list[Truth]:
    """Three collections of different points whose ids are the same, so that nothing of one passes for that of another."""
    unit, step = whole.unit(), max(len(whole.payload) // count, 3)
    parts = [slice(n, step * count, step) for n in range(3)]
    points = [WordNet(np.ascontiguousarray(unit[part]), whole.payload[part], whole.queries, None) for part in parts]
    return [Truth(name, each) for name, each in zip(("plain", "on-disk", "small-codes"), points)]


def fill(store: Store, truths: list[Truth]) -> None:
    """Makes the collections and waits until most of each has an index and nothing more is due."""
    soon = {"LODESTONE_COMPACT_IDLE": "1s", "LODESTONE_COMPACT_FOLD_ROWS": "1", "LODESTONE_COMPACT_INDEX_ROWS": "8"}
    server = Server(store, environment=soon)
    try:
        client = server.start().client(grpc=True, timeout=120)
        for truth in truths:
            _create(client, truth)
            upload(client, truth.points, name=truth.name, wait=True)
            create_indexes(client, truth.name)
        _settle(client, truths)
        client.close()
        server.stop()
    finally:
        server.close()


def _create(client: QdrantClient, truth: Truth) -> None:
    # Vectors of length 1 stay as they are under either distance.
    dot = truth.name == "small-codes"
    codes = models.BinaryQuantization(binary=models.BinaryQuantizationConfig()) if dot else None
    client.create_collection(
        truth.name,
        vectors_config=models.VectorParams(
            size=truth.points.dimensions,
            distance=models.Distance.DOT if dot else models.Distance.COSINE,
            on_disk=truth.name != "plain",
        ),
        shard_number=2 if dot else 1,
        quantization_config=codes,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100),
    )


def _settle(client: QdrantClient, truths: list[Truth], seconds: float = 120) -> None:
    """At rest is what was seen at rest for longer than it takes until a rest makes something due."""
    deadline, seen = time.monotonic() + seconds, 0
    while seen < 15:
        infos = [client.get_collection(truth.name) for truth in truths]
        green = all(info.status == models.CollectionStatus.GREEN for info in infos)
        indexed = [info.indexed_vectors_count for info in infos]
        seen = seen + 1 if green and all(n >= 0.5 * truth.count for n, truth in zip(indexed, truths)) else 0
        assert time.monotonic() < deadline, f"not at rest: green {green}, {indexed} indexed"
        time.sleep(0.1)


class _Life:
    """One process, and those who ask it until it ends."""

    def __init__(self, server: Server, truths: list[Truth], seed: object) -> None:
        self.server = server
        self.askers = [Asker(truths, f"{seed} {number}") for number in range(2)]
        self._clients = [server.client(grpc=grpc, timeout=60) for grpc in (False, True)]
        self._crew = Crew()
        self._seen = (0, 0)
        for asker, client in zip(self.askers, self._clients):
            self._crew.add(asker.step, client)

    def total(self, what: str) -> int:
        """Of all who ask."""
        return sum(getattr(asker, what) for asker in self.askers)

    def found(self) -> tuple[int, int]:
        """The nearest points that approximate searches found and should have found, since this was asked last."""
        now, before = (self.total("found"), self.total("wanted")), self._seen
        self._seen = now
        return now[0] - before[0], now[1] - before[1]

    def wait_for(self, answers: int, seconds: float = 120) -> None:
        """Waits for so many more right ones."""
        goal, deadline = self.total("answers") + answers, time.monotonic() + seconds
        while self.total("answers") < goal:
            self._check()
            assert time.monotonic() < deadline, f"no {answers} answers within {seconds} s"
            time.sleep(0.005)
        if "panic" in self.server.log(1_000_000):
            raise Crash(f"a thread panicked:\n{self.server.log()}")

    def _check(self) -> None:
        """The process runs, and nobody has met anything wrong."""
        if self._crew.failures:
            # Who meets a process that is about to end sees an error first.
            time.sleep(0.5)
        if not self.server.is_alive():
            status = self.server.process and self.server.process.returncode
            raise Crash(f"the process ended with {status}:\n{self.server.log()}")
        if self._crew.failures:
            raise self._crew.failures[0]

    def end(self, *, kill: bool) -> None:
        """Kills it while it answers, or lets it stop when nobody asks any more."""
        if kill:
            self._forgive()
            self.server.kill()
        self._crew.finish()
        if not kill:
            self.server.stop()

    def close(self) -> None:
        """Whatever became of it: nobody asks any more."""
        self._forgive()
        with suppress(AssertionError):
            self._crew.finish()
        for client in self._clients:
            client.close()

    def _forgive(self) -> None:
        """Errors are to be expected from now on."""
        for asker in self.askers:
            asker.over.set()


class _Rounds:
    """What lasts longer than a process."""

    def __init__(self, store: Store, truths: list[Truth], plan: Plan) -> None:
        self.totals: Counter[str] = Counter(rounds=0, answers=0, damages=0, wrong=0, crashes=0, errors=0)
        self._store, self._truths, self._plan = store, truths, plan
        self._rng = random.Random(f"cache {plan.seed}")
        self._home = Path(tempfile.mkdtemp(prefix="lodestone-cache-"))
        self._lives = 0
        self._found = self._wanted = 0

    def close(self) -> None:
        """Removes what is left on disk."""
        shutil.rmtree(self._home, ignore_errors=True)

    def live(self) -> str:
        """The life of one process; says how it was."""
        self._lives += 1
        turn = self._lives % (2 * self._plan.special)
        disk = self._small_disk() if turn == self._plan.special else None
        local = (disk.path if disk else self._home) / "local"
        server, settings = self._server(local, refused=turn == 0)
        damager = Damager(local, self._rng)
        failed = ""
        try:
            self._rounds(server, damager, disk)
        except AssertionError as failure:
            where = f"seed {self._plan.seed}, {self._store.kind}, round {self.totals['rounds'] + 1}, {settings}"
            if not self._plan.keep_going:
                raise AssertionError(f"{where}: {failure}") from None
            self.totals[_kind(failure)] += 1
            self.totals["rounds"] += 1
            failed = f"\n  {where}: {failure}"
        finally:
            server.close()
            if disk:
                disk.close()
            self.totals["damages"] += damager.done.total()
        self.totals["disk full"] += disk is not None
        self.totals["io_uring refused"] += turn == 0
        return f"{settings}, {dict(damager.done)}: {dict(self.totals)}{failed}"

    def _small_disk(self) -> SmallDisk | None:
        try:
            return SmallDisk(self._rng.randint(1, 24))
        except MountRefused as reason:
            self.totals[f"disk full NOT TESTED: {reason}"] += 1
            return None

    def _server(self, local: Path, *, refused: bool) -> tuple[Server, str]:
        """A process with some room for what it keeps: most have too little, so that they read again and again."""
        memory, disk = self._rng.choice(["0", "1MiB", "8MiB", ""]), self._rng.choice(self._plan.disks)
        roles = self._rng.choice(["all", "query"])
        environment = {"LODESTONE_CACHE_MEMORY": memory, "LODESTONE_CACHE_DISK": disk}
        kind = RefusedServer if refused else Server
        server = kind(self._store, environment=environment, arguments=["--roles", roles])
        server.local = local
        return server, f"{kind.__name__} {roles}, memory {memory or 'default'}, disk {disk or 'default'}"

    def _rounds(self, server: Server, damager: Damager, disk: SmallDisk | None) -> None:
        if disk:
            disk.fill()
        try:
            server.start()
        except StartFailed as failure:
            raise Crash(f"it does not start: {failure}") from None
        life = _Life(server, self._truths, self._rng.random())
        try:
            for number in range(min(self._plan.per_life, self._plan.rounds - self.totals["rounds"])):
                if disk:
                    disk.release() if number % 2 else disk.fill()
                for _ in range(self._rng.randint(1, 8)):
                    damager.strike()
                    time.sleep(self._rng.uniform(0, 0.03))
                life.wait_for(ANSWERS)
                self._judge(life)
                self.totals["rounds"] += 1
            self.totals["megabytes read"] += round(server.metric("lodestone_store_read_bytes_total") / 1e6)
            life.end(kill=self._rng.random() < 0.5)
        finally:
            life.close()
            self.totals["answers"] += life.total("answers")
            self.totals["errors cured"] += life.total("cured")
        for _ in range(self._rng.randint(0, 8)):
            damager.strike()

    def _judge(self, life: _Life) -> None:
        """How much approximate searches find, over enough of them."""
        found, wanted = life.found()
        self._found, self._wanted = self._found + found, self._wanted + wanted
        if self._wanted >= JUDGED:
            recall, self._found, self._wanted = self._found / self._wanted, 0, 0
            assert recall >= LEAST_RECALL, f"searches find {recall:.3f} of the nearest"


def _kind(failure: AssertionError) -> str:
    match failure:
        case Crash():
            return "crashes"
        case Uncured():
            return "errors"
    return "wrong"
