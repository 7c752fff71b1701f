"""P1 and P2: what was acknowledged is in the bucket, and nothing is torn.

`CRASH_ROUNDS` is the number of rounds; the scripts in `tests/soak` do more.
"""

import os

from harness.rounds import crash_rounds
from harness.server import SMALL_LIMITS
from harness.stores import Store

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "5"))
SEED = int(os.environ.get("CRASH_SEED", "1"))


def test_p1_the_bucket_is_the_database(store: Store) -> None:
    """Kill at a random moment, delete everything but the bucket, start again."""
    totals = crash_rounds(store, ROUNDS, forget=True, seed=SEED, environment={})
    assert totals["acknowledged"] > 0


def test_p2_nothing_is_torn(store: Store) -> None:
    """The same while segments of a few hundred rows are folded, merged and collected."""
    totals = crash_rounds(store, ROUNDS, forget=False, seed=SEED + 1, environment=SMALL_LIMITS)
    assert totals["acknowledged"] > 0
