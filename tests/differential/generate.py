"""Seeded generator of collections, points, writes, filters and searches.

Fields have fixed names and kinds, with a share of values of the wrong kind, missing, null, or in arrays, so that
conditions meet every shape. Everything is drawn from one `random.Random`: a seed reproduces a case.
"""

import random
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from qdrant_client import models

from . import filters
from .model import UNNAMED, Collection, Search

WORDS = "red green blue fast slow fox dog bird runs jumps over under the lazy quick Öl naïve".split()
UUIDS = [str(uuid.UUID(int=0x5EED0000 + n)) for n in range(12)]
IDS: list[Any] = [*range(40), 2**63 + 5, 2**64 - 1, *UUIDS]
FIELD_KINDS = {
    "word": models.PayloadSchemaType.KEYWORD,
    "whole": models.PayloadSchemaType.INTEGER,
    "real": models.PayloadSchemaType.FLOAT,
    "flag": models.PayloadSchemaType.BOOL,
    "when": models.PayloadSchemaType.DATETIME,
    "uid": models.PayloadSchemaType.UUID,
    "place": models.PayloadSchemaType.GEO,
    "text": models.PayloadSchemaType.TEXT,
    "tree.word": models.PayloadSchemaType.KEYWORD,
    "rows[].n": models.PayloadSchemaType.INTEGER,
}


