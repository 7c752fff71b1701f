"""Two processes on one bucket: the second is refused, or takes over and fences the first.

`TAKEOVER_ROUNDS` is how often they fight; `tests/soak/takeover` does it longer.
"""

import os
from collections.abc import Callable

import pytest

from harness.readers import COLLECTION, COMPANIONS, RegisterReader, RegisterWriter, create_registers
from harness.server import SMALL_LIMITS, Server
from harness.stores import Store
from harness.takeover import takeover_rounds

ROUNDS = int(os.environ.get("TAKEOVER_ROUNDS", "4"))
SEED = int(os.environ.get("TAKEOVER_SEED", "1"))


def test_a_second_process_is_refused(store: Store, launch: Callable[..., Server]) -> None:
    first = launch(store).start()
    (register,) = create_registers(first.client(), 1)
    second = launch(store)
    second.launch()
    assert second.wait_exit(30) not in (0, None)
    said = second.log()
    assert "--take-over" in said, f"the refusal does not say what to do:\n{said}"
    assert "panicked" not in said, said
    writer = RegisterWriter(register, 1)
    assert writer.write(first.client()), f"the first process was disturbed: {writer.errors}"


def test_take_over_fences_the_first(store: Store, launch: Callable[..., Server]) -> None:
    first, second = launch(store).start(), launch(store)
    (register,) = create_registers(first.client(), 1)
    writer, reader = RegisterWriter(register, 1), RegisterReader(0, [register], 1)
    old = first.client(timeout=10)
    assert writer.write(old)
    second.start("--take-over")
    new = second.client()
    assert reader.read(new), reader.errors
    assert writer.write(new), writer.errors
    assert not writer.write(old), "the fenced process acknowledged a write"
    assert not reader.read(old), "the fenced process answered a strong read"
    assert reader.read(new)


def test_the_same_disk_after_a_crash_is_not_refused(store: Store, launch: Callable[..., Server]) -> None:
    server = launch(store).start()
    create_registers(server.client(), 1)
    server.kill()
    server.start()
    assert server.client().count(COLLECTION).count == 1 + COMPANIONS


def test_another_machine_after_a_crash_is_not_refused(store: Store, launch: Callable[..., Server]) -> None:
    server = launch(store).start()
    create_registers(server.client(), 1)
    server.kill()
    assert launch(store).start().client().count(COLLECTION).count == 1 + COMPANIONS


@pytest.mark.timeout(900)
def test_pauses_lose_and_hide_nothing(store: Store) -> None:
    totals = takeover_rounds(store, ROUNDS, seed=SEED, environment=SMALL_LIMITS)
    assert totals["acknowledged"] > 0 and totals["reads"] > 0
