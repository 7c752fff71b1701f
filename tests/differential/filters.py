"""Random filters over the generator's fields: every kind of condition, nested to a given depth."""

from typing import TYPE_CHECKING, Any

from qdrant_client import models

from .model import Collection

if TYPE_CHECKING:
    from .generate import Generator


def draw(gen: "Generator", collection: Collection, depth: int) -> models.Filter:
    """A filter with one or two clauses."""
    names = gen.rng.sample(["must", "should", "must_not", "min_should"], gen.rng.choices([1, 2], [70, 30])[0])
    clauses: dict[str, Any] = {}
    for name in names:
        conditions = [_condition(gen, collection, depth) for _ in range(gen.rng.choices([1, 2, 3], [60, 30, 10])[0])]
        if name == "min_should":
            clauses[name] = models.MinShould(conditions=conditions, min_count=gen.rng.randint(1, 2))
        else:
            clauses[name] = conditions
    return models.Filter(**clauses)


def _condition(gen: "Generator", collection: Collection, depth: int) -> Any:
    kinds = [
        (45, _match),
        (10, _text),
        (15, _range),
        (8, _when),
        (10, _geo),
        (6, _count),
        (10, _presence),
        (5, _identity),
    ]
    if depth > 0:
        kinds += [(8, _nested), (8, lambda g: draw(g, collection, depth - 1))]
    kinds.append((3, lambda g: models.HasVectorCondition(has_vector=g.rng.choice([*collection.vectors, "nowhere"]))))
    return gen.rng.choices([k for _, k in kinds], [w for w, _ in kinds])[0](gen)


def _match(gen: "Generator") -> models.FieldCondition:
    path, values = gen.rng.choice(
        [
            ("flag", [True, False]) if gen.booleans else ("whole", [3, 4]),
            ("word", ["red", "green", "blue", "fast", "1", ""]),
            ("tree.word", ["red", "green", "blue"]),
            ("rows[].word", ["red", "green", "blue"]),
            ("rows[0].word", ["red", "green", "blue"]),
            ("whole", [-1, 0, 1, 2, 5]),
            ("rows[].n", [0, 1, 2, 3]),
            ("tree.leaf.n", [0, 1, 2]),
            ("tree.leaf[].n", [0, 1, 2]),
            ("uid", _uuids()),
            ("when", ["2024-01-01T00:00:00Z"]),
        ]
    )
    value = gen.rng.choice(values)
    some = [v for v in gen.rng.sample(values, min(len(values), 2)) if not isinstance(v, bool)]
    forms: list[Any] = [models.MatchValue(value=value)]
    if some:
        forms += [models.MatchAny(any=some), models.MatchExcept(**{"except": some})]
    return models.FieldCondition(key=path, match=gen.rng.choice(forms))


def _uuids() -> list[str]:
    from .generate import UUIDS

    return UUIDS[:4]


def _text(gen: "Generator") -> models.FieldCondition:
    from .generate import WORDS

    words = " ".join(gen.rng.choice(WORDS) for _ in range(gen.rng.randint(1, 2)))
    if gen.rng.random() < 0.2:
        words = words.upper()
    forms = [models.MatchText(text=words), models.MatchTextAny(text_any=words), models.MatchPhrase(phrase=words)]
    return models.FieldCondition(key=gen.rng.choice(["text", "text", "word"]), match=gen.rng.choice(forms))


def _bounds(gen: "Generator", draw_bound: Any) -> dict[str, Any]:
    lower, upper = gen.rng.choice(["gt", "gte"]), gen.rng.choice(["lt", "lte"])
    chosen = gen.rng.choice([[lower], [upper], [lower, upper]])
    return {name: draw_bound() for name in chosen}


def _range(gen: "Generator") -> models.FieldCondition:
    path = gen.rng.choice(["whole", "real", "rows[].n", "tree.leaf.n", "word"])
    return models.FieldCondition(key=path, range=models.Range(**_bounds(gen, lambda: gen.rng.randint(-8, 12) / 2)))


