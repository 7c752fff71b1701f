"""What the long scripts share: the path to the harness, a choice of stores, a closing line."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.minio import Minio  # noqa: E402
from harness.stores import LocalStore, MinioStore, Store  # noqa: E402


def parser(text: str, rounds: int) -> argparse.ArgumentParser:
    """Arguments that all scripts take."""
    arguments = argparse.ArgumentParser(description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=rounds)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    arguments.add_argument("--store", choices=["local", "minio", "both"], default="both")
    return arguments


def on_stores(kind: str, run: Callable[[Store], dict[str, int]]) -> None:
    """Runs on each wanted kind of store, prints the totals, and exits with 1 at the first failure."""
    done = 0
    for each in ("local", "minio") if kind == "both" else (kind,):
        minio = Minio() if each == "minio" else None
        store: Store = MinioStore(minio) if minio else LocalStore()
        try:
            print(f"{each}: {run(store)}", flush=True)
            done += 1
        except AssertionError as failure:
            print(f"{each}: {failure}\n{done} passed, 1 failed", flush=True)
            sys.exit(1)
        finally:
            store.close()
            if minio:
                minio.stop()
    print(f"{done} passed, 0 failed")
