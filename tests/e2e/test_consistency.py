"""P3: you read what you wrote. Four writers and four readers, over both protocols, checked by a model."""

import os
import time
from collections.abc import Callable

from harness.readers import Crew, RegisterReader, RegisterWriter, create_registers
from harness.server import SMALL_LIMITS, Server
from harness.stores import Store

SECONDS = float(os.environ.get("CONSISTENCY_SECONDS", "8"))


def test_p3_you_read_what_you_wrote(store: Store, launch: Callable[..., Server]) -> None:
    server = launch(store, environment=SMALL_LIMITS | {"LODESTONE_COMPACT_FOLD_ROWS": "50"}).start()
    registers = create_registers(server.client(), 4)
    writers = [RegisterWriter(register, seed=1) for register in registers]
    readers = [RegisterReader(number, registers, seed=1) for number in range(4)]
    crew = Crew()
    for number, writer in enumerate(writers):
        crew.add(writer.write, server.client(grpc=number % 2 == 0))
    for number, reader in enumerate(readers):
        crew.add(reader.read, server.client(grpc=number % 2 == 1))
    time.sleep(SECONDS)
    crew.finish()
    assert min(w.acknowledged for w in writers) > 0 and min(r.reads for r in readers) > 0
    errors = [e for worker in (*writers, *readers) for e in worker.errors]
    assert not errors, f"a healthy server answered with errors: {errors}"


def test_a_write_is_seen_at_once_over_the_other_protocol(store: Store, launch: Callable[..., Server]) -> None:
    server = launch(store).start()
    rest, grpc = server.client(), server.client(grpc=True)
    (register,) = create_registers(rest, 1)
    reader = RegisterReader(0, [register], seed=2)
    writer = RegisterWriter(register, seed=2)
    for turn in range(100):
        one, other = (rest, grpc) if turn % 2 else (grpc, rest)
        assert writer.write(one), writer.errors
        assert reader.read(other), reader.errors
