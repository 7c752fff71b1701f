"""Makes the demo's files from the WordNet 3.0 data set with all-MiniLM-L6-v2 vectors.

    python make.py DATA MODEL

DATA is a folder with `points.jsonl.gz` and `vectors.f16.npy`, MODEL the folder of the sentence model, which turns
the texts of `queries.json` into vectors. Writes `points.jsonl.zst` and `vectors.i8` beside this file: one row of 384
signed bytes for each point, then one for each query. A row is its vector scaled so that the greatest component is
127; cosine does not see the scale. Needs numpy, sentence-transformers and zstandard.
"""

import gzip
import json
import pathlib
import re
import sys

import numpy as np
import zstandard
from sentence_transformers import SentenceTransformer

# How many points of each topic; None takes all.
TOPICS = {
    "noun.animal": 1000,
    "noun.food": 1000,
    "noun.feeling": None,
    "noun.phenomenon": 200,
    "verb.consumption": 100,
    "verb.emotion": 200,
    "verb.weather": None,
}
# These come along whatever the sample says, so that each query finds what it would find in the whole topics.
NEAREST = 25
SCIENTIFIC = re.compile(r"\b(genus|genera|family|order|class|phylum|suborder|subclass|superfamily)\b", re.I)


def plain(point):
    """An entry that a reader without a dictionary of zoology may know."""
    return point["words"][0].islower() and not SCIENTIFIC.search(" ".join(point["words"]) + point["definition"])


def sample(points, vectors, queries):
    chosen = set()
    for topic, size in TOPICS.items():
        ids = [p["id"] for p in points if p["topic"] == topic]
        known = [i for i in ids if plain(points[i])]
        size = len(known) if size is None else min(size, len(known))
        # WordNet keeps relatives together, so equal steps take some of everything.
        chosen.update(known[int(k)] for k in np.linspace(0, len(known) - 1, size))
        for query in queries:
            chosen.update(ids[k] for k in np.argsort(-(vectors[ids] @ query))[:NEAREST])
    return sorted(chosen)


def quantize(rows):
    return np.rint(rows / np.abs(rows).max(axis=1, keepdims=True) * 127).astype(np.int8)


def main(data, model):
    here = pathlib.Path(__file__).parent
    with gzip.open(data / "points.jsonl.gz", "rt") as lines:
        points = [json.loads(line) for line in lines]
    vectors = np.load(data / "vectors.f16.npy").astype(np.float32)
    texts = [query["text"] for query in json.loads((here / "queries.json").read_text())]
    queries = SentenceTransformer(str(model)).encode(texts, normalize_embeddings=True)
    ids = sample(points, vectors, queries)
    rows = quantize(np.concatenate([vectors[ids], queries]))
    (here / "vectors.i8").write_bytes(rows.tobytes())
    lines = "".join(json.dumps(points[i], ensure_ascii=False) + "\n" for i in ids)
    (here / "points.jsonl.zst").write_bytes(zstandard.compress(lines.encode(), 19))
    print(f"{len(ids)} points, {len(texts)} queries, {rows.nbytes} bytes of vectors")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
