"""Questions of every kind to collections that do not change, each answer compared with what is right.

What is right comes from the data that was uploaded: payloads and vectors as they were sent, bit by bit; scores, nearest points and
filters computed here. Only searches that may be approximate are judged by how much they find.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from .workload import describe, is_expected
from .wordnet import WordNet, filters

LIMIT = 10
SLACK = 1e-5
"""By how much a score may differ: sums of single precision come in many orders."""


class Wrong(AssertionError):
    """An answer is not what is right."""


class Uncured(AssertionError):
    """A question was answered with an error twice in a row."""


@dataclass
class Truth:
    """A collection: row i is the point with id i, its vector as sent, of length 1."""

    name: str
    points: WordNet
    conditions: list[tuple[str, models.Filter, np.ndarray]] = field(init=False)
    """Filters with the rows that they let pass."""
    queries: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = filters(self.points)
        asked = self.points.queries.astype(np.float32)
        self.queries = asked / np.linalg.norm(asked, axis=1, keepdims=True)

    @property
    def count(self) -> int:
        """How many points."""
        return len(self.points.payload)

    def check_point(self, point: Any, *, payload: bool, vector: bool) -> None:
        """Payload and vector are there as wanted, and are what was sent."""
        assert isinstance(point.id, int) and 0 <= point.id < self.count, f"there is no point {point.id}"
        wanted = self.points.payload[point.id] if payload else None
        assert (point.payload or None) == wanted, f"payload of {point.id}: {point.payload}"
        if not vector:
            assert not point.vector, f"{point.id} shows a vector"
            return
        shown = np.array(point.vector, dtype=np.float32)
        sent = self.points.vectors[point.id]
        assert shown.shape == sent.shape, f"vector of {point.id} has {shown.shape} components"
        assert (shown.view(np.uint32) == sent.view(np.uint32)).all(), f"vector of {point.id} is not what was sent"

    def check_hits(self, hits: list[Any], scores: np.ndarray, allowed: np.ndarray, *, exact: bool) -> tuple[int, int]:
        """As many as there should be, allowed, each as near as it says, in order; the nearest if `exact`.

        Of how many nearest points how many were found.
        """
        best = np.sort(scores[allowed])[::-1][:LIMIT]
        ids = [hit.id for hit in hits]
        assert len(set(ids)) == len(ids), f"a point twice: {ids}"
        assert len(hits) == len(best), f"{len(hits)} hits instead of {len(best)}"
        for hit in hits:
            assert allowed[hit.id], f"{hit.id} does not match"
            assert abs(hit.score - scores[hit.id]) <= SLACK, f"{hit.id} scores {hit.score} instead of {scores[hit.id]}"
        assert all(a.score >= b.score for a, b in zip(hits, hits[1:])), "not the nearest first"
        found = sum(hit.score >= best[-1] - SLACK for hit in hits)
        assert found == len(best) or not exact, f"{found} of the nearest {len(best)}: {ids}"
        return found, len(best)


@dataclass
class Question:
    """Something to ask, and how to judge the answer."""

    name: str
    ask: Callable[[QdrantClient], Any]
    check: Callable[[Any], None]


class Asker:
    """Asks one question after the other; an error must be cured by asking again at once."""

    def __init__(self, truths: list[Truth], seed: object) -> None:
        self.answers = 0
        self.cured = 0
        """Errors after which the same question was answered."""
        self.found = self.wanted = 0
        """The nearest points that approximate searches found, and should have found."""
        self.over = threading.Event()
        """Set before the server is ended, which may answer with errors from then on."""
        self._truths = truths
        self._rng = random.Random(f"asker {seed}")

    def step(self, client: QdrantClient) -> None:
        """One question. Raises `Wrong` or `Uncured`."""
        truth = self._rng.choice(self._truths)
        question = self._draw(truth)
        answer = self._ask(client, question, f"{truth.name}, {question.name}")
        if answer is None:
            return
        try:
            question.check(answer)
        except Exception as failure:
            raise Wrong(f"{truth.name}, {question.name}: {failure!r}") from None
        self.answers += 1

    def _ask(self, client: QdrantClient, question: Question, what: str) -> Any:
        for again in (False, True):
            try:
                answer = question.ask(client)
                self.cured += again
                return answer
            except Exception as error:
                if self.over.is_set():
                    return None
                if not is_expected(error):
                    raise Wrong(f"{what}: no answer that a client understands: {error!r}") from None
                if again:
                    raise Uncured(f"{what}: twice in a row {describe(error)}") from None

    def _draw(self, truth: Truth) -> Question:
        kinds = [self._search] * 5 + [self._retrieve] * 2 + [self._scroll, self._scroll_by_value, self._count]
        return self._rng.choice(kinds)(truth)

    def _condition(self, truth: Truth) -> tuple[str, models.Filter | None, np.ndarray]:
        """None half of the time."""
        if self._rng.random() < 0.5:
            return "all", None, np.ones(truth.count, dtype=bool)
        return self._rng.choice(truth.conditions)

    def _shown(self) -> dict[str, bool]:
        return {"with_payload": self._rng.random() < 0.5, "with_vectors": self._rng.random() < 0.3}

    def _search(self, truth: Truth) -> Question:
        """The nearest to a vector or a point, exactly or not, of all or of some."""
        name, condition, allowed = self._condition(truth)
        shown, exact = self._shown(), self._rng.random() < 0.3
        query: Any
        if self._rng.random() < 0.2:
            query = self._rng.randrange(truth.count)
            vector, allowed = truth.points.vectors[query], allowed.copy()
            allowed[query] = False
        else:
            vector = truth.queries[self._rng.randrange(len(truth.queries))]
            query = vector.tolist()
        params = models.SearchParams(exact=True) if exact else None

        def ask(client: QdrantClient) -> Any:
            return client.query_points(
                truth.name, query=query, query_filter=condition, limit=LIMIT, search_params=params, **shown
            ).points

        def check(hits: Any) -> None:
            for hit in hits:
                truth.check_point(hit, payload=shown["with_payload"], vector=shown["with_vectors"])
            found, wanted = truth.check_hits(hits, truth.points.vectors @ vector, allowed, exact=exact)
            if not exact:
                self.found, self.wanted = self.found + found, self.wanted + wanted

        to = "a vector" if isinstance(query, list) else f"point {query}"
        return Question(f"{'exact ' if exact else ''}search for {to} among {name}, {shown}", ask, check)

    def _retrieve(self, truth: Truth) -> Question:
        """Some points, and one that is not there."""
        ids = self._rng.sample(range(truth.count + 1), self._rng.randint(1, 30))
        shown = self._shown()

        def check(found: Any) -> None:
            assert sorted(point.id for point in found) == sorted(i for i in ids if i < truth.count), f"{ids}"
            for point in found:
                truth.check_point(point, payload=shown["with_payload"], vector=shown["with_vectors"])

        return Question(f"retrieve {len(ids)}, {shown}", lambda c: c.retrieve(truth.name, ids, **shown), check)

    def _scroll(self, truth: Truth) -> Question:
        """A page in the order of ids."""
        name, condition, allowed = self._condition(truth)
        first, limit, shown = self._rng.randrange(truth.count), self._rng.randint(1, 60), self._shown()

        def ask(client: QdrantClient) -> Any:
            return client.scroll(truth.name, scroll_filter=condition, offset=first, limit=limit, **shown)

        def check(answer: Any) -> None:
            page, following = answer
            ids = [int(i) for i in np.flatnonzero(allowed) if i >= first]
            assert [point.id for point in page] == ids[:limit], f"page of {[point.id for point in page]}"
            assert following == (ids[limit] if len(ids) > limit else None), f"the next page begins at {following}"
            for point in page:
                truth.check_point(point, payload=shown["with_payload"], vector=shown["with_vectors"])

        return Question(f"scroll {limit} from {first} among {name}, {shown}", ask, check)

    def _scroll_by_value(self, truth: Truth) -> Question:
        """A page in the order of a number, of which there are many equal ones."""
        limit = self._rng.randint(1, 60)

        def ask(client: QdrantClient) -> Any:
            return client.scroll(truth.name, order_by=models.OrderBy(key="examples", direction="desc"), limit=limit)[0]

        def check(page: Any) -> None:
            for point in page:
                truth.check_point(point, payload=True, vector=False)
            values = sorted((row["examples"] for row in truth.points.payload), reverse=True)[:limit]
            assert [point.payload["examples"] for point in page] == values, "not in order"
            assert len({point.id for point in page}) == len(page), "a point twice"

        return Question(f"scroll {limit} by value", ask, check)

    def _count(self, truth: Truth) -> Question:
        name, condition, allowed = self._condition(truth)

        def check(count: Any) -> None:
            assert count == allowed.sum(), f"{count} instead of {allowed.sum()}"

        return Question(
            f"count {name}", lambda c: c.count(truth.name, count_filter=condition, exact=True).count, check
        )
