"""Adapters: one file per library, one class per way of using it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from ..sets.folder import Folder

PEERS = {
    "hnswlib": ("hnswlib_peer", "Hnswlib"),
    "usearch": ("usearch_peer", "Usearch"),
    "faiss-hnsw": ("faiss_peer", "Hnsw"),
    "faiss-ivfpq": ("faiss_peer", "FastScan"),
    "qdrant": ("qdrant_peer", "Qdrant"),
    "lodestone-server": ("server_peer", "LodestoneServer"),
}
"""Module and class of each peer; a module is imported only by the process that needs it."""


class Peer(ABC):
    """What `worker` asks of a library. `settings` holds defaults, overridden by the command line."""

    engine: str
    """Library and version."""
    defaults: dict[str, Any] = {}

    def __init__(self, settings: dict[str, str]) -> None:
        unknown = settings.keys() - self.defaults.keys()
        if unknown:
            raise ValueError(f"{self.engine} knows no {', '.join(sorted(unknown))}")
        given = {name: type(self.defaults[name])(value) for name, value in settings.items()}
        self.settings = self.defaults | given
        self.build_detail: dict[str, Any] = {}
        """Further figures of the last build; `seconds` among them replaces what the worker measured."""
        self.search_detail: dict[str, Any] = {}
        """Further keys of the reply to the last search; `seconds` among them replaces what the worker measured."""

    def as_queries(self, queries: np.ndarray) -> np.ndarray:
        """Queries in the type that the library wants."""
        return np.ascontiguousarray(queries, dtype=np.float32)

    @abstractmethod
    def build(self, vectors: np.ndarray, metric: str, threads: int, folder: Path) -> None:
        """Indexes all vectors under their row numbers. `folder` is for libraries that work in one."""

    def close(self) -> None:
        """Ends what it started."""

    @abstractmethod
    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        """Sets the effort of the searches that follow, and starts what they need."""

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        """Row numbers `[queries, k]`, nearest first, -1 where there are fewer. Each query on its own."""


class KeptPeer(Peer):
    """A library whose built index may be kept for later runs. What is being developed is built every time."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Keeps the index for `load`."""

    @abstractmethod
    def load(self, folder: Path, data: Folder, threads: int) -> None:
        """Reads what `save` kept."""
