"""A process for each search thread, for libraries that hold Python's lock, and for clients of a server."""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np


class Searcher(Protocol):
    """What searches, in whichever process."""

    def search(self, numbers: np.ndarray, k: int, effort: dict[str, Any]) -> Any:
        """Answers the queries with these numbers; the reply travels between processes."""


class Searchers:
    """The first searcher lives in this process, further ones in processes of their own once they are asked for.

    `make(*arguments(n))` makes searcher n; both travel, so they are plain functions and plain data.
    """

    def __init__(self, make: Callable[..., Searcher], arguments: Callable[[int], tuple[Any, ...]]) -> None:
        self._make = make
        self._arguments = arguments
        self._own = make(*arguments(0))
        self._helpers: list[Connection] = []

    def ready(self, threads: int) -> None:
        """Starts what is missing, and waits until it can search."""
        context = get_context("spawn")
        while len(self._helpers) + 1 < threads:
            here, there = context.Pipe()
            given = (there, self._make, self._arguments(len(self._helpers) + 1))
            context.Process(target=_help, args=given, daemon=True).start()
            there.close()
            here.recv()
            self._helpers.append(here)

    def search(self, numbers: np.ndarray, k: int, effort: dict[str, Any], threads: int) -> list[Any]:
        """The replies of each searcher to its part of the queries, in order."""
        parts = np.array_split(numbers, threads)
        helpers = self._helpers[: threads - 1]
        for helper, part in zip(helpers, parts[1:], strict=True):
            helper.send((part, k, effort))
        own = self._own.search(parts[0], k, effort)
        return [own, *(helper.recv() for helper in helpers)]


def _help(asked: Connection, make: Callable[..., Searcher], arguments: tuple[Any, ...]) -> None:
    searcher = make(*arguments)
    asked.send("ready")
    while True:
        try:
            request = asked.recv()
        except EOFError:
            return
        asked.send(searcher.search(*request))
