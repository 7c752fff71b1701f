"""Qdrant's own engine: one indexed segment, codes in RAM, rescoring on."""

import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from ..sets.folder import Folder
from . import KeptPeer
from .processes import Searchers

BATCH = 1000


class Qdrant(KeptPeer):
    """`codec` is `f32` (no quantization), `int8`, or `turbo1`, `turbo2`, `turbo4`, `turbo8` for that many bits.

    Build time is what its optimizer takes once the points are stored; storing them, which makes Python objects of every
    number, is `upload_seconds`.

    The library holds Python's lock while it searches, so each search thread beyond the first is a process with the same
    files mapped. Its own pool for searching has one thread, which is 1.4x as fast here as what it chooses by itself.
    """

    engine = f"qdrant-edge {version('qdrant-edge-py')}"
    defaults = {"m": 16, "ef_construct": 100, "codec": "f32"}

    def build(self, vectors: np.ndarray, metric: str, threads: int, folder: Path) -> None:
        path = folder / "shard"
        path.mkdir()
        shard = edge.EdgeShard.create(str(path), _config(self.settings, vectors.shape[1], metric, threads))
        begun = time.perf_counter()
        for start in range(0, len(vectors), BATCH):
            rows = np.asarray(vectors[start : start + BATCH], dtype=np.float32)
            points = [edge.Point(start + i, row.tolist()) for i, row in enumerate(rows)]
            shard.update(edge.UpdateOperation.upsert_points(points))
        uploaded, spent = time.perf_counter(), time.process_time()
        shard.optimize()
        self.build_detail = {
            "seconds": time.perf_counter() - uploaded,
            "cpu_seconds": time.process_time() - spent,
            "upload_seconds": uploaded - begun,
        }
        if shard.info().indexed_vectors_count != len(vectors):
            raise RuntimeError(f"not all is indexed: {shard.info()}")
        shard.flush()
        shard.close()
        self._open(path, vectors.shape[1], metric, threads)

    def save(self, folder: Path) -> None:
        pass  # It works in that folder.

    def load(self, folder: Path, data: Folder, threads: int) -> None:
        self._open(folder / "shard", data.about["dim"], data.metric, threads)

    def as_queries(self, queries: np.ndarray) -> np.ndarray:
        # Searching is told numbers: each process makes Qdrant's objects of the queries once, outside of the measured time.
        self._queries = queries
        return np.arange(len(queries))

    def set(self, effort: dict[str, Any], k: int, threads: int) -> None:
        self._effort = effort
        self._searchers.ready(threads)

    def search(self, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
        return np.vstack(self._searchers.search(queries, k, self._effort, threads))

    def _open(self, path: Path, dim: int, metric: str, threads: int) -> None:
        for left in path.parent.glob("shard.*"):
            shutil.rmtree(left)

        def arguments(number: int) -> tuple[Any, ...]:
            own = path if number == 0 else _linked_copy(path, number)
            return own, self.settings, dim, metric, threads, self._queries

        self._searchers = Searchers(_Searcher, arguments)


class _Searcher:
    def __init__(
        self, path: Path, settings: dict[str, Any], dim: int, metric: str, threads: int, queries: np.ndarray
    ) -> None:
        self._shard = edge.EdgeShard.load(str(path), _config(settings, dim, metric, threads))
        self._queries = [edge.Query.Nearest(query.astype(np.float32).tolist()) for query in queries]

    def search(self, numbers: np.ndarray, k: int, effort: dict[str, Any]) -> np.ndarray:
        quantization = None
        if "oversampling" in effort:
            quantization = edge.QuantizationSearchParams(rescore=True, oversampling=effort["oversampling"])
        params = edge.SearchParams(hnsw_ef=effort["ef"], quantization=quantization)
        ids = np.full((len(numbers), k), -1, dtype=np.int64)
        for place, number in enumerate(numbers):
            asked = edge.QueryRequest(limit=k, query=self._queries[number], params=params)
            hits = self._shard.query(asked)
            ids[place, : len(hits)] = [hit.id for hit in hits]
        return ids


def _config(settings: dict[str, Any], dim: int, metric: str, threads: int) -> edge.EdgeConfig:
    distance = edge.Distance.Cosine if metric == "cosine" else edge.Distance.Euclid
    # The threshold is a size in kB under which it scans instead: the smallest that it takes.
    graph = edge.HnswIndexConfig(settings["m"], settings["ef_construct"], 10, threads)
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(
            size=dim, distance=distance, quantization_config=_quantization(settings["codec"]), hnsw_config=graph
        ),
        optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=100),
        max_search_threads=1,
    )


def _quantization(codec: str) -> Any:
    if codec == "f32":
        return None
    if codec == "int8":
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=True)
    bits = getattr(edge.TurboQuantBitSize, f"Bits{codec.removeprefix('turbo')}")
    return edge.TurboQuantQuantizationConfig(always_ram=True, bits=bits)


def _linked_copy(source: Path, number: int) -> Path:
    """Files that searching only maps are shared, so that they are in memory once; logs and settings are copied."""
    target = source.with_name(f"{source.name}.{number}")

    def link(file: str, copy: str) -> None:
        if Path(file).relative_to(source).parts[0] == "segments":
            os.link(file, copy)
        else:
            shutil.copy2(file, copy)

    shutil.copytree(source, target, copy_function=link)
    return target
