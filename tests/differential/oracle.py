"""The reference: the Python client's local mode, corrected where it is known to differ from Qdrant's engine.

Known differences, each decided by `qdrant-edge-py` (see `edge.py`), with what is done about it:

* Local mode ignores `datatype`. Vectors and queries are therefore quantized here before local mode sees them: float16
  rounds each component (cosine: after normalising, so such a vector becomes a dot product of what is stored), uint8
  truncates towards zero and clamps to 0..255.
* Local mode normalises cosine vectors of every datatype; the engine keeps uint8 ones as they were written. Scores are
  equal; returned vectors are compared by direction (see `compare.py`).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from .backends import ClientBackend
from .model import UNNAMED, Collection, Search


class LocalOracle(ClientBackend):
    """One collection in the client's local mode."""

    def __init__(self, collection: Collection) -> None:
        self._wanted = collection
        stored = Collection({name: _local_params(p) for name, p in collection.vectors.items()})
        super().__init__(QdrantClient(":memory:"), stored, "local mode")

    def create_index(self, field: str, kind: models.PayloadSchemaType) -> None:
        """Local mode has no indexes, and answers must not depend on them."""

    def apply(self, operations: list[Any]) -> None:
        """Applies operations in order, with vectors as the engine would keep them."""
        super().apply([self._quantized(op) for op in operations])

    def query(self, search: Search) -> list[Any]:
        """The hits of one search, by the vector as the engine would read it."""
        if search.vector is not None:
            params = self._wanted.vectors[search.using]
            search = replace(search, vector=quantize(params, search.vector))
        return super().query(search)

    def _quantized(self, operation: Any) -> Any:
        copy = operation.model_copy(deep=True)
        match copy:
            case models.UpsertOperation(upsert=models.PointsBatch(batch=batch)):
                batch.vectors = self._columns(batch.vectors)
            case models.UpsertOperation(upsert=body):
                for point in body.points:
                    point.vector = self._row(point.vector)
            case models.UpdateVectorsOperation(update_vectors=body):
                for point in body.points:
                    point.vector = self._row(point.vector)
        return copy

    def _row(self, vector: Any) -> Any:
        if isinstance(vector, dict):
            return {name: quantize(self._wanted.vectors[name], v) for name, v in vector.items()}
        return quantize(self._wanted.vectors[UNNAMED], vector)

    def _columns(self, vectors: Any) -> Any:
        if isinstance(vectors, dict):
            return {n: [quantize(self._wanted.vectors[n], v) for v in rows] for n, rows in vectors.items()}
        return [quantize(self._wanted.vectors[UNNAMED], v) for v in vectors]


def _local_params(params: models.VectorParams) -> models.VectorParams:
    distance = models.Distance.DOT if is_half_cosine(params) else params.distance
    return models.VectorParams(size=params.size, distance=distance)


def is_half_cosine(params: models.VectorParams) -> bool:
    """Whether stored vectors are unit vectors rounded to half precision."""
    return params.datatype == models.Datatype.FLOAT16 and params.distance == models.Distance.COSINE


def quantize(params: models.VectorParams, vector: list[float]) -> list[float]:
    """The vector as the engine keeps it (for cosine in full precision: before normalising)."""
    values = np.asarray(vector, dtype=np.float32)
    if params.datatype == models.Datatype.UINT8:
        return np.clip(np.trunc(values), 0, 255).tolist()
    if is_half_cosine(params):
        norm = np.linalg.norm(values)
        values = values / norm if norm > 0 else values
    if params.datatype == models.Datatype.FLOAT16:
        return values.astype(np.float16).astype(np.float32).tolist()
    return values.tolist()
