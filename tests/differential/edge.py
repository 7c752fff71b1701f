"""Qdrant's engine, in process, behind the backend interface of this package.

`qdrant-edge-py` is the storage engine of Qdrant itself without its server. Where the Python client's local mode and
the engine differ, the engine is right.
"""

import shutil
import tempfile
from datetime import date, datetime
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from .model import Collection, Search

_DISTANCES = {
    models.Distance.COSINE: edge.Distance.Cosine,
    models.Distance.DOT: edge.Distance.Dot,
    models.Distance.EUCLID: edge.Distance.Euclid,
    models.Distance.MANHATTAN: edge.Distance.Manhattan,
}

_DATATYPES = {
    None: None,
    models.Datatype.FLOAT32: edge.VectorStorageDatatype.Float32,
    models.Datatype.FLOAT16: edge.VectorStorageDatatype.Float16,
    models.Datatype.UINT8: edge.VectorStorageDatatype.Uint8,
}

_INDEXES = {
    models.PayloadSchemaType.KEYWORD: edge.PayloadSchemaType.Keyword,
    models.PayloadSchemaType.INTEGER: edge.PayloadSchemaType.Integer,
    models.PayloadSchemaType.FLOAT: edge.PayloadSchemaType.Float,
    models.PayloadSchemaType.GEO: edge.PayloadSchemaType.Geo,
    models.PayloadSchemaType.TEXT: edge.PayloadSchemaType.Text,
    models.PayloadSchemaType.BOOL: edge.PayloadSchemaType.Bool,
    models.PayloadSchemaType.DATETIME: edge.PayloadSchemaType.Datetime,
    models.PayloadSchemaType.UUID: edge.PayloadSchemaType.Uuid,
}


class EdgeBackend:
    """One collection in an edge shard in a temporary directory."""

    name = "edge"

    def __init__(self, collection: Collection) -> None:
        self._path = tempfile.mkdtemp(prefix="edge-")
        vectors = {
            name: edge.EdgeVectorParams(
                size=int(spec.size), distance=_DISTANCES[spec.distance], datatype=_DATATYPES[spec.datatype]
            )
            for name, spec in collection.vectors.items()
        }
        self._shard = edge.EdgeShard.create(self._path, edge.EdgeConfig(vectors=vectors))

    def close(self) -> None:
        """Closes the shard and removes its files."""
        self._shard.close()
        shutil.rmtree(self._path, ignore_errors=True)

    def create_index(self, field: str, kind: models.PayloadSchemaType) -> None:
        """Makes a payload index."""
        self._shard.update(edge.UpdateOperation.create_field_index(field, _INDEXES[kind]))

    def apply(self, operations: list[Any]) -> None:
        """Applies operations in order."""
        for operation in operations:
            self._shard.update(_operation(operation))

    def query(self, search: Search) -> list[Any]:
        """The hits of one search."""
        query: Any = None
        vector, condition = search.vector, search.filter
        if search.point is not None:
            vector = self._vector_of(search.point, search.using)
            others = models.Filter(must_not=[models.HasIdCondition(has_id=[search.point])])
            condition = models.Filter(must=[others, *([condition] if condition else [])])
        if vector is not None:
            query = edge.Query.Nearest(list(vector), using=search.using or None)
        elif search.order_by is not None:
            query = _order_by(search.order_by)
        return self._shard.query(
            edge.QueryRequest(
                limit=search.limit,
                offset=search.offset,
                query=query,
                filter=_filter(condition),
                score_threshold=search.score_threshold,
                with_payload=_with_payload(search.with_payload),
                with_vector=search.with_vectors,
                params=edge.SearchParams(exact=True),
            )
        )

    def _vector_of(self, point: Any, using: str) -> Any:
        vector = self._shard.retrieve([point], False, True)[0].vector
        return vector[using] if isinstance(vector, dict) else vector

    def scroll(
        self, condition: models.Filter | None, limit: int, offset: Any = None, order_by: models.OrderBy | None = None
    ) -> tuple[list[Any], Any]:
        """One page of points with everything they hold."""
        return self._shard.scroll(
            edge.ScrollRequest(
                offset=offset,
                limit=limit,
                filter=_filter(condition),
                with_payload=True,
                with_vector=True,
                order_by=None if order_by is None else _order_by(order_by),
            )
        )

    def count(self, condition: models.Filter | None) -> int:
        """How many points match."""
        return self._shard.count(edge.CountRequest(exact=True, filter=_filter(condition)))

    def retrieve(self, ids: list[Any], with_payload: Any, with_vectors: Any) -> list[Any]:
        """Points by id."""
        return self._shard.retrieve(list(ids), _with_payload(with_payload), with_vectors)


def _with_payload(selector: Any) -> Any:
    if isinstance(selector, models.PayloadSelectorInclude):
        return edge.PayloadSelector.Include(selector.include)
    if isinstance(selector, models.PayloadSelectorExclude):
        return edge.PayloadSelector.Exclude(selector.exclude)
    return selector


def _order_by(order: models.OrderBy) -> Any:
    direction = edge.Direction.Desc if order.direction == models.Direction.DESC else edge.Direction.Asc
    start = order.start_from.isoformat() if isinstance(order.start_from, datetime) else order.start_from
    return edge.OrderBy(order.key, direction, start)


def _point(point: models.PointStruct) -> Any:
    return edge.Point(point.id, point.vector, point.payload or {})


