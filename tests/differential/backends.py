"""A collection reached through an official client: local mode or a server over REST or gRPC."""

from typing import Any

from qdrant_client import QdrantClient, models

from .model import Collection, Search


class ClientBackend:
    """One collection of a client."""

    def __init__(self, client: QdrantClient, collection: Collection, name: str, *, key: str = "differential") -> None:
        self.name = name
        self._client = client
        self._key = key
        self._is_unnamed = collection.is_unnamed
        client.delete_collection(key)
        client.create_collection(key, vectors_config=collection.config())

    def close(self) -> None:
        """Deletes the collection; the client stays open."""
        self._client.delete_collection(self._key)

    def create_index(self, field: str, kind: models.PayloadSchemaType) -> None:
        """Makes a payload index and waits until it is registered."""
        self._client.create_payload_index(self._key, field, kind, wait=True)

    def apply(self, operations: list[Any]) -> None:
        """One operation goes through its own method, several through the batch."""
        if len(operations) > 1:
            self._client.batch_update_points(self._key, operations, wait=True)
        else:
            self._apply_one(operations[0])

    def _apply_one(self, operation: Any) -> None:
        client, key = self._client, self._key
        match operation:
            case models.UpsertOperation(upsert=models.PointsBatch(batch=batch, update_filter=condition)):
                client.upsert(key, batch, wait=True, update_filter=condition)
            case models.UpsertOperation(upsert=body):
                client.upsert(key, body.points, wait=True, update_filter=body.update_filter)
            case models.DeleteOperation(delete=selector):
                client.delete(key, selector, wait=True)
            case models.SetPayloadOperation(set_payload=body):
                client.set_payload(key, body.payload, _selector(body), key=body.key, wait=True)
            case models.OverwritePayloadOperation(overwrite_payload=body):
                client.overwrite_payload(key, body.payload, _selector(body), wait=True)
            case models.DeletePayloadOperation(delete_payload=body):
                client.delete_payload(key, body.keys, _selector(body), wait=True)
            case models.ClearPayloadOperation(clear_payload=selector):
                client.clear_payload(key, selector, wait=True)
            case models.UpdateVectorsOperation(update_vectors=body):
                client.update_vectors(key, body.points, wait=True, update_filter=body.update_filter)
            case models.DeleteVectorsOperation(delete_vectors=body):
                client.delete_vectors(key, body.vector, _selector(body), wait=True)
            case _:
                raise TypeError(f"no method for {type(operation).__name__}")

    def query(self, search: Search) -> list[Any]:
        """The hits of one search."""
        query: Any = search.vector if search.vector is not None else search.point
        if query is None and search.order_by is not None:
            query = models.OrderByQuery(order_by=search.order_by)
        return self._client.query_points(
            self._key,
            query=query,
            using=search.using or None,
            query_filter=search.filter,
            limit=search.limit,
            offset=search.offset or None,
            score_threshold=search.score_threshold,
            with_payload=search.with_payload,
            with_vectors=search.with_vectors,
            search_params=models.SearchParams(exact=True),
        ).points

    def scroll(
        self, condition: models.Filter | None, limit: int, offset: Any = None, order_by: models.OrderBy | None = None
    ) -> tuple[list[Any], Any]:
        """One page of points with everything they hold."""
        return self._client.scroll(
            self._key,
            scroll_filter=condition,
            limit=limit,
            offset=offset,
            order_by=order_by,
            with_payload=True,
            with_vectors=True,
        )

    def count(self, condition: models.Filter | None) -> int:
        """How many points match."""
        return self._client.count(self._key, count_filter=condition, exact=True).count

    def retrieve(self, ids: list[Any], with_payload: Any, with_vectors: Any) -> list[Any]:
        """Points by id."""
        return self._client.retrieve(self._key, ids, with_payload=with_payload, with_vectors=with_vectors)


def _selector(body: Any) -> Any:
    if body.points is not None:
        return models.PointIdsList(points=body.points)
    return models.FilterSelector(filter=body.filter)
