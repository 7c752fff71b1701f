"""The WordNet vectors: loading, uploading, and exact answers by brute force."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from .paths import data_directory

COLLECTION = "wordnet"


@dataclass
class WordNet:
    """Points and queries; row i is the point with id i."""

    vectors: np.ndarray
    payload: list[dict[str, Any]]
    queries: np.ndarray
    neighbors: np.ndarray | None
    """Exact nearest ids of each query, if all points are here."""

    @property
    def dimensions(self) -> int:
        """Components of a vector."""
        return self.vectors.shape[1]

    def unit(self) -> np.ndarray:
        """The vectors in unit length and single precision."""
        rows = self.vectors.astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def load(count: int | None = None) -> WordNet:
    """The first `count` points, or all. Raises `FileNotFoundError` where the data is not."""
    directory = data_directory()
    if directory is None:
        raise FileNotFoundError("no wordnet-minilm: set LODESTONE_DATA to the directory that holds it")
    directory = directory / "wordnet-minilm"
    vectors = np.load(directory / "vectors.f16.npy")
    neighbors = np.load(directory / "neighbors.i32.npy") if count is None else None
    return WordNet(vectors[:count], _payload(directory, count), np.load(directory / "queries.f16.npy"), neighbors)


def _payload(directory: Path, count: int | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with gzip.open(directory / "points.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            if count is not None and len(rows) == count:
                break
            row = json.loads(line)
            del row["id"]
            rows.append(row)
    return rows


def create(
    client: QdrantClient, data: WordNet, *, name: str = COLLECTION, shards: int = 1, on_disk: bool | None = None
) -> None:
    """An empty collection for the points."""
    params = models.VectorParams(size=data.dimensions, distance=models.Distance.COSINE, on_disk=on_disk)
    client.create_collection(name, vectors_config=params, shard_number=shards)


def create_indexes(client: QdrantClient, name: str = COLLECTION) -> None:
    """Payload indexes on what the filters ask for."""
    for field, kind in {"topic": "keyword", "pos": "keyword", "examples": "integer", "words": "keyword"}.items():
        client.create_payload_index(name, field, models.PayloadSchemaType(kind), wait=True)


def upload(client: QdrantClient, data: WordNet, *, name: str = COLLECTION, **options: Any) -> None:
    """All points through the client's own uploader, with its defaults unless told otherwise."""
    client.upload_collection(
        name, vectors=data.vectors.astype(np.float32), payload=data.payload, ids=range(len(data.payload)), **options
    )


def filters(data: WordNet) -> list[tuple[str, models.Filter, np.ndarray]]:
    """Filters with the rows they let pass, from broad to narrow and none at all."""

    def rows(test: Any) -> np.ndarray:
        return np.fromiter((test(p) for p in data.payload), dtype=bool, count=len(data.payload))

    def having(key: str, **condition: Any) -> models.FieldCondition:
        return models.FieldCondition(key=key, **condition)

    verb = having("pos", match=models.MatchValue(value="verb"))
    animal = having("topic", match=models.MatchValue(value="noun.animal"))
    some = having("topic", match=models.MatchAny(any=["noun.food", "noun.plant", "verb.motion"]))
    exemplified = having("examples", range=models.Range(gte=2))
    word = having("words", match=models.MatchAny(any=["run", "light", "entity", "bank"]))
    text = having("definition", match=models.MatchText(text="the act of"))
    return [
        ("pos", models.Filter(must=[verb]), rows(lambda p: p["pos"] == "verb")),
        ("not pos", models.Filter(must_not=[verb]), rows(lambda p: p["pos"] != "verb")),
        ("topic", models.Filter(must=[animal]), rows(lambda p: p["topic"] == "noun.animal")),
        (
            "topics",
            models.Filter(must=[some]),
            rows(lambda p: p["topic"] in ("noun.food", "noun.plant", "verb.motion")),
        ),
        ("examples", models.Filter(must=[exemplified]), rows(lambda p: p["examples"] >= 2)),
        (
            "words",
            models.Filter(must=[word]),
            rows(lambda p: not {"run", "light", "entity", "bank"}.isdisjoint(p["words"])),
        ),
        (
            "verb with examples, or animal",
            models.Filter(should=[models.Filter(must=[verb, exemplified]), animal]),
            rows(lambda p: (p["pos"] == "verb" and p["examples"] >= 2) or p["topic"] == "noun.animal"),
        ),
        ("text", models.Filter(must=[text]), rows(lambda p: {"the", "act", "of"} <= tokens(p["definition"]))),
        (
            "nothing",
            models.Filter(must=[having("topic", match=models.MatchValue(value="noun.nowhere"))]),
            rows(lambda p: False),
        ),
    ]


def tokens(text: str) -> set[str]:
    """Words in lower case: runs of letters and digits."""
    return set("".join(c.lower() if c.isalnum() else " " for c in text).split())


class Exact:
    """Brute force in numpy."""

    def __init__(self, data: WordNet) -> None:
        self._rows = data.unit()
        self._queries = data.queries.astype(np.float32)
        self._queries /= np.linalg.norm(self._queries, axis=1, keepdims=True)

    def scores(self, query: int) -> np.ndarray:
        """The score of every point."""
        return self._rows @ self._queries[query]

    def check(self, query: int, hits: list[Any], limit: int, allowed: np.ndarray | None = None, slack: float = 1e-5) -> None:
        """Raises `AssertionError` unless these are the nearest allowed points; equal scores in any order."""
        scores = self.scores(query)
        rows = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
        best = np.sort(scores[rows])[::-1][:limit]
        assert len(hits) == len(best), f"query {query}: {len(hits)} hits, expected {len(best)}"
        ids = [hit.id for hit in hits]
        assert len(set(ids)) == len(ids), f"query {query}: a point twice"
        if allowed is not None:
            assert allowed[ids].all(), f"query {query}: a hit does not match the filter"
        got = np.array([hit.score for hit in hits])
        assert np.allclose(got, scores[ids], rtol=0, atol=slack), f"query {query}: wrong scores"
        assert np.allclose(got, best, rtol=0, atol=slack), f"query {query}: not the nearest: {ids}"
