"""Two processes on one bucket: one leads, the other takes over, either may be paused at any moment."""

import random
import time
from collections import Counter
from collections.abc import Callable

from .readers import COLLECTION, Crew, Register, RegisterReader, RegisterWriter, StaleRead, create_registers
from .server import Server
from .stores import Store


def takeover_rounds(
    store: Store, rounds: int, *, seed: int, environment: dict[str, str], say: Callable[[str], None] = print
) -> dict[str, int]:
    """Each round a second process takes over while the first is paused or running; clients talk to both.

    Whatever either of them acknowledges must be there afterwards, and neither may answer a read with less than what
    was acknowledged before it. A fenced process may answer with errors, or end. Where small segments may have indexes
    of their vectors, there must have been some on the way.
    """
    rng = random.Random(seed)
    totals: Counter[str] = Counter()
    old = Server(store, environment=environment).start()
    servers = [old]
    try:
        client = old.client()
        registers = create_registers(client, 6)
        client.close()
        for number in range(rounds):
            new = Server(store, environment=environment)
            servers.append(new)
            totals.update(_round(rng, old, new, registers))
            found, indexed = _settled(new, registers)
            say(f"round {number + 1}/{rounds}: {dict(totals)}, registers at {found}, {indexed} vectors indexed")
            old.close()
            old = new
            totals["rounds"] += 1
            totals["rounds with indexes"] += indexed > 0
        soon = "LODESTONE_COMPACT_INDEX_ROWS" in environment
        assert totals["rounds with indexes"] or not soon, "no index was built"
        return dict(totals)
    except AssertionError as failure:
        logs = "\n".join(f"log of process {i}:\n{s.log(2000)}" for i, s in list(enumerate(servers))[-2:])
        raise AssertionError(f"seed {seed}, {store.kind}, after {dict(totals)}: {failure}\n{logs}") from None
    finally:
        for server in servers:
            server.close()


def _round(rng: random.Random, old: Server, new: Server, registers: list[Register]) -> Counter[str]:
    crew = Crew()
    writers = [RegisterWriter(register, rng.random()) for register in registers]
    readers = [RegisterReader(n, registers, rng.random()) for n in range(4)]
    # Longer than any pause: a request given up too early could land after the one that followed it.
    ends = [[server.client(grpc=grpc, timeout=20) for grpc in (False, True)] for server in (old, new)]
    on_old, on_new = ends
    # A third of the clients stay with each process, a third go to and fro.
    for number, worker in enumerate([w.write for w in writers] + [r.read for r in readers]):
        clients = (on_old, on_new, [on_old[number % 2], on_new[number % 2]])[number % 3]
        crew.add(worker, *clients)
    try:
        time.sleep(rng.uniform(0.05, 0.5))
        if rng.random() < 0.7:
            old.pause()
            time.sleep(rng.uniform(0, 1.5))
        new.start("--take-over")
        time.sleep(rng.uniform(0, 0.7))
        if rng.random() < 0.3:
            new.pause()
            time.sleep(rng.uniform(0, 1.5))
            old.resume()
            time.sleep(rng.uniform(0, 1.0))
            new.resume()
        old.resume()
        time.sleep(rng.uniform(0.3, 1.2))
    finally:
        old.resume()
        if new.is_alive():
            new.resume()
        crew.finish()
        for client in (*on_old, *on_new):
            client.close()
    counted = Counter(acknowledged=sum(w.acknowledged for w in writers), reads=sum(r.reads for r in readers))
    counted["refused"] = sum(w.errors.total() for w in (*writers, *readers))
    return counted


def _settled(server: Server, registers: list[Register]) -> tuple[list[int], int]:
    """Through the process that leads now: every register at what was acknowledged, or at something sent later.

    Where they are, and how many vectors have an index.
    """
    client = server.client()
    try:
        found = {p.id: p.payload["version"] for p in client.retrieve(COLLECTION, [r.point_id for r in registers])}
        indexed = client.get_collection(COLLECTION).indexed_vectors_count or 0
    finally:
        client.close()
    for register in registers:
        version = found.get(register.point_id, -1)
        if not register.acknowledged <= version <= register.attempted:
            raise StaleRead(f"register {register.point_id} is at {version}, acknowledged was {register.acknowledged}")
        # A write that was never answered may have landed; from now on it counts.
        register.acknowledged = version
    return [found[r.point_id] for r in registers], indexed
