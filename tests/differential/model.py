"""What the generator makes and every backend understands: a collection, a search."""

from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models

UNNAMED = ""


@dataclass(frozen=True)
class Collection:
    """Vectors of a collection; the unnamed vector has the name ``""``."""

    vectors: dict[str, models.VectorParams]

    @property
    def is_unnamed(self) -> bool:
        """Whether points carry a plain list instead of a map of vectors."""
        return UNNAMED in self.vectors

    def config(self) -> Any:
        """What the client's ``create_collection`` takes as ``vectors_config``."""
        return self.vectors[UNNAMED] if self.is_unnamed else dict(self.vectors)


@dataclass(frozen=True)
class Search:
    """One ``points/query``: by vector, by the vector of a point, by value or by nothing."""

    vector: list[float] | None = None
    point: Any = None
    order_by: models.OrderBy | None = None
    using: str = UNNAMED
    filter: models.Filter | None = None
    limit: int = 10
    offset: int = 0
    score_threshold: float | None = None
    with_payload: Any = True
    with_vectors: Any = field(default=False)
