"""From points (recall, queries per second) to the speed at a recall."""

import math
from collections.abc import Iterable

import numpy as np

Point = tuple[float, float]
"""Recall and queries per second."""


def recall(ids: np.ndarray, neighbors: np.ndarray) -> float:
    """The share of the true nearest among the first `ids.shape[1]` that were found, each query alike."""
    wanted = neighbors[:, : ids.shape[1]]
    return float((ids[:, :, None] == wanted[:, None, :]).any(axis=1).mean())


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in both, by ascending recall."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (-p[0], -p[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best[::-1]


def speed_at(points: Iterable[Point], wanted: float) -> float | None:
    """Queries per second at this recall, between two points of the frontier along a line in recall and log speed.

    Where even the least effort reaches more, its speed; `None` where nothing reaches it.
    """
    line = frontier(points)
    above = [point for point in line if point[0] >= wanted]
    below = [point for point in line if point[0] < wanted]
    if not above:
        return None
    right = above[0]
    if not below or right[0] == wanted:
        return right[1]
    left = below[-1]
    share = (wanted - left[0]) / (right[0] - left[0])
    return math.exp((1 - share) * math.log(left[1]) + share * math.log(right[1]))
