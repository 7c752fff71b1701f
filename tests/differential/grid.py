"""Every shape of a value against every kind of condition, one by one."""

from typing import Any

from qdrant_client import models

GEO = {"lon": 1.0, "lat": 2.0}
UUID = "550e8400-e29b-41d4-a716-446655440000"

VALUES: list[Any] = [
    None,
    [],
    [None],
    [1, None],
    [[]],
    [[None]],
    1,
    1.0,
    1.5,
    -3,
    2**53 + 1,
    True,
    [1, 2, 3],
    [[1, 2], [3]],
    "x",
    "X",
    "",
    "The quick brown fox",
    "foxes quick",
    ["red fox", "blue"],
    "2024-01-01T00:00:00Z",
    "2024-01-01",
    "2024-01-01 01:00:00+01:00",
    "2024-01-01T00:00:00.000001Z",
    "2024-13-01T00:00:00Z",
    UUID,
    UUID.upper(),
    {},
    {"b": 1},
    {"b": None},
    {"b": []},
    GEO,
    {"lon": 1.0},
    {"lon": "1.0", "lat": 2.0},
    [GEO, {"lon": 50.0, "lat": 2.0}],
    {"lon": 179.0, "lat": 0.0},
    [{"b": 1, "c": 2}, {"b": 2, "c": 1}],
    [{"b": 1}, {"b": None}],
    [{"b": 1}, {}],
    [{"b": []}, {"b": 1}],
    [{"b": [None]}, {"b": 1}],
    [{"b": None}],
    [None, {"b": 1}],
    [None, 1],
    [[], 1],
]

PAYLOADS: list[dict[str, Any]] = [{}, *({"a": value} for value in VALUES)]
PATHS = ["a", "a[]", "a[0]", "a.b", "a[].b", "a[0].b", "a[][]", "missing"]


def conditions() -> dict[str, Any]:
    """All conditions by a name."""
    found: dict[str, Any] = {}
    for path in PATHS:
        for name, condition in _on(path).items():
            found[f"{path}: {name}"] = condition
    return found | _others()


def _on(path: str) -> dict[str, Any]:
    def field(**condition: Any) -> models.FieldCondition:
        return models.FieldCondition(key=path, **condition)

    def matching(condition: Any) -> models.FieldCondition:
        return field(match=condition)

    key = models.PayloadField(key=path)
    found: dict[str, Any] = {f"= {v!r}": matching(models.MatchValue(value=v)) for v in (1, -3, "x", "", UUID)}
    for some in ([1, 2], ["x", ""], []):
        found[f"any {some}"] = matching(models.MatchAny(any=some))
        found[f"except {some}"] = matching(models.MatchExcept(**{"except": some}))
    for text in ("fox", "FOX quick", "qui", "", "brown quick", "quick brown"):
        found[f"text {text!r}"] = matching(models.MatchText(text=text))
        found[f"text_any {text!r}"] = matching(models.MatchTextAny(text_any=text))
        found[f"phrase {text!r}"] = matching(models.MatchPhrase(phrase=text))
    for bounds in ({}, {"gte": 1}, {"gt": 1}, {"lt": 1}, {"lte": 1.5, "gt": 0}, {"gt": 2**53}, {"gt": 5, "lt": 1}):
        found[f"range {bounds}"] = field(range=models.Range(**bounds))
    for bounds in ({"gte": "2024-01-01T00:00:00Z"}, {"lt": "2024-01-01T00:00:00Z"}, {"lte": "2024-01-01T02:00:00+02:00"}):
        found[f"range {bounds}"] = field(range=models.DatetimeRange(**bounds))
    for bounds in ({"gte": 1}, {"lt": 1}, {"gt": 1}, {"gte": 0}, {"gte": 2, "lte": 2}):
        found[f"count {bounds}"] = field(values_count=models.ValuesCount(**bounds))
    for truth in (True, False):
        found[f"field is_empty {truth}"] = field(is_empty=truth)
        found[f"field is_null {truth}"] = field(is_null=truth)
    found["is_empty"] = models.IsEmptyCondition(is_empty=key)
    found["is_null"] = models.IsNullCondition(is_null=key)
    return found | {name: field(**condition) for name, condition in _geo().items()}


