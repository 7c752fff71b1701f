"""faiss: HNSW over full vectors or bytes, and inverted lists of 4-bit product codes with rescoring."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ..sets.folder import Folder
from . import KeptPeer

BLOCK = 65_536


class _Faiss(KeptPeer):
    engine = f"faiss {faiss.__version__}"

    def _create(self, vectors: np.ndarray, kind: int) -> Any:
        raise NotImplementedError

    def build(self, vectors: np.ndarray, metric: str, threads: int, folder: Path) -> None:
        faiss.omp_set_num_threads(threads)
        self._index = self._create(vectors, faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2)
        for start in range(0, len(vectors), BLOCK):
            self._index.add(np.asarray(vectors[start : start + BLOCK], dtype=np.float32))

    def save(self, folder: Path) -> None:
        faiss.write_index(self._index, str(folder / "index"))

    def load(self, folder: Path, data: Folder, threads: int) -> None:
        self._index = faiss.read_index(str(folder / "index"))


class Hnsw(_Faiss):
    """The graph; `codec` is `flat` or a scalar quantizer of faiss, `8bit` for instance."""

    defaults = {"m": 16, "ef_construct": 200, "codec": "flat"}

    def _create(self, vectors: np.ndarray, kind: int) -> Any:
        dim, m, codec = vectors.shape[1], self.settings["m"], self.settings["codec"]
        if codec == "flat":
            index = faiss.IndexHNSWFlat(dim, m, kind)
        else:
            index = faiss.IndexHNSWSQ(dim, getattr(faiss.ScalarQuantizer, f"QT_{codec}"), m, kind)
            index.train(_sample(vectors, 100_000))
        index.hnsw.efConstruction = self.settings["ef_construct"]
        return index

    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        self._index.hnsw.efSearch = effort["ef"]
        faiss.omp_set_num_threads(threads)

    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        return self._index.search(queries, k)[1]


class FastScan(_Faiss):
    """`ef` is the number of lists to probe; `oversampling` times k candidates are rescored with the full vectors.

    Given many queries at once faiss scans a list for several of them together; each query is handed over alone here.
    """

    defaults = {"dims_per_code": 2}

    def _create(self, vectors: np.ndarray, kind: int) -> Any:
        count, dim = vectors.shape
        lists = 2 ** round(np.log2(4 * np.sqrt(count)))
        coarse = f"IVF{lists}" if lists <= 2048 else f"IVF{lists}_HNSW32"
        index = faiss.index_factory(dim, f"{coarse},PQ{dim // self.settings['dims_per_code']}x4fs,RFlat", kind)
        index.train(_sample(vectors, 64 * lists))
        return index

    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        faiss.extract_index_ivf(self._index.base_index).nprobe = effort["ef"]
        self._index.k_factor = effort["oversampling"]

    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)

        def work(part: range) -> None:
            # The number of threads inside one search is a setting of the calling thread.
            faiss.omp_set_num_threads(1)
            for i in part:
                arrays = (faiss.swig_ptr(queries[i]), k, faiss.swig_ptr(scores[i]), faiss.swig_ptr(ids[i]))
                self._index.search_c(1, *arrays)

        parts = [range(t, len(queries), threads) for t in range(threads)]
        if threads == 1:
            work(parts[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, parts))
        return ids


def _sample(vectors: np.ndarray, count: int) -> np.ndarray:
    rows = np.random.default_rng(1).choice(len(vectors), min(count, len(vectors)), replace=False)
    return np.asarray(vectors[np.sort(rows)], dtype=np.float32)