def _when(gen: "Generator") -> models.FieldCondition:
    return models.FieldCondition(key="when", range=models.DatetimeRange(**_bounds(gen, gen.when)))


def _geo(gen: "Generator") -> models.FieldCondition:
    # Off the grid of the values, so that no point lies on a border.
    def at(lon: float, lat: float) -> models.GeoPoint:
        return models.GeoPoint(lon=lon, lat=lat)

    west, south = gen.rng.randrange(-170, 130, 20) + 0.5, gen.rng.randrange(-70, 50, 20) + 0.5
    east, north = west + gen.rng.randrange(5, 45), south + gen.rng.randrange(5, 35)
    match gen.rng.choice(["box", "wrapped", "circle", "polygon"]):
        case "box":
            box = models.GeoBoundingBox(top_left=at(west, north), bottom_right=at(east, south))
            return models.FieldCondition(key="place", geo_bounding_box=box)
        case "wrapped":
            box = models.GeoBoundingBox(top_left=at(150.5, north), bottom_right=at(-130.5, south))
            return models.FieldCondition(key="place", geo_bounding_box=box)
        case "circle":
            circle = models.GeoRadius(center=at(west, south), radius=gen.rng.randint(1, 60) * 50_000.0)
            return models.FieldCondition(key="place", geo_radius=circle)
    ring = models.GeoLineString(points=[at(west, south), at(east, south), at(east, north), at(west, south)])
    hole = models.GeoLineString(
        points=[at(east - 3, south + 1), at(east - 1, south + 1), at(east - 1, south + 2), at(east - 3, south + 1)]
    )
    interiors = [hole] if gen.rng.random() < 0.3 else None
    return models.FieldCondition(key="place", geo_polygon=models.GeoPolygon(exterior=ring, interiors=interiors))


def _count(gen: "Generator") -> models.FieldCondition:
    path = gen.rng.choice(["rows", "word", "rows[].n", "tree.word", "missing"])
    return models.FieldCondition(
        key=path, values_count=models.ValuesCount(**_bounds(gen, lambda: gen.rng.randint(0, 3)))
    )


def _presence(gen: "Generator") -> Any:
    path = gen.rng.choice(["word", "whole", "rows", "tree.word", "rows[].n", "rows[]", "tree.leaf", "missing", "text"])
    key = models.PayloadField(key=path)
    truth = gen.rng.random() < 0.5
    forms: list[Any] = [models.IsEmptyCondition(is_empty=key), models.IsNullCondition(is_null=key)]
    if "[" not in path:
        # Over several values the engine reads the field form differently from local mode; the filter grid has that.
        forms += [models.FieldCondition(key=path, is_empty=truth), models.FieldCondition(key=path, is_null=truth)]
    return gen.rng.choice(forms)


def _identity(gen: "Generator") -> models.HasIdCondition:
    return models.HasIdCondition(has_id=gen.ids() * gen.rng.choice([1, 2]))


def _nested(gen: "Generator") -> models.NestedCondition:
    inner = gen.rng.choice(
        [
            {"must": [models.FieldCondition(key="n", match=models.MatchValue(value=gen.rng.randint(0, 3)))]},
            {"must": [models.FieldCondition(key="n", range=models.Range(**_bounds(gen, lambda: gen.rng.randint(0, 3))))]},
            {"must_not": [models.FieldCondition(key="word", match=models.MatchAny(any=["red", "blue"]))]},
            {"must": [models.IsEmptyCondition(is_empty=models.PayloadField(key="n"))]},
            {"should": [models.IsNullCondition(is_null=models.PayloadField(key="n"))]},
        ]
    )
    more = models.FieldCondition(key="word", match=models.MatchValue(value=gen.rng.choice(["red", "green", "blue"])))
    if "must" in inner and gen.rng.random() < 0.6:
        inner = {"must": [*inner["must"], more]}
    key = gen.rng.choice(["rows", "rows[]", "tree.leaf"])
    return models.NestedCondition(nested=models.Nested(key=key, filter=models.Filter(**inner)))
