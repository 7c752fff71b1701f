#!/usr/bin/env python3
"""LanceDB beside `cold.py`, in a Python that has it (`pip install lancedb numpy`): fills a table once, or is a process that has
nothing, opens it and searches. Reads a line of JSON, answers with one."""

import json
import sys
import time

import lancedb
import numpy as np
import pyarrow as pa

TABLE = "wordnet"


def connect(bucket: str, endpoint: str, access_key: str, secret_key: str) -> lancedb.DBConnection:
    """The database in that bucket."""
    options = {
        "endpoint": endpoint,
        "region": "us-east-1",
        "access_key_id": access_key,
        "secret_access_key": secret_key,
        "allow_http": "true",
    }
    return lancedb.connect(f"s3://{bucket}/lance", storage_options=options)


def fill(database: lancedb.DBConnection, vectors: str, payloads: str) -> dict[str, float]:
    """Writes all rows and builds the index that LanceDB's documentation begins with."""
    rows = np.load(vectors)
    with open(payloads, encoding="utf-8") as lines:
        texts = [line.rstrip("\n") for line in lines]
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    table = pa.table({"id": pa.array(range(len(rows))), "vector": column, "payload": pa.array(texts)})
    begun = time.perf_counter()
    made = database.create_table(TABLE, table, mode="overwrite")
    made.create_index(metric="cosine", vector_column_name="vector")
    return {"seconds": time.perf_counter() - begun}


def search(database: lancedb.DBConnection, query: list[float], nprobes: int, refine: int) -> tuple[float, list[int]]:
    """Seconds from opening the table to the rows, and their ids."""
    begun = time.perf_counter()
    asked = database.open_table(TABLE).search(query).metric("cosine").limit(10).select(["id", "payload"])
    asked = asked.nprobes(nprobes).refine_factor(refine)
    found = asked.to_arrow()
    taken = time.perf_counter() - begun
    return taken, found["id"].to_pylist()


def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    database = connect(**wanted["store"])
    if "vectors" in wanted:
        print(json.dumps(fill(database, wanted["vectors"], wanted["payloads"])))
        return
    taken, ids = search(database, wanted["query"], wanted["nprobes"], wanted["refine"])
    print(json.dumps({"seconds": taken, "ids": ids}))


if __name__ == "__main__":
    main()
