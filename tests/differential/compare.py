"""When two answers are the same: scores within a tolerance, points of equal score in any order."""

import json
import math
from typing import Any

import numpy as np
from qdrant_client import models

from .model import Collection, Search
from .oracle import is_half_cosine

TOLERANCE = 1e-5
HALF_TOLERANCE = 2e-3


class Mismatch(AssertionError):
    """Two answers differ."""


def tolerance(params: models.VectorParams) -> float:
    """How far two scores may lie apart. Unit vectors in half precision are rounded twice."""
    return HALF_TOLERANCE if is_half_cosine(params) else TOLERANCE


def same_id(value: Any) -> Any:
    """Ids as numbers or lower-case text."""
    return value if isinstance(value, int) else str(value).lower()


def check_hits(collection: Collection, search: Search, ranking: list[Any], hits: list[Any]) -> None:
    """`ranking` is the reference's answer without limit, offset and threshold; `hits` the answer under test."""
    params = collection.vectors[search.using]
    slack = tolerance(params)
    greater = params.distance in (models.Distance.COSINE, models.Distance.DOT)
    clear, possible = _window(search, ranking, greater, slack)
    if not clear <= len(hits) <= possible:
        raise Mismatch(f"{len(hits)} hits, expected {clear} to {possible}")
    ids = [same_id(hit.id) for hit in hits]
    if len(set(ids)) != len(ids):
        raise Mismatch(f"a point twice: {ids}")
    known = {same_id(point.id): point for point in ranking}
    for place, hit in enumerate(hits):
        expected = known.get(same_id(hit.id))
        if expected is None:
            raise Mismatch(f"{hit.id} does not match the filter or has no such vector")
        if not _close(hit.score, expected.score, slack):
            raise Mismatch(f"{hit.id} has score {hit.score}, expected {expected.score}")
        ranked = ranking[search.offset + place].score
        if not _close(hit.score, ranked, 2 * slack):
            raise Mismatch(f"place {place} has score {hit.score}, expected {ranked}")
        check_record(collection, expected, hit)


def _window(search: Search, ranking: list[Any], greater: bool, slack: float) -> tuple[int, int]:
    """The least and the greatest number of hits that a right answer has."""
    clear = possible = len(ranking)
    if search.score_threshold is not None:
        sign = 1 if greater else -1
        above = [sign * (point.score - search.score_threshold) for point in ranking]
        room = slack * max(1.0, abs(search.score_threshold))
        clear = sum(a > room for a in above)
        possible = sum(a >= -room for a in above)
    return tuple(max(0, min(n - search.offset, search.limit)) for n in (clear, possible))


def _close(a: float, b: float, slack: float) -> bool:
    return math.isclose(a, b, rel_tol=slack, abs_tol=slack)


def check_records(collection: Collection, expected: list[Any], got: list[Any]) -> None:
    """The same points in the same order, with the same payload and vectors."""
    wanted, found = [same_id(p.id) for p in expected], [same_id(p.id) for p in got]
    if wanted != found:
        missing, extra = set(wanted) - set(found), set(found) - set(wanted)
        raise Mismatch(f"points differ: missing {missing}, extra {extra}, expected {wanted}, got {found}")
    for ours, theirs in zip(expected, got, strict=True):
        check_record(collection, ours, theirs)


def check_record(collection: Collection, expected: Any, got: Any) -> None:
    """The same payload and vectors."""
    wanted, found = expected.payload or {}, got.payload or {}
    if _canonical(wanted) != _canonical(found):
        raise Mismatch(f"payload of {got.id}: {_canonical(found)}, expected {_canonical(wanted)}")
    ours, theirs = _named(expected.vector), _named(got.vector)
    if ours.keys() != theirs.keys():
        raise Mismatch(f"vectors of {got.id}: {sorted(theirs)}, expected {sorted(ours)}")
    for name, vector in ours.items():
        _check_vector(collection.vectors[name], got.id, vector, theirs[name])


def _check_vector(params: models.VectorParams, point_id: Any, expected: Any, got: Any) -> None:
    a, b = np.asarray(expected, dtype=np.float64), np.asarray(got, dtype=np.float64)
    if params.datatype == models.Datatype.UINT8 and params.distance == models.Distance.COSINE:
        a, b = _unit(a), _unit(b)
    if a.shape != b.shape or not np.allclose(a, b, rtol=tolerance(params), atol=tolerance(params)):
        raise Mismatch(f"vector of {point_id}: {b.tolist()}, expected {a.tolist()}")


def _unit(vector: Any) -> Any:
    norm = np.linalg.norm(vector)
    return vector / norm if norm > 0 else vector


def _named(vector: Any) -> dict[str, Any]:
    if vector is None:
        return {}
    return dict(vector) if isinstance(vector, dict) else {"": vector}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
