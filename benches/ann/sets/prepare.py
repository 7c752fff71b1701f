"""Makes the folder of a data set unless it is there."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import shape, sources, synthetic
from .folder import NEIGHBORS, Draft, Folder
from .truth import nearest

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CACHE = TARGET / "ann"
"""Where prepared sets, downloads and the peers' environment are kept."""

NAMES = ["wordnet-minilm", "wink-100d", "mnist-784", "synthetic-768"]


def prepared(name: str, points: int, say: Callable[[str], None]) -> Folder:
    """The folder of a set; `points` is the size of the synthetic one."""
    kept = CACHE / (f"{name}-{points}" if name == "synthetic-768" else name)
    if (kept / "set.json").is_file():
        return Folder.open(kept)
    say(f"preparing {kept.name} ...")
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = Draft(kept)
    metric = _fill(name, points, draft)
    vectors = np.load(draft.path / "vectors.npy", mmap_mode="r")
    queries = np.load(draft.path / "queries.npy")
    draft.save("neighbors", nearest(vectors, queries, NEIGHBORS)[0])
    return draft.finish(
        {
            "name": kept.name,
            "metric": metric,
            "dtype": "u8" if vectors.dtype == np.uint8 else "f32",
            "dim": vectors.shape[1],
            "points": len(vectors),
            "queries": len(queries),
            "neighbors": NEIGHBORS,
            "shape": shape.measure(vectors, queries),
        }
    )


def _fill(name: str, points: int, draft: Draft) -> str:
    """Writes vectors and queries; returns the metric."""
    if name == "synthetic-768":
        synthetic.write(draft, points)
        return "cosine"
    makers = {
        "wordnet-minilm": lambda: (*sources.wordnet(_wordnet()), "cosine"),
        "wink-100d": lambda: (*sources.wink(CACHE), "cosine"),
        "mnist-784": lambda: (*sources.mnist(CACHE), "euclid"),
    }
    vectors, queries, metric = makers[name]()
    draft.save("vectors", vectors)
    draft.save("queries", queries)
    return metric


def _wordnet() -> Path:
    for place in (os.environ.get("LODESTONE_DATA"), ROOT.parent / "shared" / "data"):
        if place and (Path(place) / "wordnet-minilm").is_dir():
            return Path(place) / "wordnet-minilm"
    raise FileNotFoundError("no wordnet-minilm: set LODESTONE_DATA to the directory that holds it")