def _geo() -> dict[str, dict[str, Any]]:
    def at(lon: float, lat: float) -> models.GeoPoint:
        return models.GeoPoint(lon=lon, lat=lat)

    def box(west: float, north: float, east: float, south: float) -> dict[str, Any]:
        return {"geo_bounding_box": models.GeoBoundingBox(top_left=at(west, north), bottom_right=at(east, south))}

    def ring(*corners: tuple[float, float]) -> models.GeoLineString:
        return models.GeoLineString(points=[at(*corner) for corner in (*corners, corners[0])])

    square, hole = ring((0, 0), (0, 5), (5, 5), (5, 0)), ring((0.5, 1.5), (0.5, 2.5), (1.5, 2.5), (1.5, 1.5))
    return {
        "box": box(0, 10, 10, 0),
        "box with the point on its corner": box(1, 2, 10, 0),
        "box over the antimeridian": box(170, 10, -170, -10),
        "circle of no size": {"geo_radius": models.GeoRadius(center=at(1, 2), radius=0)},
        "circle": {"geo_radius": models.GeoRadius(center=at(1, 2.005), radius=1000)},
        "circle too small": {"geo_radius": models.GeoRadius(center=at(1, 2.01), radius=1000)},
        "polygon": {"geo_polygon": models.GeoPolygon(exterior=square)},
        "polygon with a hole": {"geo_polygon": models.GeoPolygon(exterior=square, interiors=[hole])},
    }


def _others() -> dict[str, Any]:
    def nested(key: str, **clauses: Any) -> models.NestedCondition:
        return models.NestedCondition(nested=models.Nested(key=key, filter=models.Filter(**clauses)))

    one = models.FieldCondition(key="b", match=models.MatchValue(value=1))
    two = models.FieldCondition(key="c", match=models.MatchValue(value=2))
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key="b"))
    word = models.FieldCondition(key="a", match=models.MatchValue(value="x"))
    number = models.FieldCondition(key="a", match=models.MatchValue(value=1))
    return {
        "nested must": nested("a", must=[one, two]),
        "nested must, brackets": nested("a[]", must=[one, two]),
        "nested must_not": nested("a", must_not=[one]),
        "nested is_empty": nested("a", must=[empty]),
        "nested nothing": nested("a"),
        "nested should": nested("a", should=[one, two]),
        "nested has_id": nested("a", must=[models.HasIdCondition(has_id=[1])]),
        "nested missing": nested("missing", must_not=[one]),
        "has_id": models.HasIdCondition(has_id=[1, 2, 2, 999]),
        "has_id nothing": models.HasIdCondition(has_id=[]),
        "has_vector": models.HasVectorCondition(has_vector=""),
        "has_vector unknown": models.HasVectorCondition(has_vector="nowhere"),
        "no clause": models.Filter(),
        "empty clauses": models.Filter(must=[], should=[], must_not=[]),
        "should of two": models.Filter(should=[word, number]),
        "must and must_not of the same": models.Filter(must=[word], must_not=[word]),
        "min_should 1 of 2": models.Filter(min_should=models.MinShould(conditions=[word, number], min_count=1)),
        "min_should 2 of 2": models.Filter(min_should=models.MinShould(conditions=[word, number], min_count=2)),
        "min_should 1 of nothing": models.Filter(min_should=models.MinShould(conditions=[], min_count=1)),
        "should and min_should": models.Filter(
            should=[word], min_should=models.MinShould(conditions=[number], min_count=1)
        ),
    }


def as_filter(condition: Any) -> models.Filter:
    """The condition alone."""
    return condition if isinstance(condition, models.Filter) else models.Filter(must=[condition])
