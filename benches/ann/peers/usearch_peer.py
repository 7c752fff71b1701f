"""usearch, storing floats or bytes. It does not rescore."""

from pathlib import Path
from typing import Any

import numpy as np
import usearch
from usearch.index import Index

from ..sets.folder import Folder
from . import Peer


class Usearch(Peer):
    """The graph over vectors in `dtype`. Data of bytes is stored as unsigned bytes where `i8` is asked for."""

    engine = f"usearch {usearch.__version__}"
    defaults = {"m": 16, "ef_construct": 200, "dtype": "f32"}

    def build(self, vectors: np.ndarray, metric: str, threads: int, folder: Path) -> None:
        self._index = self._empty(metric, vectors.shape[1], vectors.dtype)
        self._index.add(np.arange(len(vectors)), vectors, threads=threads)

    def save(self, folder: Path) -> None:
        self._index.save(folder / "index")

    def load(self, folder: Path, data: Folder, threads: int) -> None:
        self._index = self._empty(data.metric, data.about["dim"], data.vectors().dtype)
        self._index.load(folder / "index")

    def as_queries(self, queries: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(queries)

    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        self._index.expansion_search = effort["ef"]

    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        found = self._index.search(queries, k, threads=threads)
        ids = found.keys.astype(np.int64)
        counts = getattr(found, "counts", None)
        if counts is not None:
            ids[np.arange(k)[None, :] >= counts[:, None]] = -1
        return ids

    def _empty(self, metric: str, dim: int, given: np.dtype) -> Index:
        dtype = self.settings["dtype"]
        if dtype == "i8" and given == np.uint8:
            dtype = "u8"
        kind = "cos" if metric == "cosine" else "l2sq"
        return Index(
            ndim=dim,
            metric=kind,
            dtype=dtype,
            connectivity=self.settings["m"],
            expansion_add=self.settings["ef_construct"],
            enable_key_lookups=False,
        )
