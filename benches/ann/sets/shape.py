"""How hard a data set is: local intrinsic dimension and relative contrast.

Both are taken over euclidean distances (of unit vectors where the metric is cosine), once from rows of the data to the
rest of it and once from the queries to the data: queries of another distribution lie further off.
"""

from typing import Any

import numpy as np

from .truth import nearest

NEIGHBORS = 100
SAMPLE = 1000


def local_dimension(distances: np.ndarray) -> float:
    """Local intrinsic dimension from `[points, k]` ascending distances, zero distances left out.

    The maximum likelihood estimate of Levina and Bickel (2004), combined over points by averaging inverses as MacKay
    and Ghahramani correct it: `1 / mean(ln(r_k / r_i))` over all points and `i < k`.
    """
    furthest = distances[:, -1:]
    nearer = distances[:, :-1]
    usable = (nearer > 0) & (furthest > 0)
    if not usable.any():
        raise ValueError("all distances are zero")
    return float(1 / np.log((furthest / np.where(usable, nearer, 1))[usable]).mean())


def contrast(nearest_distance: np.ndarray, mean_distance: np.ndarray) -> float:
    """Relative contrast of He, Kumar and Chang (2012): mean distance over the distance of the nearest, each averaged."""
    return float(mean_distance.mean() / nearest_distance.mean())


def measure(vectors: np.ndarray, queries: np.ndarray, seed: int = 1) -> dict[str, Any]:
    """Both figures, of the data and of the queries."""
    random = np.random.default_rng(seed)
    asked = queries[np.sort(random.choice(len(queries), min(SAMPLE, len(queries)), replace=False))]
    inside = vectors[np.sort(random.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False))]
    others = vectors[np.sort(random.choice(len(vectors), min(10 * SAMPLE, len(vectors)), replace=False))]
    # The nearest row of a row is itself: one more is asked for, and the first left out.
    _, among = nearest(vectors, inside, NEIGHBORS + 1)
    _, across = nearest(vectors, asked, NEIGHBORS)
    return {
        "data": _figures(among[:, 1:], _mean_distances(inside, others)),
        "queries": _figures(across, _mean_distances(asked, others)),
    }


def _figures(distances: np.ndarray, means: np.ndarray) -> dict[str, float]:
    return {
        "local_dimension": round(local_dimension(distances), 2),
        "contrast": round(contrast(distances[:, 0], means), 3),
    }


def _mean_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    left = rows.astype(np.float64)
    right = others.astype(np.float64)
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :] - 2 * left @ right.T
    return np.sqrt(np.maximum(squares, 0)).mean(axis=1)