def _operation(operation: Any) -> Any:
    """An edge operation for one of the client's operations."""
    make = edge.UpdateOperation
    match operation:
        case models.UpsertOperation(upsert=body):
            if isinstance(body, models.PointsBatch):
                points = batch_points(body.batch)
            else:
                points = body.points
            return make.upsert_points([_point(p) for p in points], condition=_filter(body.update_filter))
        case models.DeleteOperation(delete=models.PointIdsList(points=ids)):
            return make.delete_points(ids)
        case models.DeleteOperation(delete=models.FilterSelector(filter=condition)):
            return make.delete_points_by_filter(_filter(condition))
        case models.SetPayloadOperation(set_payload=body):
            if body.points is not None:
                return make.set_payload(body.points, body.payload, body.key)
            return make.set_payload_by_filter(_filter(body.filter), body.payload, body.key)
        case models.OverwritePayloadOperation(overwrite_payload=body):
            if body.points is not None:
                return make.overwrite_payload(body.points, body.payload)
            return make.overwrite_payload_by_filter(_filter(body.filter), body.payload)
        case models.DeletePayloadOperation(delete_payload=body):
            if body.points is not None:
                return make.delete_payload(body.points, body.keys)
            return make.delete_payload_by_filter(_filter(body.filter), body.keys)
        case models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=ids)):
            return make.clear_payload(ids)
        case models.ClearPayloadOperation(clear_payload=models.FilterSelector(filter=condition)):
            return make.clear_payload_by_filter(_filter(condition))
        case models.UpdateVectorsOperation(update_vectors=body):
            updates = [edge.PointVectors(p.id, p.vector) for p in body.points]
            return make.update_vectors(updates, condition=_filter(body.update_filter))
        case models.DeleteVectorsOperation(delete_vectors=body):
            if body.points is not None:
                return make.delete_vectors(body.points, body.vector)
            return make.delete_vectors_by_filter(_filter(body.filter), body.vector)
    raise TypeError(f"no edge operation for {type(operation).__name__}")


def batch_points(batch: models.Batch) -> list[models.PointStruct]:
    """The points of the column form of an upsert."""
    payloads = batch.payloads or [None] * len(batch.ids)
    points = []
    for row, (point_id, payload) in enumerate(zip(batch.ids, payloads, strict=True)):
        vectors = batch.vectors
        vector = {n: rows[row] for n, rows in vectors.items()} if isinstance(vectors, dict) else vectors[row]
        points.append(models.PointStruct(id=point_id, vector=vector, payload=payload))
    return points


def _filter(condition: models.Filter | None) -> Any:
    if condition is None:
        return None
    least = condition.min_should
    return edge.Filter(
        must=_clause(condition.must),
        should=_clause(condition.should),
        must_not=_clause(condition.must_not),
        min_should=None if least is None else edge.MinShould(_clause(least.conditions), least.min_count),
    )


def _clause(clause: Any) -> Any:
    if clause is None:
        return None
    return [_condition(c) for c in (clause if isinstance(clause, list) else [clause])]


def _condition(condition: Any) -> Any:
    match condition:
        case models.Filter():
            return _filter(condition)
        case models.IsEmptyCondition():
            return edge.IsEmptyCondition(condition.is_empty.key)
        case models.IsNullCondition():
            return edge.IsNullCondition(condition.is_null.key)
        case models.HasIdCondition():
            return edge.HasIdCondition(set(condition.has_id))
        case models.HasVectorCondition():
            return edge.HasVectorCondition(condition.has_vector)
        case models.NestedCondition():
            return edge.NestedCondition(condition.nested.key, _filter(condition.nested.filter))
        case models.FieldCondition():
            return _field(condition)
    raise TypeError(f"no edge condition for {type(condition).__name__}")


def _field(condition: models.FieldCondition) -> Any:
    box, circle, polygon = condition.geo_bounding_box, condition.geo_radius, condition.geo_polygon
    return edge.FieldCondition(
        condition.key,
        match=_match(condition.match),
        range=_range(condition.range),
        geo_bounding_box=box and edge.GeoBoundingBox(_geo(box.top_left), _geo(box.bottom_right)),
        geo_radius=circle and edge.GeoRadius(_geo(circle.center), circle.radius),
        geo_polygon=polygon
        and edge.GeoPolygon(_ring(polygon.exterior), [_ring(ring) for ring in polygon.interiors or []]),
        values_count=condition.values_count and edge.ValuesCount(**_bounds(condition.values_count)),
        is_empty=condition.is_empty,
        is_null=condition.is_null,
    )


def _geo(point: models.GeoPoint) -> Any:
    return edge.GeoPoint(point.lon, point.lat)


def _ring(ring: models.GeoLineString) -> list[Any]:
    return [_geo(p) for p in ring.points]


def _bounds(limits: Any) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in ("gt", "gte", "lt", "lte")}


def _range(limits: Any) -> Any:
    if limits is None:
        return None
    if isinstance(limits, models.DatetimeRange):
        texts = {k: v.isoformat() if isinstance(v, (date, datetime)) else v for k, v in _bounds(limits).items()}
        return edge.RangeDateTime(**texts)
    return edge.RangeFloat(**_bounds(limits))


def _match(match: Any) -> Any:
    if match is None:
        return None
    kinds = (
        (models.MatchValue, edge.MatchValue, "value"),
        (models.MatchText, edge.MatchText, "text"),
        (models.MatchTextAny, edge.MatchTextAny, "text_any"),
        (models.MatchPhrase, edge.MatchPhrase, "phrase"),
        (models.MatchAny, edge.MatchAny, "any"),
        (models.MatchExcept, edge.MatchExcept, "except_"),
    )
    for theirs, ours, field in kinds:
        if isinstance(match, theirs):
            return ours(getattr(match, field))
    raise TypeError(f"no edge match for {type(match).__name__}")
