"""hnswlib. Byte vectors are stored as floats: it knows no other type."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from ..sets.folder import Folder
from . import KeptPeer

BLOCK = 65_536


class Hnswlib(KeptPeer):
    """The graph over full vectors; on unit vectors the inner product is the cosine."""

    engine = f"hnswlib {version('hnswlib')}"
    defaults = {"m": 16, "ef_construct": 200}

    def build(self, vectors: np.ndarray, metric: str, threads: int, folder: Path) -> None:
        self._index = _empty(metric, vectors.shape[1])
        self._index.init_index(len(vectors), M=self.settings["m"], ef_construction=self.settings["ef_construct"])
        for start in range(0, len(vectors), BLOCK):
            rows = np.asarray(vectors[start : start + BLOCK], dtype=np.float32)
            self._index.add_items(rows, np.arange(start, start + len(rows)), num_threads=threads)

    def save(self, folder: Path) -> None:
        self._index.save_index(str(folder / "index"))

    def load(self, folder: Path, data: Folder, threads: int) -> None:
        self._index = _empty(data.metric, data.about["dim"])
        self._index.load_index(str(folder / "index"))

    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        self._index.set_ef(effort["ef"])

    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        return self._index.knn_query(queries, k, num_threads=threads)[0].astype(np.int64)


def _empty(metric: str, dim: int) -> Any:
    return hnswlib.Index(space="ip" if metric == "cosine" else "l2", dim=dim)
