"""Qdrant's own engine in this process: one indexed segment, codes in RAM, rescoring on."""

import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from ..sets.folder import Folder
from . import Peer

BATCH = 1000


class Qdrant(Peer):
    """`codec` is `f32` (no quantization), `int8`, or `turbo1`, `turbo2`, `turbo4`, `turbo8` for that many bits.

    Build time is what its optimizer takes once the points are stored; storing them, which makes Python objects of every
    number, is `upload_seconds`.
    """

    engine = f"qdrant-edge {version('qdrant-edge-py')}"
    defaults = {"m": 16, "ef_construct": 100, "codec": "f32"}

    def build(self, vectors: np.ndarray, metric: str, threads: int, folder: Path) -> None:
        distance = edge.Distance.Cosine if metric == "cosine" else edge.Distance.Euclid
        # The threshold is a size in kB under which it scans instead: the smallest that it takes.
        graph = edge.HnswIndexConfig(self.settings["m"], self.settings["ef_construct"], 10, threads)
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(
                size=vectors.shape[1], distance=distance, quantization_config=self._quantization(), hnsw_config=graph
            ),
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=100),
            max_search_threads=threads,
        )
        path = folder / "shard"
        path.mkdir()
        self._shard = edge.EdgeShard.create(str(path), config)
        begun = time.perf_counter()
        for start in range(0, len(vectors), BATCH):
            rows = np.asarray(vectors[start : start + BATCH], dtype=np.float32)
            points = [edge.Point(start + i, row.tolist()) for i, row in enumerate(rows)]
            self._shard.update(edge.UpdateOperation.upsert_points(points))
        uploaded = time.perf_counter()
        self._shard.optimize()
        self.build_detail = {"seconds": time.perf_counter() - uploaded, "upload_seconds": uploaded - begun}
        if self._shard.info().indexed_vectors_count != len(vectors):
            raise RuntimeError(f"not all is indexed: {self._shard.info()}")

    def save(self, folder: Path) -> None:
        self._shard.flush()

    def load(self, folder: Path, data: Folder, threads: int) -> None:
        self._shard = edge.EdgeShard.load(str(folder / "shard"))

    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        quantization = None
        if "oversampling" in effort:
            quantization = edge.QuantizationSearchParams(rescore=True, oversampling=effort["oversampling"])
        self._params = edge.SearchParams(hnsw_ef=effort["ef"], quantization=quantization)

    def as_queries(self, queries: np.ndarray) -> np.ndarray:
        # Lists of floats are made beforehand, outside of the measured time.
        made = np.empty(len(queries), dtype=object)
        made[:] = [edge.Query.Nearest(query.astype(np.float32).tolist()) for query in queries]
        return made

    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        ids = np.full((len(queries), k), -1, dtype=np.int64)

        def work(part: range) -> None:
            for i in part:
                asked = edge.QueryRequest(limit=k, query=queries[i], params=self._params)
                hits = self._shard.query(asked)
                ids[i, : len(hits)] = [hit.id for hit in hits]

        parts = [range(t, len(queries), threads) for t in range(threads)]
        if threads == 1:
            work(parts[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, parts))
        return ids

    def _quantization(self) -> Any:
        codec = self.settings["codec"]
        if codec == "f32":
            return None
        if codec == "int8":
            return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=True)
        bits = getattr(edge.TurboQuantBitSize, f"Bits{codec.removeprefix('turbo')}")
        return edge.TurboQuantQuantizationConfig(always_ram=True, bits=bits)
