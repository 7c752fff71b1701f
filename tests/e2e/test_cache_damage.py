"""What a process keeps on disk is damaged while it answers; `tests/soak/cache` does more of it.

`CACHE_ROUNDS` is the number of rounds.
"""

import os

from harness.cache_rounds import Plan, cache_rounds
from harness.stores import LocalStore
from harness.wordnet import WordNet

ROUNDS = int(os.environ.get("CACHE_ROUNDS", "12"))
SEED = int(os.environ.get("CACHE_SEED", "1"))


def test_a_damaged_cache_costs_a_refetch_and_nothing_else(data: WordNet) -> None:
    store = LocalStore()
    try:
        totals = cache_rounds(store, data, Plan(ROUNDS, SEED, per_life=2, special=2))
    finally:
        store.close()
    assert totals["rounds"] == ROUNDS and totals["damages"] >= ROUNDS
    assert totals["io_uring refused"] and totals["megabytes read"]
