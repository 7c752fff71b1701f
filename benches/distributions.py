#!/usr/bin/env python3
"""Recall of a user who sets nothing, for vectors that no model of language made: what the build notices by itself.

Each set is uploaded, indexed and searched with default settings, but that collections at rest are put in order after a second,
and that sets of few components, which need no index to be quick, have one as well; queries are rows that were left out.
"""

import time
from collections.abc import Callable

import numpy as np
from _bench import Server, parser, percentiles, report, serving, wordnet
from harness.wordnet_check import wait_for_index
from qdrant_client import models

LIMIT = 10
QUERIES = 200
NAME = wordnet.COLLECTION

Rows = np.ndarray


def normal(rng: np.random.Generator, count: int, dim: int) -> Rows:
    """No structure at all."""
    return rng.standard_normal((count, dim), dtype=np.float32)


def latent(rng: np.random.Generator, count: int, dim: int) -> Rows:
    """Few directions, as of vectors that a model makes."""
    return normal(rng, count, 16) @ normal(rng, 16, dim) + 0.1 * normal(rng, count, dim)


def lengths(rng: np.random.Generator, count: int, dim: int) -> Rows:
    """Lengths that differ a thousandfold."""
    return latent(rng, count, dim) * 10 ** rng.uniform(-3, 0, (count, 1)).astype(np.float32)


def tight(rng: np.random.Generator, count: int, dim: int) -> Rows:
    """Clouds that are far from each other, and whose rows are very near."""
    return 10 * normal(rng, 50, dim)[rng.integers(0, 50, count)] + 0.01 * normal(rng, count, dim)


def few(rng: np.random.Generator, count: int, dim: int) -> Rows:
    """Five wide clouds, far from each other: too near for codes of four bits, which refer to the mean of all."""
    return 10 * normal(rng, 5, dim)[rng.integers(0, 5, count)] + 0.3 * normal(rng, count, dim)


def outlier(rng: np.random.Generator, count: int, dim: int) -> Rows:
    """One row is a million times longer."""
    rows = latent(rng, count, dim)
    rows[count // 2] *= 1e6
    return rows


def skewed(rng: np.random.Generator, count: int, dim: int) -> Rows:
    """A few components are far greater than all others."""
    return latent(rng, count, dim) * np.exp(rng.uniform(-4, 4, dim)).astype(np.float32)


def positive(rng: np.random.Generator, count: int, dim: int) -> Rows:
    """Nothing below zero and mostly near it, as of histograms."""
    return rng.exponential(1.0, (count, dim)).astype(np.float32) ** 3


KINDS: dict[str, Callable[[np.random.Generator, int, int], Rows]] = {
    made.__name__: made for made in (normal, latent, lengths, tight, few, outlier, skewed, positive)
}


def exact(rows: Rows, queries: Rows, distance: models.Distance) -> np.ndarray:
    """The score of every row for each query, more being nearer."""
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    if distance == models.Distance.MANHATTAN:
        return np.array([-np.abs(rows - query).sum(axis=1) for query in queries])
    if distance == models.Distance.EUCLID:
        middle = rows.mean(axis=0)
        rows, queries = rows - middle, queries - middle
        return 2 * (queries @ rows.T) - (rows**2).sum(axis=1)
    products = queries @ rows.T
    if distance == models.Distance.COSINE:
        products /= np.linalg.norm(rows, axis=1)
    return products


def measure(server: Server, kind: str, dim: int, distance: models.Distance, count: int) -> None:
    """One line about one set."""
    made = KINDS[kind](np.random.default_rng(3), count + QUERIES, dim)
    rows, queries = made[:count], made[count:]
    client = server.client(grpc=True, timeout=120)
    # In KiB: what is half of the rows has an index, however few components they have.
    threshold = models.OptimizersConfigDiff(indexing_threshold=min(10_000, count * dim // 512))
    client.create_collection(NAME, models.VectorParams(size=dim, distance=distance), optimizers_config=threshold)
    for start in range(0, count, 1000):
        ids = list(range(start, min(start + 1000, count)))
        client.upload_collection(NAME, rows[start : start + 1000], ids=ids, batch_size=500, wait=True)
    begun = time.perf_counter()
    indexed = wait_for_index(client)
    waited = time.perf_counter() - begun
    scores = exact(rows, queries, distance)
    found, seconds = 0, []
    for query, of_query in zip(queries, scores, strict=True):
        begun = time.perf_counter()
        hits = client.query_points(NAME, query.tolist(), limit=LIMIT).points
        seconds.append(time.perf_counter() - begun)
        tenth = np.partition(of_query, count - LIMIT)[count - LIMIT]
        found += sum(of_query[hit.id] >= tenth - 1e-6 * abs(tenth) for hit in hits)
    client.delete_collection(NAME)
    report(
        "distributions",
        kind=kind,
        dim=dim,
        distance=distance.value,
        points=count,
        indexed=indexed,
        recall_at_10=round(found / (LIMIT * QUERIES), 4),
        waited_s=round(waited, 1),
        **percentiles(seconds),
    )


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.set_defaults(points=50_000)
    arguments.add_argument("--dims", type=int, nargs="+", default=[8, 128, 768])
    arguments.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    every = [distance.value for distance in models.Distance]
    arguments.add_argument("--distances", nargs="+", choices=every, default=every)
    options = arguments.parse_args()
    # So that small sets are put in order soon.
    with serving(environment={"LODESTONE_COMPACT_IDLE": "1s"}) as server:
        for kind in options.kinds:
            for dim in options.dims:
                for distance in map(models.Distance, options.distances):
                    measure(server, kind, dim, distance, options.points)


if __name__ == "__main__":
    main()
