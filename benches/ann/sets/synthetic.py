"""A generated set of 768 dimensions and any size, as hard as wordnet-minilm by local dimension and contrast.

Rows are a mixture of some thousand gaussians per million rows. In a basis that one random rotation turns away from the
axes, each component has its own centre (whose coordinates fall off as a power, as principal components of real
embeddings do), its own order of falling variances, its own width and its own weight; rows are then scaled to unit
length. Points per component do not change with the size, so neither do the figures, but for the few per cent by which
contrast grows with a set.

Queries come from another distribution: each starts in a component chosen with equal weights, nearer to its centre than
rows are, moves part of the way to the centre of another, and has isotropic noise on top. So they lie off the data and
are blander than it, as sentences beside definitions.

Five constants were fitted to four figures of wordnet-minilm; `python -m ann.sets` prints both sets' figures. Each block of rows has a generator of its own, seeded by its number: memory is
bounded by the block, and the first rows do not depend on the size except through the number of components.
"""

from dataclasses import dataclass

import numpy as np

from .folder import Draft

DIM = 768
BLOCK = 8192
QUERIES = 2000
POINTS_PER_COMPONENT = 1000
SEED = 768

VARIANCE_FALL = 0.615
"""Fitted: standard deviations of a component fall as `j` to the minus this."""
SPREAD = 1.4
"""Fitted: length of the spread around a centre, whose own length is 1."""
SHIFT = 0.35
"""Fitted: how far a query has moved to another centre."""
NOISE = 0.6
"""Fitted: length of a query's isotropic noise."""
QUERY_WIDTH = 0.45
"""Fitted: how wide queries lie around a component, as a share of how wide its rows do."""

CENTRE_FALL = 0.5
WIDTH_DEVIATION = 0.25
WEIGHT_DEVIATION = 0.8


@dataclass
class Knobs:
    """What is fitted."""

    variance_fall: float = VARIANCE_FALL
    spread: float = SPREAD
    shift: float = SHIFT
    noise: float = NOISE
    query_width: float = QUERY_WIDTH


class Mixture:
    """The components, and rows drawn from them."""

    def __init__(self, points: int, knobs: Knobs | None = None, seed: int = SEED) -> None:
        self._knobs = knobs or Knobs()
        self._seed = seed
        random = np.random.default_rng([seed, 0])
        count = max(2, round(points / POINTS_PER_COMPONENT))
        axes = np.arange(1, DIM + 1)
        self._rotation = np.linalg.qr(random.standard_normal((DIM, DIM)))[0].astype(np.float32)
        self._centres = _unit(random.standard_normal((count, DIM)) * axes**-CENTRE_FALL)
        falling = axes**-self._knobs.variance_fall
        falling *= self._knobs.spread / np.linalg.norm(falling)
        order = random.permuted(np.broadcast_to(np.arange(DIM), (count, DIM)), axis=1)
        widths = np.exp(WIDTH_DEVIATION * random.standard_normal((count, 1)))
        self._deviations = (falling[order] * widths).astype(np.float32)
        weights = np.exp(WEIGHT_DEVIATION * random.standard_normal(count))
        self._shares = weights / weights.sum()

    def rows(self, block: int, count: int) -> np.ndarray:
        """`count` rows of the block with this number."""
        random = np.random.default_rng([self._seed, 1, block])
        component = random.choice(len(self._shares), count, p=self._shares)
        return self._turned(self._around(random, component))

    def queries(self, count: int) -> np.ndarray:
        """Rows of the other distribution."""
        random = np.random.default_rng([self._seed, 2])
        component, other = random.integers(len(self._centres), size=(2, count))
        rows = self._around(random, component, self._knobs.query_width)
        rows += self._knobs.shift * (self._centres[other] - self._centres[component])
        rows += self._knobs.noise / np.sqrt(DIM) * random.standard_normal(rows.shape, dtype=np.float32)
        return self._turned(rows)

    def _around(self, random: np.random.Generator, component: np.ndarray, width: float = 1) -> np.ndarray:
        drawn = np.float32(width) * random.standard_normal((len(component), DIM), dtype=np.float32)
        return self._centres[component] + self._deviations[component] * drawn

    def _turned(self, rows: np.ndarray) -> np.ndarray:
        return _unit(rows @ self._rotation)


def write(draft: Draft, points: int) -> None:
    """Fills a folder with `points` rows and the queries."""
    mixture = Mixture(points)
    out = draft.create("vectors", (points, DIM), np.float32)
    for block, start in enumerate(range(0, points, BLOCK)):
        out[start : start + BLOCK] = mixture.rows(block, min(BLOCK, points - start))
    out.flush()
    draft.save("queries", mixture.queries(QUERIES))


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
