#!/usr/bin/env python3
"""Writes the Parquet files beside it, with pyarrow: what an independent writer makes of columns that can be imported and of some that cannot."""

import datetime as dt
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
ROWS = 300


def write(name: str, columns: dict[str, pa.Array], **options: object) -> None:
    pq.write_table(pa.table(columns), HERE / f"{name}.parquet", **{"store_schema": False, **options})


def lists(kind: pa.DataType, rows: list[object]) -> pa.Array:
    return pa.array(rows, pa.list_(kind))


def main() -> None:
    start = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone.utc)
    write(
        "books",
        {
            "title": pa.array([f"book {i}" for i in range(ROWS)]),
            "emb": pa.array([[i, i + 0.5, -i, 1] for i in range(ROWS)], pa.list_(pa.float32(), 4)),
            "id": pa.array([1000 + i for i in range(ROWS)], pa.int64()),
            "year": pa.array([None if i % 7 == 0 else 1900 + i % 100 for i in range(ROWS)], pa.int32()),
            "tags": pa.array([[f"t{k}" for k in range(i % 3)] for i in range(ROWS)], pa.list_(pa.string())),
            "info": pa.array([{"a": i, "b": i % 2 == 0} for i in range(ROWS)]),
            "price": pa.array([i / 4 for i in range(ROWS)], pa.float64()),
            "at": pa.array([start + dt.timedelta(hours=i) for i in range(ROWS)], pa.timestamp("us", "UTC")),
            "day": pa.array([start.date() + dt.timedelta(days=i) for i in range(ROWS)], pa.date32()),
        },
        row_group_size=110,
        compression="snappy",
    )
    few = range(40)
    write(
        "doubles",
        {"vector": lists(pa.float64(), [[i / 3, -i] for i in few])},
        compression="zstd",
        use_dictionary=False,
        data_page_version="2.0",
        row_group_size=7,
    )
    uuids = [str(uuid.UUID(int=i << 64 | 5)) for i in few]
    halves = [[np.float16(i / 8), np.float16(2)] for i in few]
    write("halves", {"id": pa.array(uuids), "vector": lists(pa.float16(), halves)}, compression="gzip")
    large = pa.array([2**64 - 1 - i for i in few], pa.uint64())
    write("bytes", {"key": large, "vector": lists(pa.uint8(), [[i, 255 - i, 0] for i in few])}, compression="lz4")

    good = lists(pa.float32(), [[1, 2], [3, 4]])
    alone = {"compression": "none", "use_dictionary": False}
    write("bad-ragged", {"vector": lists(pa.float32(), [[1, 2], [3, 4, 5]])}, **alone)
    write("bad-none", {"vector": lists(pa.float32(), [[1, 2], None])}, **alone)
    write("bad-null", {"vector": lists(pa.float32(), [[1, 2], [3, None]])}, **alone)
    write("bad-two", {"a": good, "b": good}, **alone)
    write("bad-text", {"vector": lists(pa.string(), [["a"], ["b"]])}, **alone)
    write("bad-id", {"id": pa.array([1, -2]), "vector": good}, **alone)
    write("bad-time", {"t": pa.array([1, 2], pa.timestamp("ns")), "vector": good}, **alone)
    write("bad-map", {"m": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), "vector": good}, **alone)
    write("bad-nan", {"x": pa.array([1.0, float("nan")]), "vector": good}, **alone)


if __name__ == "__main__":
    main()
