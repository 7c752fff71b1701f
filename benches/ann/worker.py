"""A peer as a process: reads requests on stdin, answers on stdout, as `PROTOCOL.md` says.

A built index is kept under the cache folder and read back in the next run, together with how long building took then,
unless `--rebuild` is given.
"""

import argparse
import ctypes
import hashlib
import importlib
import json
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from .peers import PEERS, KeptPeer, Peer
from .sets.folder import Folder
from .sets.prepare import CACHE


class Worker:
    """One peer on one data set."""

    def __init__(self, peer: Peer, folder: Folder, threads: int, rebuild: bool) -> None:
        self._peer = peer
        self._folder = folder
        self._threads = threads
        self._rebuild = rebuild
        self._vectors = folder.vectors()
        self._queries = peer.as_queries(folder.queries())

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request."""
        match request["op"]:
            case "hello":
                return {"engine": self._peer.engine, "settings": self._peer.settings}
            case "build":
                return self._build()
            case "search":
                return self._search(request)
            case unknown:
                raise ValueError(f"no operation called {unknown}")

    def close(self) -> None:
        """Ends what the peer started."""
        self._peer.close()

    def _build(self) -> dict[str, Any]:
        kept = self._kept()
        keeper = self._peer if isinstance(self._peer, KeptPeer) else None
        fresh = self._rebuild or not (keeper and (kept / "build.json").is_file())
        if keeper and not fresh:
            keeper.load(kept, self._folder, self._threads)
            took = json.loads((kept / "build.json").read_text())
        else:
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            self._vectors.max()  # read from disk before the clock starts
            begun, spent = time.perf_counter(), time.process_time()
            self._peer.build(self._vectors, self._folder.metric, self._threads, kept)
            took = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - spent}
            took |= self._peer.build_detail
            if keeper:
                keeper.save(kept)
                (kept / "build.json").write_text(json.dumps(took))
        ctypes.CDLL(None).malloc_trim(0)
        disk = sum(file.stat().st_blocks * 512 for file in kept.rglob("*") if file.is_file())
        return {"bytes": None, "disk_bytes": disk or None, "fresh": fresh} | took

    def _kept(self) -> Path:
        about = {"engine": self._peer.engine, "settings": self._peer.settings, "threads": self._threads}
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
        return CACHE / "built" / self._folder.name / f"{self._peer.engine.replace(' ', '-')}-{key}"

    def _search(self, request: dict[str, Any]) -> dict[str, Any]:
        k, threads = request["k"], request["threads"]
        asked = self._queries[request["first"] : request["first"] + request["count"]]
        effort = {name: value for name, value in request.items() if name not in ("op", "k", "first", "count", "threads")}
        self._peer.set(effort, k, threads)
        begun = time.perf_counter()
        ids = self._peer.search(asked, k, threads)
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "ids": np.asarray(ids).ravel().tolist()} | self._peer.search_detail


def main() -> None:
    """Answers until told to quit."""
    # What a library prints must not get between the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = _started()
    try:
        for line in sys.stdin:
            request = json.loads(line)
            if request["op"] == "quit":
                break
            try:
                reply = worker.answer(request)
            except Exception as failure:
                traceback.print_exc()
                reply = {"error": f"{type(failure).__name__}: {failure}"}
            print(json.dumps(reply), file=replies, flush=True)
    finally:
        worker.close()


def _started() -> Worker:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("peer", choices=PEERS)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options.add_argument("--rebuild", action="store_true")
    chosen = options.parse_args()
    module, name = PEERS[chosen.peer]
    made = getattr(importlib.import_module(f"{__package__}.peers.{module}"), name)
    peer = made(dict(pair.split("=", 1) for pair in chosen.set))
    return Worker(peer, Folder.open(chosen.data), chosen.threads, chosen.rebuild)


if __name__ == "__main__":
    main()