class Generator:
    """All draws of one case."""

    def __init__(self, seed: int, *, booleans: bool = True) -> None:
        self.rng = random.Random(seed)
        self.booleans = booleans
        """Whether to match truth values: the binding of `qdrant-edge-py` turns them into numbers."""
        self._in_batch = False
        self.existing: list[Any] = []
        """The ids that the collection holds now; who applies the writes keeps it up to date."""

    def collection(self) -> Collection:
        """One unnamed vector, or one to three named ones, of any distance and datatype."""
        names = [UNNAMED] if self.rng.random() < 0.4 else self.rng.sample(["a", "b", "c"], self.rng.randint(1, 3))
        return Collection({name: self._vector_params() for name in names})

    def _vector_params(self) -> models.VectorParams:
        datatypes = [None, models.Datatype.FLOAT32, models.Datatype.FLOAT16, models.Datatype.UINT8]
        return models.VectorParams(
            size=self.rng.choice([1, 2, 3, 7, 8, 16, 33]),
            distance=self.rng.choice(list(models.Distance)),
            datatype=self.rng.choices(datatypes, [6, 1, 2, 2])[0],
        )

    def vector(self, params: models.VectorParams) -> list[float]:
        """Small multiples of 1/8, so that sums are exact and ties are common; now and then all zero."""
        if self.rng.random() < 0.03:
            return [0.0] * params.size
        if params.datatype == models.Datatype.UINT8:
            return [float(self.rng.randint(0, 9)) for _ in range(params.size)]
        return [self.rng.randint(-16, 16) / 8 for _ in range(params.size)]

    def vectors(self, collection: Collection, *, partial: bool = True) -> Any:
        """A point's vectors: the list of the unnamed one, or a map of some of the named ones."""
        if collection.is_unnamed:
            return self.vector(collection.vectors[UNNAMED])
        names = list(collection.vectors)
        if partial and self.rng.random() < 0.3:
            names = self.rng.sample(names, self.rng.randint(1, len(names)))
        return {name: self.vector(collection.vectors[name]) for name in names}

    def point_id(self) -> Any:
        """A number or a UUID from a small set."""
        return self.rng.choice(IDS)

    def ids(self) -> list[Any]:
        """One to eight different ids."""
        return self.rng.sample(IDS, self.rng.randint(1, 8))

    # --- payload

    def payload(self) -> dict[str, Any]:
        """Any subset of the fields."""
        makers = {
            "word": self._word,
            "whole": lambda: self.rng.randint(-3, 6),
            "real": lambda: self.rng.randint(-20, 20) / 4,
            "flag": lambda: self.rng.random() < 0.5,
            "when": self.when,
            "uid": lambda: self.rng.choice(UUIDS),
            "place": self.place,
            "text": self._text,
            "tree": self._tree,
        }
        payload = {name: self._shaped(make) for name, make in makers.items() if self.rng.random() < 0.7}
        if isinstance(payload.get("text"), list):
            # A text index takes all texts of an array for one, a search without it takes each by itself.
            payload["text"] = payload["text"][:1]
        if self.rng.random() < 0.7:
            payload["rows"] = [self._row() for _ in range(self.rng.randint(0, 3))]
        return payload

    def _shaped(self, make: Any) -> Any:
        """Mostly the value itself; sometimes null, an array, an array with a null, or a value of another kind."""
        shape = self.rng.choices(["value", "null", "array", "holes", "other"], [70, 5, 15, 4, 6])[0]
        if shape == "null":
            return None
        if shape == "array":
            return [make() for _ in range(self.rng.randint(0, 3))]
        if shape == "holes":
            return [make(), None]
        if shape == "other":
            return self.rng.choice([1, 1.0, "1", "", True, {}, [], [[1, 2]], {"word": "red"}])
        return make()

    def _word(self) -> str:
        return self.rng.choice(WORDS[:6])

    def _text(self) -> str:
        joint = self.rng.choice([" ", ", ", "-", " "])
        words = [self.rng.choice(WORDS) for _ in range(self.rng.randint(1, 6))]
        return joint.join(w.upper() if self.rng.random() < 0.1 else w for w in words)

    def when(self) -> str:
        """An RFC 3339 date-time, in one of the usual spellings."""
        moment = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(hours=6 * self.rng.randint(0, 12))
        if self.rng.random() < 0.3:
            return moment.astimezone(timezone(timedelta(hours=2))).isoformat()
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def place(self) -> dict[str, float]:
        """A point on a coarse grid around the globe."""
        return {"lon": float(self.rng.randrange(-180, 180, 20)), "lat": float(self.rng.randrange(-80, 81, 20))}

    def _tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = {"word": self._shaped(self._word), "leaf": {"n": self.rng.randint(0, 3)}}
        if self.rng.random() < 0.3:
            tree["leaf"] = [{"n": self.rng.randint(0, 3)} for _ in range(2)]
        return tree

    def _row(self) -> Any:
        if self.rng.random() < 0.1:
            return self.rng.choice([None, 1, "x", []])
        row: dict[str, Any] = {"n": self._shaped(lambda: self.rng.randint(0, 3)), "word": self._word()}
        if self.rng.random() < 0.3:
            del row[self.rng.choice(list(row))]
        return row

    def part(self) -> dict[str, Any]:
        """A few keys to set, null now and then."""
        payload = self.payload()
        kept = self.rng.sample(sorted(payload), min(len(payload), self.rng.randint(0, 3)))
        return {key: payload[key] for key in kept} or {"word": self._word()}

    # --- writes

    def point(self, collection: Collection, point_id: Any) -> models.PointStruct:
        """A whole point."""
        return models.PointStruct(id=point_id, vector=self.vectors(collection), payload=self.payload())

    def operations(self, collection: Collection) -> list[Any]:
        """One operation, or a batch of a few."""
        count = self.rng.choices([1, 2, 4], [70, 20, 10])[0]
        if count == 1 and self.existing and self.rng.random() < 0.1:
            return [self._update_vectors(collection)]
        self._in_batch = count > 1
        return [self.operation(collection) for _ in range(count)]

    def operation(self, collection: Collection) -> Any:
        """A write of any kind."""
        makers = [
            (30, self._upsert),
            (8, self._upsert_columns),
            (6, self._delete),
            (10, self._set_payload),
            (5, self._overwrite_payload),
            (7, self._delete_payload),
            (3, self._clear_payload),
            (4, self._delete_vectors),
        ]
        make = self.rng.choices([m for _, m in makers], [w for w, _ in makers])[0]
        return make(collection)

    def _selector(self, collection: Collection, **fields: Any) -> dict[str, Any]:
        # The engine refuses payload writes to ids that do not exist, so only those that do are named, and none from
        # within a batch that may have deleted them.
        if self.existing and not self._in_batch and self.rng.random() < 0.6:
            return {**fields, "points": self._existing_ids()}
        return {**fields, "filter": self._narrow(collection)}

    def _existing_ids(self) -> list[Any]:
        return self.rng.sample(self.existing, min(len(self.existing), self.rng.randint(1, 5)))

    def _narrow(self, collection: Collection) -> models.Filter:
        """Conditions that rarely match everything, so that writes do not level the collection."""
        return models.Filter(must=[self.filter(collection, depth=1), models.HasIdCondition(has_id=self.ids())])

    def _points_selector(self, collection: Collection, ids: list[Any]) -> Any:
        if ids and self.rng.random() < 0.6:
            return models.PointIdsList(points=ids)
        return models.FilterSelector(filter=self._narrow(collection))

    def _condition(self, collection: Collection) -> models.Filter | None:
        return self.filter(collection, depth=1) if self.rng.random() < 0.2 else None

    def _upsert(self, collection: Collection) -> Any:
        points = [self.point(collection, point_id) for point_id in self.ids()]
        body = models.PointsList(points=points, update_filter=self._condition(collection))
        return models.UpsertOperation(upsert=body)

    def _upsert_columns(self, collection: Collection) -> Any:
        ids = self.ids()
        if collection.is_unnamed:
            vectors: Any = [self.vector(collection.vectors[UNNAMED]) for _ in ids]
        else:
            vectors = {n: [self.vector(p) for _ in ids] for n, p in collection.vectors.items()}
        payloads = [self.payload() for _ in ids]
        batch = models.Batch(ids=ids, vectors=vectors, payloads=payloads)
        return models.UpsertOperation(
            upsert=models.PointsBatch(batch=batch, update_filter=self._condition(collection))
        )

    def _delete(self, collection: Collection) -> Any:
        return models.DeleteOperation(delete=self._points_selector(collection, self.ids()))

    def _set_payload(self, collection: Collection) -> Any:
        key = self.rng.choice([None, None, None, "tree", "tree.leaf", "rows[]", "rows[0]", "new", "new.deep", "word"])
        fields = self._selector(collection, payload=self.part(), key=key)
        return models.SetPayloadOperation(set_payload=models.SetPayload(**fields))

    def _overwrite_payload(self, collection: Collection) -> Any:
        fields = self._selector(collection, payload=self.payload())
        return models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(**fields))

    def _delete_payload(self, collection: Collection) -> Any:
        paths = ["word", "whole", "real", "tree", "tree.word", "rows", "rows[].n", "rows[0].word", "missing", "rows[]"]
        fields = self._selector(collection, keys=self.rng.sample(paths, self.rng.randint(1, 3)))
        return models.DeletePayloadOperation(delete_payload=models.DeletePayload(**fields))

    def _clear_payload(self, collection: Collection) -> Any:
        ids = self._existing_ids() if self.existing and not self._in_batch else []
        return models.ClearPayloadOperation(clear_payload=self._points_selector(collection, ids))

    def _update_vectors(self, collection: Collection) -> Any:
        points = [models.PointVectors(id=i, vector=self.vectors(collection)) for i in self._existing_ids()]
        body = models.UpdateVectors(points=points, update_filter=self._condition(collection))
        return models.UpdateVectorsOperation(update_vectors=body)

    def _delete_vectors(self, collection: Collection) -> Any:
        names = list(collection.vectors)
        chosen = self.rng.sample(names, self.rng.randint(1, len(names)))
        fields = self._selector(collection, vector=chosen)
        return models.DeleteVectorsOperation(delete_vectors=models.DeleteVectors(**fields))

    # --- reads

    def filter(self, collection: Collection, *, depth: int = 2) -> models.Filter:
        """A filter of up to `depth` levels."""
        return filters.draw(self, collection, depth)

    def search(self, collection: Collection) -> Search:
        """A search by vector or by the vector of a point."""
        name = self.rng.choice(list(collection.vectors))
        params = collection.vectors[name]
        by_id = bool(self.existing) and self.rng.random() < 0.25
        return Search(
            vector=None if by_id else self.vector(params),
            point=self.rng.choice(self.existing) if by_id else None,
            using=name,
            filter=self.filter(collection) if self.rng.random() < 0.7 else None,
            limit=self.rng.choice([1, 3, 10, 100]),
            offset=self.rng.choice([0, 0, 0, 1, 5]),
            score_threshold=self._threshold(params) if self.rng.random() < 0.3 else None,
            with_payload=self.payload_selector(),
            with_vectors=self.vector_selector(collection),
        )

    def _threshold(self, params: models.VectorParams) -> float:
        if params.distance == models.Distance.COSINE:
            return self.rng.choice([-0.5, 0.0, 0.3, 0.7])
        return self.rng.choice([0.0, 1.0, 2.5, 10.0])

    def payload_selector(self) -> Any:
        """Every form of `with_payload`."""
        some = self.rng.sample(["word", "tree.word", "tree", "rows[].n", "rows", "tree.leaf.n", "missing"], 2)
        forms = [
            True,
            True,
            False,
            some,
            models.PayloadSelectorInclude(include=some),
            models.PayloadSelectorExclude(exclude=some),
        ]
        return self.rng.choice(forms)

    def vector_selector(self, collection: Collection) -> Any:
        """Every form of `with_vectors`."""
        forms: list[Any] = [False, True]
        if not collection.is_unnamed:
            forms.append([self.rng.choice(list(collection.vectors))])
        return self.rng.choice(forms)
