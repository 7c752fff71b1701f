"""usearch, storing floats or bytes. It does not rescore.

It takes arrays of unsigned bytes for bits, so data of bytes is moved by 128 into signed ones, which changes no distance.
"""

from pathlib import Path
from typing import Any

import numpy as np
import usearch
from usearch.index import Index

from ..sets.folder import Folder
from . import KeptPeer

BLOCK = 65_536


class Usearch(KeptPeer):
    """The graph over vectors in `dtype`, `f32` or `i8`."""

    engine = f"usearch {usearch.__version__}"
    defaults = {"m": 16, "ef_construct": 200, "dtype": "f32"}

    def build(self, vectors: np.ndarray, metric: str, threads: int, folder: Path) -> None:
        self._index = self._empty(metric, vectors.shape[1])
        for start in range(0, len(vectors), BLOCK):
            rows = self.as_queries(vectors[start : start + BLOCK])
            self._index.add(np.arange(start, start + len(rows)), rows, threads=threads)

    def save(self, folder: Path) -> None:
        self._index.save(folder / "index")

    def load(self, folder: Path, data: Folder, threads: int) -> None:
        self._index = self._empty(data.metric, data.about["dim"])
        self._index.load(folder / "index")

    def as_queries(self, queries: np.ndarray) -> np.ndarray:
        if queries.dtype != np.uint8:
            return np.ascontiguousarray(queries)
        moved = queries.astype(np.int16) - 128
        return moved.astype(np.int8 if self.settings["dtype"] == "i8" else np.float32)

    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        self._index.expansion_search = effort["ef"]

    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        found = self._index.search(queries, k, threads=threads)
        ids = found.keys.astype(np.int64)
        counts = getattr(found, "counts", None)
        if counts is not None:
            ids[np.arange(k)[None, :] >= counts[:, None]] = -1
        return ids

    def _empty(self, metric: str, dim: int) -> Index:
        kind = "cos" if metric == "cosine" else "l2sq"
        return Index(
            ndim=dim,
            metric=kind,
            dtype=self.settings["dtype"],
            connectivity=self.settings["m"],
            expansion_add=self.settings["ef_construct"],
            enable_key_lookups=False,
        )
