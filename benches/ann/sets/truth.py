"""Exact nearest rows, block by block.

Single precision finds candidates with room to spare, double precision decides among them, so that byte vectors whose
squared distances leave the 24 bits of a float are ranked right too. Equal distances go by the lower row.
"""

import numpy as np

BLOCK = 16_384
SPARE = 32
"""Candidates beyond the wanted ones: what rounding in single precision could hide."""


def nearest(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[queries, k]` as i32, nearest first, and their euclidean distances.

    On unit vectors the order is the one by cosine.
    """
    if len(vectors) < k:
        raise ValueError(f"{k} neighbours wanted of {len(vectors)} rows")
    wanted = min(k + SPARE, len(vectors))
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    best = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int32)
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK], dtype=np.float32)
        # |q - v|^2 without |q|^2, which changes no order.
        scores = np.einsum("ij,ij->i", block, block)[None, :] - 2 * (asked @ block.T)
        numbers = np.broadcast_to(np.arange(start, start + len(block), dtype=np.int32), scores.shape)
        best, rows = _least(np.hstack([best, scores]), np.hstack([rows, numbers]), wanted)
    return _decide(vectors, queries, rows, k)


def _least(scores: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    if scores.shape[1] <= count:
        return scores, rows
    kept = np.argpartition(scores, count - 1, axis=1)[:, :count]
    return np.take_along_axis(scores, kept, axis=1), np.take_along_axis(rows, kept, axis=1)


def _decide(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    found = np.empty((len(queries), k), dtype=np.int32)
    distances = np.empty((len(queries), k))
    for number, candidates in enumerate(rows):
        candidates = np.sort(candidates)
        apart = vectors[candidates].astype(np.float64) - queries[number].astype(np.float64)
        squares = np.einsum("ij,ij->i", apart, apart)
        order = np.argsort(squares, kind="stable")[:k]
        found[number] = candidates[order]
        distances[number] = np.sqrt(squares[order])
    return found, distances
